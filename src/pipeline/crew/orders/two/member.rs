//! The settings of a walk over two sections, and its members.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::Duration;

use super::super::super::super::Order;
use super::super::super::super::serial::Serial;
use super::super::super::super::source::Kind;
use super::super::super::super::source::iter::{Items, Pulled};
use super::super::super::behind::Behind;
use super::super::super::below::{Below, Last};
use super::super::super::crossing::{Crossing, Done, Input, Task};
use super::super::super::piece::Piece;
use super::super::super::roster::{Arrival, Workers};
use super::super::super::state::State;
use super::super::super::step::{Plan, Worked};
use super::super::super::supply::Claim;

pub(super) const ITEMS: u64 = 3;

#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    pub(super) order: Order,
    pub(super) window: Option<usize>,
    /// How many workers the system lets the run start, and how many of the second section's own.
    pub(super) workers: usize,
    pub(super) own: Option<usize>,
    pub(super) own_started: usize,
    /// Where an item fails: the section, and the item.
    pub(super) failing: Option<(usize, u64)>,
    /// After how many items the serial stage wants no more.
    pub(super) wants: u64,
}

pub(super) const PLAIN: Scene =
    Scene { order: Order::Source, window: Some(2), workers: 1, own: None, own_started: 0, failing: None, wants: 9 };

impl Scene {
    pub(super) fn plan(&self) -> Plan {
        Plan {
            kind: Kind::Data,
            order: self.order,
            threads: 3,
            workers: 2,
            window: self.window.and_then(NonZeroUsize::new),
            limit: None,
            aim: Duration::from_micros(100),
            is_caller_reserved: false,
            blocking: self.own.unwrap_or(0),
        }
    }
}

/// A serial stage that hands on a number of items, or nothing at all between the sections.
pub(super) struct Stand<const PASSES: bool>;

impl<const PASSES: bool> Serial<u64> for Stand<PASSES> {
    type Output = u64;

    const PASSES: bool = PASSES;

    fn fuse(_index: u64, item: u64) -> u64 {
        item
    }

    fn take(&mut self, _item: u64, _emit: impl FnMut(u64)) -> ControlFlow<()> {
        unreachable!("the walk does that itself")
    }
}

pub(super) type Second<const PASSES: bool> = Behind<u64, (), Stand<PASSES>, Last<u64, ()>>;
pub(super) type Shared<const PASSES: bool> = State<Pulled<u64>, Second<PASSES>>;
pub(super) type TaskOf<const PASSES: bool> = <Second<PASSES> as Below>::Task;
pub(super) type DoneOf<const PASSES: bool> = <Second<PASSES> as Below>::Done;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    Workers,
    Caller,
    Own,
}

pub(super) enum Place<const PASSES: bool> {
    Ticket,
    Enter,
    /// The first section.
    Work(Claim<Items<u64>>),
    Behind(TaskOf<PASSES>),
    Voids(usize, u64),
    Outputs(VecDeque<Piece<u64, ()>>),
    Sleeps,
    Left,
}

pub(super) struct Member<const PASSES: bool> {
    pub(super) event: Event,
    pub(super) place: Place<PASSES>,
    pub(super) is_stale: bool,
    /// The events to notify first, and the workers to start.
    pub(super) calls: VecDeque<(Event, Workers)>,
    pub(super) worked: Option<Worked<Items<u64>, u64, ()>>,
    pub(super) done: Option<DoneOf<PASSES>>,
    pub(super) taken: Vec<Piece<u64, ()>>,
    pub(super) arrival: Option<Arrival>,
}

impl<const PASSES: bool> fmt::Debug for Member<PASSES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.place {
            Place::Ticket => String::from("ticket"),
            Place::Enter => String::from("enter"),
            Place::Work(claim) => format!("works {} {}", claim.first, claim.items),
            Place::Behind(Task::Work(claim, _)) => format!("works behind {} {}", claim.first, claim.items),
            Place::Behind(Task::Cross { pieces, ends }) => format!("crosses {pieces:?} {ends}"),
            Place::Behind(Task::Behind(never)) => match *never {},
            Place::Voids(section, item) => format!("voids {section} {item}"),
            Place::Outputs(due) => format!("outputs {due:?}"),
            Place::Sleeps => String::from("sleeps"),
            Place::Left => String::from("left"),
        };
        let done = match &self.done {
            None => String::new(),
            Some(Done::Worked(worked)) => format!("{worked:?}"),
            Some(Done::Crossed(Crossing { items, closes, input, .. })) => {
                let ended = match input {
                    Input::Open => "open",
                    Input::Closed(None) => "closed",
                    Input::Closed(Some(_)) => "failed",
                    Input::Ended => "ended",
                };
                format!("{items:?} {} {ended}", closes.items)
            }
            Some(Done::Behind(never)) => match *never {},
        };
        let Member { event, is_stale, calls, worked, taken, arrival, .. } = self;
        write!(f, "{event:?} {place} {is_stale} {calls:?} {worked:?} {done} {taken:?} {arrival:?}")
    }
}
