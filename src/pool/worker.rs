//! [`Worker`]: one of a pool's threads; starting and calling them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use parking_lot::MutexGuard;

use super::cx::JobCx;
use super::error::Refusal;
use super::hand::{Hand, Label, Next};
use super::queue::Queue;
use super::shared::{Desk, Entry, Fired, Shared, Work};
use super::status::JobStatus;
use crate::hooks::Outcome;
use crate::thread::{self, JobMark, Spec};
use crate::workers::calls::Call;
use crate::workers::search::Search;
use crate::workers::turn::Turn;

struct Worker {
    shared: Arc<Shared>,
    hand: Arc<Hand<Entry>>,
    turn: Turn,
    search: Search,
}

impl Shared {
    /// Makes sure that there is a worker, before the first job is accepted.
    #[cold]
    pub(super) fn begin(self: &Arc<Self>) -> Result<(), Refusal> {
        // Looked at without the lock first: a closer holds it while it joins a worker, which may submit as it ends.
        // Relaxed: the queue is there before any worker.
        if self.begun.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut threads = self.threads.lock();
        if self.begun.load(Ordering::Relaxed) {
            return Ok(());
        }
        let index = {
            let mut queue = self.queue.lock();
            if !queue.is_open() {
                return Err(Refusal::Closed);
            }
            let Call::Another(index) = queue.calls.call_first() else { unreachable!("no worker has begun") };
            index
        };
        match self.spawn(index) {
            Ok(handle) => {
                threads.push(handle);
                self.begun.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(_) => {
                let mut queue = self.queue.lock();
                queue.thread_refused();
                self.release_if_drained(&mut queue);
                Err(Refusal::NoThread)
            }
        }
    }

    /// Wakes or starts the worker that is called. If no other can be started, fewer workers do the same work.
    #[inline]
    pub(super) fn answer(self: &Arc<Self>, call: Call) {
        match call {
            Call::None => {}
            Call::Sleeper => _ = self.called.notify_one(),
            Call::Another(index) => self.start_another(index),
        }
    }

    #[cold]
    fn start_another(self: &Arc<Self>, index: usize) {
        let mut threads = self.threads.lock();
        if let Ok(handle) = self.spawn(index) {
            threads.push(handle);
            return;
        }
        let mut queue = self.queue.lock();
        if queue.thread_refused() == Call::Sleeper {
            self.called.notify_one();
        }
        self.release_if_drained(&mut queue);
    }

    fn spawn(self: &Arc<Self>, index: usize) -> std::io::Result<std::thread::JoinHandle<()>> {
        let worker =
            Worker { shared: Arc::clone(self), hand: Hand::new(), turn: Turn::default(), search: Search::default() };
        thread::spawn_owned(Spec { name: &self.name, index, stack: self.stack }, move || worker.work())
    }

    /// Runs a fired job; returns how it ended.
    fn run_fired(&self, id: u64, f: Fired) -> JobStatus {
        if let Some(reason) = self.token.reason() {
            self.skip_fired(id, f, reason);
            return JobStatus::Skipped;
        }
        let label = Label { name: None, id };
        let started = self.hooks.is_some().then(Instant::now);
        // The token that the job may have made is dropped within, because its callbacks may own values of the user's.
        let result = self.perform(&label, || f(&JobCx::fired(id, &self.name, &self.token)));
        let (mut status, outcome) = match result {
            Ok(()) => (JobStatus::Completed, Outcome::Completed),
            Err(payload) => {
                self.lose_panic(&label, payload);
                (JobStatus::Panicked, Outcome::Panicked)
            }
        };
        if let Some(started) = started {
            if let Err(payload) = self.tell_ended(&label, outcome, started.elapsed()) {
                self.lose_panic(&label, payload);
                status = JobStatus::Panicked;
            }
        }
        status
    }
}

impl Worker {
    /// Runs jobs until the pool is drained.
    fn work(mut self) {
        thread::begin_lineage();
        self.mark(u64::MAX);
        self.shared.queue.lock().add_hand(Arc::clone(&self.hand));
        let mut is_first = true;
        let mut ended = None;
        loop {
            match self.hand.next(ended.take()) {
                Next::Job(entry) => {
                    self.shared.tell_room();
                    ended = self.run(entry);
                }
                Next::Spent(entry) => entry.release(&self.shared),
                Next::Empty => {
                    let shared = Arc::clone(&self.shared);
                    let mut queue = shared.queue.lock();
                    // A thread that was started has counted as searching since it was called.
                    if !is_first {
                        queue.calls.begin_search();
                    }
                    is_first = false;
                    if !self.search(&shared, queue) {
                        return;
                    }
                }
            }
        }
    }

    /// Runs a job; returns how it ended, if that is still to be counted.
    #[inline]
    fn run(&self, entry: Entry) -> Option<JobStatus> {
        self.mark(entry.id);
        match entry.work {
            Work::Fired(f) => Some(self.shared.run_fired(entry.id, f)),
            Work::Tracked(job) => {
                job.run(&Desk { shared: &self.shared, hand: Some(&self.hand) });
                None
            }
        }
    }

    fn mark(&self, id: u64) {
        thread::set_job(Some(JobMark { pool: self.shared.number, id }));
    }

    /// Fills the worker's hand: looks for some microseconds, then sleeps until the worker is called. Returns `false`
    /// when the pool is drained.
    #[inline(never)]
    fn search<'a>(&mut self, shared: &'a Arc<Shared>, mut queue: MutexGuard<'a, Queue<Entry>>) -> bool {
        loop {
            if queue.take(&self.hand, self.turn.most()) {
                queue.calls.end_search();
                let call = queue.call();
                drop(queue);
                let found = self.hand.len().max(1);
                self.search.found(found);
                self.turn.took(found);
                shared.answer(call);
                return true;
            }
            if queue.is_open() && self.search.goes_on() {
                MutexGuard::unlocked(&mut queue, || {
                    shared.tell_room();
                    self.search.wait(|| shared.is_job_awaited());
                });
                continue;
            }
            // Spent jobs may have left the queue.
            shared.tell_room();
            queue.calls.fall_asleep();
            shared.release_if_drained(&mut queue);
            while !queue.calls.is_calling() && !queue.is_drained() {
                shared.called.wait(&mut queue);
            }
            if queue.is_drained() {
                return false;
            }
            queue.calls.wake();
            self.search.woke();
        }
    }
}
