use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade::{CancelReason, CancellationToken, Cancelled, scope};
use crossbeam::channel::TryRecvError;

use crate::util::{Census, Gate, alone, message_of, payload_of, reached, together, until_others_sleep, watched};

fn count(token: &CancellationToken, counter: &Arc<AtomicUsize>) -> brigade::token::CancelCallback {
    let counter = Arc::clone(counter);
    token.on_cancel(move |_| _ = counter.fetch_add(1, Ordering::SeqCst))
}

#[test]
fn a_callback_runs_once_with_the_reason_of_the_winner() {
    let token = CancellationToken::new();
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let callback = token.on_cancel({
        let reasons = Arc::clone(&reasons);
        move |reason| reasons.lock().unwrap().push(reason)
    });
    assert!(reasons.lock().unwrap().is_empty());
    token.cancel_with(CancelReason::Signal(2));
    token.cancel();
    assert_eq!(*reasons.lock().unwrap(), [CancelReason::Signal(2)]);
    drop(callback);
    assert_eq!(reasons.lock().unwrap().len(), 1);
}

#[test]
fn a_callback_of_a_cancelled_token_runs_at_once() {
    let token = CancellationToken::new();
    token.cancel_with(CancelReason::Failed);
    for token in [token.clone(), token.child_token()] {
        let told = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&told);
        let _callback = token.on_cancel(move |reason| *tell.lock().unwrap() = Some(reason));
        assert_eq!(*told.lock().unwrap(), Some(CancelReason::Failed));
    }
}

#[test]
fn a_cancel_tells_all_descendants_and_nobody_else() {
    let parent = CancellationToken::new();
    let (token, sibling) = (parent.child_token(), parent.child_token());
    let children = [token.child_token(), token.child_token()];
    let grandchildren = [children[0].child_token(), children[0].child_token()];
    let great_grandchild = grandchildren[0].child_token();
    let (told, others) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut callbacks: Vec<_> = children.iter().chain(&grandchildren).map(|token| count(token, &told)).collect();
    callbacks.extend([count(&token, &told), count(&great_grandchild, &told)]);
    callbacks.extend([count(&parent, &others), count(&sibling, &others)]);
    token.cancel();
    assert_eq!((told.load(Ordering::SeqCst), others.load(Ordering::SeqCst)), (6, 0));
    assert!(!parent.is_cancelled() && !sibling.is_cancelled());
    parent.cancel();
    assert_eq!((told.load(Ordering::SeqCst), others.load(Ordering::SeqCst)), (6, 2));
}

#[test]
fn a_callback_whose_handle_is_dropped_never_runs_and_is_dropped_once() {
    let (token, census) = (CancellationToken::new(), Census::default());
    let callback = token.on_cancel({
        let held = census.make(());
        move |_| {
            drop(held);
            unreachable!("it was taken back")
        }
    });
    assert_eq!(census.alive(), 1);
    drop(callback);
    assert_eq!(census.alive(), 0);
    token.cancel();
}

#[test]
fn a_detached_callback_stays_until_it_runs_or_the_token_is_gone() {
    let (token, census) = (CancellationToken::new(), Census::default());
    let held = census.make(());
    let ran = Arc::new(AtomicUsize::new(0));
    count(&token, &ran).detach();
    token.on_cancel(move |_| drop(held)).detach();
    assert_eq!((ran.load(Ordering::SeqCst), census.alive()), (0, 1));
    token.cancel();
    assert_eq!((ran.load(Ordering::SeqCst), census.alive()), (1, 0));
    let (token, held) = (CancellationToken::new(), census.make(()));
    token.on_cancel(move |_| drop(held)).detach();
    drop(token);
    assert_eq!(census.alive(), 0);
}

#[test]
fn what_a_callback_holds_is_dropped_once_in_every_case() {
    let census = Census::default();
    let hold = |token: &CancellationToken| {
        let held = census.make(());
        token.on_cancel(move |_| drop(held))
    };
    let token = CancellationToken::new();
    let (kept, taken_back) = (hold(&token), hold(&token));
    drop(taken_back);
    assert_eq!(census.alive(), 1);
    token.cancel();
    assert_eq!(census.alive(), 0);
    drop(kept);
    drop(hold(&token));
    assert_eq!(census.alive(), 0);
    let token = CancellationToken::new();
    let outlives = hold(&token);
    drop(token);
    assert_eq!(census.alive(), 1);
    drop(outlives);
    assert_eq!(census.alive(), 0);
}

#[test]
fn dropping_the_handle_waits_for_a_callback_that_runs() {
    if !alone!(dropping_the_handle_waits_for_a_callback_that_runs) {
        return;
    }
    watched(|| {
        let token = CancellationToken::new();
        let (running, finish, ended) = (Gate::default(), Gate::default(), Arc::new(AtomicBool::new(false)));
        let callback = token.on_cancel({
            let (running, finish, ended) = (running.clone(), finish.clone(), Arc::clone(&ended));
            move |_| {
                running.open();
                finish.pass();
                ended.store(true, Ordering::SeqCst);
            }
        });
        scope(&CancellationToken::never(), |s| {
            s.spawn(|_| Ok(token.cancel()))?;
            running.pass();
            let dropping = s.spawn(|_| {
                drop(callback);
                assert!(ended.load(Ordering::SeqCst), "the drop returned while the callback was running");
                Ok(())
            })?;
            // One in the callback, one in the drop.
            until_others_sleep();
            assert!(!dropping.is_finished());
            finish.open();
            reached("the join");
            Ok::<_, Cancelled>(())
        })
        .unwrap();
    });
}

#[test]
fn a_callback_can_drop_its_own_handle() {
    watched(|| {
        let token = CancellationToken::new();
        let own = Arc::new(Mutex::new(None));
        let callback = token.on_cancel({
            let own = Arc::clone(&own);
            move |_| drop(own.lock().unwrap().take())
        });
        *own.lock().unwrap() = Some(callback);
        assert!(token.cancel());
        assert!(own.lock().unwrap().is_none());
    });
}

#[test]
fn a_callback_that_drops_the_handle_of_a_later_one_keeps_it_from_running() {
    watched(|| {
        let token = CancellationToken::new();
        let later = Arc::new(Mutex::new(None));
        let _first = token.on_cancel({
            let later = Arc::clone(&later);
            move |_| drop(later.lock().unwrap().take())
        });
        let ran = Arc::new(AtomicUsize::new(0));
        *later.lock().unwrap() = Some(count(&token, &ran));
        token.cancel();
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_callback_runs_outside_every_lock() {
    watched(|| {
        let root = CancellationToken::new();
        let token = root.child_token();
        let ran = Arc::new(AtomicUsize::new(0));
        let (inner, counter) = (token.clone(), Arc::clone(&ran));
        let _callback = token.on_cancel(move |_| {
            assert!(inner.is_cancelled() && !inner.cancel());
            assert!(inner.child_token().is_cancelled());
            assert!(inner.child_with_timeout(Duration::from_secs(1)).is_cancelled());
            assert_eq!(inner.done().try_recv(), Err(TryRecvError::Disconnected));
            assert_eq!(inner.wait(), CancelReason::Requested);
            drop(count(&inner, &counter));
            drop(format!("{inner:?}"));
        });
        root.cancel();
        assert_eq!(ran.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_callback_keeps_nobody_asleep_who_waits() {
    watched(|| {
        let parent = CancellationToken::new();
        let child = parent.child_token();
        let awake = Gate::default();
        let _callback = parent.on_cancel({
            let awake = awake.clone();
            move |_| assert!(awake.pass())
        });
        scope(&CancellationToken::never(), |s| {
            s.spawn(|_| {
                child.wait();
                awake.open();
                Ok::<_, Cancelled>(())
            })?;
            parent.cancel();
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn callbacks_that_all_cancel_the_root_neither_recurse_nor_go_over_the_tree_again() {
    watched(|| {
        let root = CancellationToken::new();
        let callbacks: Vec<_> = (0..100_000)
            .map(|_| {
                let (child, root) = (root.child_token(), root.clone());
                let callback = child.on_cancel(move |_| _ = root.cancel());
                (child, callback)
            })
            .collect();
        callbacks[77_777].0.cancel();
        reached("the cancel of one, which cancels all");
        assert!(root.is_cancelled());
    });
}

#[test]
fn a_panic_of_a_callback_is_resumed_when_all_are_told() {
    watched(|| {
        let root = CancellationToken::new();
        let child = root.child_token();
        let told = Arc::new(AtomicUsize::new(0));
        let callbacks = [
            count(&root, &told),
            root.on_cancel(|_| std::panic::panic_any(41_u32)),
            root.on_cancel(|_| panic!("the second, which is dropped")),
            count(&root, &told),
            child.on_cancel(|_| panic!("the child's, which is dropped")),
            count(&child, &told),
        ];
        let done = child.done();
        let payload = payload_of(|| _ = root.cancel());
        assert_eq!(payload.downcast_ref(), Some(&41_u32));
        assert_eq!(told.load(Ordering::SeqCst), 3);
        assert_eq!(done.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(child.wait(), CancelReason::Requested);
        assert!(!root.cancel());
        drop(callbacks);
        assert_eq!(message_of(|| drop(root.on_cancel(|_| panic!("at once")))), "at once");
    });
}

#[test]
fn a_payload_whose_drop_panics_does_not_keep_others_from_being_told() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in the drop of a payload: this is meant");
        }
    }
    watched(|| {
        let token = CancellationToken::new();
        let told = Arc::new(AtomicUsize::new(0));
        let _callbacks = [
            token.on_cancel(|_| panic!("the first")),
            token.on_cancel(|_| std::panic::panic_any(Bomb)),
            count(&token, &told),
        ];
        assert_eq!(message_of(|| _ = token.cancel()), "the first");
        assert_eq!(told.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_guard_dropped_by_a_panic_cancels_even_if_a_callback_panics() {
    watched(|| {
        let token = CancellationToken::new();
        let _callback = token.on_cancel(|_| panic!("the callback's, which is dropped"));
        let message = message_of(|| {
            let _guard = token.drop_guard();
            panic!("the body's");
        });
        assert_eq!(message, "the body's");
        assert_eq!(token.reason(), Some(CancelReason::Dropped));
    });
}

#[test]
fn a_panic_of_a_callback_on_a_scopes_token_is_the_scopes() {
    watched(|| {
        let message = message_of(|| {
            let _ = scope(&CancellationToken::new(), |s| {
                s.token().on_cancel(|_| panic!("the callback's")).detach();
                let waiting = s.spawn(|s| Ok(s.token().wait()))?;
                s.spawn(|_| Err::<(), _>(Cancelled::new(CancelReason::Other("the failure"))))?;
                s.token().wait();
                waiting.join()
            });
        });
        assert_eq!(message, "the callback's");
    });
}

#[test]
fn callbacks_that_come_and_go_during_a_cancel_run_once_or_never() {
    watched(|| {
        for _ in 0..200 {
            let root = CancellationToken::new();
            let token = root.child_token();
            let register = || {
                for at in 0..50 {
                    let runs = Arc::new(AtomicUsize::new(0));
                    let callback = count(&token, &runs);
                    if at % 2 == 0 {
                        root.wait();
                        // Not all have been told yet when a waiter is awake; the drop settles it.
                    }
                    drop(callback);
                    let settled = runs.load(Ordering::SeqCst);
                    assert!(settled <= 1);
                    if token.is_cancelled() {
                        drop(count(&token, &runs));
                        assert_eq!(runs.load(Ordering::SeqCst), settled + 1);
                    }
                }
            };
            together(vec![Box::new(register), Box::new(|| _ = root.cancel()), Box::new(register)]);
        }
    });
}

#[test]
fn a_handle_shows_its_stage() {
    let token = CancellationToken::new();
    let callback = token.on_cancel(|_| ());
    assert_eq!(format!("{callback:?}"), r#"CancelCallback { stage: "waiting" }"#);
    token.cancel();
    assert_eq!(format!("{callback:?}"), r#"CancelCallback { stage: "ended" }"#);
    assert_eq!(format!("{:?}", token.on_cancel(|_| ())), r#"CancelCallback { stage: "none" }"#);
}
