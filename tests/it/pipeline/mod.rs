//! Pipelines: the sequential loop, in parallel.

mod budget;
mod cancel_model;
mod cancel_program;
mod drops;
mod echoes;
mod end;
mod ends;
mod ends_model;
mod feedback_model;
mod keep_going;
mod limits;
mod lines;
mod located;
mod model;
mod outputs;
mod outputs_stop;
mod parts;
mod progress;
mod report;
mod run;
mod sections;
mod sections_model;
mod slow_source;
mod slow_stage;
mod source;
mod starts;
mod states;
mod stop;
mod weigh_output;
mod within;

use std::time::Duration;

use brigade::pipeline::Chain;
use brigade::{CancellationToken, Cancelled, Pipeline, scope};

use crate::util::{Counter, cpu_time, reached, sleeps_of_others, until_others_sleep};

pub(crate) use cancel_model::check as check_cancelled;
pub(crate) use cancel_program::programs as cancelled_programs;
pub(crate) use feedback_model::{check as check_feedback, programs as feedback_programs};

fn live() -> CancellationToken {
    CancellationToken::new()
}

/// The threads, the window and whether outputs come in order.
type Setting = (usize, Option<usize>, bool);

/// Settings for a test of which each run takes long.
const SOME_SETTINGS: [Setting; 6] =
    [(2, None, true), (2, None, false), (3, None, true), (8, Some(64), true), (8, None, false), (64, None, true)];

fn set<C: Chain>(pipeline: Pipeline<C>, (threads, window, ordered): Setting) -> Pipeline<C> {
    let pipeline = pipeline.threads(threads);
    let pipeline = if let Some(items) = window { pipeline.window(items) } else { pipeline };
    if ordered { pipeline.ordered() } else { pipeline.unordered() }
}

/// Calls `test` with 1 to 8 threads, each of the windows and both orders.
fn at_every_setting(windows: &[Option<usize>], test: impl Fn(Setting)) {
    for threads in 1..=8 {
        for window in windows {
            for ordered in [true, false] {
                reached(&format!("(threads, window, ordered) = {:?}", (threads, window, ordered)));
                test((threads, *window, ordered));
            }
        }
    }
}

/// Checks that a run that is blocked uses no CPU time and wakes a thread twice at most, however long it is blocked, and
/// then releases it. It is blocked, or about to be, when it has counted to `count`. The calling test runs
/// [alone](crate::util::run_alone).
fn costs_nothing_while_blocked(setting: &str, count: usize, run: impl FnOnce(&Counter) + Send, release: impl FnOnce()) {
    reached(setting);
    let counter = Counter::default();
    let (sleeps, burnt) = scope(&live(), |s| {
        s.spawn(|_| {
            run(&counter);
            Ok(())
        })?;
        counter.wait_for(count);
        until_others_sleep();
        let (sleeps, burnt) = (sleeps_of_others(), cpu_time());
        assert_eq!(live().wait_timeout(Duration::from_millis(200)), None);
        let burnt = cpu_time().saturating_sub(burnt);
        let sleeps = sleeps_of_others() - sleeps;
        // Compared when the run has ended, because a panic here would wait for it.
        release();
        Ok::<_, Cancelled>((sleeps, burnt))
    })
    .unwrap();
    assert!(sleeps <= 2, "a wait of 200 ms woke threads {sleeps} times: {setting}");
    assert!(burnt < Duration::from_millis(5), "a wait of 200 ms burnt {burnt:?}: {setting}");
}
