//! The crew of a scope with a limit: so many threads at most, and a queue.
//!
//! Tasks go into one queue for all, under one lock, which also guards who sleeps and who looks for a task: so nothing about
//! sleeping and waking is subtle, but for the numbered points below. A thread takes its share of the queue at a time, into
//! a deque of its own from which it pops without that lock, and from which those who find the queue empty take back.
//!
//! 1. Whatever adds to the queue or to a deque does so under the lock, and then [calls](State::call) somebody. So who finds
//!    all of them empty under the lock may fall asleep.
//! 2. One sleeper is called at a time, and nobody while a thread is `searching`, or is about to: that one finds what there
//!    is, and calls the next if it leaves anything.
//! 3. The body waits for room: it says so by `full`, and counts once more after a fence. Who pops a task, by a sequentially
//!    consistent operation of the deque's or under the lock, and who becomes free, under the lock, then looks whether the
//!    body waits.
//! 4. All is over when the body has ended and every thread sleeps: what is left to do would be in the hands of one that
//!    does not.
//!
//! With crossbeam's lock-free `Injector` for the queue, and a protocol of fences for the sleepers, a trivial task cost more
//! than twice as much: it takes no fewer atomic operations than a lock that is free, and hands out smaller shares.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use crossbeam::deque::{Steal, Stealer, Worker};
use crossbeam::utils::{Backoff, CachePadded};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::cell::Job;
use super::pace::Pace;
use super::shared::{Link, TASK};
use crate::error::Cancelled;
use crate::event::Event;
use crate::panic;
use crate::thread;

type Queued<'scope, E> = Arc<dyn Job<'scope, E> + 'scope>;

/// How many tasks a thread may have in the queue, unless the user says how many there may be.
const QUEUED_A_THREAD: usize = 512;

/// Of how few tasks a thread may take all.
const FEW: usize = 16;

/// How many steps of a [`Backoff`] a thread makes from one look at the queue to the next, some microseconds: so it finds
/// several trivial tasks rather than each by itself. With one step they cost half as much again.
const STEPS: usize = 8;

pub(super) struct Crew<'scope, E> {
    limit: usize,
    capacity: usize,
    name: Option<Arc<str>>,
    /// The lineage of the body's thread. Those who have it wait for room, and for a task that they join. (It cannot be told by
    /// the scope, which may be sent on.)
    body: u64,
    /// A thread has been started.
    begun: AtomicBool,
    /// The body waits for room.
    full: AtomicBool,
    /// How many tasks the body may spawn before it has to look how full the queue is. The body's alone, and so on a cache
    /// line of its own.
    room: CachePadded<AtomicUsize>,
    state: CachePadded<Mutex<State<'scope, E>>>,
    called: Condvar,
    emptied: Arc<Event>,
}

struct State<'scope, E> {
    queue: VecDeque<Queued<'scope, E>>,
    /// Of the threads' own deques.
    stealers: Vec<Stealer<Queued<'scope, E>>>,
    started: usize,
    asleep: usize,
    /// Awake and looking for a task, or about to start.
    searching: usize,
    /// One that sleeps has been called.
    calling: bool,
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

/// Whom there is for a task that nobody has taken.
#[derive(Clone, Copy)]
enum Call {
    Nobody,
    Sleeper,
    /// A thread that is to be started.
    Another(usize),
}

impl<'scope, E> Crew<'scope, E> {
    pub(super) fn new(limit: NonZeroUsize, capacity: Option<usize>, name: Option<Arc<str>>) -> Self {
        Crew {
            limit: limit.get(),
            capacity: capacity.unwrap_or(limit.get().saturating_mul(QUEUED_A_THREAD)),
            name,
            body: thread::some_lineage(),
            begun: AtomicBool::new(false),
            full: AtomicBool::new(false),
            room: CachePadded::default(),
            state: CachePadded::new(Mutex::new(State {
                queue: VecDeque::new(),
                stealers: Vec::new(),
                started: 0,
                asleep: 0,
                searching: 0,
                calling: false,
                closing: false,
                over: false,
                refused: false,
            })),
            called: Condvar::new(),
            emptied: Arc::default(),
        }
    }

    /// Whether the calling thread is one of the crew's or works for one of its tasks, or may do so, for all we know.
    pub(super) fn is_in_task(&self) -> bool {
        thread::lineage() != self.body
    }

    /// Takes a task out of the queue that somebody is about to run, if it is quickly found, and others that have been run
    /// so. Of those that a thread spawns and joins one by one, none is left behind.
    pub(super) fn take_out(&self, task: *const ()) {
        let is_out = |job: &Queued<'scope, E>| Arc::as_ptr(job).cast() == task || !job.is_queued();
        let mut out = Vec::new();
        let mut state = self.state.lock();
        while state.queue.back().is_some_and(is_out) {
            out.extend(state.queue.pop_back());
        }
        while state.queue.front().is_some_and(is_out) {
            out.extend(state.queue.pop_front());
        }
        drop(state);
        self.tell_room();
    }

    /// The body has ended: once every task has, the threads do.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closing = true;
        self.end_if_over(&mut state);
    }

    /// Wakes the body, if it waits for room.
    fn tell_room(&self) {
        // Pairs with the fence in `wait_for_room` (3).
        if self.full.load(Ordering::SeqCst) && self.full.swap(false, Ordering::SeqCst) {
            self.emptied.notify_all();
        }
    }

    fn end_if_over(&self, state: &mut State<'scope, E>) {
        // Those that are awake will find out (4).
        if state.closing && state.asleep == state.started && state.queue.is_empty() {
            state.over = true;
            self.called.notify_all();
        }
    }
}

impl<'scope, E> State<'scope, E> {
    /// How many tasks wait.
    fn queued(&self) -> usize {
        self.queue.len() + self.stealers.iter().map(Stealer::len).sum::<usize>()
    }

    /// How many threads have nothing to do, or could be started.
    fn free(&self, limit: usize) -> usize {
        self.asleep + self.searching + if self.refused { 0 } else { limit - self.started }
    }

    /// Takes a task, and as many of those behind it as make `most` into `own`: a fair share of many, and most of a few, since each
    /// turn at the lock takes it away from the body. Who finds nothing takes half of them back.
    fn take(&mut self, own: &Worker<Queued<'scope, E>>, most: usize, limit: usize) -> Option<Queued<'scope, E>> {
        let Some(first) = self.queue.pop_front() else {
            return self.stealers.iter().find_map(|other| {
                loop {
                    match other.steal_batch_and_pop(own) {
                        Steal::Success(job) => break Some(job),
                        Steal::Empty => break None,
                        Steal::Retry => {}
                    }
                }
            });
        };
        let share = (self.queue.len() / limit).max(FEW).min(self.queue.len()).min(most - 1);
        self.queue.drain(..share).for_each(|job| own.push(job));
        Some(first)
    }

    /// Chooses who is to look for the tasks that wait, if there are any (2).
    fn call(&mut self, limit: usize) -> Call {
        let can_start = self.started < limit && !self.refused;
        if self.searching > 0 || self.calling || (self.asleep == 0 && !can_start) || self.queued() == 0 {
            Call::Nobody
        } else if self.asleep > 0 {
            self.calling = true;
            Call::Sleeper
        } else {
            self.start()
        }
    }

    fn start(&mut self) -> Call {
        self.searching += 1;
        self.started += 1;
        Call::Another(self.started - 1)
    }
}

impl<'scope, E: From<Cancelled> + Send + 'scope> Crew<'scope, E> {
    /// Makes sure that there is a thread, and room for a task. Only the body waits for that, or is refused. `in_task`: the
    /// scope was given to a task.
    pub(super) fn admit(&self, link: &Link<'scope, E>, in_task: bool, waits: bool) -> Result<Admission, Cancelled> {
        // Relaxed: the queue is there before any thread. Not begun, and nobody to call: somebody else starts the first.
        while !self.begun.load(Ordering::Relaxed) {
            let mut state = self.state.lock();
            let call = if state.started == 0 { state.start() } else { Call::Nobody };
            drop(state);
            self.answer(link, call)?;
            std::hint::spin_loop();
        }
        if in_task || self.is_in_task() {
            return Ok(Admission::Granted);
        }
        // A look at the queue tells for how many tasks there is room, so that it is not needed for each.
        let one_less = |room: usize| room.checked_sub(1);
        if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return Ok(Admission::Granted);
        }
        // Room for one is soon room for many: waiting awake for that is cheaper than asleep.
        let backoff = Backoff::new();
        while self.state.lock().queued() > self.capacity / 2 && !backoff.is_completed() {
            backoff.snooze();
        }
        if self.take_room() {
            Ok(Admission::Granted)
        } else if waits {
            self.wait_for_room(link).map(|()| Admission::Granted)
        } else {
            Ok(Admission::Full)
        }
    }

    fn take_room(&self) -> bool {
        let state = self.state.lock();
        // What a free thread is about to take is not in the queue's way.
        let room = self.capacity.saturating_add(state.free(self.limit)).saturating_sub(state.queued());
        drop(state);
        self.room.store(room.saturating_sub(1), Ordering::Relaxed);
        room > 0
    }

    #[cold]
    fn wait_for_room(&self, link: &Link<'scope, E>) -> Result<(), Cancelled> {
        let _watch = self.emptied.observe(&link.token);
        loop {
            let ticket = self.emptied.ticket();
            self.full.store(true, Ordering::SeqCst);
            // Pairs with the load in `tell_room` (3).
            fence(Ordering::SeqCst);
            // It stays `full`: another thread of the body's may wait too.
            if self.take_room() {
                return Ok(());
            }
            link.token.check()?;
            self.emptied.wait_until(ticket, link.token.look_at());
        }
    }

    pub(super) fn push(&self, link: &Link<'scope, E>, job: Queued<'scope, E>) {
        let mut state = self.state.lock();
        state.queue.push_back(job);
        let call = state.call(self.limit);
        drop(state);
        // If no other thread can be started, fewer do the same work.
        _ = self.answer(link, call);
    }

    fn answer(&self, link: &Link<'scope, E>, call: Call) -> Result<(), Cancelled> {
        match call {
            Call::Nobody => Ok(()),
            Call::Sleeper => {
                self.called.notify_one();
                Ok(())
            }
            Call::Another(index) => self.start(link, index),
        }
    }

    #[cold]
    fn start(&self, link: &Link<'scope, E>, index: usize) -> Result<(), Cancelled> {
        let worker = {
            let link = link.another();
            move || {
                if let Some(crew) = &link.crew {
                    crew.worker(&link);
                }
            }
        };
        match link.threads.start(self.name.as_deref().unwrap_or(TASK), index, worker) {
            Ok(handle) => {
                self.begun.store(true, Ordering::Relaxed);
                link.adopt(handle);
                Ok(())
            }
            Err(cancelled) => {
                let mut state = self.state.lock();
                state.searching -= 1;
                state.started -= 1;
                state.refused = state.started > 0;
                // While it counted as searching, nobody else was called.
                if state.refused && matches!(state.call(self.limit), Call::Sleeper) {
                    self.called.notify_one();
                }
                Err(cancelled)
            }
        }
    }

    fn worker(&self, link: &Link<'scope, E>) {
        thread::begin_lineage();
        let own = Worker::new_fifo();
        {
            let mut state = self.state.lock();
            // Here, so that a thread that the system refused to start leaves nothing behind.
            state.stealers.push(own.stealer());
            // It counted as searching from when it was to be started, and goes on to search.
            state.searching -= 1;
        }
        let mut pace = Pace::default();
        while let Some(job) = own.pop().or_else(|| self.search(&own, &mut pace, link)) {
            self.tell_room();
            // What is left of a task may be its closure's value, whose `Drop` is the user's.
            if let Err(payload) = panic::catch(move || job.run(link)) {
                link.fail_beside("drop", payload);
            }
        }
    }

    /// Finds a task outside of its own deque: looks for some microseconds, then sleeps until it is called. `None` when all
    /// is over.
    #[inline(never)]
    fn search(
        &self,
        own: &Worker<Queued<'scope, E>>,
        pace: &mut Pace,
        link: &Link<'scope, E>,
    ) -> Option<Queued<'scope, E>> {
        let mut state = self.state.lock();
        state.searching += 1;
        let mut backoff = Backoff::new();
        loop {
            if let Some(job) = state.take(own, pace.turn(), self.limit) {
                state.searching -= 1;
                let call = state.call(self.limit);
                drop(state);
                pace.took(1 + own.len());
                _ = self.answer(link, call);
                return Some(job);
            }
            if !backoff.is_completed() {
                MutexGuard::unlocked(&mut state, || {
                    self.tell_room();
                    (0..STEPS).for_each(|_| backoff.snooze());
                });
                continue;
            }
            state.searching -= 1;
            state.asleep += 1;
            self.end_if_over(&mut state);
            while !state.calling && !state.over {
                self.called.wait(&mut state);
            }
            if state.over {
                return None;
            }
            state.calling = false;
            state.asleep -= 1;
            state.searching += 1;
            backoff = Backoff::new();
        }
    }
}
