//! [`Init`]: how a stage gets its state, and the stages that have one.
//!
//! Each of them is a [`MapInit`], and behind it a stage without a state for what its closure returns.

use std::fmt;
use std::mem;
use std::ops::ControlFlow;

use super::Pipeline;
use super::chain::{Chain, With};
use super::stage::{At, FilterMap, FlatMap, Stage, TryMap};
use crate::error::FromError;
use crate::panic::{self, Panics};
use crate::states::States;

/// What builds the states of a stage, such as [`map_init`](Pipeline::map_init): a closure, or a `&`[`States`].
///
/// With a closure, a thread's state lives from its first item to the end of the run, and is built and dropped on that
/// thread. It need not be [`Send`]. With a `&States`, the states are handed back when the run is over.
pub trait Init: Sync {
    /// A thread's own state.
    type State;

    #[doc(hidden)]
    fn build(&self) -> Self::State;

    /// Takes a state at the end.
    #[doc(hidden)]
    fn retire(&self, state: Self::State);

    /// Takes a state that a closure had when it panicked.
    #[doc(hidden)]
    fn retire_spoiled(&self, state: Self::State) {
        self.retire(state);
    }
}

impl<S, N: Fn() -> S + Sync> Init for N {
    type State = S;

    fn build(&self) -> S {
        self()
    }

    fn retire(&self, state: S) {
        drop(state);
    }
}

impl<S: Send, N: Fn() -> S + Sync> Init for &States<S, N> {
    type State = S;

    fn build(&self) -> S {
        self.lend()
    }

    fn retire(&self, state: S) {
        self.give_back(state);
    }

    fn retire_spoiled(&self, state: S) {
        self.give_back_spoiled(state);
    }
}

/// The chain `C`, then a stage with a state, then one for its closure's results: `G` hands them on as they are.
type TryMapInit<C, N, F, G> = With<C, TryMap<MapInit<<C as Chain>::Stage, N, F>, G>>;
type FilterMapInit<C, N, F, G> = With<C, FilterMap<MapInit<<C as Chain>::Stage, N, F>, G>>;
type FlatMapInit<C, N, F, G> = With<C, FlatMap<MapInit<<C as Chain>::Stage, N, F>, G>>;

/// Stages with a state for each thread.
impl<C: Chain> Pipeline<C> {
    /// Adds a stage that cannot fail, whose closure has a state of its thread's own: a table, a buffer, a decoder.
    ///
    /// `init` builds a state when a thread meets its first item, so at most once a thread and stage, and once more for
    /// each panic of `f` that the run survives. It is
    ///
    /// - a closure. The state is built and dropped on its thread, and need not be [`Send`];
    /// - a `&`[`States`], which has the states when the run is over, however it ends.
    ///
    /// # The outputs must not depend on the state
    ///
    /// It is not specified which items a state meets. So a state that remembers items breaks the promise that the
    /// outputs are the same at any number of threads: a random generator that goes on where the last item left it, or a
    /// compressor whose reset is not complete. Use the state for room and for sums, and clear it for each item. A test
    /// can check that: run at 1 and at 8 threads, and compare.
    ///
    /// ```
    /// use std::fmt::Write;
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let escaped = |threads| -> Result<Vec<usize>, Cancelled> {
    ///     Pipeline::from_data(0..10_000_u32)
    ///         .threads(threads)
    ///         .map_init(String::new, |buffer, number| {
    ///             // Without this line the outputs differ.
    ///             buffer.clear();
    ///             write!(buffer, "{number:x}").expect("memory");
    ///             buffer.len()
    ///         })
    ///         .collect(&CancellationToken::new())
    /// };
    /// assert_eq!(escaped(1)?, escaped(8)?);
    /// # Ok::<(), Cancelled>(())
    /// ```
    ///
    /// # Panics
    ///
    /// A panic of `init` counts as that of the item that it was called for. [`keep_going`](Self::keep_going) does not
    /// go on past it. A panic of a state's `Drop` is resumed when the run is over.
    pub fn map_init<N, R, F>(self, init: N, f: F) -> With<C, MapInit<C::Stage, N, F>>
    where
        N: Init,
        F: Fn(&mut N::State, C::Output) -> R + Sync,
    {
        self.add(|before, _| MapInit { before, init, f })
    }

    /// Adds a stage that can fail, with a state as in [`map_init`](Self::map_init), and errors as in
    /// [`try_map`](Self::try_map).
    ///
    /// # Examples
    ///
    /// The states are there after an error, too:
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline, States};
    ///
    /// let counts = States::new(|| 0);
    /// let ended = Pipeline::from_iter(["1", "2", "x"])
    ///     .try_map_init(&counts, |count, word| {
    ///         *count += 1;
    ///         word.parse::<u32>().map_err(anyhow::Error::from)
    ///     })
    ///     .count(&CancellationToken::new());
    /// assert!(ended.is_err());
    /// assert_eq!(counts.into_vec().into_iter().sum::<usize>(), 3);
    /// ```
    #[expect(clippy::type_complexity, reason = "the closure that hands results on has no name")]
    pub fn try_map_init<N, R, E, F>(
        self,
        init: N,
        f: F,
    ) -> TryMapInit<C, N, F, impl Fn(Result<R, E>) -> Result<R, E> + Sync>
    where
        N: Init,
        F: Fn(&mut N::State, C::Output) -> Result<R, E> + Sync,
        E: FromError<C::Error>,
    {
        self.add(|before, _| TryMap { before: MapInit { before, init, f }, f: |result| result })
    }

    /// Adds a stage that makes one output of an item, or none, with a state as in [`map_init`](Self::map_init).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::HashSet;
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// // A line of which no letter stands twice, and one set a thread.
    /// let isograms: Vec<&str> = Pipeline::from_data(["stone", "letters", "cargo"])
    ///     .filter_map_init(HashSet::new, |letters, line: &str| {
    ///         letters.clear();
    ///         line.chars().all(|letter| letters.insert(letter)).then_some(line)
    ///     })
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(isograms, ["stone", "cargo"]);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn filter_map_init<N, R, F>(
        self,
        init: N,
        f: F,
    ) -> FilterMapInit<C, N, F, impl Fn(Option<R>) -> Option<R> + Sync>
    where
        N: Init,
        F: Fn(&mut N::State, C::Output) -> Option<R> + Sync,
    {
        self.add(|before, _| FilterMap { before: MapInit { before, init, f }, f: |output| output })
    }

    /// Adds a stage that makes any number of outputs of an item, with a state as in [`map_init`](Self::map_init), and
    /// outputs as in [`flat_map`](Self::flat_map).
    ///
    /// The closure's iterator cannot borrow the state.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline, States};
    ///
    /// let longest = States::new(|| 0);
    /// let words: Vec<&str> = Pipeline::from_data(["a line", "and one more"])
    ///     .flat_map_init(&longest, |longest, line: &str| {
    ///         *longest = line.len().max(*longest);
    ///         line.split_whitespace()
    ///     })
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!((words.len(), longest.into_vec().into_iter().max()), (5, Some(12)));
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn flat_map_init<N, R, F>(self, init: N, f: F) -> FlatMapInit<C, N, F, impl Fn(R) -> R + Sync>
    where
        N: Init,
        R: IntoIterator,
        F: Fn(&mut N::State, C::Output) -> R + Sync,
    {
        self.add(|before, _| FlatMap { before: MapInit { before, init, f }, f: |outputs| outputs })
    }
}

/// The part of a member that holds the parts of the stages before, and a state.
macro_rules! local_with_slot {
    () => {
        type Local = (W::Local, Slot<N::State>);

        #[inline]
        fn local(&self) -> Self::Local {
            (self.before.local(), Slot::Empty)
        }

        #[inline]
        fn prepare(&self, (before, slot): &mut Self::Local) {
            self.before.prepare(before);
            slot.fill(&self.init);
        }

        fn retire(&self, (before, slot): Self::Local, panics: &mut Panics) {
            self.before.retire(before, panics);
            if let Err(payload) = panic::catch(|| slot.retire(&self.init)) {
                panics.add(payload);
            }
        }
    };
}
pub(super) use local_with_slot;

/// Made by [`Pipeline::map_init`](super::Pipeline::map_init) and its kind.
#[derive(Clone, Copy, Debug)]
pub struct MapInit<W, N, F> {
    pub(super) before: W,
    pub(super) init: N,
    pub(super) f: F,
}

impl<T, R, W, N, F> Stage<T> for MapInit<W, N, F>
where
    W: Stage<T>,
    N: Init,
    F: Fn(&mut N::State, W::Output) -> R + Sync,
{
    type Output = R;
    type Error = W::Error;
    type Cause = W::Cause;
    const FANS: bool = W::FANS;
    const ONE_TO_ONE: bool = W::ONE_TO_ONE;

    fn convert(cause: W::Cause) -> Self::Error {
        W::convert(cause)
    }

    local_with_slot!();

    #[inline]
    fn feed(
        &self,
        (before, slot): &mut Self::Local,
        at: At<'_>,
        item: T,
        mut emit: impl FnMut(Option<R>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        self.before.feed(before, at, item, |input| {
            emit(input.map(|input| slot.lend(&self.init, |state| (self.f)(state, input))))
        })
    }
}

/// Where a member keeps its state.
pub enum Slot<S> {
    Empty,
    Ready(S),
    /// A closure panicked while it had the state, which may be half changed.
    Spoiled(S),
}

impl<S> Slot<S> {
    /// Gives the state back.
    pub(super) fn retire(self, init: &impl Init<State = S>) {
        match self {
            Slot::Empty => {}
            Slot::Ready(state) => init.retire(state),
            Slot::Spoiled(state) => init.retire_spoiled(state),
        }
    }

    /// Lends the state to `f`. If that panics, the state is spoiled.
    #[inline]
    pub(super) fn lend<R>(&mut self, init: &impl Init<State = S>, f: impl FnOnce(&mut S) -> R) -> R {
        self.fill(init);
        let spoiler = Spoiler(self);
        let Slot::Ready(state) = &mut *spoiler.0 else { unreachable!("it has been filled") };
        let result = f(state);
        mem::forget(spoiler);
        result
    }

    #[inline]
    pub(super) fn fill(&mut self, init: &impl Init<State = S>) {
        if !matches!(self, Slot::Ready(_)) {
            self.renew(init);
        }
    }

    /// Builds a state, in place of a spoiled one if there is one.
    ///
    /// A spoiled one is met here if the run ends with the panic of its item, and the member still works an earlier
    /// item. Then the loop either ends with that panic, or has not met it.
    #[cold]
    fn renew(&mut self, init: &impl Init<State = S>) {
        if let Slot::Spoiled(state) = mem::replace(self, Slot::Empty)
            && let Err(payload) = panic::catch(|| init.retire_spoiled(state))
        {
            panic::discard(payload);
        }
        *self = Slot::Ready(init.build());
    }
}

impl<S> fmt::Debug for Slot<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Slot::Empty => "Empty",
            Slot::Ready(_) => "Ready",
            Slot::Spoiled(_) => "Spoiled",
        })
    }
}

/// Spoils a state if a panic unwinds the closure that has it.
struct Spoiler<'a, S>(&'a mut Slot<S>);

impl<S> Drop for Spoiler<'_, S> {
    fn drop(&mut self) {
        if let Slot::Ready(state) = mem::replace(self.0, Slot::Empty) {
            *self.0 = Slot::Spoiled(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_spoiled_state_is_not_lent_again_and_a_panic_of_its_drop_is_lost() {
        struct Bomb(usize);
        impl Drop for Bomb {
            fn drop(&mut self) {
                assert_ne!(self.0, 0, "the first");
            }
        }
        let made = AtomicUsize::new(0);
        let init = || Bomb(made.fetch_add(1, Ordering::SeqCst));
        let mut slot = Slot::Empty;
        assert_eq!(slot.lend(&init, |bomb| bomb.0), 0);
        assert!(panic::catch(|| slot.lend(&init, |_| panic!("a closure"))).is_err());
        assert!(matches!(&slot, Slot::Spoiled(Bomb(0))));
        assert_eq!(slot.lend(&init, |bomb| bomb.0), 1);
        assert_eq!((slot.lend(&init, |bomb| bomb.0), made.load(Ordering::SeqCst)), (1, 2));
    }
}
