//! Deadlines, and when they cancel.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use brigade::{CancelReason, CancellationToken, Cancelled, Pipeline, Until, par_map, scope};
use crossbeam::channel::unbounded;

use crate::util::{Counter, Gate, alone, cpu_time, until_others_sleep, watched};

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(5);

#[test]
fn a_deadline_wakes_every_kind_of_wait_with_its_reason_and_never_early() {
    watched(|| {
        let root = CancellationToken::new();
        for timeout in [Duration::from_micros(50), Duration::from_millis(1), Duration::from_millis(20)] {
            for kind in 0..6 {
                let deadline = Instant::now() + timeout;
                let token = root.child_with_deadline(deadline);
                let (_sender, receiver) = unbounded::<()>();
                match kind {
                    0 => assert_eq!(token.wait(), CancelReason::Deadline),
                    1 => assert_eq!(token.child_token().wait_timeout(HOUR), Some(CancelReason::Deadline)),
                    2 => assert!(token.done().recv().is_err()),
                    3 => assert!(receiver.until(&token).recv().unwrap_err().is_cancelled()),
                    4 => {
                        let gate = Gate::default();
                        let opens = gate.clone();
                        let _callback = token.on_cancel(move |_| opens.open());
                        gate.pass();
                    }
                    _ => while !token.is_cancelled() {},
                }
                assert!(Instant::now() >= deadline, "early by {:?}", deadline - Instant::now());
                assert_eq!(token.reason(), Some(CancelReason::Deadline));
                assert!(!root.is_cancelled());
            }
        }
    });
}

#[test]
fn a_deadline_that_has_passed_cancels_at_once() {
    let root = CancellationToken::new();
    for token in [
        root.child_with_deadline(Instant::now()),
        root.child_with_timeout(Duration::ZERO),
        root.child_with_deadline(Instant::now().checked_sub(SOON).unwrap()),
    ] {
        assert_eq!(token.reason(), Some(CancelReason::Deadline));
    }
    root.cancel_with(CancelReason::Failed);
    assert_eq!(root.child_with_timeout(Duration::ZERO).reason(), Some(CancelReason::Failed));
}

#[test]
fn the_earliest_deadline_counts() {
    watched(|| {
        let root = CancellationToken::new();
        assert_eq!(root.deadline(), None);
        let soon = Instant::now() + SOON;
        let parent = root.child_with_deadline(soon);
        let later = parent.child_with_timeout(HOUR).child_token();
        assert_eq!((parent.deadline(), later.deadline()), (Some(soon), Some(soon)));
        assert_eq!(later.wait(), CancelReason::Deadline);

        let parent = root.child_with_timeout(HOUR);
        let earlier = parent.child_with_timeout(SOON);
        assert_eq!(earlier.wait(), CancelReason::Deadline);
        assert!(!parent.is_cancelled());

        let any = CancellationToken::any_of([&parent, &root.child_with_timeout(SOON), &root]);
        assert_eq!(any.wait(), CancelReason::Deadline);
    });
}

#[test]
fn a_timeout_too_long_for_the_clock_is_none() {
    let token = CancellationToken::new().child_with_timeout(Duration::MAX);
    assert_eq!((token.deadline(), token.is_cancelled()), (None, false));
}

#[test]
fn a_deadline_does_not_change_the_reason_of_an_earlier_cancel() {
    watched(|| {
        let root = CancellationToken::new();
        let token = root.child_with_timeout(SOON);
        token.cancel();
        assert_eq!(root.child_with_timeout(2 * SOON).wait(), CancelReason::Deadline);
        assert_eq!(token.reason(), Some(CancelReason::Requested));
    });
}

#[test]
fn never_can_have_a_deadline() {
    watched(|| assert_eq!(CancellationToken::never().child_with_timeout(SOON).wait(), CancelReason::Deadline));
}

#[test]
fn a_thousand_deadlines_fire_in_their_order() {
    watched(|| {
        let root = CancellationToken::new();
        let count = Counter::default();
        let start = Instant::now() + 4 * SOON;
        let mut armed: Vec<_> = (0..1000_u32)
            .map(|at| {
                // In a mixed order, several at the same time.
                let time = start + Duration::from_micros(u64::from(at * 7919 % 1000) * 20);
                (time, root.child_with_deadline(time))
            })
            .collect();
        armed.sort_by_key(|(time, _)| *time);
        let armed = Arc::new(armed);
        // Callbacks of different deadlines may run at once, on different threads: only the flags have an order.
        let wrong = Arc::new(Mutex::new(Vec::new()));
        let callbacks: Vec<_> = (0..armed.len())
            .map(|at| {
                let (tokens, count, wrong) = (Arc::clone(&armed), count.clone(), Arc::clone(&wrong));
                armed[at].1.on_cancel(move |_| {
                    let earlier = tokens[..at].iter().all(|(_, token)| token.is_cancelled());
                    if !earlier || Instant::now() < tokens[at].0 {
                        wrong.lock().unwrap().push(at);
                    }
                    count.add();
                })
            })
            .collect();
        count.wait_for(1000);
        drop(callbacks);
        assert_eq!(*wrong.lock().unwrap(), [0; 0]);
    });
}

#[test]
fn an_earlier_deadline_armed_later_is_not_late() {
    watched(|| {
        let root = CancellationToken::new();
        let far = root.child_with_timeout(HOUR);
        for _ in 0..20 {
            assert_eq!(root.child_with_timeout(SOON).wait(), CancelReason::Deadline);
        }
        assert!(!far.is_cancelled());
    });
}

#[test]
fn an_armed_deadline_burns_no_cpu_time() {
    if !alone!(an_armed_deadline_burns_no_cpu_time) {
        return;
    }
    watched(|| {
        let root = CancellationToken::new();
        let armed: Vec<_> = (0..1000).map(|_| root.child_with_timeout(HOUR)).collect();
        until_others_sleep();
        let before = cpu_time();
        assert_eq!(root.wait_timeout(Duration::from_secs(1)), None);
        let burnt = cpu_time().saturating_sub(before);
        assert!(burnt < Duration::from_millis(5), "a second of waiting burnt {burnt:?}");
        drop(armed);
    });
}

#[test]
fn deadlines_end_every_call() {
    watched(|| {
        let root = CancellationToken::new();
        let late = Err(Cancelled::new(CancelReason::Deadline));
        assert_eq!(Pipeline::from_iter(0..).for_each(&root.child_with_timeout(SOON), |_: u64| ()), late);
        let blocked = Gate::default();
        let token = root.child_with_timeout(SOON);
        let _callback = token.on_cancel({
            let blocked = blocked.clone();
            move |_| blocked.open()
        });
        assert_eq!(par_map(&token, 0..4, |_| blocked.pass()).map(drop), late);
        let token = root.child_with_timeout(SOON);
        let joined = scope(&token, |s| s.spawn(|s| s.token().sleep(HOUR))?.join());
        assert_eq!(joined, late);
    });
}
