//! Stages that wait, on threads of their own.

use std::num::NonZeroUsize;

use super::Pipeline;
use super::chain::{Chain, Crossed, Fused};
use super::init::Init;
use super::keep_going::KeepGoing;
use super::located::NoLabel;
use super::serial::Pass;
use super::stage::TryMap;
use super::with_token::{MapInitWithToken, MapWithToken};
use crate::error::FromError;
#[cfg(doc)]
use crate::failure::Failure;
use crate::token::CancellationToken;

/// The chain `C`, then a boundary: the section behind it has workers of its own.
type Own<C> = Crossed<C, Pass<true>>;
/// That section, then a boundary.
type Blocking<C, F> = Crossed<With<Own<C>, MapWithToken<StageOf<C>, F>>, Pass<false>>;
type TryBlocking<C, F, G> = Crossed<With<Own<C>, TryMap<MapWithToken<StageOf<C>, F>, G>>, Pass<false>>;
type TryBlockingInit<C, N, F, G> = Crossed<With<Own<C>, TryMap<MapInitWithToken<StageOf<C>, N, F>, G>>, Pass<false>>;
type BlockingInit<C, N, F> = Crossed<With<Own<C>, MapInitWithToken<StageOf<C>, N, F>>, Pass<false>>;
type BlockingKeepGoing<C, F, G> =
    Crossed<With<Own<C>, KeepGoing<TryMap<MapWithToken<StageOf<C>, F>, G>, NoLabel>>, Pass<false>>;
type StageOf<C> = <Own<C> as Chain>::Stage;
type With<C, W> = Fused<<C as Chain>::Source, W>;

/// Stages that wait.
impl<C: Chain<Output: Send, Error: Send>> Pipeline<C> {
    /// Adds a stage that waits, such as for the network, a disk or a child process, on `threads` threads of its own.
    ///
    /// They come beside the [`threads`](Self::threads) of the run, which work the other stages meanwhile, those before
    /// and those behind. Each takes one item at a time. A thread is started when there is an item for it. By default
    /// the [`window`](Self::window) has room for two items for each of all these threads; a window that was set stays
    /// as it is, and one narrower than `threads` keeps some of them idle.
    ///
    /// `f` is given a token of its item as in [`try_map_with_token`](Self::try_map_with_token): let it end the wait.
    /// A `f` that is stuck keeps the run from ending until it returns.
    ///
    /// Order, first error and panics are those of the plain loop. On a rayon worker the stage runs inline. Should the
    /// system refuse threads, fewer serve the stage; if there are none, those of the run do.
    ///
    /// A [`flat_map`](Self::flat_map) before it whose iterator holds a lock while it is asked for more must not meet
    /// that lock in here, or in any later stage: the thread that waits for room in the iterator works later stages.
    ///
    /// # Panics
    ///
    /// If `threads` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::process::Command;
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// // Sixteen child processes at once, however many cores there are.
    /// let succeeded = Pipeline::from_data(0..20)
    ///     .blocking(16, |_, _| Command::new("true").status())
    ///     .filter(|status| status.as_ref().is_ok_and(|status| status.success()))
    ///     .count(&CancellationToken::new())?;
    /// assert_eq!(succeeded, 20);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    #[track_caller]
    pub fn blocking<R, F>(self, threads: usize, f: F) -> Pipeline<Blocking<C, F>>
    where
        F: Fn(&CancellationToken, C::Output) -> R + Sync,
        R: Send,
    {
        self.on_own_threads(threads).map_with_token(f).cross(Pass::<false>, None)
    }

    /// Adds a stage that waits as [`blocking`](Self::blocking) does, and can fail as [`try_map`](Self::try_map) can.
    ///
    /// # Panics
    ///
    /// If `threads` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let lengths: Vec<usize> = Pipeline::from_data(["one", "three", "eleven"])
    ///     .map(str::to_uppercase)
    ///     // Stands for a request to a slow server.
    ///     .try_blocking(3, |token, word| {
    ///         token.sleep(Duration::from_millis(1))?;
    ///         Ok::<_, Cancelled>(word)
    ///     })
    ///     .map(|word| word.len())
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(lengths, [3, 5, 6]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    #[expect(clippy::type_complexity, reason = "the closure that hands results on has no name")]
    #[track_caller]
    pub fn try_blocking<R, E, F>(
        self,
        threads: usize,
        f: F,
    ) -> Pipeline<TryBlocking<C, F, impl Fn(Result<R, E>) -> Result<R, E> + Sync>>
    where
        F: Fn(&CancellationToken, C::Output) -> Result<R, E> + Sync,
        R: Send,
        E: FromError<C::Error> + Send,
    {
        self.on_own_threads(threads).try_map_with_token(f).cross(Pass::<false>, None)
    }

    /// The same, with a state for each thread as in [`map_init`](Self::map_init): a connection, a buffer.
    ///
    /// # Panics
    ///
    /// If `threads` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline, States};
    ///
    /// let connections = States::new(|| 0);
    /// let answers: Vec<u32> = Pipeline::from_data(0..100_u32)
    ///     .try_blocking_init(4, &connections, |requests, token, item| {
    ///         token.check()?;
    ///         *requests += 1;
    ///         Ok::<_, Cancelled>(item * item)
    ///     })
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!((answers[9], connections.into_vec().into_iter().sum::<usize>()), (81, 100));
    /// # Ok::<(), Cancelled>(())
    /// ```
    #[expect(clippy::type_complexity, reason = "the closure that hands results on has no name")]
    #[track_caller]
    pub fn try_blocking_init<N, R, E, F>(
        self,
        threads: usize,
        init: N,
        f: F,
    ) -> Pipeline<TryBlockingInit<C, N, F, impl Fn(Result<R, E>) -> Result<R, E> + Sync>>
    where
        N: Init,
        F: Fn(&mut N::State, &CancellationToken, C::Output) -> Result<R, E> + Sync,
        R: Send,
        E: FromError<C::Error> + Send,
    {
        self.on_own_threads(threads).try_map_init_with_token(init, f).cross(Pass::<false>, None)
    }

    /// Adds a stage that waits as [`blocking`](Self::blocking) does, with a state for each thread as in
    /// [`map_init`](Self::map_init).
    ///
    /// # Panics
    ///
    /// If `threads` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let lengths: Vec<usize> = Pipeline::from_data(["a", "bb"])
    ///     .blocking_init(2, String::new, |buffer, _token, word| {
    ///         buffer.clear();
    ///         buffer.push_str(word);
    ///         buffer.len()
    ///     })
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(lengths, [1, 2]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    #[track_caller]
    pub fn blocking_init<N, R, F>(self, threads: usize, init: N, f: F) -> Pipeline<BlockingInit<C, N, F>>
    where
        N: Init,
        F: Fn(&mut N::State, &CancellationToken, C::Output) -> R + Sync,
        R: Send,
    {
        self.on_own_threads(threads).map_init_with_token(init, f).cross(Pass::<false>, None)
    }

    /// Adds a stage that waits as [`try_blocking`](Self::try_blocking) does, and [goes on](Self::keep_going) past its
    /// errors and panics: an item that fails becomes a [`Failure`].
    ///
    /// Use this in place of [`keep_going`](Self::keep_going), which goes on past the failures of stages without threads
    /// of their own. The index of a failure is that among the items that come to this stage.
    ///
    /// # Panics
    ///
    /// If `threads` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let mut complaints = Vec::new();
    /// Pipeline::from_data(["Cargo.toml", "missing.toml", "README.md"])
    ///     .named("file")
    ///     .blocking_keep_going(2, |_token, name| std::fs::read(name))
    ///     .for_each(&CancellationToken::new(), |read| {
    ///         if let Err(failure) = read {
    ///             complaints.push(failure.to_string());
    ///         }
    ///     })?;
    /// assert_eq!(complaints.len(), 1);
    /// assert!(complaints[0].starts_with("file#1 failed: "));
    /// # Ok::<(), Cancelled>(())
    /// ```
    #[expect(clippy::type_complexity, reason = "the closure that hands results on has no name")]
    #[track_caller]
    pub fn blocking_keep_going<R, E, F>(
        self,
        threads: usize,
        f: F,
    ) -> Pipeline<BlockingKeepGoing<C, F, impl Fn(Result<R, E>) -> Result<R, E> + Sync>>
    where
        F: Fn(&CancellationToken, C::Output) -> Result<R, E> + Sync,
        R: Send,
        E: FromError<C::Error> + Send,
    {
        self.on_own_threads(threads).try_map_with_token(f).keep_going().cross(Pass::<false>, None)
    }

    #[track_caller]
    fn on_own_threads(self, threads: usize) -> Pipeline<Own<C>> {
        let Some(threads) = NonZeroUsize::new(threads) else {
            panic!("Pipeline::blocking(0): the stage needs a thread to wait on");
        };
        self.cross(Pass::<true>, Some(threads))
    }
}
