#![doc = include_str!("crew/README.md")]

mod piece;
mod weight;

mod credits;
mod pace;
mod ring;
mod roster;
mod supply;
mod window;

mod signal;

mod below;
mod chunk;
mod crossed;
mod crossing;
mod step;

mod behind;
mod state;

mod held;

mod place;
mod work;

mod hands;
mod onward;
mod section;

mod members;
mod puller;
mod worker;

mod caller;

#[cfg(test)]
mod counts;
#[cfg(test)]
mod orders;

pub(super) use caller::{Caller, Exit};
pub(super) use members::Members;
pub(super) use onward::{Onward, ToSection, ToSink};
pub(super) use piece::End;
pub(super) use section::{Remains, Section};
pub(super) use worker::Worker;
