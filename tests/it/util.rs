//! Helpers of the tests: a watchdog, gates, a process for one test, and counts of threads, CPU time and drops.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;
use std::{fs, thread};

use brigade::{CancellationToken, Cancelled, scope};

/// Returns a token that is not cancelled, for a test that cancels nothing.
pub(crate) fn live() -> CancellationToken {
    CancellationToken::new()
}

/// Long enough for the slowest machine, short enough for a person.
const PATIENCE: Duration = Duration::from_secs(60);

type Mark = Arc<Mutex<(&'static Location<'static>, String)>>;

thread_local! {
    static MARK: RefCell<Option<Mark>> = const { RefCell::new(None) };
}

/// Runs `body` under a watchdog: a hang becomes a failure that says which test hung, the last [`reached`] mark, and
/// what every thread of the process was doing.
#[track_caller]
pub(crate) fn watched<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> R {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let mark: Mark = Arc::new(Mutex::new((Location::caller(), "its start".to_owned())));
    let (sender, ended) = mpsc::channel();
    #[expect(clippy::disallowed_methods, reason = "a thread that may hang cannot be owned")]
    let thread = thread::Builder::new()
        .name(test.clone())
        .spawn({
            let mark = Arc::clone(&mark);
            move || {
                MARK.set(Some(mark));
                let result = catch_unwind(AssertUnwindSafe(body));
                // The watchdog may have given up.
                let _ = sender.send(result);
            }
        })
        .expect("a thread for the test");
    match ended.recv_timeout(PATIENCE) {
        Ok(result) => {
            thread.join().expect("its panics are caught");
            result.unwrap_or_else(|payload| resume_unwind(payload))
        }
        Err(_) => {
            let (place, what) = mark.lock().unwrap_or_else(PoisonError::into_inner).clone();
            panic!(
                "{test} hangs: no end {PATIENCE:?} after it began; it last reached {what} at {place}\n{}",
                threads_now()
            )
        }
    }
}

/// Tells the watchdog of the running test where it is.
#[track_caller]
pub(crate) fn reached(what: &str) {
    let place = Location::caller();
    MARK.with_borrow(|mark| {
        if let Some(mark) = mark {
            *mark.lock().unwrap() = (place, what.to_owned());
        }
    });
}

/// Name, state and waiting place of each thread, from `/proc`.
fn threads_now() -> String {
    let mut out = String::new();
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default().trim().to_owned();
        writeln!(out, "  {:<16} {} {}", read("comm"), state(&read("stat")), read("wchan")).unwrap();
    }
    out
}

/// The state letter in `/proc/*/stat`, which stands behind the name in parentheses.
fn state(stat: &str) -> char {
    stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).unwrap_or('?')
}

/// How many threads this process has.
pub(crate) fn threads() -> usize {
    fs::read_dir("/proc/self/task").expect("/proc is mounted").count()
}

/// How many threads this process has, except the clock of the deadlines, which outlives its deadlines.
pub(crate) fn threads_but_the_clock() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted").flatten();
    tasks
        .filter(|task| !fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "brigade-clock\n"))
        .count()
}

/// Waits until this process has `count` threads: one that was joined is gone for us a moment before it is for `/proc`.
#[track_caller]
pub(crate) fn until_threads(count: usize) {
    reached("the wait for threads to be gone");
    until(|| threads() == count);
}

/// The same, of the threads [but the clock](threads_but_the_clock).
#[track_caller]
pub(crate) fn until_threads_but_the_clock(count: usize) {
    reached("the wait for threads to be gone");
    until(|| threads_but_the_clock() == count);
}

/// Waits until all threads of this process but the calling one sleep.
#[track_caller]
pub(crate) fn until_others_sleep() {
    reached("the wait for the others to sleep");
    until(others_sleep);
}

/// Whether all threads of this process but the calling one sleep.
pub(crate) fn others_sleep() -> bool {
    others().all(|task| fs::read_to_string(task.join("stat")).map_or(true, |stat| state(&stat) == 'S'))
}

/// How often the threads that this process has now, but the calling one, have fallen asleep. A thread that is woken
/// for nothing falls asleep once more.
pub(crate) fn sleeps_of_others() -> usize {
    let sleeps = |status: &str| {
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.expect("a line for the switches").trim().parse::<usize>().expect("a number")
    };
    // A thread may end meanwhile.
    others().filter_map(|task| fs::read_to_string(task.join("status")).ok()).map(|status| sleeps(&status)).sum()
}

/// The folder in `/proc` of each thread of this process but the calling one.
fn others() -> impl Iterator<Item = PathBuf> {
    let me = fs::read_link("/proc/thread-self").expect("/proc is mounted");
    let me = me.file_name().expect("it ends in the thread's number").to_owned();
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted");
    tasks.map(|task| task.expect("listed")).filter(move |task| task.file_name() != me).map(|task| task.path())
}

/// Polls for a condition that has no notification; the watchdog bounds it.
pub(crate) fn until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

/// Runs the calling test again in a process of its own, where nothing else has threads or burns CPU time. Returns
/// whether this is that process: if so, go on, under [`watched`]; if not, the test has passed there.
///
/// `limits` is a shell's `ulimit` arguments, or empty.
pub(crate) fn run_alone(test: &str, limits: &str) -> bool {
    let limit = if limits.is_empty() { String::new() } else { format!("ulimit {limits} && ") };
    run_alone_by(test, &format!("{limit}exec"))
}

/// The same, but the test's program is started by a shell's command, which has it as its last arguments.
pub(crate) fn run_alone_by(test: &str, command: &str) -> bool {
    const VARIABLE: &str = "BRIGADE_TEST_ALONE";
    if std::env::var_os(VARIABLE).is_some() {
        return true;
    }
    let name = test.split_once("::").map_or(test, |(_crate, name)| name);
    let output = Command::new("sh")
        .args(["-c", &format!("{command} \"$0\" \"$@\"")])
        .arg(std::env::current_exe().expect("the test binary"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, "1")
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed in its own process: {}\n{said}{complained}", output.status);
    assert!(said.contains("1 passed"), "{name} is no test's name:\n{said}");
    false
}

/// `alone!(name)`: see [`run_alone`].
macro_rules! alone {
    ($test:ident) => {
        alone!($test, "")
    };
    ($test:ident, $limits:expr) => {
        $crate::util::run_alone(concat!(module_path!(), "::", stringify!($test)), $limits)
    };
}
pub(crate) use alone;

/// The CPU time this process has used.
pub(crate) fn cpu_time() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::ProcessCPUTime).try_into().expect("never negative")
}

/// The resident memory of this process that is its own, not pages of files, in bytes.
pub(crate) fn memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("a line for the resident set");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") * 1024
}

/// A door that is shut until it is opened, once, for all.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until the door is open.
    pub(crate) fn pass(&self) -> bool {
        *self.0.1.wait_while(self.0.0.lock().unwrap(), |open| !*open).unwrap()
    }
}

/// A number that can be waited for.
#[derive(Clone, Default)]
pub(crate) struct Counter(Arc<(Mutex<usize>, Condvar)>);

impl Counter {
    pub(crate) fn add(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_all();
    }

    pub(crate) fn wait_for(&self, least: usize) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |count| *count < least).unwrap());
    }
}

/// Runs `tasks` at once, all on threads of their own.
pub(crate) fn together(tasks: Vec<Box<dyn FnOnce() + Send + '_>>) {
    let barrier = Barrier::new(tasks.len());
    scope(&CancellationToken::new(), |s| {
        for task in tasks {
            s.spawn(|_| {
                barrier.wait();
                task();
                Ok::<_, Cancelled>(())
            })?;
        }
        Ok(())
    })
    .unwrap();
}

/// Counts the values it made that are alive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census(Arc<Books>);

#[derive(Debug, Default)]
struct Books {
    made: AtomicIsize,
    dropped: AtomicIsize,
    /// The sum of the marks of the living, which differ.
    marks: AtomicIsize,
}

impl Census {
    pub(crate) fn make<T>(&self, value: T) -> Counted<T> {
        // An odd factor spreads the bits, and gives no two numbers the same mark.
        let mark = self.0.made.fetch_add(1, Ordering::Relaxed).wrapping_add(1).wrapping_mul(0x1e37_79b9_7f4a_7c15);
        self.0.marks.fetch_add(mark, Ordering::Relaxed);
        Counted { value, mark, census: self.clone() }
    }

    pub(crate) fn alive(&self) -> isize {
        self.0.made.load(Ordering::Relaxed) - self.0.dropped.load(Ordering::Relaxed)
    }

    /// Checks that every value was dropped exactly once. Where one was dropped twice and another one never, their
    /// number is right, but the sum of the marks is not.
    #[track_caller]
    pub(crate) fn assert_all_dropped_once(&self) {
        assert_eq!(self.alive(), 0, "so many values were not dropped");
        assert_eq!(self.0.marks.load(Ordering::Relaxed), 0, "a value was dropped twice, another one never");
    }
}

#[derive(Debug)]
pub(crate) struct Counted<T> {
    pub(crate) value: T,
    mark: isize,
    census: Census,
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        self.census.0.marks.fetch_sub(self.mark, Ordering::Relaxed);
        self.census.0.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs `body`, which must panic, and returns the payload.
pub(crate) fn payload_of(body: impl FnOnce()) -> Box<dyn std::any::Any + Send> {
    catch_unwind(AssertUnwindSafe(body)).expect_err("it should have panicked")
}

/// The message of a panic.
pub(crate) fn message_of(body: impl FnOnce()) -> String {
    let payload = payload_of(body);
    payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .expect("a message")
}
