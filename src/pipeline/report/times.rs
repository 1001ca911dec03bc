//! [`Times`]: how long a member of a run has done what, and what it does now.
//!
//! **A member writes its own times, and its alone.** A load and a store suffice for that, and they lie in cache lines
//! of its own, so that 64 members do not meet at one. The thread that asks adds the times of all members up. A batch
//! costs five stores, and no look at the clock beyond those that it takes anyway. A member that falls asleep takes two
//! more.
//!
//! The run itself has such times too, for the bounds that keep threads from work. The members write them under the
//! state's lock, with a look at the clock when a bound begins or ceases to keep one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;

/// What a member does. Sections are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Step {
    /// It is in the source.
    Source,
    Sink,
    /// It works items of the section.
    Stages(usize),
    /// It is in the serial stage in front of the section.
    Serial(usize),
    /// It has nothing to do for the section.
    Wait(usize, Lack),
}

/// What a member waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Lack {
    /// For items.
    Input,
    /// For room for outputs.
    Output,
    /// For room in the window.
    Window,
    /// For room in the budget.
    Budget,
}

const LACKS: [Lack; 4] = [Lack::Input, Lack::Output, Lack::Window, Lack::Budget];

/// The steps of a section.
const STEPS: u64 = 2 + LACKS.len() as u64;

impl Step {
    /// A number for each step, which is not 0.
    fn code(self) -> u64 {
        match self {
            Step::Source => 1,
            Step::Sink => 2,
            Step::Stages(section) => 3 + section as u64 * STEPS,
            Step::Serial(section) => 4 + section as u64 * STEPS,
            Step::Wait(section, lack) => 5 + section as u64 * STEPS + lack as u64,
        }
    }

    fn of_code(code: u64) -> Option<Step> {
        let (section, step) = match code {
            0 => return None,
            1 => return Some(Step::Source),
            2 => return Some(Step::Sink),
            code => (usize::try_from((code - 3) / STEPS).ok()?, (code - 3) % STEPS),
        };
        Some(match step {
            0 => Step::Stages(section),
            1 => Step::Serial(section),
            lack => Step::Wait(section, *LACKS.get(usize::try_from(lack - 2).ok()?)?),
        })
    }
}

/// The times of one member, in ns.
#[derive(Debug)]
pub(in super::super) struct Times {
    /// When the run began.
    origin: Instant,
    own: CachePadded<Own>,
    sections: Box<[CachePadded<SectionTimes>]>,
}

#[derive(Debug, Default)]
struct Own {
    /// The code of the step at hand, and in the upper bits when it began, in µs since the origin.
    now: AtomicU64,
    source: AtomicU64,
    sink: AtomicU64,
}

/// How many bits hold a step's code: so sections beyond the ten thousandth are not seen at work.
const CODE: u32 = 16;

#[derive(Debug, Default)]
struct SectionTimes {
    stages: AtomicU64,
    serial: AtomicU64,
    waits: [AtomicU64; 4],
    items: AtomicU64,
    batches: AtomicU64,
}

/// The counts of a section.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) items: u64,
    pub(super) batches: u64,
}

// Relaxed: only the member writes, and figures that are read while it does may be some ns apart.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Times {
    pub(super) fn new(origin: Instant, sections: usize) -> Self {
        let sections = (0..sections).map(|_| CachePadded::default()).collect();
        Times { origin, own: CachePadded::default(), sections }
    }

    /// The member begins a step.
    pub(in super::super) fn begin(&self, step: Step, at: Instant) {
        let since = u64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(0);
        let code = Some(step.code()).filter(|code| code >> CODE == 0).unwrap_or(0);
        self.own.now.store(since << CODE | code, Ordering::Relaxed);
    }

    /// The step that it has begun took `elapsed`.
    pub(in super::super) fn end(&self, step: Step, elapsed: Duration) {
        if let Some(counter) = self.counter(step) {
            add(counter, nanos(elapsed));
        }
        self.own.now.store(0, Ordering::Relaxed);
    }

    /// Ends the step at hand and begins `step`, unless that is the one at hand.
    pub(super) fn turn_to(&self, step: Option<Step>) {
        let at_hand = self.at_hand();
        if at_hand.map(|(step, _)| step) == step {
            return;
        }
        let now = Instant::now();
        if let Some((step, begun)) = at_hand {
            self.end(step, now.saturating_duration_since(begun));
        }
        if let Some(step) = step {
            self.begin(step, now);
        }
    }

    /// The step that the member has begun, and when.
    fn at_hand(&self) -> Option<(Step, Instant)> {
        let now = self.own.now.load(Ordering::Relaxed);
        let step = Step::of_code(now & ((1 << CODE) - 1))?;
        Some((step, self.origin + Duration::from_micros(now >> CODE)))
    }

    /// Counts a batch of a section, if any of its items were worked.
    pub(in super::super) fn count(&self, section: usize, items: usize) {
        if let Some(section) = self.sections.get(section)
            && items > 0
        {
            add(&section.items, items as u64);
            add(&section.batches, 1);
        }
    }

    /// Counts more items in a batch of the last section.
    pub(in super::super) fn count_more(&self, items: usize) {
        if let Some(last) = self.sections.last() {
            add(&last.items, items as u64);
        }
    }

    /// How long the member has done `step`, by the time `now`.
    pub(super) fn spent(&self, step: Step, now: Instant) -> Duration {
        let ended = self.counter(step).map_or(0, |counter| counter.load(Ordering::Relaxed));
        let at_hand = self.at_hand().filter(|(at_hand, _)| *at_hand == step);
        let more = at_hand.map_or(Duration::ZERO, |(_, begun)| now.saturating_duration_since(begun));
        Duration::from_nanos(ended) + more
    }

    pub(super) fn counts(&self, section: usize) -> Counts {
        self.sections.get(section).map_or_else(Counts::default, |section| Counts {
            items: section.items.load(Ordering::Relaxed),
            batches: section.batches.load(Ordering::Relaxed),
        })
    }

    fn counter(&self, step: Step) -> Option<&AtomicU64> {
        let section = |section: usize| self.sections.get(section);
        match step {
            Step::Source => Some(&self.own.source),
            Step::Sink => Some(&self.own.sink),
            Step::Stages(at) => section(at).map(|section| &section.stages),
            Step::Serial(at) => section(at).map(|section| &section.serial),
            Step::Wait(at, lack) => section(at).and_then(|section| section.waits.get(lack as usize)),
        }
    }
}

/// Calls `f`, which is a step of the member.
pub(in super::super) fn during<T>(times: Option<&Times>, step: Step, f: impl FnOnce() -> T) -> T {
    let Some(times) = times else { return f() };
    let since = Instant::now();
    times.begin(step, since);
    let result = f();
    times.end(step, since.elapsed());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_a_code_of_its_own() {
        let mut steps = vec![Step::Source, Step::Sink];
        for section in [0, 1, 9] {
            steps.extend([Step::Stages(section), Step::Serial(section)]);
            steps.extend(LACKS.map(|lack| Step::Wait(section, lack)));
        }
        for step in steps {
            assert_eq!(Step::of_code(step.code()), Some(step));
        }
        assert_eq!(Step::of_code(0), None);
    }

    #[test]
    fn a_step_at_hand_counts_up_to_now_and_one_that_has_ended_by_its_time() {
        let origin = Instant::now();
        let times = Times::new(origin, 2);
        let after = |millis| origin + Duration::from_millis(millis);
        let step = Step::Stages(1);
        times.begin(step, after(3));
        assert_eq!(times.spent(step, after(10)), Duration::from_millis(7));
        assert_eq!(times.spent(Step::Stages(0), after(10)), Duration::ZERO);
        times.end(step, Duration::from_millis(8));
        times.count(1, 5);
        assert_eq!(times.spent(step, after(99)), Duration::from_millis(8));
        assert_eq!((times.counts(1).items, times.counts(1).batches, times.counts(0).batches), (5, 1, 0));
        times.begin(Step::Wait(7, Lack::Window), after(20));
        times.end(Step::Wait(7, Lack::Window), Duration::from_millis(1));
        assert_eq!(times.spent(Step::Wait(7, Lack::Window), after(99)), Duration::ZERO);
    }

    #[test]
    fn a_turn_to_another_step_ends_the_one_at_hand() {
        let origin = Instant::now();
        let times = Times::new(origin, 1);
        let [window, budget] = [Lack::Window, Lack::Budget].map(|lack| Step::Wait(0, lack));
        times.turn_to(Some(window));
        let begun = times.at_hand();
        times.turn_to(Some(window));
        assert_eq!((times.at_hand(), begun.map(|(step, _)| step)), (begun, Some(window)));
        times.turn_to(Some(budget));
        times.turn_to(None);
        assert_eq!(times.at_hand(), None);
        let late = origin + Duration::from_secs(60);
        assert!(times.spent(window, late) + times.spent(budget, late) <= origin.elapsed() + Duration::from_micros(2));
    }
}
