//! [`KeepGoing`]: the stages before it, whose failures become values.
//!
//! **Each item is caught alone.** A flag around `emit` tells a panic of the stages before from one of a later stage or
//! the sink, which are called from inside of the catch: theirs is resumed. `panic::catch` is inlined for this. As a
//! call it made an item of 40 ns 1.3 times as long, and inlined 1.00 times.

use std::fmt::Display;
use std::mem;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::Pipeline;
use super::chain::{Chain, With};
use super::located::{By, Label, NoLabel};
use super::source::Source;
use super::stage::{At, Stage, local_of_before};
use crate::failure::{Failure, Panic};
use crate::failures::Failures;
use crate::panic::{self, Panics, Payload};

/// Failures as values.
impl<C: Chain> Pipeline<C> {
    /// Goes on past the errors and panics of the stages so far: an item that fails becomes a [`Failure`].
    ///
    /// The outputs become results, in order: `Ok` for each output of the stages so far, and `Err` for each item that
    /// failed in them, with its index, counted from 0, and the [name](Pipeline::named) that the pipeline was given
    /// before this call, or `item`. The outputs that an item made before it failed stay, and its failure follows them.
    /// So one broken image does not end a run over ten thousand. To end a run after some failures, add
    /// [`fail_after`](Self::fail_after).
    ///
    /// A stage with threads of its own has [`blocking_keep_going`](Self::blocking_keep_going).
    ///
    /// The run does not go on past
    ///
    /// - a failure of a later stage or of the sink;
    /// - a panic of the source's `next()`, and a failure of the stages before the last
    ///   [section](Pipeline#sections), which a [`scan`](Pipeline::scan) ends, or a stage with threads of its own;
    /// - a panic of the `init` or the `Drop` of a [state](Self::map_init).
    ///
    /// After a panic its thread drops the states of the stages so far, and builds new ones at its next item. A panic is
    /// caught, but the panic hook has run, so most often its message is on the standard error.
    ///
    /// # Costs
    ///
    /// The catch of an item is too cheap to be measured at 40 ns an item. But a result is as large as a [`Failure`],
    /// some 40 bytes more than the error, and so costs as much as any output of that size: items of 40 ns took 1.07
    /// times as long.
    /// Where that counts, turn the results into something small in a later [`map`](Self::map).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let (mut sum, mut broken) = (0, Vec::new());
    /// Pipeline::from_iter("3\n4\nx\n5".lines())
    ///     .named("line")
    ///     .try_map(|line| line.parse::<u64>().map_err(anyhow::Error::from))
    ///     .keep_going()
    ///     .for_each(&CancellationToken::new(), |parsed| match parsed {
    ///         Ok(number) => sum += number,
    ///         Err(failure) => broken.push(failure.to_string()),
    ///     })?;
    /// assert_eq!((sum, broken), (12, vec!["line#2 failed: invalid digit found in string".to_owned()]));
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn keep_going(self) -> With<C, KeepGoing<C::Stage, NoLabel>> {
        self.going_on(NoLabel)
    }

    /// [`keep_going`](Self::keep_going) with a label of the program's for the item, such as the name of a file.
    ///
    /// `label` makes it of each item before the stages take the item, so it should be cheap. The label may be any value
    /// that can be shown, and is shown for the failing items alone. The run does not go on past a panic of `label`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::path::PathBuf;
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let mut complaints = Vec::new();
    /// Pipeline::from_iter(["Cargo.toml", "missing.toml", "README.md"].map(PathBuf::from))
    ///     .named("file")
    ///     .try_map(|path| Ok::<_, std::io::Error>(std::fs::read(path)?.len()))
    ///     .keep_going_by(|path| path.display().to_string())
    ///     .for_each(&CancellationToken::new(), |read| {
    ///         if let Err(failure) = read {
    ///             complaints.push(failure.to_string());
    ///         }
    ///     })?;
    /// assert_eq!(complaints.len(), 1);
    /// assert!(complaints[0].starts_with("file#1 (missing.toml) failed: "));
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn keep_going_by<K, F>(self, label: F) -> With<C, KeepGoing<C::Stage, By<F>>>
    where
        F: Fn(&<C::Source as Source>::Item) -> K + Sync,
        K: Display,
    {
        self.going_on(By(label))
    }

    fn going_on<L>(self, label: L) -> With<C, KeepGoing<C::Stage, L>> {
        self.add(|before, settings| {
            let name = settings.name.clone().unwrap_or_else(|| "item".into());
            KeepGoing { before, name, label }
        })
    }
}

/// The end of a run that keeps going.
impl<C, T, E> Pipeline<C>
where
    C: Chain<Output = Result<T, Failure<E>>, Error: Send>,
    T: Send,
    E: Send,
    Failures<E>: From<C::Error>,
{
    /// Ends the run at this many [failures](Self::keep_going), in the order of the items.
    ///
    /// The sink is given the outputs and the failures before the last one. The error of the run is a [`Failures`] that
    /// lists the last one, and counts those before it as [omitted](Failures::omitted), because the sink has had them.
    ///
    /// It counts as a [`scan`](Self::scan) does: [unordered](Self::unordered), by arrival.
    ///
    /// # Panics
    ///
    /// If `failures` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let mut broken = 0;
    /// let failures = Pipeline::from_data(["1", "x", "y", "2", "z"])
    ///     .try_map(|word| word.parse::<u32>().map_err(anyhow::Error::from))
    ///     .keep_going()
    ///     .fail_after(2)
    ///     .for_each(&CancellationToken::new(), |parsed| broken += usize::from(parsed.is_err()))
    ///     .unwrap_err();
    /// assert_eq!((broken, failures.count(), failures.as_slice()[0].index()), (1, 2, 2));
    /// assert_eq!(failures.to_string(), "item#2 failed: invalid digit found in string, and 1 other failure");
    /// ```
    #[track_caller]
    pub fn fail_after(
        self,
        failures: usize,
    ) -> Pipeline<impl Chain<Output = Result<T, Failure<E>>, Error = Failures<E>, Cause = C::Error>> {
        let Some(most) = NonZeroUsize::new(failures) else {
            panic!("Pipeline::fail_after(0): no item could ever be worked; 1 ends at the first failure");
        };
        let counted = move |before: &mut usize, result: Result<T, Failure<E>>| match result {
            Err(failure) if *before + 1 == most.get() => Some(Err(Failures::last_of(failure, *before))),
            result => {
                *before += usize::from(result.is_err());
                Some(Ok(result))
            }
        };
        self.scan(0, counted).try_map(|counted| counted)
    }
}

/// Made by [`Pipeline::keep_going`](super::Pipeline::keep_going) and its kind.
#[derive(Clone, Debug)]
pub struct KeepGoing<W, L> {
    pub(super) before: W,
    pub(super) name: Arc<str>,
    pub(super) label: L,
}

impl<T, W, L> Stage<T> for KeepGoing<W, L>
where
    W: Stage<T>,
    L: Label<T>,
{
    type Output = Result<W::Output, Failure<W::Error>>;
    type Error = W::Cause;
    type Cause = W::Cause;

    local_of_before!();

    const FANS: bool = W::FANS;
    const ONE_TO_ONE: bool = W::ONE_TO_ONE;

    fn convert(cause: W::Cause) -> W::Cause {
        cause
    }

    #[inline]
    fn feed(
        &self,
        local: &mut W::Local,
        at: At<'_>,
        item: T,
        mut emit: impl FnMut(Option<Self::Output>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Cause> {
        let key = self.label.key(&item);
        self.before.prepare(local);
        // True while a later stage or the sink has control, and from then on if it wants no more of the item: values
        // that are dropped when an item is left in its midst may panic, and that is no failure of the item.
        let mut is_behind = false;
        let fed = panic::catch(|| {
            self.before.feed(local, at, item, |output| {
                is_behind = true;
                let flow = emit(output.map(Ok));
                is_behind = flow.is_break();
                flow
            })
        });
        let failure = match fed {
            Ok(Ok(flow)) => return Ok(flow),
            Ok(Err(error)) => self.failed(at, error),
            Err(payload) if is_behind => panic::resume(payload),
            Err(payload) => self.recover(local, at, payload),
        };
        Ok(emit(Some(Err(failure.labelled(L::show(key))))))
    }
}

impl<W, L> KeepGoing<W, L> {
    #[cold]
    fn failed<E>(&self, at: At<'_>, error: E) -> Failure<E> {
        Failure::new(Arc::clone(&self.name), index(at), error)
    }

    /// Makes a failure of a panic of the stages before. Their states may be half changed, so they are dropped.
    #[cold]
    fn recover<T>(&self, local: &mut W::Local, at: At<'_>, payload: Payload) -> Failure<W::Error>
    where
        W: Stage<T>,
    {
        let failure = Failure::Panic(Panic::new(Arc::clone(&self.name), index(at), payload));
        let mut panics = Panics::default();
        self.before.retire(mem::replace(local, self.before.local()), &mut panics);
        panics.resume_or(failure)
    }
}

fn index(at: At<'_>) -> usize {
    usize::try_from(at.index).unwrap_or(usize::MAX)
}
