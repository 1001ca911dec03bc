//! The token: cancels, children, callbacks and splices at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::token::CancelCallback;
use brigade::{CancelReason, CancellationToken};
use loom::model;
use loom::sync::Mutex;
use loom::sync::atomic::AtomicBool;
use loom::thread::spawn;

use crate::{A, bounded, with};

const B: CancelReason = CancelReason::Other("b");

/// A count of the model itself, which is not to be explored: std's atomic, not loom's.
type Count = Arc<AtomicUsize>;

fn count(token: &CancellationToken, count: &Count) -> CancelCallback {
    let count = Arc::clone(count);
    token.on_cancel(move |_| _ = count.fetch_add(1, Ordering::SeqCst))
}

#[test]
fn a_wait_does_not_sleep_through_a_cancel() {
    model(|| {
        let token = CancellationToken::new();
        let cancelling = with(&token, |token| token.cancel_with(A));
        assert_eq!(token.wait(), A);
        assert!(token.is_cancelled());
        assert!(cancelling.join().unwrap());
    });
}

#[test]
fn a_wait_for_a_child_does_not_sleep_through_a_cancel_of_the_parent() {
    model(|| {
        let parent = CancellationToken::new();
        let child = parent.child_token();
        let cancelling = with(&parent, |parent| parent.cancel_with(A));
        assert_eq!(child.wait(), A);
        assert!(parent.is_cancelled());
        assert!(cancelling.join().unwrap());
    });
}

#[test]
fn two_waits_are_both_woken() {
    bounded(4, || {
        let token = CancellationToken::new();
        let waiting = with(&token, CancellationToken::wait);
        let cancelling = with(&token, |token| token.cancel_with(A));
        assert_eq!(token.wait(), A);
        assert_eq!(waiting.join().unwrap(), A);
        assert!(cancelling.join().unwrap());
    });
}

#[test]
fn of_two_reasons_one_wins_and_who_gave_it_knows() {
    bounded(4, || {
        let token = CancellationToken::new();
        let child = token.child_token();
        let other = with(&token, |token| {
            let won = token.cancel_with(A);
            assert!(token.is_cancelled());
            (won, token.reason())
        });
        let won = token.cancel_with(B);
        assert!(child.is_cancelled());
        let reason = token.reason();
        let (other_won, other_reason) = other.join().unwrap();
        assert_ne!(won, other_won);
        assert_eq!(reason, Some(if won { B } else { A }));
        assert_eq!((other_reason, child.reason()), (reason, reason));
    });
}

#[test]
fn a_cancel_of_the_child_and_one_of_the_parent_leave_both_cancelled_and_all_told() {
    bounded(4, || {
        let parent = CancellationToken::new();
        let child = parent.child_token();
        let grandchild = child.child_token();
        let done = grandchild.done();
        let other = with(&child, |child| {
            child.cancel_with(A);
            assert!(child.is_cancelled());
        });
        assert!(parent.cancel_with(B));
        assert!(child.is_cancelled() && grandchild.is_cancelled());
        other.join().unwrap();
        assert!(done.try_recv().is_err_and(|error| error.is_disconnected()));
        assert_eq!(parent.reason(), Some(B));
        assert_eq!(grandchild.reason(), child.reason());
    });
}

#[test]
fn a_child_made_during_a_cancel_is_cancelled_when_both_have_returned() {
    model(|| {
        let parent = CancellationToken::new();
        let making = with(&parent, |parent| {
            let child = parent.child_token();
            (child.child_token(), child)
        });
        parent.cancel_with(A);
        let (grandchild, child) = making.join().unwrap();
        assert_eq!((child.reason(), grandchild.reason()), (Some(A), Some(A)));
    });
}

#[test]
fn a_child_of_two_parents_is_told_once_by_two_cancels() {
    bounded(4, || {
        let parents = [CancellationToken::new(), CancellationToken::new()];
        let child = CancellationToken::any_of(&parents);
        let told = Count::default();
        let callback = count(&child, &told);
        let other = with(&parents[0], |parent| parent.cancel_with(A));
        assert!(parents[1].cancel_with(B));
        assert!(child.is_cancelled());
        assert!(other.join().unwrap());
        assert_eq!(told.load(Ordering::SeqCst), 1);
        drop(callback);
    });
}

#[test]
fn children_dropped_during_a_cancel_are_dropped_once_and_the_others_are_told() {
    model(|| {
        let parent = CancellationToken::new();
        let (dropped, kept) = (parent.child_token(), parent.child_token());
        let leaf = dropped.child_token();
        let dropping = spawn(move || drop(dropped));
        parent.cancel_with(A);
        assert!(kept.is_cancelled() && leaf.is_cancelled());
        dropping.join().unwrap();
    });
}

#[test]
fn a_callback_registered_during_a_cancel_runs_once() {
    model(|| {
        let token = CancellationToken::new();
        let told = Count::default();
        let registering = with(&token, {
            let told = Arc::clone(&told);
            move |token| count(token, &told)
        });
        token.cancel_with(A);
        let callback = registering.join().unwrap();
        assert_eq!(told.load(Ordering::SeqCst), 1);
        drop(callback);
    });
}

#[test]
fn a_callback_whose_handle_is_dropped_during_a_cancel_has_run_or_never_will() {
    model(|| {
        let token = CancellationToken::new();
        // Loom's own, so that the callback can be interrupted between the two.
        let steps = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let taken = |steps: &[AtomicBool; 2]| steps.each_ref().map(|step| step.load(Ordering::SeqCst));
        let callback = token.on_cancel({
            let steps = Arc::clone(&steps);
            move |_| steps.iter().for_each(|step| step.store(true, Ordering::SeqCst))
        });
        let cancelling = with(&token, |token| token.cancel_with(A));
        drop(callback);
        let settled = taken(&steps);
        assert_eq!(settled[0], settled[1], "the drop returned while the callback was running");
        assert!(cancelling.join().unwrap());
        assert_eq!(taken(&steps), settled);
    });
}

#[test]
fn a_callback_that_drops_its_own_handle_waits_for_nobody() {
    model(|| {
        let token = CancellationToken::new();
        let own = Arc::new(Mutex::new(None));
        let callback = token.on_cancel({
            let own = Arc::clone(&own);
            move |_| {
                // Out of the lock before it is dropped: the other thread may be about to put it there.
                let handle = own.lock().unwrap().take();
                drop::<Option<CancelCallback>>(handle);
            }
        });
        let cancelling = with(&token, |token| token.cancel_with(A));
        *own.lock().unwrap() = Some(callback);
        assert!(cancelling.join().unwrap());
        let left = own.lock().unwrap().take();
        drop(left);
    });
}

#[test]
fn a_generation_spliced_out_during_a_cancel_from_above_hides_no_descendant() {
    bounded(4, || {
        let root = CancellationToken::new();
        let middle = root.child_token();
        let leaf = middle.child_token();
        drop(middle);
        let cancelling = with(&root, |root| {
            root.cancel_with(A);
        });
        let next = leaf.child_token();
        cancelling.join().unwrap();
        assert_eq!((leaf.reason(), next.reason()), (Some(A), Some(A)));
    });
}

#[test]
fn two_that_splice_the_same_generation_out_during_a_cancel_hide_no_descendant() {
    bounded(2, || {
        let roots = [CancellationToken::new(), CancellationToken::new()];
        let middle = CancellationToken::any_of(&roots);
        let fork = middle.child_token();
        let (left, right) = (fork.child_token(), fork.child_token());
        drop(middle);
        let other = with(&right, CancellationToken::child_token);
        let cancelling = with(&roots[1], |root| root.cancel_with(A));
        let next = left.child_token();
        let other = other.join().unwrap();
        assert!(cancelling.join().unwrap());
        for token in [fork, left, right, next, other] {
            assert_eq!(token.reason(), Some(A));
        }
    });
}
