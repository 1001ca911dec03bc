//! [`Plain`]: the loop that this library promises to equal.

use std::cell::OnceCell;
use std::ops::ControlFlow;

use super::crew::{Onward, ToSection, ToSink};
use super::local::MemberLocal;
use super::report::{Meter, Step};
use super::row::Row;
use super::serial::Serial;
use super::sink::{Keeps, Sink};
use super::source::Feed;
use super::stage::{At, ItemRun, Stage};
use super::stop::Stop;
use crate::panic::{self, Panics};
use crate::token::CancellationToken;

/// Why the loop has ended before its last item.
pub(super) enum Ended<S, E> {
    /// A serial stage wants no more.
    Well,
    Early(Stop<S, E>),
}

/// All that lies behind the stages, for the plain loop.
pub(super) trait Beyond<R, E>: Onward<R, E> {
    /// The stages behind, with their states.
    type Plain;

    /// `section` is the number of the section behind.
    fn plain(&self, section: usize) -> Self::Plain;

    /// Takes the next output. Breaks off where the loop ends, which `way` then knows.
    fn take<X, K>(&self, plain: &mut Self::Plain, output: R, way: &mut Way<'_, K, Self::Error, X>) -> ControlFlow<()>
    where
        K: Sink<Self::Output, Error = X>;

    /// The outputs have come to their end, or to a failure.
    fn finish<X, K>(&self, plain: &mut Self::Plain, way: &mut Way<'_, K, Self::Error, X>) -> ControlFlow<()>
    where
        K: Sink<Self::Output, Error = X>;

    /// Drops the serial stages, and hands the states of the others back.
    fn leave(&self, plain: Self::Plain, panics: &mut Panics);
}

/// The way to the sink, and why it came to an end.
pub(super) struct Way<'a, K, S, E> {
    token: &'a CancellationToken,
    items: &'a PlainItems<'a>,
    sink: K,
    /// The outputs since the sink was told last. A sink that is not told has none.
    row: Option<Row>,
    ended: Option<Ended<S, E>>,
}

/// For the token of the items: one child of the run's token for all, because an item's outcome is wanted as long as the
/// run goes on. And what the loop tells of itself.
pub(super) struct PlainItems<'a> {
    token: &'a CancellationToken,
    child: OnceCell<CancellationToken>,
    pub(super) meter: Meter,
}

impl<'a> PlainItems<'a> {
    pub(super) fn new(token: &'a CancellationToken, meter: Meter) -> Self {
        PlainItems { token, child: OnceCell::new(), meter }
    }
}

impl ItemRun for PlainItems<'_> {
    fn token(&self) -> &CancellationToken {
        self.child.get_or_init(|| self.token.child_token())
    }

    fn stand_for(&self, more: usize, of_source: bool) {
        self.meter.count_more(more);
        if of_source {
            self.meter.recording().worked(more);
        }
    }
}

impl<'a, K, S, E> Way<'a, K, S, E> {
    pub(super) fn new(token: &'a CancellationToken, items: &'a PlainItems<'a>, sink: K) -> Self {
        Way { token, items, sink, row: None, ended: None }
    }

    /// For a sink that is told at the end of each row of outputs.
    fn in_rows(self) -> Self {
        Way { row: Some(Row::new()), ..self }
    }

    fn end(&mut self, ended: Ended<S, E>) -> ControlFlow<()> {
        self.ended.get_or_insert(ended);
        ControlFlow::Break(())
    }

    /// Ends a row of outputs, of which it tells the sink.
    fn tell<R>(&mut self) -> ControlFlow<()>
    where
        K: Sink<R, Error = E>,
    {
        if !self.row.as_mut().is_some_and(Row::end) {
            return ControlFlow::Continue(());
        }
        match self.sink.tell() {
            Ok(()) => ControlFlow::Continue(()),
            Err(refused) => self.end(Ended::Early(refused.into())),
        }
    }

    /// Why the loop has ended, if there is a reason but its last item. `is_whole` if no panic has ended it.
    pub(super) fn into_end(self, is_whole: bool) -> Option<Ended<S, E>> {
        match self.ended {
            // A source that observes the token ends early, and looks as if it had come to its end.
            None | Some(Ended::Well) if is_whole && self.token.is_cancelled() => Some(Ended::Early(Stop::Cancelled)),
            ended => ended,
        }
    }

    /// Applies the stages to one item, and hands their outputs on.
    fn feed<R, T, W, N>(
        &mut self,
        (stage, section): (&W, usize),
        local: &mut W::Local,
        index: &mut u64,
        (next, plain): (&N, &mut N::Plain),
        item: T,
    ) -> ControlFlow<()>
    where
        W: Stage<T, Output = R>,
        N: Beyond<R, W::Error, Error = S>,
        K: Sink<N::Output, Error = E>,
    {
        let items = self.items;
        let at = At::new(*index, items);
        *index += 1;
        let before = items.meter.switch(Step::Stages(section));
        items.meter.count(section);
        let fed = stage.feed(local, at, item, |output| match output {
            output if self.token.is_cancelled() => {
                panic::discard(output);
                self.end(Ended::Early(Stop::Cancelled))
            }
            Some(output) => next.take(plain, output, self),
            None => ControlFlow::Continue(()),
        });
        items.meter.switch(before);
        match fed {
            Ok(flow) => flow,
            // An error of a stage while the run is cancelled may be an echo, but the loop ends with it.
            Err(error) => {
                if self.ended.is_none() && next.finish(plain, self).is_continue() {
                    self.ended = Some(Ended::Early(Stop::Stage(N::convert(error))));
                } else {
                    panic::discard(error);
                }
                ControlFlow::Break(())
            }
        }
    }
}

impl<R, E> Beyond<R, E> for ToSink {
    type Plain = ();

    fn plain(&self, _section: usize) {}

    #[inline]
    fn take<X, K>(&self, _plain: &mut (), output: R, way: &mut Way<'_, K, E, X>) -> ControlFlow<()>
    where
        K: Sink<R, Error = X>,
    {
        let before = way.items.meter.switch(Step::Sink);
        let taken = way.sink.take(output);
        way.items.meter.switch(before);
        match taken {
            Ok(()) => {
                way.items.meter.recording().took_outputs(1);
                if K::IS_TOLD && way.row.as_mut().is_some_and(Row::add) {
                    return way.tell();
                }
                ControlFlow::Continue(())
            }
            Err(refused) => way.end(Ended::Early(refused.into())),
        }
    }

    fn finish<X, K>(&self, _plain: &mut (), _way: &mut Way<'_, K, E, X>) -> ControlFlow<()>
    where
        K: Sink<R, Error = X>,
    {
        ControlFlow::Continue(())
    }

    fn leave(&self, _plain: (), _panics: &mut Panics) {}
}

/// A boundary and the section behind it.
pub(super) struct PlainSection<'a, T, W: Stage<T>, Q, P> {
    /// Its number.
    section: usize,
    serial: Option<Q>,
    local: MemberLocal<'a, T, W>,
    index: u64,
    behind: P,
}

impl<'a, R, E, W, Q, N> Beyond<R, E> for ToSection<'a, W, Q, N>
where
    Q: Serial<R, Output: Send> + Send,
    W: Stage<Q::Output, Cause = E>,
    N: Beyond<W::Output, W::Error>,
{
    type Plain = PlainSection<'a, Q::Output, W, Q, N::Plain>;

    fn plain(&self, section: usize) -> Self::Plain {
        let local = MemberLocal::new(self.stage());
        PlainSection { section, serial: self.take_serial(), local, index: 0, behind: self.next().plain(section + 1) }
    }

    fn take<X, K>(&self, plain: &mut Self::Plain, output: R, way: &mut Way<'_, K, N::Error, X>) -> ControlFlow<()>
    where
        K: Sink<N::Output, Error = X>,
    {
        let PlainSection { section, serial: Some(serial), local, index, behind } = plain else {
            return ControlFlow::Break(());
        };
        let mut flow = ControlFlow::Continue(());
        let items = way.items;
        let before = items.meter.switch(Step::Serial(*section));
        let wants_more = serial.take(output, |item| {
            if flow.is_continue() {
                flow = way.feed((self.stage(), *section), local.get_mut(), index, (self.next(), behind), item);
            } else {
                panic::discard(item);
            }
        });
        items.meter.switch(before);
        flow?;
        if wants_more.is_break() {
            self.finish(plain, way)?;
            return way.end(Ended::Well);
        }
        ControlFlow::Continue(())
    }

    fn finish<X, K>(&self, plain: &mut Self::Plain, way: &mut Way<'_, K, N::Error, X>) -> ControlFlow<()>
    where
        K: Sink<N::Output, Error = X>,
    {
        let PlainSection { section, serial: Some(serial), local, index, behind } = plain else {
            return ControlFlow::Break(());
        };
        let mut flow = ControlFlow::Continue(());
        let items = way.items;
        let before = items.meter.switch(Step::Serial(*section));
        serial.finish(|item| {
            if flow.is_continue() {
                flow = way.feed((self.stage(), *section), local.get_mut(), index, (self.next(), behind), item);
            } else {
                panic::discard(item);
            }
        });
        items.meter.switch(before);
        flow?;
        self.next().finish(behind, way)
    }

    fn leave(&self, plain: Self::Plain, panics: &mut Panics) {
        let PlainSection { serial, mut local, behind, .. } = plain;
        panics.drop(serial);
        local.retire(panics);
        self.next().leave(behind, panics);
    }
}

/// The stages with all behind them, and their states: the loop, but for its source and its sink.
pub(super) struct Plain<'a, T, W, N>
where
    W: Stage<T>,
    N: Beyond<W::Output, W::Error>,
{
    stage: &'a W,
    next: &'a N,
    local: MemberLocal<'a, T, W>,
    behind: N::Plain,
    /// The index of the next item.
    index: u64,
    /// A section wants nothing from the start.
    wants_none: bool,
}

impl<'a, T, W, N> Plain<'a, T, W, N>
where
    W: Stage<T>,
    N: Beyond<W::Output, W::Error>,
{
    pub(super) fn new(stage: &'a W, next: &'a N) -> Self {
        let wants_none = next.wants_none(1).is_some();
        Plain { stage, next, local: MemberLocal::new(stage), behind: next.plain(1), index: 0, wants_none }
    }

    /// Takes the next item through the loop. Breaks off at the end of the loop, whose reason `way` then knows.
    #[inline]
    pub(super) fn step<K, X>(
        &mut self,
        items: &mut impl Iterator<Item = T>,
        way: &mut Way<'_, K, N::Error, X>,
    ) -> ControlFlow<()>
    where
        K: Sink<N::Output, Error = X>,
    {
        let token = way.token;
        if !token.is_cancelled()
            && !self.wants_none
            && let Some(item) = items.next()
        {
            if !token.is_cancelled() {
                let Plain { stage, next, local, behind, index, .. } = self;
                way.feed((*stage, 0), local.get_mut(), index, (*next, behind), item)?;
                way.items.meter.recording().took_items(1);
                return ControlFlow::Continue(());
            }
            panic::discard(item);
        }
        if !token.is_cancelled() {
            self.next.finish(&mut self.behind, way)?;
        }
        ControlFlow::Break(())
    }

    /// Drops the serial stages, and hands the states of the others back.
    pub(super) fn leave(self, panics: &mut Panics) {
        let Plain { next, mut local, behind, .. } = self;
        local.retire(panics);
        next.leave(behind, panics);
    }
}

/// Runs the whole loop on the calling thread, with the same end as a run on threads.
pub(super) fn run<F, W, N, K>(
    stage: &W,
    next: &N,
    all_items: &PlainItems<'_>,
    feed: F,
    mut sink: K,
) -> Result<K::State, Stop<N::Error, K::Error>>
where
    F: Feed,
    W: Stage<F::Item>,
    N: Beyond<W::Output, W::Error>,
    K: Sink<N::Output> + Keeps,
{
    let mut items = feed.plain();
    let mut plain = Plain::new(stage, next);
    let token = all_items.token;
    let way = Way::new(token, all_items, &mut sink);
    let mut way = if K::IS_TOLD { way.in_rows() } else { way };
    let looped = panic::catch(|| {
        while plain.step(&mut items, &mut way).is_continue() {
            let ends = K::IS_TOLD && way.row.as_ref().is_some_and(|row| row.ends(F::is_ready(&items)));
            if ends && way.tell::<N::Output>().is_break() {
                return;
            }
        }
        if matches!(way.ended, None | Some(Ended::Well)) && !token.is_cancelled() {
            _ = way.tell::<N::Output>();
        }
    });
    let ended = way.into_end(looped.is_ok());
    let mut panics = Panics::default();
    match looped {
        // Dropped behind the end: the rest of an iterator, one of whose items the sink has refused.
        Err(payload) if ended.is_some() => panic::discard(payload),
        Err(payload) => panics.add(payload),
        Ok(()) => {}
    }
    let (state, rest) = sink.into_parts();
    panics.drop(rest);
    let result = match ended {
        None | Some(Ended::Well) => Ok(state),
        Some(Ended::Early(stop)) => {
            panics.drop(state);
            Err(stop)
        }
    };
    plain.leave(&mut panics);
    panics.drop(items);
    panics.resume_or(result)
}
