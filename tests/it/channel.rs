use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use brigade::channel::{RecvError, SendError};
use brigade::{CancelReason, CancellationToken, Cancelled, Until, merge, scope};
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use proptest::prelude::*;

use crate::util::{Census, Counter, alone, cpu_time, message_of, reached, together, until_others_sleep, watched};

const HOUR: Duration = Duration::from_secs(3600);

fn live() -> CancellationToken {
    CancellationToken::new()
}

fn cancelled() -> CancellationToken {
    let token = live();
    token.cancel();
    token
}

/// Channels of every kind.
fn kinds<T>() -> [(Sender<T>, Receiver<T>); 4] {
    [bounded(0), bounded(1), bounded(5), unbounded()]
}

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
fn a_call_that_does_not_wait_does_not_look_at_the_token() {
    let token = cancelled();
    let (sender, receiver) = bounded(3);
    (0..3).for_each(|value| sender.until(&token).try_send(value).unwrap());
    assert!(sender.until(&token).try_send(3).unwrap_err().is_full());
    assert_eq!(receiver.until(&token).try_recv(), Ok(0));
    assert_eq!(receiver.until(&token).try_iter().collect::<Vec<_>>(), [1, 2]);
    assert!(receiver.until(&token).try_recv().unwrap_err().is_empty());
}

#[test]
fn each_error_answers_to_its_own_name_only() {
    watched(|| {
        let recv =
            |error: RecvError| [error.is_cancelled(), error.is_disconnected(), error.is_timeout(), error.is_empty()];
        let send = |error: &SendError<u32>| {
            [error.is_cancelled(), error.is_disconnected(), error.is_timeout(), error.is_full()]
        };
        let only = |name: usize| [0, 1, 2, 3].map(|at| at == name);
        let live = live();
        let (sender, receiver) = bounded(1);
        assert_eq!(recv(receiver.until(&cancelled()).recv().unwrap_err()), only(0));
        assert_eq!(recv(receiver.until(&live).recv_timeout(Duration::ZERO).unwrap_err()), only(2));
        assert_eq!(recv(receiver.until(&live).recv_deadline(Instant::now()).unwrap_err()), only(2));
        assert_eq!(recv(receiver.until(&live).try_recv().unwrap_err()), only(3));
        sender.send(0).unwrap();
        assert_eq!(send(&sender.until(&cancelled()).send(1).unwrap_err()), only(0));
        assert_eq!(send(&sender.until(&live).send_timeout(1, Duration::ZERO).unwrap_err()), only(2));
        assert_eq!(send(&sender.until(&live).send_deadline(1, Instant::now()).unwrap_err()), only(2));
        assert_eq!(send(&sender.until(&live).try_send(1).unwrap_err()), only(3));
        drop(receiver);
        assert_eq!(send(&sender.until(&live).send(1).unwrap_err()), only(1));
        assert_eq!(send(&sender.until(&live).send_timeout(1, HOUR).unwrap_err()), only(1));
        assert_eq!(send(&sender.until(&live).try_send(1).unwrap_err()), only(1));
        assert_eq!(send(&sender.until(&live).send_all([1]).unwrap_err()), only(1));
        let (sender, receiver) = bounded::<u32>(1);
        sender.send(0).unwrap();
        drop(sender);
        assert_eq!(receiver.until(&live).recv(), Ok(0));
        assert_eq!(recv(receiver.until(&live).recv().unwrap_err()), only(1));
        assert_eq!(recv(receiver.until(&live).recv_timeout(HOUR).unwrap_err()), only(1));
        assert_eq!(recv(receiver.until(&live).try_recv().unwrap_err()), only(1));
        assert_eq!(recv(receiver.until(&live).recv_many(&mut Vec::new(), 1).unwrap_err()), only(1));
    });
}

#[test]
fn an_error_of_send_gives_the_value_back() {
    watched(|| {
        let census = Census::default();
        let (sender, receiver) = bounded(1);
        sender.send(census.make("first")).unwrap();
        let token = live();
        let failures = [
            sender.until(&cancelled()).send(census.make("a")),
            sender.until(&token).try_send(census.make("b")),
            sender.until(&token).send_timeout(census.make("c"), Duration::from_millis(1)),
            sender.until(&token.child_with_timeout(Duration::from_millis(1))).send(census.make("d")),
        ];
        let returned = failures.map(|failed| failed.err().unwrap().into_inner().value);
        assert_eq!(returned, ["a", "b", "c", "d"]);
        assert_eq!(census.alive(), 1);
        drop(receiver);
        assert_eq!(sender.until(&token).send(census.make("e")).err().unwrap().into_inner().value, "e");
        drop(sender);
        assert_eq!(census.alive(), 0);
    });
}

#[test]
fn errors_say_what_happened_and_are_errors_of_std() {
    fn error<E: std::error::Error + Send + Sync + 'static>(error: E) -> String {
        anyhow::Error::from(error).to_string()
    }
    let (sender, receiver) = bounded(0);
    assert_eq!(error(receiver.until(&cancelled()).recv().unwrap_err()), "cancelled: requested");
    assert_eq!(error(receiver.until(&live()).try_recv().unwrap_err()), "the channel is empty");
    assert_eq!(error(sender.until(&live()).try_send(1).unwrap_err()), "the channel is full");
    let late = sender.until(&live()).send_timeout(1, Duration::ZERO).unwrap_err();
    assert_eq!(error(late), "the channel had no room in time");
    let late = receiver.until(&live()).recv_timeout(Duration::ZERO).unwrap_err();
    assert_eq!(error(late), "nothing came through the channel in time");
    drop(receiver);
    let gone = sender.until(&live()).send(1).unwrap_err();
    assert_eq!(format!("{gone:?}"), "SendError { why: Disconnected, .. }");
    assert_eq!(error(gone), "every receiver of the channel is gone");
    let (_, receiver) = bounded::<u32>(0);
    let gone = receiver.until(&live()).recv().unwrap_err();
    assert_eq!(error(gone), "the channel is empty, and every sender is gone");
    assert!(RecvError::from(Cancelled::new(CancelReason::Failed)).is_cancelled());
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
fn an_iterator_tells_the_end_from_a_cancellation() {
    watched(|| {
        let token = live();
        let (sender, receiver) = unbounded();
        sender.until(&token).send_all(0..3).unwrap();
        drop(sender);
        let mut all = receiver.until(&token).iter();
        assert_eq!(all.by_ref().collect::<Result<Vec<_>, _>>(), Ok(vec![0, 1, 2]));
        assert_eq!(all.next(), None);

        let (sender, receiver) = unbounded();
        sender.until(&token).send_all(0..3).unwrap();
        let mut some = receiver.until(&token).into_iter();
        assert_eq!(some.next(), Some(Ok(0)));
        token.cancel_with(CancelReason::Failed);
        assert_eq!(some.next(), Some(Err(Cancelled::new(CancelReason::Failed))));
        assert_eq!(some.next(), None);
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
                // Who is told of a cancellation finds the token cancelled, with the same reason.
                assert_eq!(error.cancelled(), token.check().err());
                assert!(error.is_cancelled());
            };
            together(vec![Box::new(poll), Box::new(receive), Box::new(|| _ = root.cancel())]);
            drop(crowd);
        }
    });
}

#[test]
fn recv_many_returns_though_the_sender_keeps_up() {
    watched(|| {
        let token = live();
        let (sender, receiver) = bounded(64);
        scope(&token, |s| {
            s.spawn(|s| Ok(sender.until(s.token()).send_all(0..).unwrap_err()))?;
            let mut buffer = Vec::new();
            for _ in 0..10_000 {
                // The message it waited for, and what lay in the channel then.
                assert!(receiver.until(&token).recv_many(&mut buffer, usize::MAX).unwrap() <= 65);
                buffer.clear();
            }
            token.cancel();
            Ok::<_, Cancelled>(())
        })
        .unwrap();
    });
}

#[test]
fn recv_many_takes_what_is_there_and_no_more_than_it_was_told() {
    watched(|| {
        let token = live();
        let (sender, receiver) = unbounded();
        sender.until(&token).send_all(0..5).unwrap();
        let mut buffer = vec![100];
        assert_eq!(receiver.until(&token).recv_many(&mut buffer, 2), Ok(2));
        assert_eq!(receiver.until(&token).recv_many(&mut buffer, 100), Ok(3));
        assert_eq!(buffer, [100, 0, 1, 2, 3, 4]);
        token.cancel();
        sender.send(5).unwrap();
        assert!(receiver.until(&token).recv_many(&mut buffer, 1).unwrap_err().is_cancelled());
        assert_eq!(buffer.len(), 6);
        let message = message_of(|| _ = receiver.until(&live()).recv_many(&mut buffer, 0));
        assert_eq!(message, "recv_many was asked for at most 0 messages: ask for 1 at least");
    });
}

#[test]
fn send_all_leaves_what_it_did_not_send_with_the_caller() {
    watched(|| {
        let (sender, receiver) = bounded(3);
        let mut values = (0..10).map(|value| value * 2);
        let token = live().child_with_timeout(Duration::from_millis(2));
        let error = sender.until(&token).send_all(&mut values).unwrap_err();
        assert_eq!((error.is_cancelled(), error.into_inner()), (true, 6));
        assert_eq!(values.collect::<Vec<_>>(), [8, 10, 12, 14, 16, 18]);
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [0, 2, 4]);
        assert_eq!(sender.until(&token).send_all([]).unwrap(), 0);
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

#[test]
fn many_senders_and_receivers_lose_and_double_nothing() {
    watched(|| {
        const EACH: usize = 2_000;
        for (sender, receiver) in kinds() {
            let seen: Vec<_> = (0..4 * EACH).map(|_| AtomicUsize::new(0)).collect();
            scope(&live(), |s| {
                for producer in 0..4 {
                    let sender = sender.clone();
                    s.spawn(move |s| {
                        sender.until(s.token()).send_all((0..EACH).map(|at| producer * EACH + at)).unwrap();
                        Ok(())
                    })?;
                }
                for kind in 0..4 {
                    let (receiver, seen) = (receiver.clone(), &seen);
                    s.spawn(move |s| {
                        let (receiver, mut buffer) = (receiver.until(s.token()), Vec::new());
                        loop {
                            let received = match kind {
                                0 => receiver.recv().map(|value| buffer.push(value)),
                                1 => receiver.recv_timeout(HOUR).map(|value| buffer.push(value)),
                                _ => receiver.recv_many(&mut buffer, 7).map(drop),
                            };
                            match received {
                                Ok(()) => {
                                    for value in buffer.drain(..) {
                                        seen[value].fetch_add(1, Ordering::Relaxed);
                                    }
                                }
                                Err(error) => {
                                    assert!(error.is_disconnected());
                                    return Ok::<_, Cancelled>(());
                                }
                            }
                        }
                    })?;
                }
                drop((sender, receiver));
                Ok(())
            })
            .unwrap();
            assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    });
}

#[test]
fn each_receiver_sees_the_messages_of_a_sender_in_their_order() {
    watched(|| {
        for (sender, receiver) in kinds() {
            scope(&live(), |s| {
                s.spawn(move |s| Ok(sender.until(s.token()).send_all(0..5_000).unwrap()))?;
                for _ in 0..2 {
                    let receiver = receiver.clone();
                    s.spawn(move |s| {
                        let received = receiver.until(s.token()).iter().collect::<Result<Vec<u32>, Cancelled>>()?;
                        assert!(received.is_sorted());
                        Ok::<_, Cancelled>(())
                    })?;
                }
                Ok(())
            })
            .unwrap();
        }
    });
}

#[test]
fn a_cancel_in_the_middle_loses_nothing() {
    watched(|| {
        for round in 0..200 {
            let census = Census::default();
            let (sender, receiver) = bounded(round % 4);
            let token = live();
            let sent = AtomicUsize::new(0);
            let received = AtomicUsize::new(0);
            let send = || {
                for value in 0.. {
                    match sender.until(&token).send(census.make(value)) {
                        Ok(()) => _ = sent.fetch_add(1, Ordering::SeqCst),
                        Err(error) => {
                            assert!(error.is_cancelled());
                            assert_eq!(error.into_inner().value, value);
                            return;
                        }
                    }
                }
            };
            let receive = || received_until_cancelled(&token, &receiver, &received);
            let cancel = || {
                let enough = 10 * round;
                while received.load(Ordering::SeqCst) < enough {
                    std::thread::yield_now();
                }
                token.cancel();
            };
            together(vec![Box::new(send), Box::new(send), Box::new(receive), Box::new(receive), Box::new(cancel)]);
            let left = receiver.try_iter().count();
            assert_eq!(sent.into_inner(), received.into_inner() + left);
            assert_eq!(census.alive(), 0);
        }
    });
}

fn received_until_cancelled<T>(token: &CancellationToken, receiver: &Receiver<T>, received: &AtomicUsize) {
    for message in receiver.until(token) {
        if message.is_ok() {
            received.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn merge_gives_the_messages_of_each_channel_in_order_and_ends_with_the_last() {
    watched(|| {
        for capacity in [Some(0), Some(1), Some(64), None] {
            let token = live();
            let (senders, receivers): (Vec<_>, Vec<_>) =
                (0..5).map(|_| capacity.map_or_else(unbounded, bounded)).unzip();
            let merged = scope(&token, |s| {
                for (at, sender) in senders.into_iter().enumerate() {
                    s.spawn(move |s| {
                        Ok(sender.until(s.token()).send_all((0..100 * at).map(|value| (at, value))).unwrap())
                    })?;
                }
                merge(&token, receivers).collect::<Result<Vec<_>, Cancelled>>()
            })
            .unwrap();
            assert_eq!(merged.len(), 1000);
            for at in 0..5 {
                let of_one = merged.iter().filter(|(from, _)| *from == at).map(|(_, value)| *value);
                assert!(of_one.eq(0..100 * at));
            }
        }
    });
}

#[test]
fn merge_takes_turns_and_holds_no_channel_hostage_to_another() {
    watched(|| {
        let token = live();
        let (busy, from_busy) = unbounded();
        let (rare, from_rare) = unbounded();
        let (_silent, from_silent) = unbounded();
        (0..1000).for_each(|_| busy.send("busy").unwrap());
        rare.send("rare").unwrap();
        let mut merged = merge(&token, [from_silent, from_busy, from_rare]);
        let first: Vec<_> = merged.by_ref().take(2).map(Result::unwrap).collect();
        assert!(first.contains(&"rare"), "{first:?}");
        rare.send("rare").unwrap();
        rare.send("rare").unwrap();
        let next: Vec<_> = merged.by_ref().take(6).map(Result::unwrap).collect();
        assert_eq!(next.iter().filter(|message| **message == "rare").count(), 2, "{next:?}");
    });
}

#[test]
fn merge_of_nothing_ends_and_of_a_cancelled_token_says_so_once() {
    watched(|| {
        assert!(merge::<u32>(&live(), []).next().is_none());
        let (sender, receiver) = unbounded();
        sender.send(1).unwrap();
        let token = cancelled();
        let mut merged = merge(&token, [receiver]);
        assert_eq!(merged.next(), Some(Err(Cancelled::new(CancelReason::Requested))));
        assert_eq!(merged.next(), None);
    });
}

#[test]
fn views_show_what_they_look_at() {
    let (sender, receiver) = unbounded();
    sender.send(1).unwrap();
    let token = live();
    let shown = "messages: 1, token: CancellationToken { cancelled: false } }";
    assert_eq!(format!("{:?}", receiver.until(&token)), format!("ReceiverUntil {{ {shown}"));
    assert_eq!(format!("{:?}", sender.until(&token)), format!("SenderUntil {{ {shown}"));
    assert_eq!(
        format!("{:?}", merge(&token, [receiver])),
        "Merge { channels: 1, token: CancellationToken { cancelled: false } }"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_set_of_senders_and_receivers_passes_every_message_once(
        capacity in prop_oneof![Just(None), (0..9_usize).prop_map(Some)],
        sizes in proptest::collection::vec(0..200_usize, 1..5),
        receivers in 1..4_usize,
        merged in any::<bool>(),
    ) {
        let total: usize = sizes.iter().sum();
        let got = watched(move || {
            let channels = if merged { sizes.len() } else { 1 };
            let (mut to, from): (Vec<_>, Vec<_>) =
                (0..channels).map(|_| capacity.map_or_else(unbounded, bounded)).unzip();
            let first = to[0].clone();
            to.resize(sizes.len(), first);
            let got = Mutex::new(Vec::new());
            scope(&live(), |s| {
                let mut next = 0;
                for (sender, size) in to.into_iter().zip(sizes) {
                    let values = next..next + size;
                    next += size;
                    s.spawn(move |s| Ok(sender.until(s.token()).send_all(values).unwrap()))?;
                }
                for _ in 0..receivers {
                    let (from, got) = (from.clone(), &got);
                    s.spawn(move |s| {
                        let received = merge(s.token(), from).collect::<Result<Vec<usize>, Cancelled>>()?;
                        got.lock().unwrap().extend(received);
                        Ok::<_, Cancelled>(())
                    })?;
                }
                drop(from);
                Ok(())
            })
            .unwrap();
            got.into_inner().unwrap()
        });
        prop_assert_eq!(got.len(), total);
        prop_assert_eq!(got.into_iter().collect::<BTreeSet<_>>().len(), total);
    }
}
