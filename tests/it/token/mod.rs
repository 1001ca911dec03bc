//! `CancellationToken`.

mod callback;
mod chains;
mod clock;
mod deadline;
mod flag;
mod tree;
