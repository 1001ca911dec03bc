#![doc = include_str!("crew/README.md")]

mod piece;
mod weight;

mod pace;
mod ring;
mod roster;
mod supply;
mod window;

mod chunk;
mod step;

mod state;

mod held;
mod section;
mod signal;
mod work;

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
pub(super) use piece::{End, Piece, lose};
pub(super) use section::{Remains, Section};
pub(super) use worker::Worker;
