//! Tokens and their descendants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use brigade::{CancelReason, CancellationToken};
use proptest::prelude::*;

use crate::util::{alone, memory, reached, together, watched};

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

/// A step of a random program, and of its model.
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
        // The model never drops, because a dropped token still connects.
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
