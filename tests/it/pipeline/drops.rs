//! Values whose `Drop` panics, several at once: none aborts the process, and each is dropped once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use brigade::{CancellationToken, Cancelled, Pipeline};
use crossbeam::channel::unbounded;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use super::live;
use crate::util::{alone, others_sleep, payload_of, reached, until, watched};

/// Runs `body` watched, and in a process whose panic hook is silent about the many panics of these `Drop`s.
pub(super) fn watched_in_silence(body: impl FnOnce() + Send + 'static) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload().downcast_ref::<String>().is_some_and(|message| message.starts_with("drop of")) {
            hook(info);
        }
    }));
    watched(body);
}

const ITEMS: usize = 1_500;

/// Where the runs fail.
const BAD: usize = 1_227;

/// Which of the items behind the bad one have a `Drop` that panics.
const ARMED: [fn(usize) -> bool; 4] = [
    |item| matches!(item, 1_228 | 1_229),
    |item| matches!(item, 1_240 | 1_300 | 1_301),
    |item| item > BAD && item % 7 == 0,
    |item| item > BAD,
];

/// Counts the values it made and their drops.
#[derive(Clone, Default)]
struct Maker(Arc<Mutex<Vec<usize>>>);

impl Maker {
    /// A value whose `Drop` panics if it is `armed`.
    fn make(&self, id: usize, armed: bool) -> Bomb {
        let mut drops = self.0.lock().unwrap();
        drops.push(0);
        Bomb { id, armed, at: drops.len() - 1, drops: Arc::clone(&self.0) }
    }

    #[track_caller]
    fn each_was_dropped_once(&self) {
        assert!(self.0.lock().unwrap().iter().all(|drops| *drops == 1));
    }
}

struct Bomb {
    id: usize,
    armed: bool,
    at: usize,
    drops: Arc<Mutex<Vec<usize>>>,
}

impl Bomb {
    fn defuse(mut self) -> usize {
        self.armed = false;
        self.id
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.drops.lock().unwrap()[self.at] += 1;
        assert!(!self.armed, "drop of {}", self.id);
    }
}

impl std::fmt::Debug for Bomb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "bomb {}", self.id)
    }
}

/// How a run ended: what an error or a panic said.
fn ended<R>(run: impl FnOnce() -> anyhow::Result<R>) -> String {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(_)) => "well".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(payload) => match payload.downcast::<String>() {
            Ok(message) => format!("panic: {message}"),
            Err(payload) => format!("panic: {}", payload.downcast_ref::<&str>().expect("a message")),
        },
    }
}

/// What ends a run at the bad item.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    StageFails,
    StagePanics,
    SinkFails,
    SinkPanics,
    SinkCancels,
}

const ENDINGS: [Ending; 5] =
    [Ending::StageFails, Ending::StagePanics, Ending::SinkFails, Ending::SinkPanics, Ending::SinkCancels];

impl Ending {
    fn stage(self, item: usize) -> anyhow::Result<()> {
        match self {
            Ending::StageFails if item == BAD => anyhow::bail!("stage"),
            Ending::StagePanics if item == BAD => panic!("stage"),
            _ => Ok(()),
        }
    }

    fn sink(self, item: usize, token: &CancellationToken) -> anyhow::Result<()> {
        match self {
            Ending::SinkFails if item == BAD => anyhow::bail!("sink"),
            Ending::SinkPanics if item == BAD => panic!("sink"),
            Ending::SinkCancels if item == BAD => _ = token.cancel(),
            _ => {}
        }
        Ok(())
    }

    fn says(self) -> &'static str {
        match self {
            Ending::StageFails => "stage",
            Ending::StagePanics => "panic: stage",
            Ending::SinkFails => "sink",
            Ending::SinkPanics => "panic: sink",
            Ending::SinkCancels => "cancelled: requested",
        }
    }
}

/// Runs `$pipeline`, of bombs, at every setting, to each ending, and compares.
macro_rules! each_setting {
    ($name:literal, |$maker:ident, $armed:ident| $pipeline:expr) => {
        for ending in ENDINGS {
            for (which, $armed) in ARMED.into_iter().enumerate() {
                for (threads, ordered, window) in
                    [(1, true, 0), (2, true, 0), (2, true, 40), (2, false, 0), (8, true, 0), (8, true, 2_000)]
                {
                    let setting = format!("{}, {ending:?}, {which}, {threads}, {ordered}, {window}", $name);
                    reached(&setting);
                    let ($maker, token) = (Maker::default(), live());
                    let said = ended(|| {
                        let pipeline = $pipeline.threads(threads);
                        let pipeline = if ordered { pipeline.ordered() } else { pipeline.unordered() };
                        let pipeline = if window > 0 { pipeline.window(window) } else { pipeline };
                        let outputs = pipeline.try_map(|bomb: Bomb| {
                            let id = bomb.id;
                            bomb.defuse();
                            ending.stage(id)?;
                            // Dropped in the sink, or behind the end.
                            anyhow::Ok($maker.make(id, id > BAD))
                        });
                        outputs.try_for_each(&token, |output| {
                            let id = output.defuse();
                            ending.sink(id, &token)
                        })
                    });
                    assert_eq!(said, ending.says(), "{setting}");
                    $maker.each_was_dropped_once();
                }
            }
        }
    };
}

#[test]
fn items_and_outputs_behind_the_end_may_panic_when_dropped() {
    if !alone!(items_and_outputs_behind_the_end_may_panic_when_dropped) {
        return;
    }
    watched_in_silence(|| {
        each_setting!("from_iter", |maker, armed| {
            let maker = maker.clone();
            Pipeline::from_iter((0..ITEMS).map(move |id| maker.make(id, armed(id))))
        });
        each_setting!("from_ready", |maker, armed| {
            let maker = maker.clone();
            Pipeline::from_ready((0..ITEMS).map(move |id| maker.make(id, armed(id))))
        });
        each_setting!("from_data of a vector", |maker, armed| {
            Pipeline::from_data((0..ITEMS).map(|id| maker.make(id, armed(id))).collect::<Vec<_>>())
        });
        each_setting!("from_data of a chain", |maker, armed| {
            let bombs = (0..ITEMS).map(|id| maker.make(id, armed(id))).collect::<Vec<_>>();
            Pipeline::from_data(bombs.into_par_iter().map(|bomb| bomb).zip(0..ITEMS).map(|(bomb, _)| bomb))
        });
        each_setting!("from_receiver", |maker, armed| {
            let (sender, receiver) = unbounded();
            (0..BAD + 200).for_each(|id| sender.send(maker.make(id, armed(id))).unwrap());
            // What the run leaves in the channel is taken from it one by one.
            let left = Leftovers(receiver.clone(), sender);
            Pipeline::from_receiver(receiver).map(move |bomb| {
                let _ = &left;
                bomb
            })
        });
    });
}

/// A channel of bombs that are defused when it goes.
struct Leftovers(
    crossbeam::channel::Receiver<Bomb>,
    #[expect(dead_code, reason = "held")] crossbeam::channel::Sender<Bomb>,
);

impl Drop for Leftovers {
    fn drop(&mut self) {
        self.0.try_iter().for_each(|bomb| _ = bomb.defuse());
    }
}

#[test]
fn handed_back_rests_may_panic_when_dropped() {
    if !alone!(handed_back_rests_may_panic_when_dropped) {
        return;
    }
    watched_in_silence(|| {
        for threads in [2, 8] {
            for data in [true, false] {
                for _ in 0..20 {
                    let maker = Maker::default();
                    let bombs = || (0..ITEMS).map(|id| maker.make(id, id > BAD));
                    // From here on each takes long: the batches that the quick ones had made large are handed back.
                    let stage = |bomb: Bomb| {
                        let id = bomb.id;
                        if id >= BAD {
                            let started = std::time::Instant::now();
                            while started.elapsed() < std::time::Duration::from_millis(1) {}
                        }
                        bomb.defuse();
                        anyhow::ensure!(id != BAD + 20, "stage");
                        Ok(())
                    };
                    let said = ended(|| {
                        if data {
                            let bombs = bombs().collect::<Vec<_>>();
                            Pipeline::from_data(bombs).threads(threads).try_map(stage).count(&live())
                        } else {
                            Pipeline::from_ready(bombs()).threads(threads).try_map(stage).count(&live())
                        }
                    });
                    assert_eq!(said, "stage");
                    maker.each_was_dropped_once();
                }
            }
        }
    });
}

#[test]
fn parts_that_became_void_may_panic_when_dropped() {
    if !alone!(parts_that_became_void_may_panic_when_dropped) {
        return;
    }
    watched_in_silence(|| {
        for threads in [1, 2, 3, 8] {
            for (ordered, armed_from) in [(true, 0), (true, 6), (false, 1)] {
                for ending in ["sink fails", "sink panics", "first item fails", "cancelled"] {
                    reached(&format!("{threads} threads, ordered: {ordered}, {ending}"));
                    let (maker, token) = (Maker::default(), live());
                    let made = AtomicUsize::new(0);
                    let said = ended(|| {
                        let pipeline = Pipeline::from_iter(0..6_usize).threads(threads).try_map(|item| {
                            if ending == "first item fails" && item == 0 {
                                // Until the others have made parts, or so many that there is room for no more.
                                if threads > 1 {
                                    until(|| made.load(Ordering::Relaxed) > 4_500 || others_sleep());
                                }
                                anyhow::bail!(ending);
                            }
                            Ok(item)
                        });
                        let fanned = pipeline.flat_map(|item| {
                            let (maker, made) = (maker.clone(), &made);
                            // The iterator has a `Drop` that panics too, if it is left in its midst.
                            // (In the plain loop the sink is called in the midst of it: two panics of the loop's own.)
                            let mut tail = Tail(item >= armed_from && (threads > 1 || ending != "sink panics"));
                            (0..5_000).map(move |at| {
                                made.fetch_add(1, Ordering::Relaxed);
                                if at == 4_999 {
                                    tail.disarm();
                                }
                                maker.make(item * 5_000 + at, (item, at) > (0, 5))
                            })
                        });
                        let pipeline = if ordered { fanned.ordered() } else { fanned.unordered() };
                        pipeline.try_for_each(&token, |bomb| {
                            let id = bomb.defuse();
                            if !ordered || id == 5 {
                                match ending {
                                    "sink fails" => anyhow::bail!(ending),
                                    "sink panics" => panic!("{ending}"),
                                    "cancelled" => _ = token.cancel(),
                                    _ => {}
                                }
                            }
                            Ok(())
                        })
                    });
                    match ending {
                        "sink panics" => assert_eq!(said, "panic: sink panics"),
                        "cancelled" => assert_eq!(said, "cancelled: requested"),
                        _ => assert_eq!(said, ending),
                    }
                    maker.each_was_dropped_once();
                }
            }
        }
    });
}

struct Tail(bool);

impl Tail {
    fn disarm(&mut self) {
        self.0 = false;
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        assert!(!self.0, "drop of a tail");
    }
}

#[derive(Debug)]
struct Failed(Option<Bomb>);

impl From<Cancelled> for Failed {
    fn from(_: Cancelled) -> Self {
        Failed(None)
    }
}

#[test]
fn errors_and_payloads_that_lose_may_panic_when_dropped() {
    if !alone!(errors_and_payloads_that_lose_may_panic_when_dropped) {
        return;
    }
    watched_in_silence(|| {
        for threads in [1, 2, 8] {
            for _ in 0..30 {
                let maker = Maker::default();
                let failed = Pipeline::from_ready(0..100)
                    .threads(threads)
                    .try_map(|item| if item < 50 { Ok(()) } else { Err(Failed(Some(maker.make(item, true)))) })
                    .count(&live());
                assert_eq!(failed.unwrap_err().0.unwrap().defuse(), 50);
                maker.each_was_dropped_once();

                let maker = Maker::default();
                let sink = |()| Err(Failed(Some(maker.make(7, true))));
                let failed = Pipeline::from_ready(0..100)
                    .threads(threads)
                    .flat_map(|item| [item, item])
                    .try_map(|item| if item < 1 { Ok(()) } else { Err(Failed(Some(maker.make(item, true)))) })
                    .try_for_each(&live(), sink);
                assert_eq!(failed.unwrap_err().0.unwrap().defuse(), 7);
                maker.each_was_dropped_once();

                let maker = Maker::default();
                let payload = payload_of(|| {
                    let stage = |item| {
                        if item >= 50 {
                            std::panic::panic_any(maker.make(item, true));
                        }
                    };
                    let _ = Pipeline::from_ready(0..100).threads(threads).map(stage).count(&live());
                });
                assert_eq!(payload.downcast::<Bomb>().unwrap().defuse(), 50);
                maker.each_was_dropped_once();
            }
        }
    });
}

#[test]
fn what_was_collected_is_dropped_item_by_item_when_the_run_fails() {
    if !alone!(what_was_collected_is_dropped_item_by_item_when_the_run_fails) {
        return;
    }
    watched_in_silence(|| {
        for threads in [1, 2, 8] {
            for ending in [Ending::StageFails, Ending::StagePanics] {
                let maker = Maker::default();
                let said = ended(|| {
                    let stage = |id| ending.stage(id).map(|()| maker.make(id, true));
                    let bombs = Pipeline::from_data(0..ITEMS).threads(threads).try_map(stage);
                    bombs.collect::<Vec<_>>(&live())
                });
                // The loop meets these drops, the first of them first; a panic of the stage was before.
                assert_eq!(said, if ending == Ending::StageFails { "panic: drop of 0" } else { "panic: stage" });
                maker.each_was_dropped_once();
            }
        }
    });
}

#[test]
fn sink_state_and_source_may_all_panic_when_dropped() {
    if !alone!(sink_state_and_source_may_all_panic_when_dropped) {
        return;
    }
    watched_in_silence(|| {
        for threads in [1, 2, 8] {
            for fails in [false, true] {
                for panics in [false, true] {
                    reached(&format!("{threads} threads, fails: {fails}, panics: {panics}"));
                    let maker = Maker::default();
                    let make = |id| maker.make(id, true);
                    let stage = |item: usize| {
                        assert!(!panics || item != 50, "stage");
                        anyhow::ensure!(!fails || item != 60, "stage");
                        Ok(item)
                    };
                    let (source, sink, kept) = (make(1), make(2), make(3));
                    let items = (0..100_usize).inspect(move |_| _ = &source);
                    let said = ended(|| {
                        let folded = Pipeline::from_iter(items).threads(threads).try_map(stage).fold(
                            &live(),
                            kept,
                            move |kept, _| {
                                let _ = &sink;
                                kept
                            },
                        );
                        folded.map(Bomb::defuse)
                    });
                    // In the order in which the run drops them; the first counts.
                    assert_eq!(said, if panics { "panic: stage" } else { "panic: drop of 2" });
                    maker.each_was_dropped_once();

                    let maker = Maker::default();
                    let make = |id| maker.make(id, true);
                    let (state, scanning, sink) = (make(1), make(2), make(3));
                    let said = ended(|| {
                        let scan = move |_: &mut Bomb, item| {
                            let _ = &scanning;
                            Some(item)
                        };
                        let scanned = Pipeline::from_iter(0..100).threads(threads).try_map(stage).scan(state, scan);
                        scanned.for_each(&live(), move |_| _ = &sink)
                    });
                    assert_eq!(said, if panics { "panic: stage" } else { "panic: drop of 1" });
                    maker.each_was_dropped_once();
                }
            }
        }
    });
}

#[test]
fn a_source_whose_drop_panics_ends_a_failed_run_with_that_panic() {
    watched(|| {
        for threads in [1, 2, 8] {
            let maker = Maker::default();
            let source = maker.make(7, true);
            let items = (0..100_usize).inspect(move |_| _ = &source);
            let stage = |item| if item == 50 { Err(anyhow::anyhow!("stage")) } else { Ok(item) };
            let said = ended(|| Pipeline::from_iter(items).threads(threads).try_map(stage).count(&live()));
            assert_eq!(said, "panic: drop of 7");
            maker.each_was_dropped_once();
        }
    });
}

#[test]
fn outputs_that_a_cancel_from_elsewhere_leaves_may_panic_when_dropped() {
    if !alone!(outputs_that_a_cancel_from_elsewhere_leaves_may_panic_when_dropped) {
        return;
    }
    watched_in_silence(|| {
        for threads in [1, 2, 8] {
            for ordered in [true, false] {
                let (maker, token) = (Maker::default(), live());
                let pipeline = Pipeline::from_iter(0..).threads(threads).map(|id| {
                    if id == BAD {
                        token.cancel();
                    }
                    maker.make(id, id >= BAD)
                });
                let pipeline = if ordered { pipeline.ordered() } else { pipeline.unordered() };
                let said = ended(|| Ok(pipeline.for_each(&token, |bomb| _ = bomb.defuse())?));
                assert_eq!(said, "cancelled: requested");
                maker.each_was_dropped_once();
            }
        }
    });
}
