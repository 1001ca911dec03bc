//! The crew of a scope with a limit: so many threads at most, and a queue.
//!
//! Tasks go into one queue for all, and a thread takes them from there some at a time, into a queue of its own from which
//! idle threads take back; both are crossbeam's deques. That makes the common case cheap, and leaves one protocol to get
//! right, that of sleeping:
//!
//! 1. Who pushes a task, pushes first and then looks whether anybody is `hungry`, sleeps or could be started, that is. Who
//!    goes to sleep says so first, and then looks for tasks. A fence between the two, on either side, makes sure that one
//!    of them sees the other.
//! 2. One sleeper is woken at a time, and nobody while a thread is `searching`: whoever finds a task looks, after another
//!    such fence, whether there is more, and feeds the next.
//! 3. The body waits for room in the same manner: it says that it does, and looks once more after a fence; who takes a task
//!    does so first, by a sequentially consistent operation of the deque's, and then looks whether the body waits.
//! 4. All is over when the body has ended and every thread sleeps: what is left to do would be in the hands of one that
//!    does not.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::thread::ThreadId;

use crossbeam::deque::{Injector, Steal, Stealer, Worker};
use crossbeam::utils::Backoff;
use parking_lot::{Mutex, RwLock};

use super::cell::Job;
use super::shared::{Link, TASK};
use crate::error::Cancelled;
use crate::panic;
use crate::token::{Event, Ticket};

type Queued<'scope, E> = Arc<dyn Job<'scope, E> + 'scope>;

/// How many tasks a thread may have in the queue, unless the user says how many there may be.
const QUEUED_A_THREAD: usize = 512;

pub(super) struct Crew<'scope, E> {
    limit: usize,
    capacity: usize,
    name: Option<Arc<str>>,
    /// The thread of the body, the only one to wait for room. (It cannot be told by the scope, which may be sent on.)
    body: ThreadId,
    queue: Injector<Queued<'scope, E>>,
    /// Of the threads' own queues.
    stealers: RwLock<Vec<Stealer<Queued<'scope, E>>>>,
    /// A thread has been started.
    begun: AtomicBool,
    /// How many tasks the body may spawn before it has to look how full the queue is.
    room: AtomicUsize,
    /// Somebody sleeps whom nobody has woken, or another thread can be started.
    hungry: AtomicBool,
    /// How many threads are awake and look for a task, those included that are about to start.
    searching: AtomicUsize,
    /// The body waits for room.
    full: AtomicBool,
    threads: Mutex<Threads>,
    work: Event,
    emptied: Arc<Event>,
}

#[derive(Default)]
struct Threads {
    started: usize,
    asleep: usize,
    /// One has been woken, and has not looked yet.
    waking: bool,
    /// The body has ended.
    closing: bool,
    over: bool,
    /// The system refused to start another.
    refused: bool,
}

pub(super) enum Admission {
    Granted,
    Full,
}

impl<'scope, E> Crew<'scope, E> {
    pub(super) fn new(limit: NonZeroUsize, capacity: Option<NonZeroUsize>, name: Option<Arc<str>>) -> Self {
        Crew {
            limit: limit.get(),
            capacity: capacity.map_or(limit.get().saturating_mul(QUEUED_A_THREAD), NonZeroUsize::get),
            name,
            body: std::thread::current().id(),
            queue: Injector::new(),
            stealers: RwLock::new(Vec::new()),
            begun: AtomicBool::new(false),
            room: AtomicUsize::new(0),
            hungry: AtomicBool::new(true),
            searching: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            threads: Mutex::default(),
            work: Event::default(),
            emptied: Arc::default(),
        }
    }

    /// Whether the calling thread is not the body's: then it is one of the crew's, but for what a task has started.
    pub(super) fn is_in_task(&self) -> bool {
        std::thread::current().id() != self.body
    }

    /// The body has ended: once every task has, the threads do.
    pub(super) fn close(&self) {
        let mut threads = self.threads.lock();
        threads.closing = true;
        // Those that are awake will find out.
        if threads.asleep == threads.started && !self.has_work() {
            self.end(&mut threads);
        }
    }

    fn end(&self, threads: &mut Threads) {
        threads.over = true;
        self.work.notify_all();
    }

    fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.stealers.read().iter().any(|stealer| !stealer.is_empty())
    }

    fn queued(&self) -> usize {
        self.queue.len() + self.stealers.read().iter().map(Stealer::len).sum::<usize>()
    }

    fn take_some(&self, own: &Worker<Queued<'scope, E>>) -> Option<Queued<'scope, E>> {
        take(|| self.queue.steal_batch_and_pop(own))
            .or_else(|| self.stealers.read().iter().find_map(|stealer| take(|| stealer.steal_batch_and_pop(own))))
    }

    fn decide(&self, threads: &Threads) {
        let can_start = threads.started < self.limit && !threads.refused;
        let hungry = !threads.waking && (threads.asleep > 0 || can_start);
        // A store that changes nothing would cost those who look.
        if self.hungry.load(Ordering::Relaxed) != hungry {
            self.hungry.store(hungry, Ordering::Relaxed);
        }
    }
}

impl<'scope, E: From<Cancelled> + Send + 'scope> Crew<'scope, E> {
    /// Makes sure that there is a thread, and room for a task. Only the body waits for that, or is refused. `in_task`: the
    /// scope was given to a task.
    pub(super) fn admit(&self, link: &Link<'scope, E>, in_task: bool, waits: bool) -> Result<Admission, Cancelled> {
        // Relaxed: the queue is there before any thread.
        if !self.begun.load(Ordering::Relaxed) {
            self.start(link)?;
        }
        // A look at the queue tells for how many tasks there is room, so that it is not needed for each.
        let take_place = |room: usize| room.checked_sub(1);
        if in_task
            || self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_place).is_ok()
            || self.is_in_task()
        {
            return Ok(Admission::Granted);
        }
        // Room for one is soon room for many: waiting awake for that is cheaper than asleep.
        let backoff = Backoff::new();
        while self.queued() > self.capacity / 2 && !backoff.is_completed() {
            backoff.snooze();
        }
        if self.take_room() { Ok(Admission::Granted) } else { self.wait_for_room(link, waits) }
    }

    fn take_room(&self) -> bool {
        let room = self.capacity.saturating_sub(self.queued());
        self.room.store(room.saturating_sub(1), Ordering::Relaxed);
        room > 0
    }

    #[cold]
    fn wait_for_room(&self, link: &Link<'scope, E>, waits: bool) -> Result<Admission, Cancelled> {
        if !waits {
            return Ok(Admission::Full);
        }
        let _watch = self.emptied.observe(&link.token);
        loop {
            let ticket = self.emptied.ticket();
            self.full.store(true, Ordering::SeqCst);
            // Pairs with the load in `worker` (3).
            fence(Ordering::SeqCst);
            if self.take_room() {
                self.full.store(false, Ordering::Relaxed);
                return Ok(Admission::Granted);
            }
            link.token.check()?;
            self.emptied.wait_until(ticket, link.token.look_at());
        }
    }

    pub(super) fn push(&self, link: &Link<'scope, E>, job: Queued<'scope, E>) {
        self.queue.push(job);
        // Pairs with the one in `sleep` (1).
        fence(Ordering::SeqCst);
        self.feed(link);
    }

    /// Wakes somebody, or starts another thread, if there is anybody to. Not while one is looking for a task anyway: that
    /// one will find it, and feed the next if there is more.
    fn feed(&self, link: &Link<'scope, E>) {
        if !self.hungry.load(Ordering::Relaxed) || self.searching.load(Ordering::SeqCst) > 0 {
            return;
        }
        let mut threads = self.threads.lock();
        if threads.waking {
            return;
        }
        if threads.asleep > 0 {
            threads.waking = true;
            self.decide(&threads);
            drop(threads);
            self.work.notify_one();
        } else if threads.started < self.limit && !threads.refused {
            drop(threads);
            // Fewer threads do the same work.
            _ = self.start(link);
        }
    }

    fn start(&self, link: &Link<'scope, E>) -> Result<(), Cancelled> {
        let index = {
            let mut threads = self.threads.lock();
            if threads.started == self.limit {
                return Ok(());
            }
            threads.started += 1;
            self.searching.fetch_add(1, Ordering::SeqCst);
            self.decide(&threads);
            threads.started - 1
        };
        self.begun.store(true, Ordering::Relaxed);
        let own = Worker::new_fifo();
        self.stealers.write().push(own.stealer());
        let worker = {
            let link = Arc::new(Arc::clone(link));
            move || {
                if let Some(crew) = &link.crew {
                    crew.worker(&own, &link);
                }
            }
        };
        match link.threads.start(self.name.as_deref().unwrap_or(TASK), index, worker) {
            Ok(handle) => {
                link.adopt(handle);
                Ok(())
            }
            Err(cancelled) => {
                let mut threads = self.threads.lock();
                threads.started -= 1;
                self.searching.fetch_sub(1, Ordering::SeqCst);
                threads.refused = threads.started > 0;
                self.begun.store(threads.refused, Ordering::Relaxed);
                self.decide(&threads);
                Err(cancelled)
            }
        }
    }

    fn worker(&self, own: &Worker<Queued<'scope, E>>, link: &Link<'scope, E>) {
        let mut searching = true;
        loop {
            let found = own.pop().or_else(|| {
                if !searching {
                    self.searching.fetch_add(1, Ordering::SeqCst);
                    searching = true;
                }
                self.search(own)
            });
            // Pairs with the fence in `wait_for_room` (3).
            if found.is_some() && self.full.load(Ordering::SeqCst) && self.full.swap(false, Ordering::SeqCst) {
                self.emptied.notify_all();
            }
            if searching {
                self.searching.fetch_sub(1, Ordering::SeqCst);
                searching = false;
                // Who pushed while this thread was searching has woken nobody; and those who sleep do not look into its own
                // queue by themselves.
                fence(Ordering::SeqCst);
                if found.is_some() && self.has_work() {
                    self.feed(link);
                }
            }
            if let Some(job) = found {
                // What is left of a task may be its closure's value, whose `Drop` is the user's.
                if let Err(payload) = panic::catch(move || job.run(link)) {
                    link.fail_beside("drop", payload);
                }
            } else if let Some(ticket) = self.sleep() {
                self.work.wait(ticket);
                self.searching.fetch_add(1, Ordering::SeqCst);
                searching = true;
                self.awake();
            } else if self.threads.lock().over {
                break;
            }
        }
    }

    /// Looks for a task outside of its own queue, for some microseconds.
    fn search(&self, own: &Worker<Queued<'scope, E>>) -> Option<Queued<'scope, E>> {
        let backoff = Backoff::new();
        loop {
            if let Some(job) = self.take_some(own) {
                return Some(job);
            }
            if backoff.is_completed() {
                return None;
            }
            backoff.snooze();
        }
    }

    /// Says that this thread sleeps, unless there is something to do.
    fn sleep(&self) -> Option<Ticket> {
        let mut threads = self.threads.lock();
        if threads.over {
            return None;
        }
        threads.asleep += 1;
        let ticket = self.work.ticket();
        self.decide(&threads);
        // Pairs with the one in `push` (1).
        fence(Ordering::SeqCst);
        if self.has_work() {
            threads.asleep -= 1;
            self.decide(&threads);
            return None;
        }
        if threads.closing && threads.asleep == threads.started {
            self.end(&mut threads);
        }
        Some(ticket)
    }

    /// After a sleep.
    fn awake(&self) {
        let mut threads = self.threads.lock();
        threads.asleep -= 1;
        threads.waking = false;
        self.decide(&threads);
    }
}

fn take<T>(mut steal: impl FnMut() -> Steal<T>) -> Option<T> {
    loop {
        match steal() {
            Steal::Success(taken) => return Some(taken),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}
