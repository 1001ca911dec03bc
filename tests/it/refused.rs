//! Random programs where the system refuses threads: a user may have only so many.

use std::collections::HashSet;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread::{self, Builder, JoinHandle};
use std::time::Duration;

use brigade::pool::Close;
use brigade::{CancelReason, CancellationToken, Cancelled, Pipeline, PoolBuilder, ScopeBuilder, par_map};
use crossbeam::channel::unbounded;
use proptest::prelude::*;

use crate::model::{End, Error, ending, try_programs};
use crate::scope::model as scope_model;
use crate::util::{Gate, reached, run_alone_by, until, watched};
use crate::{nested_model, pipeline};

const REFUSED: CancelReason = CancelReason::Other("the system refused to start a thread");

/// How many threads the user of the test may have.
const MOST: usize = 40;

/// `few_threads!(name)`: runs the test again in a process that may have few threads; see [`run_alone_by`]. Where the
/// system does not let that be arranged, the test says so and passes.
macro_rules! few_threads {
    ($test:ident) => {
        match few_threads() {
            Some(command) => run_alone_by(concat!(module_path!(), "::", stringify!($test)), &command),
            None => {
                eprintln!("{}: not tried, since no user with few threads can be had", stringify!($test));
                false
            }
        }
    };
}

/// How many tests have asked for a user of their own.
static TESTS: AtomicU32 = AtomicU32::new(0);

/// A shell's command that runs another one with few threads. The limit counts all threads of a user; it does not bind
/// root.
fn few_threads() -> Option<String> {
    let limit = |most: usize| {
        let rayon = "export RAYON_NUM_THREADS=${RAYON_NUM_THREADS:-2}";
        format!("{rayon} && {{ ulimit -u {most} || ulimit -p {most}; }} 2>/dev/null && exec")
    };
    let user = user_of("/proc/self")?;
    if user > 0 {
        // This user's threads in other processes come and go.
        let threads = |process: &str| fs::read_dir(format!("{process}/task")).map_or(0, Iterator::count);
        let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path().display().to_string());
        let there: usize =
            processes.filter(|process| user_of(process) == Some(user)).map(|process| threads(&process)).sum();
        return Some(limit(there + 3 * MOST));
    }
    // A user who has no other threads, not even those of another test, if this process may become that user, who has to
    // be able to read the test.
    let user = 30_000 + (std::process::id() * 8 + TESTS.fetch_add(1, Ordering::Relaxed)) % 30_000;
    let become_it = format!("setpriv --reuid={user} --regid={user} --clear-groups");
    let probe = format!("{become_it} test -x \"$0\"");
    let exe = std::env::current_exe().ok()?;
    let probed = Command::new("sh").args(["-c", &probe]).arg(exe).stderr(Stdio::null()).status();
    probed.is_ok_and(|status| status.success()).then(|| format!("{} {become_it}", limit(MOST)))
}

fn user_of(process: &str) -> Option<u32> {
    let status = fs::read_to_string(format!("{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

/// Threads that do nothing, as many as there can be but for some.
struct Ballast {
    hold: Gate,
    threads: Vec<JoinHandle<bool>>,
}

impl Ballast {
    #[expect(clippy::disallowed_methods, reason = "threads until there are no more")]
    fn all_but(free: usize) -> Self {
        until_numbered(0);
        let (hold, leave) = (Gate::default(), Gate::default());
        let mut threads = Vec::new();
        loop {
            assert!(threads.len() < 20 * MOST, "the limit does not bind");
            let gate = if threads.len() < free { &leave } else { &hold }.clone();
            match Builder::new().name(format!("ballast#{}", threads.len())).spawn(move || gate.pass()) {
                Ok(thread) => threads.push(thread),
                Err(_) => break,
            }
        }
        let kept = threads.split_off(free.min(threads.len()));
        leave.open();
        threads.into_iter().for_each(|thread| assert!(thread.join().unwrap()));
        until_numbered(kept.len());
        Ballast { hold, threads: kept }
    }
}

/// Waits until `count` threads have a number in their name, as all of brigade's have: a thread that was joined counts
/// against the limit for a moment more.
fn until_numbered(count: usize) {
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    let names = || fs::read_dir("/proc/self/task").expect("/proc is mounted").flatten().map(name);
    until(|| names().filter(|name| name.contains('#')).count() == count);
}

impl Drop for Ballast {
    fn drop(&mut self) {
        self.hold.open();
        for thread in self.threads.drain(..) {
            thread.join().expect("it does nothing");
        }
    }
}

#[test]
fn pipelines_that_are_refused_threads_end_as_the_loop() {
    if !few_threads!(pipelines_that_are_refused_threads_end_as_the_loop) {
        return;
    }
    let programs = || {
        let unsignalled =
            pipeline::cancelled_programs().prop_filter("it has a thread", |program| !program.has_signal());
        (0..6_usize, unsignalled)
    };
    try_programs(150, programs, |(free, program), census| {
        let _ballast = Ballast::all_but(free);
        pipeline::check_cancelled(&program, census);
    });
}

#[test]
fn feedback_loops_that_are_refused_threads_do_not_hang() {
    if !few_threads!(feedback_loops_that_are_refused_threads_do_not_hang) {
        return;
    }
    try_programs(
        150,
        || (0..6_usize, pipeline::feedback_programs()),
        |(free, program), census| {
            let _ballast = Ballast::all_but(free);
            pipeline::check_feedback(&program, census);
        },
    );
}

#[test]
fn nested_programs_that_are_refused_threads_end_as_the_loops_or_as_refused() {
    if !few_threads!(nested_programs_that_are_refused_threads_end_as_the_loops_or_as_refused) {
        return;
    }
    try_programs(
        150,
        || (0..10_usize, nested_model::parts()),
        |(free, program), census| {
            let _ballast = Ballast::all_but(free);
            nested_model::check(&program, census, Some(REFUSED));
        },
    );
}

#[test]
fn of_every_task_all_that_is_told_agrees_where_threads_are_refused() {
    if !few_threads!(of_every_task_all_that_is_told_agrees_where_threads_are_refused) {
        return;
    }
    try_programs(
        150,
        || (0..6_usize, scope_model::programs()),
        |(free, program), census| {
            let _ballast = Ballast::all_but(free);
            scope_model::check(&program, census, Some(REFUSED));
        },
    );
}

#[test]
fn a_deadline_ends_every_part_however_few_threads_there_are() {
    if !few_threads!(a_deadline_ends_every_part_however_few_threads_there_are) {
        return;
    }
    let programs = || (0..4_usize, 1..5_usize, 0..3_u64);
    try_programs(40, programs, |(free, threads, millis), census| {
        let _ballast = Ballast::all_but(free);
        let root = CancellationToken::new();
        let soon = || root.child_with_timeout(Duration::from_millis(millis));
        let late = Err(Cancelled::new(CancelReason::Deadline));
        reached("an endless pipeline");
        let endless = Pipeline::from_iter((0..).map(|item| census.make(item))).threads(threads);
        assert_eq!(endless.for_each(&soon(), drop), late);
        reached("a pipeline whose channel is empty");
        let (_sender, receiver) = unbounded::<()>();
        assert_eq!(Pipeline::from_receiver(receiver).threads(threads).count(&soon()).map(drop), late);
        reached("a pipeline whose stage waits");
        let token = soon();
        let waits = Pipeline::from_data(0..9).threads(threads).map(|_| token.wait());
        assert_eq!(waits.count(&token).map(drop), late);
        reached("a map");
        let token = soon();
        assert_eq!(par_map(&token, 0..9, |_| token.wait()).map(drop), late);
        reached("scopes");
        let token = soon();
        for builder in
            [ScopeBuilder::new(), ScopeBuilder::new().limit(threads), ScopeBuilder::new().limit(threads).queue(0)]
        {
            let result = builder.run(&token, |s| {
                let tasks = (0..6).map(|_| s.spawn(|s| Err::<(), _>(Cancelled::new(s.token().wait()))));
                let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
                s.join_all(tasks).map(drop)
            });
            assert!(result == late || result == Err(Cancelled::new(REFUSED)), "{result:?}");
        }
    });
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Pass,
    Wait,
    Spawn(usize),
    Fail,
    Panic,
}

#[test]
fn tasks_of_scopes_that_are_refused_threads_run_once_or_not_at_all() {
    if !few_threads!(tasks_of_scopes_that_are_refused_threads_run_once_or_not_at_all) {
        return;
    }
    let programs = || {
        let fate = prop_oneof![
            8 => Just(Fate::Pass),
            1 => Just(Fate::Wait),
            2 => (1..4_usize).prop_map(Fate::Spawn),
            1 => Just(Fate::Fail),
            1 => Just(Fate::Panic),
        ];
        let limit = proptest::option::of((1..6_usize, proptest::option::of(0..3_usize)));
        (0..6_usize, proptest::collection::vec(fate, 0..20), limit)
    };
    try_programs(200, programs, |(free, fates, limit), census| {
        let _ballast = Ballast::all_but(free);
        let builder = match limit {
            None => ScopeBuilder::new(),
            Some((limit, None)) => ScopeBuilder::new().limit(limit),
            Some((limit, Some(queue))) => ScopeBuilder::new().limit(limit).queue(queue),
        };
        let ran: Vec<AtomicUsize> = fates.iter().map(|_| AtomicUsize::new(0)).collect();
        let spawned = Mutex::new((0, 0));
        // A task that waits for the end of the scope would wait for ever where nothing else ends it.
        let last = Gate::default();
        let end = ending(|| {
            builder.run(&CancellationToken::new(), |s| {
                for (at, fate) in fates.iter().enumerate() {
                    let (ran, spawned, held, last) = (&ran, &spawned, census.make(at), &last);
                    s.spawn(move |s| {
                        ran[at].fetch_add(1, Ordering::SeqCst);
                        match *fate {
                            Fate::Wait if limit.is_none() => _ = last.pass(),
                            Fate::Pass | Fate::Wait => {}
                            Fate::Spawn(count) => {
                                for _ in 0..count {
                                    let inner = census.make(at);
                                    s.spawn(move |_| {
                                        spawned.lock().unwrap().0 += 1;
                                        Ok(inner)
                                    })
                                    .inspect_err(|_| spawned.lock().unwrap().1 += 1)?;
                                }
                            }
                            Fate::Fail => return Err(Error::Failed(held)),
                            Fate::Panic => crate::model::throw(held),
                        }
                        Ok(held)
                    })
                    .inspect_err(|_| last.open())?;
                }
                last.open();
                Ok(())
            })
        });
        let ran: Vec<usize> = ran.into_iter().map(AtomicUsize::into_inner).collect();
        assert!(ran.iter().all(|times| *times <= 1), "{ran:?}");
        let happened = |fate| ran.iter().zip(&fates).any(|(times, other)| *times == 1 && fate == *other);
        match end {
            Ok(()) => {
                // No task is lost.
                assert!(ran.iter().all(|times| *times == 1) && !happened(Fate::Fail) && !happened(Fate::Panic));
                let inner: usize =
                    fates.iter().map(|fate| if let Fate::Spawn(count) = fate { *count } else { 0 }).sum();
                assert_eq!(spawned.into_inner().unwrap(), (inner, 0));
            }
            Err(End::Failed(at)) => assert!(fates[at] == Fate::Fail && ran[at] == 1),
            Err(End::Panicked(at)) => assert!(fates[at] == Fate::Panic && ran[at] == 1),
            // One thread is enough where there is a limit, and the real error beats its echo.
            Err(end) => assert!(end == End::Cancelled(REFUSED) && !happened(Fate::Panic), "{end:?}"),
        }
    });
}

#[test]
fn a_pipeline_whose_third_thread_is_refused_goes_on_with_two() {
    if !few_threads!(a_pipeline_whose_third_thread_is_refused_goes_on_with_two) {
        return;
    }
    watched(|| {
        // The first, the second, the third and none.
        for free in [0, 1, 2, MOST] {
            let _ballast = (free < MOST).then(|| Ballast::all_but(free));
            for (threads, ordered) in [(4, true), (4, false), (16, true), (16, false)] {
                for micros in [0, 200, 2_000] {
                    reached(&format!("{free} free of {threads} threads, ordered: {ordered}, {micros} µs an item"));
                    let workers = Mutex::new(HashSet::new());
                    let caller = thread::current().id();
                    let token = CancellationToken::new();
                    let stage = |item: usize| {
                        if thread::current().id() != caller {
                            workers.lock().unwrap().insert(thread::current().id());
                        }
                        if micros > 0 {
                            assert_eq!(token.wait_timeout(Duration::from_micros(micros)), None);
                        }
                        item
                    };
                    let pipeline = Pipeline::from_iter(0..60).threads(threads).map(stage);
                    let pipeline = if ordered { pipeline } else { pipeline.unordered() };
                    let mut outputs = pipeline.collect::<Vec<usize>>(&token).unwrap();
                    if !ordered {
                        outputs.sort_unstable();
                    }
                    assert!(outputs.into_iter().eq(0..60));
                    let workers = workers.into_inner().unwrap().len();
                    assert!(workers <= free, "{workers} workers, but {free} threads could be had");
                    assert!(
                        workers == free.min(threads) || micros < 2_000 || free == MOST,
                        "{workers} of {free} worked"
                    );
                }
            }
        }
    });
}

#[test]
fn an_iterator_that_is_refused_threads_goes_on_with_those_it_has_or_says_so() {
    if !few_threads!(an_iterator_that_is_refused_threads_goes_on_with_those_it_has_or_says_so) {
        return;
    }
    watched(|| {
        for free in 0..4 {
            let _ballast = Ballast::all_but(free);
            for threads in [1, 2, 3, 8] {
                for fans in [false, true] {
                    reached(&format!("{free} free of {threads} threads, fans: {fans}"));
                    let run = || {
                        let stage = move |item| if fans { vec![item, item] } else { vec![item] };
                        Pipeline::from_iter(0..200).threads(threads).flat_map(stage).map(|item: usize| item)
                    };
                    let expected: Vec<usize> = (0..200).flat_map(|item| vec![item; 1 + usize::from(fans)]).collect();
                    let token = CancellationToken::new();
                    let lent = run().iter(&token, |outputs| outputs.collect::<Result<Vec<_>, Cancelled>>());
                    assert_eq!(lent.as_ref(), Ok(&expected));
                    let mut outputs = run().into_iter(&token);
                    let owned = outputs.by_ref().collect::<Result<Vec<_>, _>>();
                    if free > 0 {
                        assert_eq!(owned, lent);
                    } else {
                        assert_eq!(owned, Err(Cancelled::new(REFUSED)));
                        assert_eq!(outputs.next(), None);
                    }
                }
            }
        }
    });
}

#[test]
fn a_pool_that_is_refused_threads_works_with_those_it_has_or_says_so_at_the_first_submission() {
    if !few_threads!(a_pool_that_is_refused_threads_works_with_those_it_has_or_says_so_at_the_first_submission) {
        return;
    }
    watched(|| {
        for free in 0..4 {
            for workers in [1, 2, 8] {
                reached(&format!("{free} free of {workers} threads"));
                let token = CancellationToken::new();
                let pool = PoolBuilder::new(workers).queue(3).start(&token);
                {
                    let _ballast = Ballast::all_but(free);
                    for number in 0..200 {
                        match pool.submit(&token, move |_| Ok::<_, ()>(number)) {
                            Ok(job) => assert_eq!((job.wait(&token).unwrap(), free > 0), (number, true)),
                            Err(error) => assert!(error.is_refused_thread() && free == 0, "{error}"),
                        }
                        let fired = pool.fire(&token, |_| {});
                        assert_eq!(fired.is_ok(), free > 0);
                    }
                    assert_eq!(pool.account().workers, if free == 0 { 0 } else { pool.account().workers.min(free) });
                }
                // The next submission tries again.
                assert_eq!(pool.submit(&token, |_| Ok::<_, ()>(1)).unwrap().wait(&token).unwrap(), 1);
                let account = pool.close(&token, Close::Drain, Duration::MAX).unwrap();
                assert_eq!((account.jobs.completed, account.accepted + account.refused), (account.accepted, 401));
            }
        }
    });
}

#[test]
fn a_feedback_loop_whose_third_thread_is_refused_does_not_hang() {
    if !few_threads!(a_feedback_loop_whose_third_thread_is_refused_does_not_hang) {
        return;
    }
    watched(|| {
        for free in 0..=2 {
            let _ballast = Ballast::all_but(free);
            // A caller that only outputs has a worker more, and does that one's share if it is refused.
            for (threads, is_dedicated) in [(2, true), (3, false), (3, true), (4, false), (8, false), (8, true)] {
                for depth in 1..=4 {
                    reached(&format!("{free} free of {threads} threads, depth {depth}, dedicated {is_dedicated}"));
                    let (sender, outputs) = mpsc::channel();
                    let source = (0..24_usize).inspect(move |item| {
                        if *item >= depth {
                            outputs.recv().expect("an earlier item is output meanwhile");
                        }
                    });
                    let pipeline = Pipeline::from_iter(source).threads(threads);
                    let pipeline = if is_dedicated { pipeline.dedicated_caller() } else { pipeline };
                    let pipeline = pipeline.map(|item| item);
                    // The source may have ended before the last outputs.
                    pipeline.for_each(&CancellationToken::new(), |item| _ = sender.send(item)).unwrap();
                }
            }
        }
    });
}
