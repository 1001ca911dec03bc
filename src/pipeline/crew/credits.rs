//! [`Credits`]: which items of the source are closed when the outputs of a section behind others leave it.
//!
//! The window counts items of the source. A section behind a boundary has items of its own: the outputs of the section
//! before it. So a piece that crosses leaves here how many items of the source it closes. They are closed once all
//! items that it brought, and all before these, have left the section in turn. Where no order is kept, the items that
//! have left are counted.

use std::collections::VecDeque;
use std::ops::AddAssign;

/// Items of the source that are closed, and how many bytes they weigh against the [budget](super::super::gate).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Release {
    pub(super) items: usize,
    pub(super) bytes: u64,
}

impl AddAssign for Release {
    fn add_assign(&mut self, more: Self) {
        self.items += more.items;
        self.bytes += more.bytes;
    }
}

/// The items of the source that are not closed yet, by the items of a section.
#[derive(Debug, Default)]
pub(in super::super) struct Credits {
    /// How many items the section was given.
    put: u64,
    /// How many have left it.
    left: u64,
    /// After how many items have left, how many of the source are closed.
    open: VecDeque<(u64, Release)>,
}

impl Credits {
    /// The section is given `items`, which close `closes` items of the source. Returns how many of these are closed at
    /// once, because nothing before them is under way.
    pub(super) fn put(&mut self, items: usize, closes: Release) -> Release {
        self.put += items as u64;
        if self.left == self.put {
            return closes;
        }
        match self.open.back_mut() {
            Some((at, open)) if *at == self.put => *open += closes,
            _ => self.open.push_back((self.put, closes)),
        }
        Release::default()
    }

    /// The index of the next item that the section is given.
    pub(super) fn next(&self) -> u64 {
        self.put
    }

    /// The outputs of `items` leave the section. Returns how many items of the source are closed by that.
    pub(super) fn leave(&mut self, items: usize) -> Release {
        self.left += items as u64;
        let mut closed = Release::default();
        while let Some((at, closes)) = self.open.front() {
            if *at > self.left {
                break;
            }
            closed += *closes;
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
        let release = |items| Release { items, bytes: items as u64 * 10 };
        let mut credits = Credits::default();
        assert_eq!(credits.put(0, release(7)), release(7));
        let none = release(0);
        assert_eq!([(3, 2), (0, 5), (1, 1)].map(|(items, closes)| credits.put(items, release(closes))), [none; 3]);
        assert_eq!([2, 1, 1].map(|items| credits.leave(items)), [none, release(7), release(1)]);
        assert_eq!((credits.put(0, release(4)), credits.next()), (release(4), 4));
    }
}
