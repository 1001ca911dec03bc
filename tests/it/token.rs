use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use brigade::token::Never;
use brigade::{CancelReason, CancellationToken, Cancelled, scope};
use crossbeam::channel::{Receiver, TryRecvError, select, unbounded};
use proptest::prelude::*;

use crate::util::{Counter, alone, cpu_time, memory, reached, together, until_others_sleep, watched};

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
fn cancel_reaches_every_descendant_with_its_reason() {
    let root = CancellationToken::new();
    let children: Vec<_> = (0..10).map(|_| root.child_token()).collect();
    let grandchildren: Vec<_> = children.iter().flat_map(|child| [child.child_token(), child.child_token()]).collect();
    root.cancel_with(CancelReason::Signal(15));
    for token in children.iter().chain(&grandchildren) {
        assert_eq!(token.reason(), Some(CancelReason::Signal(15)));
    }
}

#[test]
fn a_child_never_cancels_its_parent_or_siblings() {
    let root = CancellationToken::new();
    let (child, sibling) = (root.child_token(), root.child_token());
    let grandchild = child.child_token();
    child.cancel();
    assert!(grandchild.is_cancelled() && !root.is_cancelled() && !sibling.is_cancelled());
}

#[test]
fn a_child_that_was_cancelled_keeps_its_own_reason() {
    let root = CancellationToken::new();
    let child = root.child_token();
    child.cancel_with(CancelReason::Failed);
    root.cancel();
    assert_eq!(child.reason(), Some(CancelReason::Failed));
}

#[test]
fn a_child_of_a_cancelled_token_is_born_cancelled() {
    let root = CancellationToken::new();
    root.cancel_with(CancelReason::Deadline);
    let child = root.child_token();
    assert_eq!(child.reason(), Some(CancelReason::Deadline));
    assert_eq!(child.child_token().wait(), CancelReason::Deadline);
}

#[test]
fn dropping_a_middle_token_orphans_nobody() {
    let root = CancellationToken::new();
    let leaf = {
        let middle = root.child_token();
        middle.child_token().child_token()
    };
    assert!(!leaf.is_cancelled());
    root.cancel();
    assert!(leaf.is_cancelled());
}

#[test]
fn dropping_tokens_cancels_nothing() {
    let root = CancellationToken::new();
    let child = root.child_token();
    drop(root);
    assert!(!child.is_cancelled());
    drop(child.clone());
    assert!(!child.is_cancelled());
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
fn any_of_several_cancels_with_its_reason_and_no_other() {
    for winner in 0..3 {
        let tokens: Vec<_> = (0..3).map(|_| CancellationToken::new()).collect();
        let any = CancellationToken::any_of(&tokens);
        let below = any.child_token();
        assert!(!below.is_cancelled());
        tokens[winner].cancel_with(CancelReason::Other("this one"));
        assert_eq!((any.reason(), below.reason()), (Some(CancelReason::Other("this one")), any.reason()));
        assert_eq!(tokens.iter().filter(|token| token.is_cancelled()).count(), 1);
        tokens[(winner + 1) % 3].cancel();
        assert_eq!(any.reason(), Some(CancelReason::Other("this one")));
    }
}

#[test]
fn any_of_can_be_cancelled_alone() {
    let tokens = [CancellationToken::new(), CancellationToken::new()];
    let any = CancellationToken::any_of(&tokens);
    assert!(any.cancel());
    assert!(tokens.iter().all(|token| !token.is_cancelled()));
}

#[test]
fn any_of_none_or_of_never_is_a_token_of_its_own() {
    for any in [CancellationToken::any_of([]), CancellationToken::any_of([&CancellationToken::never()])] {
        assert!(!any.is_cancelled());
        assert!(any.cancel());
    }
}

#[test]
fn any_of_a_cancelled_token_is_born_cancelled() {
    let (live, cancelled) = (CancellationToken::new(), CancellationToken::new());
    cancelled.cancel_with(CancelReason::Signal(1));
    for order in [[&live, &cancelled], [&cancelled, &live]] {
        assert_eq!(CancellationToken::any_of(order).reason(), Some(CancelReason::Signal(1)));
    }
}

#[test]
fn any_of_stays_connected_when_its_tokens_are_dropped() {
    let roots = [CancellationToken::new(), CancellationToken::new()];
    let any = {
        let middle = roots.each_ref().map(CancellationToken::child_token);
        CancellationToken::any_of(&middle)
    };
    assert!(!any.is_cancelled());
    roots[1].cancel();
    assert!(any.is_cancelled());
}

#[test]
fn a_token_dropped_during_a_cancel_does_not_hide_one_that_takes_its_place_in_memory() {
    watched(|| {
        for _ in 0..50 {
            let root = CancellationToken::new();
            let first = root.child_token();
            let crowd: Vec<_> = (0..5_000).map(|_| root.child_token()).collect();
            let last = crowd[4_999].child_token();
            let made = std::sync::Mutex::new(Vec::new());
            let replace = || {
                let both = CancellationToken::any_of([&first, &last]);
                both.cancel();
                while !first.is_cancelled() {}
                drop(both);
                let other = CancellationToken::new();
                made.lock().unwrap().extend((0..50).map(|_| CancellationToken::any_of([&last, &other])));
            };
            together(vec![Box::new(replace), Box::new(|| _ = root.cancel())]);
            assert!(made.lock().unwrap().iter().all(CancellationToken::is_cancelled));
        }
    });
}

#[test]
fn a_diamond_upon_a_diamond_is_cancelled_in_linear_time() {
    watched(|| {
        let root = CancellationToken::new();
        let mut callbacks = Vec::new();
        // A walk along every path would take 2^200 steps.
        let leaf = (0..200).fold(root.clone(), |top, _| {
            let bottom = CancellationToken::any_of([&top.child_token(), &top, &top.child_token()]);
            let told = Arc::new(AtomicUsize::new(0));
            callbacks.push((Arc::clone(&told), bottom.on_cancel(move |_| _ = told.fetch_add(1, Ordering::Relaxed))));
            bottom
        });
        root.cancel();
        assert!(leaf.is_cancelled());
        assert!(callbacks.iter().all(|(told, _)| told.load(Ordering::Relaxed) == 1));
    });
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
fn when_a_cancel_returns_every_descendant_reads_cancelled_even_if_it_lost() {
    watched(|| {
        for _ in 0..100 {
            let root = CancellationToken::new();
            let middle: Vec<_> = (0..20).map(|_| root.child_token()).collect();
            let leaves: Vec<_> = middle.iter().flat_map(|m| (0..10).map(|_| m.child_token())).collect();
            let cancel = || {
                root.cancel();
                assert!(leaves.iter().all(CancellationToken::is_cancelled));
            };
            let part = || {
                middle[0].cancel();
                assert!(leaves[..10].iter().all(CancellationToken::is_cancelled));
            };
            together(vec![Box::new(cancel), Box::new(cancel), Box::new(part)]);
        }
    });
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
fn children_born_and_dropped_during_a_cancel_are_cancelled_or_gone() {
    watched(|| {
        for _ in 0..200 {
            let root = CancellationToken::new();
            let kept = std::sync::Mutex::new(Vec::new());
            let breed = || {
                for at in 0..50 {
                    let child = root.child_token();
                    if at % 2 == 0 {
                        kept.lock().unwrap().push(child.child_token());
                    }
                }
            };
            together(vec![Box::new(breed), Box::new(|| _ = root.cancel()), Box::new(breed)]);
            assert!(kept.lock().unwrap().iter().all(CancellationToken::is_cancelled));
        }
    });
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
fn a_million_children_leave_memory_flat() {
    if !alone!(a_million_children_leave_memory_flat) {
        return;
    }
    let (root, other) = (CancellationToken::new(), CancellationToken::new());
    let kinds: [&dyn Fn(); 4] = [
        &|| drop(root.child_token()),
        &|| drop(CancellationToken::any_of([&root, &other])),
        &|| drop(root.child_with_timeout(Duration::from_secs(3600))),
        &|| drop(root.on_cancel(|_| ())),
    ];
    for kind in kinds {
        let breed = || (0..1_000_000).for_each(|_| kind());
        breed();
        let before = memory();
        breed();
        let grown = memory().saturating_sub(before);
        assert!(grown < 1 << 20, "grew by {grown} bytes");
    }
}

#[test]
fn a_chain_of_200_000_cancels_and_drops_without_recursion() {
    watched(|| {
        let root = CancellationToken::new();
        let chain = |from: &CancellationToken| (0..200_000).fold(from.clone(), |token, _| token.child_token());
        let leaf = chain(&root);
        root.cancel();
        assert!(leaf.is_cancelled());
        reached("the drop of a cancelled chain");
        drop(leaf);
        reached("the drop of a live chain, leaf last");
        let root = CancellationToken::new();
        let leaf = chain(&root);
        drop(root);
        drop(leaf);
        reached("the drop of a live chain, root last");
        let tokens: Vec<_> = std::iter::successors(Some(CancellationToken::new()), |token| Some(token.child_token()))
            .take(200_000)
            .collect();
        drop(tokens);
    });
}

#[test]
fn debug_shows_state_and_reason() {
    let token = CancellationToken::new();
    assert_eq!(format!("{token:?}"), "CancellationToken { cancelled: false }");
    token.cancel();
    assert_eq!(format!("{token:?}"), "CancellationToken { cancelled: true, reason: Requested }");
}

#[test]
fn a_chain_of_200_000_any_of_cancels_and_drops_without_recursion() {
    watched(|| {
        let chain = |from: &CancellationToken| {
            (0..200_000).fold(from.clone(), |token, _| CancellationToken::any_of([&token, from]))
        };
        let root = CancellationToken::new();
        let leaf = chain(&root);
        root.cancel();
        assert!(leaf.is_cancelled());
        reached("the drop of a cancelled chain");
        drop((leaf, root));
        reached("the drop of a live chain");
        let root = CancellationToken::new();
        let leaf = chain(&root);
        drop((root, leaf));
    });
}

/// What happens to tokens in a random program, and in a model of it.
#[derive(Clone, Debug)]
enum Step {
    Child(usize),
    AnyOf(Vec<usize>),
    Cancel(usize),
    Drop(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || 0..64_usize;
    let step = prop_oneof![
        4 => at().prop_map(Step::Child),
        2 => proptest::collection::vec(at(), 0..4).prop_map(Step::AnyOf),
        1 => at().prop_map(Step::Cancel),
        3 => at().prop_map(Step::Drop),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn any_program_of_children_and_cancels_agrees_with_a_walk_up_the_tree(steps in steps()) {
        // The model never drops: what was dropped still connects.
        let mut tokens = vec![Some(CancellationToken::new())];
        let mut parents: Vec<Vec<usize>> = vec![vec![]];
        let mut reasons = vec![None];
        for (number, step) in steps.into_iter().enumerate() {
            let living: Vec<usize> = (0..tokens.len()).filter(|at| tokens[*at].is_some()).collect();
            let Some(pick) = (!living.is_empty()).then_some(|at: usize| living[at % living.len()]) else { break };
            match step {
                Step::Child(of) => {
                    let of = pick(of);
                    tokens.push(tokens[of].as_ref().map(CancellationToken::child_token));
                    parents.push(vec![of]);
                    reasons.push(reasons[of]);
                }
                Step::AnyOf(of) => {
                    let of: Vec<usize> = of.into_iter().map(pick).collect();
                    tokens.push(Some(CancellationToken::any_of(of.iter().map(|at| tokens[*at].as_ref().unwrap()))));
                    reasons.push(of.iter().find_map(|at| reasons[*at]));
                    parents.push(of);
                }
                Step::Cancel(at) => {
                    let at = pick(at);
                    let reason = CancelReason::Signal(i32::try_from(number).unwrap());
                    let won = tokens[at].as_ref().unwrap().cancel_with(reason);
                    prop_assert_eq!(won, reasons[at].is_none());
                    reasons[at] = reasons[at].or(Some(reason));
                    // Children come after their parents.
                    for below in at + 1..tokens.len() {
                        reasons[below] = reasons[below].or(parents[below].iter().find_map(|up| reasons[*up]));
                    }
                }
                Step::Drop(at) => tokens[pick(at)] = None,
            }
            for (at, token) in tokens.iter().enumerate() {
                if let Some(token) = token {
                    prop_assert_eq!(token.reason(), reasons[at]);
                }
            }
        }
    }
}
