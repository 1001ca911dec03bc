//! Calls that wait at a channel, and the ways in which they end.

use std::time::{Duration, Instant};

use brigade::{CancelReason, CancellationToken, Cancelled, Until, merge, scope};
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

use super::{HOUR, cancelled, kinds};
use crate::util::{Counter, alone, cpu_time, live, reached, together, until_others_sleep, watched};

/// Every way to wait at a channel: each is given one that is empty and one that is full, and returns why it ended.
type Wait = fn(&CancellationToken, &Receiver<u32>, &Sender<u32>) -> Option<Cancelled>;

const WAITS: [Wait; 10] = [
    |token, empty, _| empty.until(token).recv().unwrap_err().cancelled(),
    |token, empty, _| empty.until(token).recv_timeout(HOUR).unwrap_err().cancelled(),
    |token, empty, _| empty.until(token).recv_deadline(Instant::now() + HOUR).unwrap_err().cancelled(),
    |token, empty, _| empty.until(token).iter().next().unwrap().err(),
    |token, empty, _| empty.until(token).recv_many(&mut Vec::new(), 3).unwrap_err().cancelled(),
    |token, empty, _| merge(token, [empty.clone(), empty.clone()]).next().unwrap().err(),
    |token, _, full| full.until(token).send(1).unwrap_err().cancelled(),
    |token, _, full| full.until(token).send_timeout(1, HOUR).unwrap_err().cancelled(),
    |token, _, full| full.until(token).send_deadline(1, Instant::now() + HOUR).unwrap_err().cancelled(),
    |token, _, full| full.until(token).send_all([1, 2, 3]).unwrap_err().cancelled(),
];

#[test]
fn cancel_wakes_every_call_that_waits() {
    watched(|| {
        let signal = Cancelled::new(CancelReason::Signal(15));
        for capacity in [0, 1, 5] {
            let (_sender, empty) = bounded(1);
            let (full, _receiver) = bounded(capacity);
            (0..capacity).for_each(|_| full.send(0).unwrap());
            let token = live();
            scope(&live(), |s| {
                let waiting = Counter::default();
                for wait in WAITS {
                    for token in [token.clone(), token.child_token()] {
                        let (waiting, empty, full) = (waiting.clone(), &empty, &full);
                        s.spawn(move |_| {
                            waiting.add();
                            assert_eq!(wait(&token, empty, full), Some(signal));
                            Ok::<_, Cancelled>(())
                        })?;
                    }
                }
                waiting.wait_for(2 * WAITS.len());
                reached("the cancel");
                token.cancel_with(CancelReason::Signal(15));
                Ok(())
            })
            .unwrap();
        }
    });
}

#[test]
fn sixty_four_waits_of_each_kind_burn_no_cpu_time_and_all_wake() {
    if !alone!(sixty_four_waits_of_each_kind_burn_no_cpu_time_and_all_wake) {
        return;
    }
    watched(|| {
        for wait in WAITS {
            let (_sender, empty) = bounded(1);
            let (full, _receiver) = bounded(1);
            full.send(0).unwrap();
            let token = live();
            scope(&live(), |s| {
                for _ in 0..64 {
                    let (token, empty, full) = (&token, &empty, &full);
                    s.spawn(move |_| Ok::<_, Cancelled>(wait(token, empty, full).expect("cancelled")))?;
                }
                until_others_sleep();
                let before = cpu_time();
                assert_eq!(token.wait_timeout(Duration::from_secs(1)), None);
                let burnt = cpu_time().saturating_sub(before);
                assert!(burnt < Duration::from_millis(5), "65 waits of a second burnt {burnt:?}");
                token.cancel();
                reached("the joins");
                Ok(())
            })
            .unwrap();
        }
    });
}

#[test]
fn a_cancellation_wins_over_messages_and_over_room() {
    watched(|| {
        let token = cancelled();
        let (ready, full) = unbounded();
        (0..3).for_each(|_| ready.send(7).unwrap());
        for wait in WAITS {
            assert_eq!(wait(&token, &full, &ready), Some(Cancelled::new(CancelReason::Requested)));
        }
        assert_eq!(full.len(), 3);
    });
}

#[test]
fn timeouts_are_never_early() {
    watched(|| {
        let (full, empty_of_it) = bounded(1);
        let (_sender, empty) = bounded::<u32>(1);
        full.send(0).unwrap();
        for token in [live(), CancellationToken::never(), live().child_with_timeout(HOUR)] {
            for timeout in [Duration::ZERO, Duration::from_micros(300), Duration::from_millis(10)] {
                let deadline = Instant::now() + timeout;
                assert!(empty.until(&token).recv_timeout(timeout).unwrap_err().is_timeout());
                assert!(Instant::now() >= deadline);
                let deadline = Instant::now() + timeout;
                assert!(full.until(&token).send_deadline(1, deadline).unwrap_err().is_timeout());
                assert!(Instant::now() >= deadline);
            }
        }
        drop(empty_of_it);
    });
}

#[test]
fn an_end_that_is_dropped_because_of_the_cancellation_is_a_cancellation() {
    watched(|| {
        for below in [false, true] {
            for kind in 0..4 {
                let root = live();
                let token = if below { root.child_token().child_token() } else { root.clone() };
                let (sender, receiver) = bounded::<u32>(0);
                let (full, reader) = bounded::<u32>(0);
                let ends = if kind < 3 { (Some(sender), None) } else { (None, Some(reader)) };
                let _callback = root.on_cancel(move |_| drop(ends));
                let waiting = Counter::default();
                scope(&live(), |s| {
                    s.spawn(|_| {
                        waiting.add();
                        let why = match kind {
                            0 => receiver.until(&token).recv().unwrap_err().cancelled(),
                            1 => receiver.until(&token).iter().next().unwrap().err(),
                            2 => merge(&token, [receiver.clone()]).next().unwrap().err(),
                            _ => full.until(&token).send(1).unwrap_err().cancelled(),
                        };
                        assert_eq!(why, Some(Cancelled::new(CancelReason::Requested)));
                        Ok::<_, Cancelled>(())
                    })?;
                    waiting.wait_for(1);
                    root.cancel();
                    Ok(())
                })
                .unwrap();
            }
        }
    });
}

#[test]
fn an_end_that_a_poller_of_an_ancestor_drops_is_a_cancellation() {
    watched(|| {
        for _ in 0..100 {
            let root = live();
            let crowd: Vec<_> = (0..1000).map(|_| root.child_token()).collect();
            let token = root.child_token().child_token();
            let (sender, receiver) = bounded::<u32>(1);
            let poll = || {
                let _dropped_at_the_end = sender;
                while !root.is_cancelled() {}
            };
            let receive = || {
                let error = receiver.until(&token).recv().unwrap_err();
                // A thread that is told of a cancel finds the token cancelled, with the same reason.
                assert_eq!(error.cancelled(), token.check().err());
                assert!(error.is_cancelled());
            };
            together(vec![Box::new(poll), Box::new(receive), Box::new(|| _ = root.cancel())]);
            drop(crowd);
        }
    });
}

#[test]
fn a_send_wakes_a_receive_and_a_receive_wakes_a_send() {
    watched(|| {
        for (sender, receiver) in kinds() {
            let token = live();
            scope(&live(), |s| {
                let receiving = s.spawn(|_| {
                    let sum: Result<u64, Cancelled> = receiver.until(&token).iter().take(1000).sum();
                    sum
                })?;
                for value in 0..1000 {
                    sender.until(&token).send(value).unwrap();
                }
                assert_eq!(receiving.join(), Ok(499_500));
                Ok::<_, Cancelled>(())
            })
            .unwrap();
        }
    });
}

#[test]
fn dropping_the_other_end_wakes_whoever_waits() {
    watched(|| {
        for capacity in [0, 1] {
            let (sender, receiver) = bounded::<u32>(capacity);
            let (full, reader) = bounded::<u32>(capacity);
            (0..capacity).for_each(|_| full.send(0).unwrap());
            let waiting = Counter::default();
            scope(&live(), |s| {
                s.spawn(|s| {
                    waiting.add();
                    assert!(receiver.until(s.token()).recv().unwrap_err().is_disconnected());
                    Ok(())
                })?;
                s.spawn(|s| {
                    waiting.add();
                    assert!(full.until(s.token()).send(1).unwrap_err().is_disconnected());
                    Ok::<_, Cancelled>(())
                })?;
                waiting.wait_for(2);
                drop((sender, reader));
                Ok(())
            })
            .unwrap();
        }
    });
}
