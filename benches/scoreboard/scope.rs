//! Scopes against std's.

use std::hint::black_box;
use std::time::Duration;

use brigade::{CancellationToken, Cancelled, scope};

use crate::board::{Board, Target};
use crate::work::Work;

#[expect(clippy::disallowed_methods, reason = "the peer")]
pub(crate) fn claims(board: &mut Board) {
    const TASKS: u64 = 8;
    if board.skips("scope") {
        return;
    }
    let work = Work::of("1 ms", Duration::from_millis(1));
    let token = CancellationToken::new();
    board.claim(
        ("scope", "eight tasks of 1 ms / std::thread::scope"),
        TASKS,
        Target::Cost(1.05),
        || {
            scope(&token, |s| {
                for task in 0..TASKS {
                    let work = &work;
                    s.spawn(move |_| Ok::<_, Cancelled>(black_box(work.run(task))))?;
                }
                Ok(())
            })
            .expect("never fails");
        },
        || {
            std::thread::scope(|s| {
                for task in 0..TASKS {
                    let work = &work;
                    s.spawn(move || black_box(work.run(task)));
                }
            });
        },
    );
}
