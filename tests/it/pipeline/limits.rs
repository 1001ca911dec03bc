//! What a pipeline asks of its source and its stages, and what it does where that is not kept.

use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::Pipeline;
use crossbeam::channel::unbounded;
use rayon::iter::plumbing::{Consumer, Producer, ProducerCallback, UnindexedConsumer, bridge};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};

use super::live;
use crate::util::{Counter, message_of, reached, watched};

/// How many items a part gives that begins at an index and should have so many.
type Gives = fn(usize, usize) -> usize;

/// Data that has `len` items, of which each split part gives `gives(first, items)`.
#[derive(Clone)]
struct Liar {
    first: usize,
    len: usize,
    gives: Gives,
}

impl ParallelIterator for Liar {
    type Item = usize;

    fn drive_unindexed<C: UnindexedConsumer<usize>>(self, consumer: C) -> C::Result {
        bridge(self, consumer)
    }
}

impl IndexedParallelIterator for Liar {
    fn len(&self) -> usize {
        self.len
    }

    fn drive<C: Consumer<usize>>(self, consumer: C) -> C::Result {
        bridge(self, consumer)
    }

    fn with_producer<CB: ProducerCallback<usize>>(self, callback: CB) -> CB::Output {
        callback.callback(self)
    }
}

impl Producer for Liar {
    type Item = usize;
    type IntoIter = std::ops::Range<usize>;

    fn into_iter(self) -> Self::IntoIter {
        self.first..self.first + (self.gives)(self.first, self.len)
    }

    fn split_at(self, index: usize) -> (Self, Self) {
        (Liar { len: index, ..self.clone() }, Liar { first: self.first + index, len: self.len - index, ..self })
    }
}

/// The same with a `Drop`, which data with owned items have, and which are split item by item.
struct Owning(Liar, #[expect(dead_code, reason = "dropped")] Box<u8>);

impl ParallelIterator for Owning {
    type Item = usize;

    fn drive_unindexed<C: UnindexedConsumer<usize>>(self, consumer: C) -> C::Result {
        bridge(self, consumer)
    }
}

impl IndexedParallelIterator for Owning {
    fn len(&self) -> usize {
        self.0.len
    }

    fn drive<C: Consumer<usize>>(self, consumer: C) -> C::Result {
        bridge(self, consumer)
    }

    fn with_producer<CB: ProducerCallback<usize>>(self, callback: CB) -> CB::Output {
        callback.callback(self)
    }
}

impl Producer for Owning {
    type Item = usize;
    type IntoIter = std::ops::Range<usize>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }

    fn split_at(self, index: usize) -> (Self, Self) {
        let (front, rest) = self.0.split_at(index);
        (Owning(front, Box::new(0)), Owning(rest, Box::new(0)))
    }
}

#[test]
fn data_shorter_or_longer_than_its_len_panics_in_the_same_words_at_every_number_of_threads() {
    watched(|| {
        let short = "the source has fewer items than the 1000 that its len promised";
        let long = "the source has more items than the 1000 that its len promised";

        let kinds: [(Gives, &str); 5] = [
            // It ends before its time, and all is missing behind that.
            (|first, len| len.min(700_usize.saturating_sub(first)), short),
            (|first, len| len.min(999_usize.saturating_sub(first)), short),
            (|_, _| 0, short),
            // A part that is split off is short, but the last is not.
            (|first, len| if first <= 500 && first + len > 500 { len - 1 } else { len }, short),
            // It goes on behind its end.
            (|first, len| if first + len == 1_000 { len + 1 } else { len }, long),
        ];
        for (kind, (gives, expected)) in kinds.into_iter().enumerate() {
            for threads in [1, 2, 8] {
                reached(&format!("kind {kind}, {threads} threads"));
                let liar = Liar { first: 0, len: 1_000, gives };
                let owning = Owning(liar.clone(), Box::new(0));
                let run = || Pipeline::from_data(liar.clone()).threads(threads).count(&live());
                assert_eq!(message_of(|| _ = run()), expected);
                let run = || Pipeline::from_data(liar.clone()).threads(threads).unordered().count(&live());
                assert_eq!(message_of(|| _ = run()), expected);
                assert_eq!(message_of(|| _ = Pipeline::from_data(owning).threads(threads).count(&live())), expected);
            }
        }
    });
}

#[test]
fn what_short_data_has_is_output_before_the_panic() {
    watched(|| {
        for threads in [1, 2, 8] {
            let liar = Liar { first: 0, len: 1_000, gives: |first, len| len.min(700_usize.saturating_sub(first)) };
            let mut seen = 0;
            message_of(|| _ = Pipeline::from_data(liar).threads(threads).for_each(&live(), |_| seen += 1));
            assert_eq!(seen, 700);
        }
    });
}

/// Uses more than 5 MiB of stack for 400 levels.
fn dive(levels: usize) -> usize {
    let room = std::hint::black_box([1_u8; 16_384]);
    if levels == 0 { 0 } else { dive(levels - 1) + usize::from(room[levels]) }
}

#[test]
fn stack_size_lets_stages_recurse_deeply_on_every_thread() {
    watched(|| {
        let token = live();
        // The calling thread keeps its own stack, so it has to have one.
        let deep = brigade::ScopeBuilder::new().stack_size(64 << 20).run(&token, |s| {
            let task = s.spawn(|_| {
                for threads in 1..=4 {
                    let met = Counter::default();
                    let stage = |item| {
                        met.add();
                        met.wait_for(threads);
                        dive(400) + item
                    };
                    let depths: Vec<usize> = Pipeline::from_data(0..threads)
                        .threads(threads)
                        .stack_size(64 << 20)
                        .map(stage)
                        .collect(&token)?;
                    assert!(depths.into_iter().eq((0..threads).map(|item| 400 + item)));
                }
                Ok::<_, brigade::Cancelled>(())
            })?;
            task.join()
        });
        assert_eq!(deep, Ok(()));
    });
}

#[test]
fn a_run_from_a_receiver_that_ends_early_wakes_the_pull() {
    watched(|| {
        for threads in [2, 3, 8] {
            for window in [1, 64] {
                reached(&format!("{threads} threads, window {window}"));
                // A sender is alive throughout, and sends nothing more.
                let (sender, receiver) = unbounded();
                let pipeline = || {
                    (0..3).for_each(|item| sender.send(item).unwrap());
                    Pipeline::from_receiver(receiver.clone()).threads(threads).window(window)
                };
                reached("a sink that fails");
                let failed = pipeline().try_for_each(&live(), |_| anyhow::bail!("the sink's"));
                assert_eq!(failed.unwrap_err().to_string(), "the sink's");
                reached("first, behind a filter");
                while receiver.try_recv().is_ok() {}
                assert_eq!(pipeline().filter(|item| *item == 2).first(&live()), Ok(Some(2)));
                reached("a scan that ends, before another");
                while receiver.try_recv().is_ok() {}
                let scanned =
                    pipeline().scan((), |(), item| (item < 2).then_some(item)).scan((), |(), item| Some(item));
                assert_eq!(scanned.count(&live()), Ok(2));
                reached("a sink behind a scan that fails");
                while receiver.try_recv().is_ok() {}
                let scanned = pipeline().scan((), |(), item| Some(item));
                let failed = scanned.try_for_each(&live(), |_| anyhow::bail!("the sink's"));
                assert_eq!(failed.unwrap_err().to_string(), "the sink's");
                reached("a stage that panics");
                while receiver.try_recv().is_ok() {}
                assert_eq!(message_of(|| _ = pipeline().map(|_| panic!("stage")).count(&live())), "stage");
            }
        }
    });
}

#[test]
fn a_window_of_1_pulls_nothing_ahead_of_an_early_end() {
    watched(|| {
        for threads in [1, 2, 8] {
            reached(&format!("{threads} threads"));
            let pulled = AtomicUsize::new(0);
            // The second item never comes.
            let source = || {
                std::iter::once(7).chain(std::iter::from_fn(|| {
                    pulled.fetch_add(1, Ordering::Relaxed);
                    Counter::default().wait_for(1);
                    Some(8)
                }))
            };
            let pipeline = || Pipeline::from_iter(source()).threads(threads).window(1);
            assert_eq!(pipeline().first(&live()), Ok(Some(7)));
            assert_eq!(pipeline().scan((), |(), _| None::<u8>).count(&live()), Ok(0));
            let failed = pipeline().try_for_each(&live(), |_| anyhow::bail!("the sink's"));
            assert_eq!(failed.unwrap_err().to_string(), "the sink's");
            assert_eq!(pulled.load(Ordering::Relaxed), 0);
        }
    });
}
