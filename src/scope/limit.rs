//! [`Limit`]: the threads and the queue of a scope with a limit.
//!
//! Tasks go into one [`Queue`] for all threads, under one lock, which also guards the count of sleepers. The head of
//! `queue.rs` says which thread is called for a task, and when the threads leave. A thread takes a batch of tasks at a
//! time into its hand. It starts the tasks in its hand without the lock of the queue, and a thread that finds the queue
//! empty steals from it.
//!
//! **The body waits for room.** It sets `full`, and then counts the tasks under the locks of the queue and of the
//! hands. A thread that takes a task under one of these locks, or becomes free under the lock of the queue, then looks
//! at `full`. So either the body counts one task less, or the thread sees `full`.
//!
//! The body bounds the speed of trivial tasks, because two threads run them faster than it spawns them. On the
//! scoreboard's machine an atomic operation takes 10 ns, and a cache line from another core 50 ns or more. These
//! designs were tried. The figures are ns a task, where a box through a crossbeam channel takes 130:
//!
//! - crossbeam's `Injector`, without a lock: more than twice the next one.
//! - A deque under a lock, from which a thread moved its share to a deque of its own: 250. The thread moved the tasks
//!   under the lock, while the body waited. Each thread freed the tasks that it had run, so the body met it in the
//!   allocator.
//! - A deque of the body's, from which the threads stole without its lock: 200.
//! - Batches and hands, whose tasks the threads freed: 220.
//! - Batches and hands, and tasks that [go back](Queue::keep_spent) to the body to be freed: 170. A spent task also
//!   gives its [link] to the next one, because a clone of a link and its drop are two atomic operations. To fetch a
//!   batch of spent tasks into the cache beforehand gained nothing.
//! - The same, with looks for work that come [seldom](crate::workers::search) while tasks come fast: 155.
//!
//! The body makes six atomic operations a task: two for the lock, two for the reference that the handle has, and two
//! to free a spent task. To send a box takes one. So a trivial task costs 1.2 of the channel's time.
//!
//! [link]: super::shared::Link

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::utils::{Backoff, CachePadded};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::counts::{Counted, Counts};
use super::id::TASK;
use super::queue::Queue;
use crate::error::Cancelled;
use crate::event::Event;
use crate::thread;
use crate::token::CancellationToken;
use crate::workers::calls::Call;

/// How many tasks the queue holds for each thread, unless the user sets its length.
const QUEUED_A_THREAD: usize = 512;

/// The scope that a limit belongs to, as the limit sees it.
pub(super) trait Host {
    fn token(&self) -> &CancellationToken;

    /// Starts a thread that runs a [`Worker`](super::worker::Worker).
    ///
    /// If the system refuses the thread, the error is a [`Cancelled`]
    /// whose reason says so, because a spawn has no other error to return.
    fn start_thread(&self, name: &str, index: usize) -> Result<(), Cancelled>;
}

pub(super) struct Limit<J> {
    /// The name of the threads.
    name: Option<Arc<str>>,
    /// The lineage of the body's thread. Threads that have it wait for room, and for a task that they join. (The scope
    /// cannot tell them from others, because the body may send it to another thread.)
    body: u64,
    /// A thread has been started.
    begun: AtomicBool,
    /// The body waits for room.
    full: AtomicBool,
    queue: CachePadded<Mutex<Queue<J>>>,
    pub(super) called: Condvar,
    emptied: Arc<Event>,
    pub(super) counts: Counts,
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

impl<J> Limit<J> {
    pub(super) fn new(limit: NonZeroUsize, capacity: Option<usize>, name: Option<Arc<str>>) -> Self {
        let capacity = capacity.unwrap_or(limit.get().saturating_mul(QUEUED_A_THREAD));
        Limit {
            name,
            body: thread::some_lineage(),
            begun: AtomicBool::new(false),
            full: AtomicBool::new(false),
            queue: CachePadded::new(Mutex::new(Queue::new(limit.get(), capacity))),
            called: Condvar::new(),
            emptied: Arc::default(),
            counts: Counts::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queue<J>> {
        self.counts.add(Counted::Lock);
        self.queue.lock()
    }

    /// Returns whether the calling thread is one of the limit's, works for one of its tasks, or may do so: nothing
    /// is known of a thread that was started by other means than ours.
    pub(super) fn is_in_task(&self) -> bool {
        thread::lineage() != self.body
    }

    /// Removes a task that its joiner is about to run, if it is quickly found, and tasks that have been run so. Tasks
    /// that a thread spawns and joins one by one leave nothing behind in this way.
    pub(super) fn remove(&self, is_out: impl Fn(&J) -> bool) {
        let out = self.lock().remove(is_out);
        self.tell_room();
        drop(out);
    }

    /// Notes that the body has returned: when every task has ended, the threads leave.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.close();
        self.release_if_drained(&mut queue);
    }

    /// Frees the spent tasks, when all threads have left. They hold links to the scope that holds them.
    pub(super) fn free_spent(&self) {
        let spent = self.lock().take_all_spent();
        drop(spent);
    }

    /// Wakes the body, if it waits for room.
    #[inline]
    pub(super) fn tell_room(&self) {
        // Relaxed: the locks order it.
        if self.full.load(Ordering::Relaxed) && self.full.swap(false, Ordering::Relaxed) {
            self.emptied.notify_all();
        }
    }

    pub(super) fn release_if_drained(&self, queue: &mut Queue<J>) {
        if queue.drain() {
            self.called.notify_all();
        }
    }

    /// Returns the queue for a [`push`](Self::push) if there is a thread, and room for a task.
    // A result that is passed on in memory, as that of `admit`, would cost as much as an atomic operation.
    #[inline]
    pub(super) fn try_admit(&self, spawner: Spawner) -> Option<MutexGuard<'_, Queue<J>>> {
        // Relaxed: the queue is there before any thread.
        if !self.begun.load(Ordering::Relaxed) {
            return None;
        }
        let mut queue = self.lock();
        (spawner == Spawner::Task || queue.has_room()).then_some(queue)
    }

    /// Makes sure that there is a thread, and room for a task, and returns the queue for a [`push`](Self::push). Only
    /// the body waits for room, or gets `None` because there is none.
    #[cold]
    pub(super) fn admit(
        &self,
        host: &impl Host,
        spawner: Spawner,
        if_full: IfFull,
    ) -> Result<Option<MutexGuard<'_, Queue<J>>>, Cancelled> {
        self.begin(host)?;
        if spawner == Spawner::Task || self.is_in_task() {
            return Ok(Some(self.lock()));
        }
        // Where there is room for one task, there is soon room for many: waiting awake for that is cheaper than asleep.
        let backoff = Backoff::new();
        while self.lock().is_half_full() && !backoff.is_completed() {
            backoff.snooze();
        }
        let mut queue = self.lock();
        if queue.has_room() {
            return Ok(Some(queue));
        }
        drop(queue);
        match if_full {
            IfFull::Wait => self.wait_for_room(host.token()).map(Some),
            IfFull::GiveBack => Ok(None),
        }
    }

    /// Starts the first thread.
    fn begin(&self, host: &impl Host) -> Result<(), Cancelled> {
        // If no thread has begun and none is to be called, another spawn is starting the first.
        while !self.begun.load(Ordering::Relaxed) {
            let call = self.lock().call_first();
            self.answer(host, call)?;
            std::hint::spin_loop();
        }
        Ok(())
    }

    fn wait_for_room(&self, token: &CancellationToken) -> Result<MutexGuard<'_, Queue<J>>, Cancelled> {
        let _watch = self.emptied.observe(token);
        loop {
            let ticket = self.emptied.ticket();
            self.full.store(true, Ordering::Relaxed);
            let mut queue = self.lock();
            // `full` stays set, because another thread of the body may wait too.
            if queue.has_room() {
                return Ok(queue);
            }
            drop(queue);
            token.check()?;
            self.counts.add(Counted::Wait);
            self.emptied.wait_until(ticket, token.look_at());
        }
    }

    /// Adds a task to the queue, which [`admit`](Self::admit) has returned.
    #[inline]
    pub(super) fn push(&self, host: &impl Host, mut queue: MutexGuard<'_, Queue<J>>, task: J) {
        let call = queue.push(task);
        drop(queue);
        // If no other thread can be started, fewer threads do the same work.
        _ = self.answer(host, call);
    }

    #[inline]
    pub(super) fn answer(&self, host: &impl Host, call: Call) -> Result<(), Cancelled> {
        match call {
            Call::None => Ok(()),
            Call::Sleeper => {
                self.wake_one();
                Ok(())
            }
            Call::Another(index) => self.start(host, index),
        }
    }

    fn wake_one(&self) {
        self.counts.add(Counted::Wake);
        self.called.notify_one();
    }

    #[cold]
    fn start(&self, host: &impl Host, index: usize) -> Result<(), Cancelled> {
        self.counts.add(Counted::Start);
        let started = host.start_thread(self.name.as_deref().unwrap_or(TASK), index);
        match started {
            Ok(()) => self.begun.store(true, Ordering::Relaxed),
            Err(_) => {
                if self.lock().thread_refused() == Call::Sleeper {
                    self.wake_one();
                }
            }
        }
        started
    }
}
