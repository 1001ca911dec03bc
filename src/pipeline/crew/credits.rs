//! [`Credits`]: which items of the source are closed when the outputs of a section behind others leave it.
//!
//! The window counts items of the source. A section behind a boundary has items of its own: the outputs of the section
//! before it. So a piece that crosses leaves here how many items of the source it closes. They are closed once all
//! items that it brought, and all before these, have left the section in turn. Where no order is kept, the items that
//! have left are counted.

use std::collections::VecDeque;

/// The items of the source that are not closed yet, by the items of a section.
#[derive(Debug, Default)]
pub(in super::super) struct Credits {
    /// How many items the section was given.
    put: u64,
    /// How many have left it.
    left: u64,
    /// After how many items have left, how many of the source are closed.
    open: VecDeque<(u64, usize)>,
}

impl Credits {
    /// The section is given `items`, which close `closes` items of the source. Returns how many of these are closed at
    /// once, because nothing before them is under way.
    pub(super) fn put(&mut self, items: usize, closes: usize) -> usize {
        self.put += items as u64;
        if self.left == self.put {
            return closes;
        }
        match self.open.back_mut() {
            Some((at, open)) if *at == self.put => *open += closes,
            _ => self.open.push_back((self.put, closes)),
        }
        0
    }

    /// The index of the next item that the section is given.
    pub(super) fn next(&self) -> u64 {
        self.put
    }

    /// The outputs of `items` leave the section. Returns how many items of the source are closed by that.
    pub(super) fn leave(&mut self, items: usize) -> usize {
        self.left += items as u64;
        let mut closed = 0;
        while let Some((at, closes)) = self.open.front() {
            if *at > self.left {
                break;
            }
            closed += closes;
            self.open.pop_front();
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_the_source_are_closed_when_all_that_came_of_them_have_left() {
        let mut credits = Credits::default();
        assert_eq!(credits.put(0, 7), 7);
        assert_eq!((credits.put(3, 2), credits.put(0, 5), credits.put(1, 1)), (0, 0, 0));
        assert_eq!((credits.leave(2), credits.leave(1), credits.leave(1)), (0, 7, 1));
        assert_eq!((credits.put(0, 4), credits.next()), (4, 4));
    }
}
