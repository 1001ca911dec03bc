//! [`Search`]: how a thread without work looks for some, awake, before it sleeps.
//!
//! A look takes the lock of the queue, and moves its cache lines to another core, so it costs the submitter time too.
//! The time between two looks grows while a look finds several tasks, and shrinks while it finds one. So a look finds
//! many trivial tasks, and a task that comes alone waits for a microsecond or two. With a fixed pause of some
//! microseconds, a trivial job of a pool cost a fifth more where its result was taken, and where a registry kept it.
//! With a fixed pause of 40 µs, a job that was submitted when the one before it had ended waited for most of that time.

use std::time::{Duration, Instant};

use crate::sync::Backoff;

/// How long a thread searches before it sleeps: about as long as it takes to be called.
const LONGEST: Duration = Duration::from_micros(40);

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_micros(1);

/// A thread sleeps at once when this number of its searches in a row have found nothing before it slept. Where tasks
/// come far apart, to look awake would find nothing, and take the time of other threads.
const IN_VAIN: u32 = 4;

/// A thread that sleeps at once looks awake in one of this number of searches: tasks may come closer together now.
const AGAIN: u32 = 16;

/// The looks of one thread for work.
pub(crate) struct Search {
    /// The time between two looks.
    pause: Duration,
    /// How long the thread has searched since it had work, or slept.
    searched: Duration,
    /// The thread has slept since it had work.
    has_slept: bool,
    /// How many searches in a row have ended in sleep.
    in_vain: u32,
}

impl Default for Search {
    fn default() -> Self {
        Search { pause: SHORTEST, searched: Duration::ZERO, has_slept: false, in_vain: 0 }
    }
}

impl Search {
    /// Returns whether the thread is to look again before it sleeps.
    pub(crate) fn goes_on(&self) -> bool {
        self.searched < LONGEST && (self.in_vain < IN_VAIN || self.in_vain % AGAIN == 0)
    }

    /// Waits awake until the next look, or until `is_called` says that there is to be one at once.
    pub(crate) fn wait(&mut self, is_called: impl Fn() -> bool) {
        let (backoff, since) = (Backoff::new(), Instant::now());
        let waited = loop {
            backoff.snooze();
            let waited = since.elapsed();
            if waited >= self.pause || is_called() {
                break waited;
            }
        };
        self.searched += waited;
    }

    /// Notes that the thread was called while it slept: it searches anew.
    pub(crate) fn woke(&mut self) {
        (self.searched, self.has_slept) = (Duration::ZERO, true);
    }

    /// Notes that a look has found work: how many tasks.
    pub(crate) fn found(&mut self, tasks: usize) {
        if self.searched > Duration::ZERO {
            let pause = if tasks > 1 { 2 * self.pause } else { self.pause / 2 };
            self.pause = pause.clamp(SHORTEST, LONGEST);
        }
        self.in_vain = if self.has_slept { self.in_vain.wrapping_add(1) } else { 0 };
        (self.searched, self.has_slept) = (Duration::ZERO, false);
    }
}

#[cfg(test)]
mod tests {
    use super::{AGAIN, Duration, IN_VAIN, LONGEST, SHORTEST, Search};

    /// A search that finds this number of tasks at its second look.
    fn find(search: &mut Search, tasks: usize) {
        search.searched += search.pause;
        search.found(tasks);
    }

    #[test]
    fn the_pause_grows_with_several_tasks_a_look_and_shrinks_with_one() {
        let mut search = Search::default();
        (0..10).for_each(|_| find(&mut search, 2));
        assert_eq!(search.pause, LONGEST);
        find(&mut search, 1);
        assert_eq!(search.pause, LONGEST / 2);
        (0..10).for_each(|_| find(&mut search, 1));
        assert_eq!(search.pause, SHORTEST);
        search.found(64);
        assert_eq!(search.pause, SHORTEST, "the first look has waited for nothing");
    }

    #[test]
    fn a_search_ends_in_its_time_or_when_it_is_called() {
        let mut search = Search::default();
        let mut looks = 0;
        while search.goes_on() {
            search.wait(|| false);
            looks += 1;
        }
        assert!(search.searched >= LONGEST && looks <= LONGEST.as_micros());
        search.woke();
        search.pause = Duration::from_secs(3_600);
        search.wait(|| true);
    }

    #[test]
    fn after_searches_in_vain_a_thread_sleeps_at_once_but_for_one_of_some() {
        let mut search = Search::default();
        let searches = [(); 4 * AGAIN as usize].map(|()| {
            let awake = search.goes_on();
            search.woke();
            search.found(1);
            awake
        });
        assert_eq!(searches.iter().filter(|awake| **awake).count(), IN_VAIN as usize + 3);
        search.found(1);
        assert!(search.goes_on());
    }
}
