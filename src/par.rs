//! Parallel maps on rayon that observe a token and end as the sequential loop does.
//!
//! Each form takes a token, items and a closure, and runs the closure on the threads of a rayon pool. Outputs, order,
//! error and panic are those of the sequential loop.
//!
//! | for each item you have | use | which stops at the first error |
//! |---|---|---|
//! | an output | [`par_map`] | [`try_par_map`] |
//! | an output, made with a state such as a buffer or a parser | [`par_map_init`] | [`try_par_map_init`] |
//! | an effect, and no output | [`par_for_each`] | [`try_par_for_each`] |
//! | a value, and you want all of them reduced to one | [`par_reduce`] | [`try_par_reduce`] |
//! | a value, and you want a total of another type | [`par_fold`] | [`try_par_fold`] |
//! | an output or an error, and you want every error | [`ParBuilder::collect_all`] | |
//!
//! [`try_par_map_with_token`] and its kind give the closure a token of its item, which ends its waits when an earlier
//! item has failed.
//!
//! A [`ParBuilder`] runs the same forms with a limit or a [`Progress`] count. Its [`located`](ParBuilder::located)
//! forms return errors that say which item failed. The adaptors of [`ParallelIteratorExt`] stop any chain of rayon's
//! own.
//!
//! [`par_map`] says which items there can be, on which threads they run, and which waits are forbidden to a closure.

mod pool;
mod progress;

mod builder;

mod call;
mod claims;
mod mapper;
mod tree;

#[cfg(panic = "unwind")]
mod indexed;

mod collect;

mod collect_all;
mod fold;
mod for_each;
mod map;
mod map_init;
mod reduce;
mod with_token;

mod located;

mod or_cancelled;
mod until_cancelled;

mod iterator_ext;

pub use builder::ParBuilder;
pub use fold::{par_fold, try_par_fold};
pub use for_each::{par_for_each, try_par_for_each};
pub use iterator_ext::ParallelIteratorExt;
pub use located::Located;
pub use map::{par_map, try_par_map};
pub use map_init::{par_map_init, try_par_map_init};
pub use or_cancelled::OrCancelled;
pub(crate) use progress::Count;
pub use progress::Progress;
pub use reduce::{par_reduce, try_par_reduce};
pub use until_cancelled::UntilCancelled;
pub use with_token::{try_par_for_each_with_token, try_par_map_init_with_token, try_par_map_with_token};
