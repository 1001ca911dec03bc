//! A token by itself: its flag, its reason, and the ways to wait for it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use brigade::token::Never;
use brigade::{CancelReason, CancellationToken, Cancelled, scope};
use crossbeam::channel::{Receiver, TryRecvError, select, unbounded};

use crate::util::{Counter, alone, cpu_time, reached, together, until_others_sleep, watched};

#[test]
fn a_new_token_is_live() {
    let token = CancellationToken::new();
    assert!(!token.is_cancelled());
    assert_eq!((token.reason(), token.check()), (None, Ok(())));
    assert_eq!(token.done().try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn cancel_answers_whether_it_won_and_the_first_reason_stays() {
    let token = CancellationToken::new();
    assert!(token.cancel_with(CancelReason::Other("first")));
    assert!(!token.cancel_with(CancelReason::Deadline));
    assert!(!token.cancel());
    assert_eq!(token.check().unwrap_err().reason(), CancelReason::Other("first"));
}

#[test]
fn clones_share_the_flag() {
    let token = CancellationToken::new();
    let clone = token.clone();
    clone.cancel();
    assert!(token.is_cancelled());
}

#[test]
fn cancel_wakes_every_kind_of_wait() {
    watched(|| {
        let token = CancellationToken::new();
        let later = Instant::now() + Duration::from_secs(3600);
        let (sender, receiver) = unbounded::<()>();
        scope(&CancellationToken::new(), |s| {
            let waiting = Counter::default();
            let any = CancellationToken::any_of([&CancellationToken::new(), &token]);
            for child in [token.clone(), token.child_token().child_token(), any] {
                for kind in 0..5 {
                    let (child, waiting, receiver) = (child.clone(), waiting.clone(), &receiver);
                    s.spawn(move |_| {
                        waiting.add();
                        match kind {
                            0 => assert_eq!(child.wait(), CancelReason::Failed),
                            1 => assert_eq!(child.wait_timeout(Duration::MAX), Some(CancelReason::Failed)),
                            2 => assert_eq!(child.wait_deadline(later), Some(CancelReason::Failed)),
                            3 => assert_eq!(child.sleep(Duration::MAX), Err(Cancelled::new(CancelReason::Failed))),
                            _ => select! {
                                recv(receiver) -> _ => unreachable!("nothing is sent"),
                                recv(child.done()) -> never => assert!(never.is_err()),
                            },
                        }
                        Ok::<_, Cancelled>(())
                    })?;
                }
            }
            waiting.wait_for(15);
            reached("the cancel");
            token.cancel_with(CancelReason::Failed);
            Ok(())
        })
        .unwrap();
        drop(sender);
    });
}

#[test]
fn sixty_four_waits_of_each_kind_burn_no_cpu_time_and_all_wake() {
    const HOUR: Duration = Duration::from_secs(3600);
    const WAITS: [fn(&CancellationToken) -> bool; 5] = [
        |token| token.wait() == CancelReason::Requested,
        |token| token.wait_timeout(HOUR).is_some(),
        |token| token.wait_deadline(Instant::now() + HOUR).is_some(),
        |token| token.sleep(HOUR).is_err(),
        |token| token.done().recv().is_err(),
    ];
    if !alone!(sixty_four_waits_of_each_kind_burn_no_cpu_time_and_all_wake) {
        return;
    }
    watched(|| {
        for wait in WAITS {
            let token = CancellationToken::new();
            scope(&CancellationToken::new(), |s| {
                for at in 0..64 {
                    let token = if at % 2 == 0 { token.clone() } else { token.child_token() };
                    s.spawn(move |_| {
                        assert!(wait(&token));
                        Ok::<_, Cancelled>(())
                    })?;
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
fn waits_with_a_time_are_never_early() {
    for token in [CancellationToken::new(), CancellationToken::never()] {
        for timeout in [Duration::ZERO, Duration::from_micros(100), Duration::from_millis(20)] {
            let started = Instant::now();
            assert_eq!(token.wait_timeout(timeout), None);
            assert!(started.elapsed() >= timeout);
            let deadline = Instant::now() + timeout;
            assert_eq!(token.wait_deadline(deadline), None);
            assert!(Instant::now() >= deadline);
            let started = Instant::now();
            assert_eq!(token.sleep(timeout), Ok(()));
            assert!(started.elapsed() >= timeout);
        }
    }
}

#[test]
fn never_is_never_cancelled_and_its_children_are_tokens_like_any_other() {
    static NEVER: CancellationToken = CancellationToken::never();
    assert!(!NEVER.cancel());
    assert!(!NEVER.is_cancelled());
    assert_eq!((NEVER.reason(), NEVER.check(), NEVER.deadline()), (None, Ok(()), None));
    assert_eq!(NEVER.done().try_recv(), Err(TryRecvError::Empty));
    drop(NEVER.drop_guard());
    drop(NEVER.on_cancel(|_| unreachable!("nobody cancels it")));
    let (child, sibling) = (NEVER.child_token(), NEVER.child_token());
    assert!(child.cancel());
    assert!(child.is_cancelled() && !sibling.is_cancelled() && !NEVER.is_cancelled());
}

#[test]
#[expect(clippy::mutable_key_type, reason = "what is hashed never changes")]
fn tokens_are_equal_by_identity() {
    let (one, other) = (CancellationToken::new(), CancellationToken::new());
    assert_eq!(one, one.clone());
    assert_ne!(one, other);
    assert_ne!(one, one.child_token());
    assert_ne!(one, CancellationToken::never());
    assert_eq!(CancellationToken::never(), CancellationToken::never());
    let set: HashSet<CancellationToken> = [one.clone(), one.clone(), other, one.child_token()].into();
    assert_eq!(set.len(), 3);
    assert!(set.contains(&one));
}

#[test]
fn tokens_are_send_and_sync() {
    fn both<T: Send + Sync>() {}
    both::<CancellationToken>();
    both::<brigade::token::CancelCallback>();
    both::<brigade::token::DropGuard>();
}

#[test]
fn tokens_can_cross_a_catch_of_panics() {
    let token = CancellationToken::new();
    assert_eq!(std::panic::catch_unwind(|| token.is_cancelled()).ok(), Some(false));
}

#[test]
fn done_of_a_cancelled_token_is_disconnected() {
    let token = CancellationToken::new();
    let before = token.done();
    token.cancel();
    assert_eq!(before.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(token.done().try_recv(), Err(TryRecvError::Disconnected));
}

#[test]
fn a_drop_guard_cancels_unless_it_is_disarmed() {
    let token = CancellationToken::new();
    let same = token.drop_guard().disarm();
    assert!(!token.is_cancelled());
    drop(same.drop_guard());
    assert_eq!(token.reason(), Some(CancelReason::Dropped));
}

#[test]
fn of_two_cancels_one_wins_and_gives_the_reason() {
    for _ in 0..500 {
        let token = CancellationToken::new();
        let wins: Vec<_> = (0..2).map(|_| std::sync::OnceLock::new()).collect();
        let reasons = [CancelReason::Other("a"), CancelReason::Other("b")];
        together(
            (0..2)
                .map(|at| {
                    let (token, wins) = (&token, &wins);
                    Box::new(move || wins[at].set(token.cancel_with(reasons[at])).unwrap()) as Box<dyn FnOnce() + Send>
                })
                .collect(),
        );
        let winner = wins.iter().position(|won| *won.get().unwrap()).unwrap();
        assert!(!wins[1 - winner].get().unwrap());
        assert_eq!(token.reason(), Some(reasons[winner]));
    }
}

#[test]
fn when_all_cancels_have_returned_every_done_channel_is_disconnected() {
    watched(|| {
        for _ in 0..300 {
            let root = CancellationToken::new();
            let children: Vec<_> = (0..100).map(|_| root.child_token()).collect();
            let done: Vec<_> = children.iter().map(CancellationToken::done).collect();
            let is_told = |done: &Receiver<Never>| done.try_recv() == Err(TryRecvError::Disconnected);
            let part = || {
                // Nobody else has reached this one, or somebody has and tells it.
                if children[7].cancel() {
                    assert!(is_told(&done[7]));
                }
            };
            together(vec![Box::new(|| _ = root.cancel()), Box::new(|| _ = root.cancel()), Box::new(part)]);
            assert!(done.iter().all(is_told));
        }
    });
}

#[test]
fn done_of_a_live_token_disconnects_when_the_last_token_is_dropped() {
    let token = CancellationToken::new();
    let (done, child) = (token.done(), token.child_token());
    drop(token);
    assert_eq!(done.try_recv(), Err(TryRecvError::Empty));
    drop(child);
    assert_eq!(done.try_recv(), Err(TryRecvError::Disconnected));
}

#[test]
fn waiters_that_come_during_a_cancel_do_not_sleep_through_it() {
    watched(|| {
        for _ in 0..500 {
            let token = CancellationToken::new();
            let child = token.child_token();
            together(vec![
                Box::new(|| _ = child.wait()),
                Box::new(|| _ = child.done().recv()),
                Box::new(|| _ = token.cancel()),
            ]);
        }
    });
}

#[test]
fn debug_shows_state_and_reason() {
    let token = CancellationToken::new();
    assert_eq!(format!("{token:?}"), "CancellationToken { cancelled: false }");
    token.cancel();
    assert_eq!(format!("{token:?}"), "CancellationToken { cancelled: true, reason: Requested }");
}
