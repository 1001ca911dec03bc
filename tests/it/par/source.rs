//! Sources that do not keep what their `len` promises, and sources that panic: every form of a map says so in one way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::{CancelReason, CancellationToken, Cancelled, ParBuilder};
use rayon::iter::plumbing::{Consumer, Producer, ProducerCallback, UnindexedConsumer, bridge};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use super::{Fate, builders, ending, live, pool, run};
use crate::util::{Census, message_of, watched};

/// The numbers from `start` on, of which one part is not as long as it should be: the part that holds the number `at`.
#[derive(Clone, Copy)]
struct Faulty {
    start: usize,
    end: usize,
    at: usize,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The part ends before `at`.
    Short,
    /// The part has `at` twice.
    Long,
    /// The source panics when it is to make `at`.
    Panics,
}

impl Producer for Faulty {
    type Item = usize;
    type IntoIter = std::iter::Map<std::vec::IntoIter<usize>, Box<dyn FnMut(usize) -> usize>>;

    fn into_iter(self) -> Self::IntoIter {
        let Faulty { start, end, at, fault } = self;
        let mut numbers: Vec<usize> = (start..end).collect();
        if numbers.contains(&at) {
            match fault {
                Fault::Short => numbers.truncate(at - start),
                Fault::Long => numbers.insert(at - start, at),
                Fault::Panics => {}
            }
        }
        numbers.into_iter().map(Box::new(move |number| {
            assert!(number != at || fault != Fault::Panics, "the source panicked");
            number
        }))
    }

    fn split_at(self, index: usize) -> (Self, Self) {
        let middle = self.start + index;
        (Faulty { end: middle, ..self }, Faulty { start: middle, ..self })
    }
}

impl ParallelIterator for Faulty {
    type Item = usize;

    fn drive_unindexed<C: UnindexedConsumer<usize>>(self, consumer: C) -> C::Result {
        bridge(self, consumer)
    }

    fn opt_len(&self) -> Option<usize> {
        Some(self.len())
    }
}

impl IndexedParallelIterator for Faulty {
    fn len(&self) -> usize {
        self.end - self.start
    }

    fn drive<C: Consumer<usize>>(self, consumer: C) -> C::Result {
        bridge(self, consumer)
    }

    fn with_producer<CB: ProducerCallback<usize>>(self, callback: CB) -> CB::Output {
        callback.callback(self)
    }
}

/// Runs every form on the source, as text. `run` is the closure for an item.
fn forms(
    builder: &ParBuilder<'_>,
    token: &CancellationToken,
    source: Faulty,
    run: &(dyn Fn(usize) -> Result<usize, anyhow::Error> + Sync),
) -> Vec<(&'static str, String)> {
    let add = |a: usize, b: usize| Ok(a + b);
    let plain = |item| run(item).unwrap_or_else(|error| panic!("{error}"));
    vec![
        ("map", ending(|| Ok(builder.map(token, source, plain)?))),
        ("try_map", ending(|| builder.try_map(token, source, run))),
        ("for_each", ending(|| Ok(builder.for_each(token, source, |item| _ = plain(item))?))),
        ("try_for_each", ending(|| builder.try_for_each(token, source, |item| run(item).map(drop)))),
        ("map_init", ending(|| Ok(builder.map_init(token, source, || 0, |_, item| plain(item))?))),
        ("try_map_init", ending(|| builder.try_map_init(token, source, || 0, |_, item| run(item)))),
        ("fold", ending(|| Ok(builder.fold(token, source, || 0, |sum, item| sum + plain(item), |a, b| a + b)?))),
        ("try_fold", ending(|| builder.try_fold(token, source, || 0, |sum, item| add(sum, run(item)?), add))),
        ("reduce", ending(|| Ok(builder.reduce(token, source.map_to(plain), |a, b| a + b)?))),
        ("try_reduce", ending(|| builder.try_reduce(token, source.map_to(plain), add))),
        ("collect_all", ending(|| builder.collect_all(token, source, run).map_err(|all| anyhow::anyhow!("{all}")))),
    ]
}

impl Faulty {
    /// A reduction has no closure for an item, so the closure is a `map` in front.
    fn map_to<'a>(
        self,
        f: impl Fn(usize) -> usize + Sync + Send + 'a,
    ) -> impl IndexedParallelIterator<Item = usize> + 'a {
        self.map(f)
    }
}

/// Lengths of which a leaf of a fold has one item, or several, and the places in them.
const PLACES: [(usize, usize); 9] =
    [(1, 0), (2, 0), (2, 1), (1_000, 0), (1_000, 939), (1_000, 999), (5_000, 0), (5_000, 2_503), (5_000, 4_999)];

#[test]
fn a_source_with_fewer_items_than_its_len_is_the_same_clear_panic_in_every_form() {
    watched(|| {
        for threads in [1, 3] {
            for (builder, (end, at)) in
                builders([1, 2, 5]).iter().flat_map(|builder| PLACES.map(|place| (builder, place)))
            {
                let source = Faulty { start: 0, end, at, fault: Fault::Short };
                let seen = pool(threads).install(|| forms(builder, &live(), source, &Ok));
                let expected = format!("the source has fewer items than the {end} that its len promised");
                for (form, seen) in seen {
                    assert_eq!(seen, expected, "{form} of {end} items, {at} is missing, {builder:?}");
                }
            }
        }
    });
}

#[test]
fn a_source_with_more_items_than_its_len_shifts_no_output_and_is_a_clear_panic_in_every_form() {
    watched(|| {
        for threads in [1, 3] {
            for (builder, (end, at)) in
                builders([1, 2, 5]).iter().flat_map(|builder| PLACES.map(|place| (builder, place)))
            {
                let source = Faulty { start: 0, end, at, fault: Fault::Long };
                let seen = pool(threads).install(|| forms(builder, &live(), source, &Ok));
                let expected = format!("the source has more items than the {end} that its len promised");
                for (form, seen) in seen {
                    assert_eq!(seen, expected, "{form} of {end} items, {at} is there twice, {builder:?}");
                }
            }
        }
    });
}

#[test]
fn a_failure_or_a_cancel_that_ends_the_call_counts_more_than_a_source_of_the_wrong_length() {
    watched(|| {
        for threads in [1, 3] {
            for (builder, fault) in
                builders([1, 2, 5]).iter().flat_map(|builder| [Fault::Short, Fault::Long].map(|f| (builder, f)))
            {
                let source = Faulty { start: 0, end: 5_000, at: 4_500, fault };
                for fate in [Fate::Fail, Fate::Panic] {
                    let fails = |item| run(item, if item == 3 { fate } else { Fate::Pass });
                    let token = live();
                    // A list of all failures is no end of the call: it has to be whole, or not at all.
                    let seen = pool(threads).install(|| forms(builder, &token, source, &fails));
                    for (form, seen) in seen.into_iter().filter(|(form, _)| *form != "collect_all") {
                        let expected = if fate == Fate::Fail { "item 3 failed" } else { "item 3 panicked" };
                        assert_eq!(seen, expected, "{form}, {fault:?}, {builder:?}");
                    }
                }
                let token = live();
                let cancels = |item| {
                    if item == 3 {
                        token.cancel_with(CancelReason::Deadline);
                    }
                    Ok(item)
                };
                for (form, seen) in pool(threads).install(|| forms(builder, &token, source, &cancels)) {
                    assert!(
                        seen.starts_with("cancelled: the deadline passed"),
                        "{form}, {fault:?}, {builder:?}: {seen}"
                    );
                }
            }
        }
    });
}

#[test]
fn after_a_cancel_the_items_that_a_short_source_lacks_count_as_skipped() {
    watched(|| {
        for builder in builders([1, 2, 5]) {
            let token = live();
            let source = Faulty { start: 0, end: 10, at: 8, fault: Fault::Short };
            let cancels = |item| {
                if item == 7 {
                    token.cancel();
                }
                Ok::<_, Cancelled>(item)
            };
            let failures = pool(1).install(|| builder.collect_all(&token, source, cancels)).unwrap_err();
            assert_eq!(failures.to_string(), "cancelled: requested; 2 skipped");
        }
    });
}

#[test]
fn a_source_that_panics_ends_every_form_with_its_panic() {
    watched(|| {
        for threads in [1, 3] {
            for (builder, (end, at)) in
                builders([1, 2, 5]).iter().flat_map(|builder| PLACES.map(|place| (builder, place)))
            {
                let source = Faulty { start: 0, end, at, fault: Fault::Panics };
                let seen = pool(threads).install(|| {
                    let token = live();
                    let folded = builder.clone();
                    let mut seen = vec![("map", message_of(|| _ = builder.map(&token, source, |item| item)))];
                    seen.push(("for_each", message_of(|| _ = builder.for_each(&token, source, drop))));
                    seen.push(("map_init", message_of(|| _ = builder.map_init(&token, source, || 0, |_, item| item))));
                    seen.push(("reduce", message_of(|| _ = folded.reduce(&token, source, |a, b| a + b))));
                    let all = |item| if item % 2 == 1 { Err(Cancelled::new(CancelReason::Failed)) } else { Ok(item) };
                    seen.push(("collect_all", message_of(|| _ = builder.collect_all(&token, source, all))));
                    seen
                });
                for (form, seen) in seen {
                    assert_eq!(seen, "the source panicked", "{form} of {end} items, at {at}, {builder:?}");
                }
            }
        }
    });
}

#[test]
fn a_source_that_panics_when_it_is_split_ends_collect_all_and_map_init_and_drops_all_once() {
    /// May be cloned four times.
    struct Splits(Arc<AtomicUsize>);
    impl Clone for Splits {
        fn clone(&self) -> Self {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) < 4, "the split panicked");
            Splits(Arc::clone(&self.0))
        }
    }
    watched(|| {
        for builder in builders([1, 2, 5]) {
            let (census, token) = (Census::default(), live());
            let source = || {
                let items = (0..1_000_usize).into_par_iter().with_max_len(10);
                items.map_with(Splits(Arc::default()), |_, item| item)
            };
            let fails = |item| if item % 2 == 1 { Err(anyhow::Error::msg("odd")) } else { Ok(census.make(item)) };
            pool(2).install(|| {
                assert_eq!(message_of(|| _ = builder.collect_all(&token, source(), fails)), "the split panicked");
                let init = || census.make(0);
                let ended = message_of(|| _ = builder.map_init(&token, source(), init, |_, item| census.make(item)));
                assert_eq!(ended, "the split panicked");
            });
            assert_eq!(census.alive(), 0, "{builder:?}");
        }
    });
}

#[test]
fn what_is_done_with_an_item_is_never_done_with_one_too_many_under_a_limit() {
    watched(|| {
        for limit in [1, 3] {
            let (ran, token) = (AtomicUsize::new(0), live());
            let source = Faulty { start: 0, end: 100, at: 99, fault: Fault::Long };
            let count = |_| _ = ran.fetch_add(1, Ordering::Relaxed);
            message_of(|| _ = pool(2).install(|| ParBuilder::new().limit(limit).for_each(&token, source, count)));
            assert!(ran.into_inner() <= 100);
        }
    });
}

#[test]
fn rayons_panic_fuse_hides_no_panic_of_the_items() {
    watched(|| {
        for builder in builders([1, 2, 5]) {
            for _ in 0..50 {
                let source = (0..1_000_usize).into_par_iter().panic_fuse();
                let panics = |item| assert_ne!(item, 500, "the item panicked");
                let token = live();
                let message = message_of(|| _ = pool(2).install(|| builder.for_each(&token, source.clone(), panics)));
                assert!(message.contains("the item panicked"), "{builder:?}: {message}");
                let message = message_of(|| _ = pool(2).install(|| builder.map(&token, source, panics)));
                assert!(message.contains("the item panicked"), "{builder:?}: {message}");
            }
        }
    });
}
