//! One computation for many callers.

use std::hash::{Hash, Hasher};
use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use brigade::limit::{SingleFlight, SingleFlightError};
use brigade::scope::ScopedTask;
use brigade::{CancelReason, CancellationToken, Cancelled, scope};

use crate::util::{Census, Counted, Counter, Gate, live, payload_of, reached, together, watched};

/// A key that tells when a caller has found it, which then joins its flight under the same lock.
#[derive(Clone)]
struct Key(u32, Counter);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.1.add();
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

type Flights<V> = SingleFlight<Key, V, String>;
type Outcome<V> = Result<V, SingleFlightError<String>>;

/// Has one caller lead with `lead`, which is called when `joiners` callers have joined; each of them calls `join` if it
/// leads in turn. Returns what the joiners got.
fn fly<V: Clone + Send + Sync>(
    flights: &Flights<V>,
    token: &CancellationToken,
    joiners: usize,
    lead: impl Fn() -> Result<V, String> + Sync,
    join: impl Fn() -> Result<V, String> + Sync,
) -> (Option<Outcome<V>>, Vec<Outcome<V>>) {
    let (begun, joined) = (Gate::default(), Counter::default());
    let key = Key(7, joined.clone());
    scope(&live(), |s| {
        let (lead, join, key, begun, joined) = (&lead, &join, &key, &begun, &joined);
        let leading = s.spawn(move |_| {
            let fly = || {
                flights.run(token, key.clone(), || {
                    begun.open();
                    joined.wait_for(joiners);
                    lead()
                })
            };
            // A panic is the leader's alone.
            Ok::<_, Cancelled>(std::panic::catch_unwind(std::panic::AssertUnwindSafe(fly)).ok())
        })?;
        begun.pass();
        reached("the joiners");
        let joining = (0..joiners)
            .map(|_| s.spawn(move |s| Ok(flights.run(s.token(), key.clone(), join))))
            .collect::<Result<Vec<_>, _>>()?;
        let outcomes = joining.into_iter().map(ScopedTask::join).collect::<Result<_, _>>()?;
        Ok((leading.join()?, outcomes))
    })
    .unwrap()
}

#[test]
fn all_callers_share_one_computation() {
    watched(|| {
        let flights = Flights::new();
        let runs = AtomicUsize::new(0);
        let lead = || Ok(runs.fetch_add(1, Ordering::SeqCst));
        let (leader, joiners) = fly(&flights, &live(), 8, lead, || unreachable!("another caller led"));
        assert_eq!((leader, joiners), (Some(Ok(0)), vec![Ok(0); 8]));
        // The value is not kept.
        assert_eq!(fly(&flights, &live(), 0, lead, || unreachable!()).0, Some(Ok(1)));
        assert_eq!(format!("{flights:?}"), "SingleFlight { flights: 0 }");
    });
}

#[test]
fn an_error_is_shared() {
    watched(|| {
        let lead = || Err("no such file".to_owned());
        let (leader, joiners) = fly(&Flights::<()>::new(), &live(), 4, lead, || unreachable!("another caller led"));
        let failed = SingleFlightError::Failed("no such file".to_owned());
        assert_eq!((leader, joiners), (Some(Err(failed.clone())), vec![Err(failed.clone()); 4]));
        assert_eq!(failed.to_string(), "no such file");
    });
}

#[test]
fn if_the_leader_panics_one_of_those_who_wait_computes_anew() {
    watched(|| {
        let runs = AtomicUsize::new(0);
        let join = || Ok(1 + runs.fetch_add(1, Ordering::SeqCst));
        let (leader, joiners) = fly(&Flights::new(), &live(), 4, || panic_any(7), join);
        assert_eq!(leader, None);
        // A caller who comes late, when the second flight has landed, computes once more.
        let runs = runs.into_inner();
        assert!((1..=4).contains(&runs));
        assert!(joiners.iter().all(|value| matches!(value, Ok(value) if (1..=runs).contains(value))));
    });
}

#[test]
fn if_the_leader_is_cancelled_one_of_those_who_wait_computes_anew() {
    watched(|| {
        let token = live();
        let lead = || {
            token.cancel();
            Err(token.check().unwrap_err().to_string())
        };
        let (leader, joiners) = fly(&Flights::new(), &token, 4, lead, || Ok(1));
        // The leader gets its own error, as it is.
        assert_eq!(leader, Some(Err(SingleFlightError::Failed("cancelled: requested".to_owned()))));
        assert_eq!(joiners, vec![Ok(1); 4]);
    });
}

#[test]
fn a_value_that_a_cancelled_leader_has_completed_is_shared() {
    watched(|| {
        let token = live();
        let lead = || Ok(token.cancel());
        let (leader, joiners) = fly(&Flights::new(), &token, 4, lead, || unreachable!("another caller led"));
        assert_eq!((leader, joiners), (Some(Ok(true)), vec![Ok(true); 4]));
    });
}

#[test]
fn the_cancel_of_one_that_waits_ends_its_wait_alone() {
    watched(|| {
        let flights = Flights::new();
        let token = live();
        let joined = Counter::default();
        let key = Key(7, joined.clone());
        let end = Gate::default();
        scope(&live(), |s| {
            let (flights, key, end) = (&flights, &key, &end);
            let begun = Gate::default();
            let leads = begun.clone();
            let leading = s.spawn(move |s| {
                Ok::<_, Cancelled>(flights.run(s.token(), key.clone(), || {
                    leads.open();
                    Ok(end.pass())
                }))
            })?;
            begun.pass();
            let stays = s.spawn(move |s| Ok(flights.run(s.token(), key.clone(), || unreachable!())))?;
            let leaves = token.clone();
            let leaves = s.spawn(move |_| Ok(flights.run(&leaves, key.clone(), || unreachable!())))?;
            joined.wait_for(2);
            token.cancel();
            let cancelled = Cancelled::new(CancelReason::Requested);
            assert_eq!(leaves.join()?, Err(SingleFlightError::Cancelled(cancelled)));
            end.open();
            assert_eq!((leading.join()?, stays.join()?), (Ok(true), Ok(true)));
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn a_computation_that_asks_for_its_own_key_gets_an_error() {
    watched(|| {
        let flights = SingleFlight::<u32, u32, String>::new();
        let token = live();
        let value = flights.run(&token, 1, || {
            let error = flights.run(&token, 1, || unreachable!("it is led already")).unwrap_err();
            assert_eq!(error, SingleFlightError::Reentrant);
            // Another key is no re-entry; through it, the first one is.
            flights
                .run(&token, 2, || flights.run(&token, 1, || Ok(0)).map_err(|error| error.to_string()))
                .map_err(|error| error.to_string())
        });
        let message = "the computation of a key asked for the value of the same key: it would wait for itself";
        assert_eq!(value, Err(SingleFlightError::Failed(message.to_owned())));
        assert_eq!(flights.run(&token, 1, || Ok(3)), Ok(3));
    });
}

#[test]
fn a_forgotten_flight_serves_those_who_have_joined_and_no_later_caller() {
    watched(|| {
        let flights = Flights::new();
        let key = Key(7, Counter::default());
        let forget_and_lead = || {
            flights.forget(&key);
            // This thread leads the forgotten flight, and leads another one of the same key.
            assert_eq!(flights.run(&live(), key.clone(), || Ok("later")), Ok("later"));
            flights.forget(&key);
            Ok("first")
        };
        for joiners in [0, 3] {
            let (leader, joiners) = fly(&flights, &live(), joiners, forget_and_lead, || unreachable!());
            assert_eq!(leader, Some(Ok("first")));
            assert!(joiners.iter().all(|value| *value == Ok("first")));
        }
        assert_eq!(format!("{flights:?}"), "SingleFlight { flights: 0 }");
    });
}

#[test]
fn a_forgotten_flight_that_lands_leaves_a_later_one_alone() {
    watched(|| {
        let flights = SingleFlight::<u32, &str, String>::new();
        let (begun, again, end) = (Gate::default(), Gate::default(), Gate::default());
        scope(&live(), |s| {
            let first = s.spawn(|s| {
                Ok::<_, Cancelled>(flights.run(s.token(), 1, || {
                    begun.open();
                    again.pass();
                    Ok("first")
                }))
            })?;
            begun.pass();
            flights.forget(&1);
            let second = flights.run(s.token(), 1, || {
                again.open();
                assert_eq!(first.join().unwrap(), Ok("first"));
                assert_eq!(format!("{flights:?}"), "SingleFlight { flights: 1 }");
                end.open();
                Ok("second")
            });
            assert_eq!((end.pass(), second), (true, Ok("second")));
            Ok(())
        })
        .unwrap();
    });
}

/// A value whose clone panics.
#[derive(Debug)]
struct Uncloneable;

impl Clone for Uncloneable {
    fn clone(&self) -> Self {
        panic!("a clone")
    }
}

#[test]
fn a_panic_of_a_clone_leaves_no_caller_waiting() {
    watched(|| {
        let flights = SingleFlight::<u32, Uncloneable, String>::new();
        let results = AtomicUsize::new(0);
        let caller = || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                flights.run(&live(), 1, || {
                    std::thread::yield_now();
                    Ok(Uncloneable)
                })
            }));
            results.fetch_add(usize::from(outcome.is_ok()), Ordering::SeqCst);
        };
        for _ in 0..50 {
            together((0..4).map(|_| Box::new(caller) as Box<dyn FnOnce() + Send>).collect());
        }
        // A caller alone needs no clone.
        caller();
        assert!(results.into_inner() > 0);
        assert_eq!(format!("{flights:?}"), "SingleFlight { flights: 0 }");
    });
}

/// A key whose drops are counted.
#[derive(Clone)]
struct Owned(u32, #[expect(dead_code, reason = "it counts its drops")] Arc<Counted<()>>);

impl PartialEq for Owned {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Owned {}

impl Hash for Owned {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[test]
fn each_value_and_each_key_is_dropped_once() {
    watched(|| {
        let (keys, values) = (Census::default(), Census::default());
        {
            let flights = SingleFlight::<Owned, Arc<Counted<u32>>, String>::new();
            let caller = || {
                for turn in 0..200 {
                    let number = turn % 3;
                    let key = Owned(number, Arc::new(keys.make(())));
                    if turn % 11 == 0 {
                        flights.forget(&key);
                    }
                    let result = flights.run(&live(), key, || {
                        if turn % 5 == 0 {
                            std::thread::yield_now();
                        }
                        if turn % 7 == 0 { Err("an error".to_owned()) } else { Ok(Arc::new(values.make(number))) }
                    });
                    assert!(result.is_err() || result.unwrap().value == number);
                }
            };
            together((0..4).map(|_| Box::new(caller) as Box<dyn FnOnce() + Send>).collect());
            let payload = payload_of(|| {
                let _ = flights.run(&live(), Owned(1, Arc::new(keys.make(()))), || panic_any(7));
            });
            assert_eq!(payload.downcast_ref(), Some(&7));
        }
        keys.assert_all_dropped_once();
        values.assert_all_dropped_once();
    });
}

/// A key whose `Hash` panics once when it is told to.
#[derive(Clone)]
struct Bomb(Counter, Arc<AtomicBool>);

impl PartialEq for Bomb {
    fn eq(&self, _: &Self) -> bool {
        self.0.add();
        true
    }
}

impl Eq for Bomb {}

impl Hash for Bomb {
    fn hash<H: Hasher>(&self, _: &mut H) {
        if self.1.swap(false, Ordering::SeqCst) {
            panic_any("the hash");
        }
    }
}

#[test]
fn a_hash_that_panics_leaves_no_caller_waiting_and_no_flight_behind() {
    watched(|| {
        let flights = SingleFlight::<Bomb, u32, String>::new();
        let (begun, joined, armed) = (Gate::default(), Counter::default(), Arc::new(AtomicBool::new(false)));
        let key = Bomb(joined.clone(), Arc::clone(&armed));
        scope(&live(), |s| {
            let (flights, key, begun) = (&flights, &key, &begun);
            let (joined, armed) = (&joined, &armed);
            let leading = s.spawn(move |s| {
                let token = s.token();
                let payload = payload_of(|| {
                    let _ = flights.run(token, key.clone(), || {
                        begun.open();
                        joined.wait_for(1);
                        armed.store(true, Ordering::SeqCst);
                        Ok(1)
                    });
                });
                assert_eq!(payload.downcast_ref(), Some(&"the hash"));
                Ok::<_, Cancelled>(())
            })?;
            begun.pass();
            reached("the joiner");
            assert_eq!(flights.run(s.token(), key.clone(), || Ok(2)), Ok(2));
            leading.join()
        })
        .unwrap();
        assert_eq!(format!("{flights:?}"), "SingleFlight { flights: 0 }");
    });
}
