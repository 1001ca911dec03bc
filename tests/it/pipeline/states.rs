//! Stages with a state for each thread.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;

use brigade::{CancellationToken, Pipeline, States};

use super::{at_every_setting, live, set};
use crate::util::{Census, Counted, message_of, payload_of, reached, watched};

#[test]
fn a_thread_has_one_state_a_stage_and_all_are_handed_back() {
    watched(|| {
        at_every_setting(&[None, Some(1), Some(40)], |setting| {
            let (made, also_made) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let counts = States::new(|| (made.fetch_add(1, Ordering::SeqCst), 0_usize));
            let others = States::new(|| also_made.fetch_add(1, Ordering::SeqCst));
            let pipeline = Pipeline::from_iter(0..3_000_usize)
                .map_init(&counts, |(_, count), item| {
                    *count += 1;
                    item
                })
                .filter_map_init(&others, |_, item| (item % 2 == 0).then_some(item))
                .flat_map_init(&others, |_, item| [item, item + 1])
                .try_map_init(&counts, |(_, count), item| {
                    *count += 1;
                    Ok::<_, anyhow::Error>(item)
                });
            let mut outputs: Vec<usize> = set(pipeline, setting).collect(&live()).unwrap();
            if !setting.2 {
                outputs.sort_unstable();
            }
            assert!(outputs.into_iter().eq(0..3_000));
            let (counts, others) = (counts.into_vec(), others.into_vec());
            assert_eq!((counts.len(), others.len()), (made.into_inner(), also_made.into_inner()));
            for states in [counts.len(), others.len()] {
                // Two stages share each store. Beside the threads that work there is one that only outputs.
                assert!((2..=2 * (setting.0 + 1)).contains(&states), "{states} states");
            }
            assert_eq!(counts.iter().map(|(_, count)| count).sum::<usize>(), 6_000);
        });
    });
}

/// How a run is ended at an item.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Well,
    Fails,
    Panics,
    StateFails,
    SinkFails,
    SinkPanics,
    Cancels,
}

impl Ending {
    const ALL: [Ending; 7] = [
        Ending::Well,
        Ending::Fails,
        Ending::Panics,
        Ending::StateFails,
        Ending::SinkFails,
        Ending::SinkPanics,
        Ending::Cancels,
    ];
    const AT: usize = 700;

    /// What happens in the closure that has the state.
    fn with_state(self, item: usize) -> anyhow::Result<usize> {
        match self {
            Ending::Fails if item == Ending::AT => anyhow::bail!("stage"),
            Ending::Panics if item == Ending::AT => panic!("stage"),
            _ => Ok(item),
        }
    }

    fn sink(self, item: usize, token: &CancellationToken) -> anyhow::Result<()> {
        match self {
            Ending::SinkFails if item == Ending::AT => anyhow::bail!("sink"),
            Ending::SinkPanics if item == Ending::AT => panic!("sink"),
            Ending::Cancels if item == Ending::AT => _ = token.cancel(),
            _ => {}
        }
        Ok(())
    }

    fn says(self) -> &'static str {
        match self {
            Ending::Well => "",
            Ending::Fails | Ending::Panics => "stage",
            Ending::StateFails => "no state",
            Ending::SinkFails | Ending::SinkPanics => "sink",
            Ending::Cancels => "cancelled: requested",
        }
    }

    fn is_panic(self) -> bool {
        matches!(self, Ending::Panics | Ending::StateFails | Ending::SinkPanics)
    }
}

/// Runs a program, and returns what its error or its panic says.
fn said(ending: Ending, run: impl FnOnce() -> anyhow::Result<()>) -> String {
    if ending.is_panic() {
        return message_of(|| _ = run());
    }
    run().map_or_else(|error| error.to_string(), |()| String::new())
}

#[test]
fn states_are_handed_back_and_dropped_once_however_the_run_ends() {
    watched(|| {
        for ending in Ending::ALL {
            for threads in 1..=8 {
                reached(&format!("{ending:?}, {threads}"));
                let (census, token, made) = (Census::default(), live(), AtomicUsize::new(0));
                let state = || {
                    made.fetch_add(1, Ordering::SeqCst);
                    census.make(())
                };
                let states = States::new(state);
                let seen = Cell::new(0);
                let run = || {
                    Pipeline::from_iter(0..3_000_usize)
                        .threads(threads)
                        .map_init(state, |_, item| item)
                        .try_map_init(&states, |_, item| ending.with_state(item))
                        .filter(|item| *item >= Ending::AT || ending != Ending::StateFails)
                        .map_init(|| assert!(ending != Ending::StateFails, "no state"), |(), item| item)
                        .try_for_each(&token, |item| {
                            seen.set(seen.get() + usize::from(item < Ending::AT));
                            ending.sink(item, &token)
                        })
                };
                assert_eq!(said(ending, run), ending.says());
                let seen_before = if ending == Ending::StateFails { 0 } else { Ending::AT };
                assert_eq!(seen.get(), seen_before);
                let states = states.into_vec();
                assert_eq!(census.alive(), isize::try_from(states.len()).unwrap(), "the others are dropped by now");
                assert!(states.len() < made.into_inner());
                drop(states);
                census.assert_all_dropped_once();
            }
        }
    });
}

/// A state that only its thread may touch: not `Send`, and dropped where it was made.
struct Homebound<'a> {
    home: ThreadId,
    dropped: &'a AtomicUsize,
    items: Rc<Cell<usize>>,
}

impl Drop for Homebound<'_> {
    fn drop(&mut self) {
        assert_eq!(std::thread::current().id(), self.home);
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_closures_states_need_not_be_send_and_live_on_their_threads() {
    watched(|| {
        for threads in 1..=8 {
            let (made, dropped, items) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
            let init = || {
                made.fetch_add(1, Ordering::SeqCst);
                Homebound { home: std::thread::current().id(), dropped: &dropped, items: Rc::default() }
            };
            let mapped = Pipeline::from_ready(0..20_000_usize).threads(threads).map_init(init, |state, item| {
                assert_eq!(std::thread::current().id(), state.home);
                state.items.set(state.items.get() + 1);
                items.fetch_add(1, Ordering::Relaxed);
                item
            });
            // Behind a scan is another section, which has its own.
            let sum = mapped
                .scan((), |(), item| Some(item))
                .map_init(init, |state, item| {
                    state.items.set(item);
                    item
                })
                .fold(&live(), 0, |sum, item| sum + item)
                .unwrap();
            assert_eq!((sum, items.into_inner()), (199_990_000, 20_000));
            let made = made.into_inner();
            // Under load the caller may leave its share to one thread more.
            assert!((2..=2 * (threads + 1)).contains(&made), "{made} states");
            assert_eq!(dropped.into_inner(), made);
        }
    });
}

#[test]
fn a_panic_of_init_is_that_of_the_item_it_was_called_for_though_the_run_keeps_going() {
    watched(|| {
        for threads in 1..=8 {
            for keeps_going in [false, true] {
                let stages = Pipeline::from_iter(0..2_000_usize)
                    .threads(threads)
                    .map_init(|| -> u8 { panic!("no state") }, |_, item: usize| item);
                let seen = AtomicUsize::new(0);
                let see = || _ = seen.fetch_add(1, Ordering::SeqCst);
                let message = message_of(|| {
                    _ = if keeps_going {
                        stages.keep_going().for_each(&live(), |_| see())
                    } else {
                        stages.for_each(&live(), |_| see())
                    };
                });
                assert_eq!((message.as_str(), seen.into_inner()), ("no state", 0));
            }
        }
    });
}

/// A state whose `Drop` panics.
struct Bomb<'a>(&'a AtomicUsize);

impl Drop for Bomb<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("drop of a state");
    }
}

#[test]
fn a_panic_of_a_states_drop_is_resumed_behind_that_of_the_run_and_in_place_of_an_error() {
    watched(|| {
        for ending in Ending::ALL {
            for threads in 1..=8 {
                reached(&format!("{ending:?}, {threads}"));
                let (made, dropped, token) = (AtomicUsize::new(0), AtomicUsize::new(0), live());
                let init = || {
                    made.fetch_add(1, Ordering::SeqCst);
                    Bomb(&dropped)
                };
                let mut seen = 0;
                let message = message_of(|| {
                    _ = Pipeline::from_data(0..2_000_usize)
                        .threads(threads)
                        .map_init(init, |_, item| item)
                        .try_map_init(init, |_, item| ending.with_state(item))
                        .filter(|item| *item >= Ending::AT || ending != Ending::StateFails)
                        .map_init(|| assert!(ending != Ending::StateFails, "no state"), |(), item| item)
                        .map_init(init, |_, item| item)
                        .try_for_each(&token, |item| {
                            seen += 1;
                            ending.sink(item, &token)
                        });
                });
                assert_eq!(message, if ending.is_panic() { ending.says() } else { "drop of a state" });
                assert!(ending != Ending::Well || seen == 2_000);
                assert_eq!(dropped.into_inner(), made.into_inner());
            }
        }
    });
}

#[test]
fn states_that_are_handed_back_panic_with_their_owner_alone() {
    watched(|| {
        let dropped = AtomicUsize::new(0);
        let states = States::new(|| Bomb(&dropped));
        let stages = || Pipeline::from_data(0..100).map_init(&states, |_, item| item).map_init(&states, |_, item| item);
        assert_eq!(stages().threads(1).count(&live()), Ok(100));
        assert_eq!(stages().threads(4).count(&live()), Ok(100));
        assert_eq!(message_of(|| drop(states)), "drop of a state");
        assert!(dropped.into_inner() >= 2);
    });
}

#[test]
fn an_idle_state_is_lent_to_the_next_run_and_a_spoiled_one_is_not() {
    watched(|| {
        let made = AtomicUsize::new(0);
        let states = States::new(|| (made.fetch_add(1, Ordering::SeqCst), 0_usize));
        let run = |items: usize, bad: usize| {
            let counted = |state: &mut (usize, usize), item: usize| {
                state.1 += 1;
                assert!(item != bad, "bad");
            };
            Pipeline::from_iter(0..items).threads(1).map_init(&states, counted).count(&live())
        };
        assert_eq!(run(10, usize::MAX), Ok(10));
        assert_eq!(run(10, usize::MAX), Ok(10));
        assert_eq!(message_of(|| _ = run(10, 4)), "bad");
        assert_eq!(run(3, usize::MAX), Ok(3));
        let mut states = states.into_vec();
        states.sort_unstable();
        assert_eq!(states, [(0, 25), (1, 3)]);
    });
}

#[test]
fn on_a_rayon_worker_there_is_one_state() {
    watched(|| {
        let states = States::new(Vec::new);
        let outputs = rayon::ThreadPoolBuilder::new()
            .num_threads(2)
            .build()
            .unwrap()
            .install(|| Pipeline::from_iter(0..1_000_u32).threads(8).map_init(&states, Vec::push).count(&live()));
        assert_eq!(outputs, Ok(1_000));
        assert_eq!(states.into_vec(), [(0..1_000).collect::<Vec<_>>()]);
    });
}

/// A state that tells whether a closure has left it half changed.
struct Work {
    is_whole: bool,
    _counted: Counted<()>,
}

#[test]
fn after_a_panic_that_is_kept_a_thread_has_a_new_state() {
    watched(|| {
        at_every_setting(&[None, Some(3)], |setting| {
            let (census, made) = (Census::default(), AtomicUsize::new(0));
            let init = || {
                made.fetch_add(1, Ordering::SeqCst);
                Work { is_whole: true, _counted: census.make(()) }
            };
            let change = |work: &mut Work, item: usize| {
                assert!(std::mem::replace(&mut work.is_whole, false), "a spoiled state was lent again");
                if item % 50 == 49 {
                    // Without a message on the standard error.
                    std::panic::resume_unwind(Box::new(item));
                }
                work.is_whole = true;
                item
            };
            let states = States::new(init);
            let pipeline = Pipeline::from_iter(0..1_000_usize)
                .map_init(&states, change)
                .map_init(init, |work, item| change(work, item + 1) - 1)
                .keep_going();
            let (mut passed, mut panicked) = (0, Vec::new());
            set(pipeline, setting)
                .for_each(&live(), |result| match result {
                    Ok(_) => passed += 1,
                    Err(failure) => panicked.push(failure.index()),
                })
                .unwrap();
            panicked.sort_unstable();
            let expected: Vec<usize> = (0..1_000).filter(|item| matches!(item % 50, 48 | 49)).collect();
            assert_eq!((passed, panicked), (960, expected));
            let made = made.load(Ordering::SeqCst);
            assert!(made <= 2 * (setting.0 + 1 + 40), "{made} states");
            let states = states.into_vec();
            assert_eq!(states.iter().filter(|work| !work.is_whole).count(), 20);
            assert_eq!(census.alive(), isize::try_from(states.len()).unwrap());
            drop(states);
            census.assert_all_dropped_once();
        });
    });
}

#[test]
fn a_kept_panic_whose_state_panics_in_its_drop_ends_the_run_there() {
    watched(|| {
        for threads in 1..=8 {
            let dropped = AtomicUsize::new(0);
            let mut seen = 0;
            let payload = payload_of(|| {
                _ = Pipeline::from_iter(0..2_000_usize)
                    .threads(threads)
                    .map_init(|| Bomb(&dropped), |_, item| if item == 500 { panic!("an item") } else { item })
                    .keep_going()
                    .for_each(&live(), |_| seen += 1);
            });
            assert_eq!((payload.downcast_ref(), seen), (Some(&"drop of a state"), 500));
        }
    });
}
