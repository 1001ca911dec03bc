//! The thread that watches over the deadlines.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};
use std::{fs, thread};

use brigade::limit::{Rate, RateLimiter};
use brigade::{CancelReason, CancellationToken, Cancelled, Pipeline, Semaphore, Until, merge, par_map, scope};
use crossbeam::channel::bounded;

use crate::util::{Counter, Gate, alone, live, reached, threads, until_threads, watched};

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(5);

fn has_clock() -> bool {
    fs::read_dir("/proc/self/task").unwrap().any(|task| {
        fs::read_to_string(task.unwrap().path().join("comm")).is_ok_and(|name| name.trim() == "brigade-clock")
    })
}

#[test]
fn the_clock_runs_while_a_deadline_is_armed_and_ends_soon_after() {
    if !alone!(the_clock_runs_while_a_deadline_is_armed_and_ends_soon_after) {
        return;
    }
    watched(|| {
        let root = CancellationToken::new();
        let before = threads();
        let mut ways: Vec<Box<dyn FnMut()>> = vec![
            Box::new(|| drop(root.child_with_timeout(HOUR))),
            Box::new(|| _ = root.child_with_timeout(SOON).wait()),
            Box::new(|| {
                // A token that stays, but has been cancelled, keeps no clock.
                let cancelled = root.child_with_timeout(HOUR);
                cancelled.cancel();
                until_threads(before);
                drop(cancelled);
            }),
        ];
        for way in &mut ways {
            let armed = root.child_with_timeout(HOUR);
            thread::yield_now();
            assert_eq!(threads(), before + 1);
            crate::util::until(has_clock);
            drop(armed);
            way();
            until_threads(before);
            reached("the next way");
        }
        // A deadline that an ancestor's makes needless arms nothing.
        let passed = root.child_with_timeout(Duration::ZERO);
        assert!(passed.child_with_timeout(HOUR).is_cancelled());
        assert_eq!(threads(), before);
    });
}

#[test]
fn a_callback_that_panics_on_the_clock_does_not_stop_it() {
    watched(|| {
        let root = CancellationToken::new();
        let bad = root.child_with_timeout(SOON);
        let _callback = bad.on_cancel(|_| panic!("on the clock: this is meant"));
        let good = root.child_with_timeout(2 * SOON);
        assert_eq!(good.wait(), CancelReason::Deadline);
        assert_eq!(bad.wait(), CancelReason::Deadline);
    });
}

/// A way for a callback to wait for a deadline; returns why the wait ended.
type Way = fn(&CancellationToken) -> CancelReason;

/// The number that the system gave to the clock's thread.
fn clock_id() -> Option<String> {
    fs::read_dir("/proc/self/task").unwrap().flatten().find_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        (name.trim() == "brigade-clock").then(|| task.file_name().into_string().unwrap())
    })
}

#[test]
fn a_callback_on_the_clock_can_wait_for_deadlines() {
    if !alone!(a_callback_on_the_clock_can_wait_for_deadlines) {
        return;
    }
    watched(|| {
        let root = CancellationToken::new();
        let before = threads();
        let far = root.child_with_timeout(HOUR);
        let ways: [(&str, Way); 5] = [
            ("a wait", |root| root.child_with_timeout(SOON).wait()),
            ("a sleep", |root| root.child_with_timeout(SOON).sleep(HOUR).unwrap_err().reason()),
            ("a pipeline", |root| {
                let token = root.child_with_timeout(SOON);
                Pipeline::from_iter(0..).threads(2).for_each(&token, |_: u64| ()).unwrap_err().reason()
            }),
            ("a scope", |root| {
                scope(&root.child_with_timeout(SOON), |s| s.spawn(|s| s.token().sleep(HOUR))?.join())
                    .unwrap_err()
                    .reason()
            }),
            ("a callback, two levels down", |root| {
                let told = Gate::default();
                let (token, opens, inner) = (root.child_with_timeout(SOON), told.clone(), root.clone());
                token
                    .on_cancel(move |_| {
                        let token = inner.child_with_timeout(SOON);
                        let (told, tell) = (Gate::default(), Gate::clone(&opens));
                        let opens = told.clone();
                        token.on_cancel(move |_| opens.open()).detach();
                        told.pass();
                        tell.open();
                    })
                    .detach();
                told.pass();
                token.wait()
            }),
        ];
        for (name, way) in ways {
            for keeps_far in [true, false] {
                reached(name);
                // With another deadline armed the thread has to find a successor at once, without one later.
                let far = keeps_far.then(|| root.child_with_timeout(HOUR));
                let (entered, leave, ended) = (Gate::default(), Gate::default(), Counter::default());
                let armed_before = root.child_with_timeout(2 * SOON);
                let token = root.child_with_timeout(4 * SOON);
                let callback = {
                    let (entered, leave, ended, root) = (entered.clone(), leave.clone(), ended.clone(), root.clone());
                    move |_| {
                        assert_eq!(way(&root), CancelReason::Deadline);
                        entered.open();
                        leave.pass();
                        ended.add();
                    }
                };
                scope(&CancellationToken::never(), |s| {
                    // On a slow machine the deadline may have passed, and the callback runs on this thread.
                    let handle = s.spawn(|_| Ok::<_, Cancelled>(token.on_cancel(callback)))?;
                    entered.pass();
                    assert_eq!(armed_before.wait(), CancelReason::Deadline);
                    // The callback is not over, and new deadlines fire.
                    assert_eq!(root.child_with_timeout(SOON).wait(), CancelReason::Deadline);
                    leave.open();
                    ended.wait_for(1);
                    handle.join().map(drop)
                })
                .unwrap();
                drop(far);
            }
        }
        assert!(!far.is_cancelled());
        drop(far);
        until_threads(before);
    });
}

#[test]
fn many_callbacks_that_block_on_the_clock_stop_no_deadline_and_leave_no_thread() {
    if !alone!(many_callbacks_that_block_on_the_clock_stop_no_deadline_and_leave_no_thread) {
        return;
    }
    watched(|| {
        let root = CancellationToken::new();
        let before = threads();
        let (entered, leave) = (Counter::default(), Gate::default());
        scope(&CancellationToken::never(), |s| {
            for at in 1..=20 {
                let token = root.child_with_timeout(SOON);
                let (counts, leave) = (entered.clone(), leave.clone());
                let register = token.clone();
                // As above.
                s.spawn(move |_| {
                    let blocks = move |_| {
                        counts.add();
                        leave.pass();
                    };
                    register.on_cancel(blocks).detach();
                    Ok::<_, Cancelled>(())
                })?;
                entered.wait_for(at);
                assert_eq!(token.reason(), Some(CancelReason::Deadline));
            }
            assert_eq!(root.child_with_timeout(SOON).wait(), CancelReason::Deadline);
            leave.open();
            Ok(())
        })
        .unwrap();
        until_threads(before);
    });
}

#[test]
fn a_captured_value_dropped_by_the_clock_cannot_stop_it() {
    struct Waits(CancellationToken, Gate);
    impl Drop for Waits {
        fn drop(&mut self) {
            // On this thread or the clock's: neither may be the one that it waits for.
            assert_eq!(self.0.child_with_timeout(SOON).wait(), CancelReason::Deadline);
            self.1.open();
        }
    }
    watched(|| {
        for _ in 0..50 {
            let (root, ended) = (CancellationToken::new(), Gate::default());
            let parent = CancellationToken::new();
            let waits = Waits(root.clone(), ended.clone());
            parent.on_cancel(move |_| drop(waits)).detach();
            let child = parent.child_with_timeout(Duration::from_micros(200));
            drop(parent);
            let time = child.deadline().unwrap();
            while Instant::now() < time {}
            // The last owner of the parent: this thread, or the clock's, which is cancelling the child.
            drop(child);
            ended.pass();
        }
    });
}

#[test]
fn a_deadline_that_only_wakes_starts_no_thread() {
    if !alone!(a_deadline_that_only_wakes_starts_no_thread) {
        return;
    }
    watched(|| {
        let root = CancellationToken::new();
        let far = root.child_with_timeout(HOUR);
        crate::util::until(has_clock);
        let clock = clock_id();
        for _ in 0..10 {
            let late = Err(Cancelled::new(CancelReason::Deadline));
            assert_eq!(Pipeline::from_iter(0..).threads(2).for_each(&root.child_with_timeout(SOON), |_: u64| ()), late);
            assert_eq!(scope(&root.child_with_timeout(SOON), |s| s.spawn(|s| s.token().sleep(HOUR))?.join()), late);
            assert_eq!(root.child_with_timeout(SOON).wait(), CancelReason::Deadline);
            assert!(root.child_with_timeout(SOON).done().recv().is_err());
            assert_eq!(clock_id(), clock);
        }
        drop(far);
    });
}

/// Starts threads until the system refuses; they end when the gate is opened.
#[expect(clippy::disallowed_methods, reason = "threads until there are no more")]
fn exhaust(hold: &Gate) -> Vec<thread::JoinHandle<bool>> {
    let mut holders = Vec::new();
    while let Ok(thread) = thread::Builder::new().spawn({
        let hold = hold.clone();
        move || hold.pass()
    }) {
        holders.push(thread);
    }
    holders
}

#[test]
fn a_clock_that_is_refused_a_successor_runs_callbacks_itself_and_goes_on() {
    const LIMITS: &str = "-v 2000000 && export RUST_MIN_STACK=268435456";
    if !alone!(a_clock_that_is_refused_a_successor_runs_callbacks_itself_and_goes_on, LIMITS) {
        return;
    }
    watched(|| {
        let root = CancellationToken::new();
        let far = root.child_with_timeout(HOUR);
        crate::util::until(has_clock);
        let clock = clock_id();
        let hold = Gate::default();
        let holders = exhaust(&hold);
        let told = Counter::default();
        for at in 1..=3 {
            let (token, counts) = (root.child_with_timeout(SOON), told.clone());
            let next = root.child_with_timeout(2 * SOON);
            token.on_cancel(move |_| counts.add()).detach();
            told.wait_for(at);
            assert_eq!(next.wait(), CancelReason::Deadline);
            assert_eq!(clock_id(), clock);
        }
        hold.open();
        holders.into_iter().for_each(|thread| assert!(thread.join().unwrap()));
        drop(far);
    });
}

#[test]
fn without_a_clock_thread_whoever_looks_or_waits_finds_the_deadline() {
    // When the holders are gone, there is room for several stacks: one clock may still be in a callback when the next
    // is started.
    const LIMITS: &str = "-v 3000000 && export RUST_MIN_STACK=268435456";
    if !alone!(without_a_clock_thread_whoever_looks_or_waits_finds_the_deadline, LIMITS) {
        return;
    }
    watched(|| {
        // Rayon's pool cannot be started later.
        par_map(&CancellationToken::never(), 0..2, |_| ()).unwrap();
        let hold = Gate::default();
        let holders = exhaust(&hold);
        let root = CancellationToken::new();
        let soon = || root.child_with_timeout(SOON);
        let late = Err(Cancelled::new(CancelReason::Deadline));

        reached("polls");
        let (token, below) = (soon(), soon().child_token().child_token());
        assert!(!has_clock());
        for token in [&token, &below] {
            while !token.is_cancelled() {}
            assert!(Instant::now() >= token.deadline().unwrap());
            assert_eq!(token.reason(), Some(CancelReason::Deadline));
        }
        reached("waits");
        assert_eq!(soon().wait(), CancelReason::Deadline);
        assert_eq!(soon().child_token().wait_timeout(HOUR), Some(CancelReason::Deadline));
        assert_eq!(soon().wait_timeout(Duration::from_micros(10)), None);
        assert_eq!(soon().sleep(HOUR), late);
        assert_eq!(CancellationToken::any_of([&soon(), &root]).wait(), CancelReason::Deadline);
        reached("channels");
        let (sender, receiver) = bounded::<u8>(1);
        assert!(receiver.until(&soon()).recv().unwrap_err().is_cancelled());
        assert_eq!(receiver.until(&soon()).iter().next(), Some(late.map(|()| 0)));
        assert_eq!(merge(&soon(), [receiver.clone()]).next(), Some(late.map(|()| 0)));
        sender.send(1).unwrap();
        assert!(sender.until(&soon()).send(2).unwrap_err().is_cancelled());
        reached("a pipeline");
        assert_eq!(Pipeline::from_iter(0..).threads(2).for_each(&soon(), |_: u64| ()), late);
        reached("a map");
        let token = soon();
        assert_eq!(par_map(&token, 0..9, |_| while !token.is_cancelled() {}).map(drop), late);
        reached("callbacks, told by whoever looks");
        let (token, told) = (soon(), Gate::default());
        let opens = told.clone();
        let _callback = token.on_cancel(move |_| opens.open());
        assert_eq!(token.child_token().wait(), CancelReason::Deadline);
        assert_eq!(token.wait(), CancelReason::Deadline);
        told.pass();

        reached("a clock that can be started after all");
        let (token, told) = (soon(), Gate::default());
        hold.open();
        holders.into_iter().for_each(|thread| assert!(thread.join().unwrap()));
        let opens = told.clone();
        let _callback = token.on_cancel(move |_| opens.open());
        told.pass();
        assert!(token.done().recv().is_err());
        assert!(soon().done().recv().is_err());
    });
}

#[test]
fn without_a_clock_thread_a_callback_that_panics_in_a_wait_gives_its_place_up() {
    const LIMITS: &str = "-v 2000000 && export RUST_MIN_STACK=268435456";
    if !alone!(without_a_clock_thread_a_callback_that_panics_in_a_wait_gives_its_place_up, LIMITS) {
        return;
    }
    watched(|| {
        let hold = Gate::default();
        let holders = exhaust(&hold);
        let soon = || {
            let token = CancellationToken::new().child_with_timeout(SOON);
            // Without the hook, which would look for memory to print a backtrace.
            token.on_cancel(|_| resume_unwind(Box::new("the callback"))).detach();
            token
        };
        let panicked = |wait: &dyn Fn(&CancellationToken)| {
            let wait = AssertUnwindSafe(|| wait(&soon()));
            assert_eq!(catch_unwind(wait).unwrap_err().downcast_ref(), Some(&"the callback"));
        };

        reached("a semaphore");
        let semaphore = Semaphore::new(1);
        let held = semaphore.try_acquire(1).unwrap();
        panicked(&|token| drop(semaphore.acquire(token, 1)));
        drop(held);
        assert_eq!(semaphore.available(), 1);
        assert!(semaphore.acquire(&live(), 1).is_ok());

        reached("a rate limiter");
        let limiter = RateLimiter::new(Rate::every(HOUR));
        limiter.try_acquire().unwrap();
        panicked(&|token| _ = limiter.acquire(token));
        assert!(limiter.try_acquire().unwrap_err().retry_after <= HOUR);

        assert!(!has_clock());
        hold.open();
        holders.into_iter().for_each(|thread| assert!(thread.join().unwrap()));
    });
}
