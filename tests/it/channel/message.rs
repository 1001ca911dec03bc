//! Messages: none is lost, none comes twice, each comes in its order.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use brigade::{CancelReason, CancellationToken, Cancelled, Until, merge, scope};
use crossbeam::channel::{Receiver, bounded, unbounded};
use proptest::prelude::*;

use super::{HOUR, kinds};
use crate::util::{Census, live, message_of, together, watched};

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
fn recv_many_returns_though_the_sender_keeps_up() {
    watched(|| {
        let token = live();
        let (sender, receiver) = bounded(64);
        scope(&token, |s| {
            s.spawn(|s| Ok(sender.until(s.token()).send_all(0..).unwrap_err()))?;
            let mut buffer = Vec::new();
            for _ in 0..10_000 {
                // The message it waited for, and the messages in the channel then.
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
