//! [`Limit`]: the threads and the queue of a scope with a limit.
//!
//! Tasks go into one [`Queue`] for all threads, under one lock. A thread takes its share of the queue at a time, into a
//! deque of its own. It pops from the deque without the lock, and a thread that finds the queue empty steals from it.
//! The head of `queue.rs` says which thread is called for a task, and when the threads leave.
//!
//! **The body waits for room.** It sets `full`, and counts the tasks once more after a fence. A thread that pops a
//! task, by a sequentially consistent operation of the deque or under the lock, then looks at `full`. So does a
//! thread that becomes free, under the lock.
//!
//! **Threads without a task sleep, and observe no token.** The scope wakes one
//! for a task, and all when the queue is drained. After a cancel the tasks in the
//! queue are skipped, so it is drained once the body and the tasks in hand end.
//!
//! A lock-free queue with a protocol of fences for the sleepers came first. It was not faster: with crossbeam's
//! `Injector` a trivial task cost more than twice as much, because the injector takes as many atomic operations as
//! a lock that is free, and hands out smaller shares. A trivial task costs 110 ns where its work is nothing. Most
//! of that is the travel of its cache lines from the core that spawns to the core that runs. So three things
//! matter: a task has few lines, few of them are shared by chance, and a thread takes many tasks in one turn. See
//! the heads of `turn.rs` and of `job.rs`.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use crossbeam::deque::Worker;
use crossbeam::utils::{Backoff, CachePadded};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::id::TASK;
use super::queue::{Call, Queue};
use super::turn::Turn;
use crate::error::Cancelled;
use crate::event::Event;
use crate::thread;
use crate::token::CancellationToken;

/// How many tasks the queue holds for each thread, unless the user sets its length.
const QUEUED_A_THREAD: usize = 512;

/// How many steps of a [`Backoff`] a thread makes between two looks at the queue. They take some microseconds, so that
/// the thread finds several trivial tasks and not each by itself. With one step, trivial tasks cost half as much again.
const STEPS: usize = 8;

/// The scope that a limit belongs to, as the limit sees it.
pub(super) trait Host<J> {
    fn token(&self) -> &CancellationToken;

    /// Starts a thread that calls [`Limit::work`].
    ///
    /// If the system refuses the thread, the error is a [`Cancelled`]
    /// whose reason says so, because a spawn has no other error to return.
    fn start_thread(&self, name: &str, index: usize) -> Result<(), Cancelled>;

    /// Runs a task. Does not panic.
    fn run(&self, task: J);
}

pub(super) struct Limit<J> {
    capacity: usize,
    /// The name of the threads.
    name: Option<Arc<str>>,
    /// The lineage of the body's thread. Threads that have it wait for room, and for a task that they join. (The scope
    /// cannot tell them from others, because the body may send it to another thread.)
    body: u64,
    /// A thread has been started.
    begun: AtomicBool,
    /// The body waits for room.
    full: AtomicBool,
    /// How many tasks the body may spawn before it has to look how full the queue is. Only the body uses it, so it
    /// has its own cache line.
    room: CachePadded<AtomicUsize>,
    queue: CachePadded<Mutex<Queue<J>>>,
    called: Condvar,
    emptied: Arc<Event>,
}

/// The closure that a scope was given to, and that spawns by it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spawner {
    Body,
    Task,
}

/// The behaviour of a spawn when the queue is full.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IfFull {
    Wait,
    GiveBack,
}

pub(super) enum Admission {
    Granted,
    Full,
}

impl<J> Limit<J> {
    pub(super) fn new(limit: NonZeroUsize, capacity: Option<usize>, name: Option<Arc<str>>) -> Self {
        Limit {
            capacity: capacity.unwrap_or(limit.get().saturating_mul(QUEUED_A_THREAD)),
            name,
            body: thread::some_lineage(),
            begun: AtomicBool::new(false),
            full: AtomicBool::new(false),
            room: CachePadded::default(),
            queue: CachePadded::new(Mutex::new(Queue::new(limit.get()))),
            called: Condvar::new(),
            emptied: Arc::default(),
        }
    }

    /// Returns whether the calling thread is one of the limit's, works for one of its tasks, or may do so: nothing
    /// is known of a thread that was started by other means than ours.
    pub(super) fn is_in_task(&self) -> bool {
        thread::lineage() != self.body
    }

    /// Removes a task that its joiner is about to run, if it is quickly found, and tasks that have been run so. Tasks
    /// that a thread spawns and joins one by one leave nothing behind in this way.
    pub(super) fn remove(&self, is_out: impl Fn(&J) -> bool) {
        let out = self.queue.lock().remove(is_out);
        self.tell_room();
        drop(out);
    }

    /// Notes that the body has returned: when every task has ended, the threads leave.
    pub(super) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.close();
        self.release_if_drained(&mut queue);
    }

    /// Wakes the body, if it waits for room.
    fn tell_room(&self) {
        // Pairs with the fence in `wait_for_room`.
        if self.full.load(Ordering::SeqCst) && self.full.swap(false, Ordering::SeqCst) {
            self.emptied.notify_all();
        }
    }

    fn release_if_drained(&self, queue: &mut Queue<J>) {
        if queue.drain() {
            self.called.notify_all();
        }
    }

    /// Makes sure that there is a thread, and room for a task. Only the body waits for room, or is refused.
    pub(super) fn admit(&self, host: &impl Host<J>, spawner: Spawner, if_full: IfFull) -> Result<Admission, Cancelled> {
        // Relaxed: the queue is there before any thread. If no thread has begun and none is to be called, another
        // spawn is starting the first. This one spins meanwhile, which is the time of one start.
        while !self.begun.load(Ordering::Relaxed) {
            let call = self.queue.lock().call_first();
            self.answer(host, call)?;
            std::hint::spin_loop();
        }
        if spawner == Spawner::Task || self.is_in_task() {
            return Ok(Admission::Granted);
        }
        // One look at the queue tells for how many tasks there is room, so the body need not look for each.
        let one_less = |room: usize| room.checked_sub(1);
        if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return Ok(Admission::Granted);
        }
        // Where there is room for one task, there is soon room for many: waiting awake for that is cheaper than asleep.
        let backoff = Backoff::new();
        while self.queue.lock().len() > self.capacity / 2 && !backoff.is_completed() {
            backoff.snooze();
        }
        if self.take_room() {
            return Ok(Admission::Granted);
        }
        match if_full {
            IfFull::Wait => self.wait_for_room(host.token()).map(|()| Admission::Granted),
            IfFull::GiveBack => Ok(Admission::Full),
        }
    }

    fn take_room(&self) -> bool {
        let queue = self.queue.lock();
        // A free thread is about to take a task each, so these tasks take no room.
        let room = self.capacity.saturating_add(queue.free()).saturating_sub(queue.len());
        drop(queue);
        self.room.store(room.saturating_sub(1), Ordering::Relaxed);
        room > 0
    }

    #[cold]
    fn wait_for_room(&self, token: &CancellationToken) -> Result<(), Cancelled> {
        let _watch = self.emptied.observe(token);
        loop {
            let ticket = self.emptied.ticket();
            self.full.store(true, Ordering::SeqCst);
            // Pairs with the load in `tell_room`.
            fence(Ordering::SeqCst);
            // `full` stays set, because another thread of the body may wait too.
            if self.take_room() {
                return Ok(());
            }
            token.check()?;
            self.emptied.wait_until(ticket, token.look_at());
        }
    }

    pub(super) fn push(&self, host: &impl Host<J>, task: J) {
        let call = self.queue.lock().push(task);
        // If no other thread can be started, fewer threads do the same work.
        _ = self.answer(host, call);
    }

    fn answer(&self, host: &impl Host<J>, call: Call) -> Result<(), Cancelled> {
        match call {
            Call::None => Ok(()),
            Call::Sleeper => {
                self.called.notify_one();
                Ok(())
            }
            Call::Another(index) => self.start(host, index),
        }
    }

    #[cold]
    fn start(&self, host: &impl Host<J>, index: usize) -> Result<(), Cancelled> {
        let started = host.start_thread(self.name.as_deref().unwrap_or(TASK), index);
        match started {
            Ok(()) => self.begun.store(true, Ordering::Relaxed),
            Err(_) => {
                if self.queue.lock().thread_refused() == Call::Sleeper {
                    self.called.notify_one();
                }
            }
        }
        started
    }

    /// Runs tasks on the calling thread, which is one of the limit's, until the queue is drained.
    pub(super) fn work(&self, host: &impl Host<J>) {
        thread::begin_lineage();
        let own = Worker::new_fifo();
        self.queue.lock().thread_started(&own);
        let mut turn = Turn::default();
        while let Some(task) = own.pop().or_else(|| self.search(host, &own, &mut turn)) {
            self.tell_room();
            host.run(task);
        }
    }

    /// Finds a task outside of the thread's own deque: looks for some microseconds, then sleeps until the thread is
    /// called. Returns `None` when the queue is drained.
    #[inline(never)]
    fn search(&self, host: &impl Host<J>, own: &Worker<J>, turn: &mut Turn) -> Option<J> {
        let mut queue = self.queue.lock();
        queue.begin_search();
        let mut backoff = Backoff::new();
        loop {
            if let Some(task) = queue.take(own, turn.most()) {
                let call = queue.end_search();
                drop(queue);
                turn.took(1 + own.len());
                _ = self.answer(host, call);
                return Some(task);
            }
            if !backoff.is_completed() {
                MutexGuard::unlocked(&mut queue, || {
                    self.tell_room();
                    (0..STEPS).for_each(|_| backoff.snooze());
                });
                continue;
            }
            queue.fall_asleep();
            self.release_if_drained(&mut queue);
            while !queue.is_calling() && !queue.is_drained() {
                self.called.wait(&mut queue);
            }
            if queue.is_drained() {
                return None;
            }
            queue.wake();
            backoff = Backoff::new();
        }
    }
}
