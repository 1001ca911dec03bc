//! The steps of members inside a batch, and of workers that serve one section; how pieces cross boundaries.

use std::collections::VecDeque;

use super::super::super::source::Stock;
use super::super::below::{Below, Coming, OwnStep, Void};
use super::super::piece::Piece;
use super::super::roster::{Arrival, Guard, Mode};
use super::super::signal::Marks;
use super::super::step::Look;
use super::State;

impl<S: Stock, D: Below> State<S, D> {
    /// A worker offers a part of the batch that is in its hands, by `look`.
    pub(in super::super) fn worker_offers<R, T>(&mut self, look: impl FnOnce(&mut Self) -> Look<R, T>) -> Look<R, T> {
        let look = look(self);
        if let Look::Wait(_) = look {
            self.roster.await_part();
        }
        look
    }

    /// The caller offers a part of the batch that is in its hands. The pieces that are due are added to `due`.
    pub(in super::super) fn caller_offers<R, T>(
        &mut self,
        due: &mut VecDeque<Piece<D::Out, D::OutError>>,
        look: impl FnOnce(&mut Self) -> Look<R, T>,
    ) -> Look<R, T> {
        self.roster.caller_awake();
        match look(self) {
            Look::Void => Look::Void,
            look if self.take_due(due) => match look {
                Look::Wait(_) => Look::Again,
                look => look,
            },
            Look::Wait(_) => {
                self.roster.caller = Mode::AsleepHolding;
                Look::Wait(self.sleeps(Guard::Caller))
            }
            look => look,
        }
    }

    /// The next step of a worker of the section `section`, which serves no other.
    pub(in super::super) fn own_step(
        &mut self,
        section: usize,
        arrival: Option<Arrival>,
        void: Void<'_>,
    ) -> OwnStep<D::Task> {
        let is_over = self.is_first_over(void);
        self.down.own_step(section - 1, arrival, is_over, void.next())
    }

    /// Lets pieces cross where that takes no time, when members have changed the state.
    pub(in super::super) fn settle(&mut self, void: Void<'_>, marks: &[Marks]) {
        if D::SECTIONS == 0 {
            return;
        }
        let coming = match (self.is_first_complete(), self.supply.has_panicked()) {
            (false, _) => Coming::More,
            (true, false) => Coming::Nothing,
            (true, true) => Coming::NothingForPanic,
        };
        self.down.settle(coming, void.next());
        if self.down.take_changed() {
            self.down.publish(marks);
            self.roster.part_taken();
            // Items that take long may lie behind the first section, which may have no more.
            self.share_work();
        }
        let freed = self.down.take_freed();
        self.freed += freed.items;
        self.release(freed);
    }
}
