//! [`Close`]: how a pool ends; waiting for its workers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::account::Account;
use super::shared::Shared;
use crate::error::CancelReason;
use crate::panic::{self, Panics};
use crate::token::CancellationToken;

/// For how long a job whose token was cancelled may go on before the hooks are told, where the grace is zero.
const MOMENT: Duration = Duration::from_secs(1);

/// What becomes of the pending jobs of a pool that is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// They are run.
    Drain,
    /// They are skipped.
    Cancel,
}

/// What a closer does next to the jobs that are left.
enum Stage {
    /// It waits for the pending ones too.
    Draining,
    /// The pending ones are skipped, and it waits for those that run until their grace is over.
    Grace(CancelReason),
    /// The tokens of those that run are cancelled. If they go on for so long, the hooks are told.
    Cancelled,
    Told,
}

impl Shared {
    /// Closes the pool, and waits for its workers. The panics are those of callbacks of the jobs' tokens.
    pub(super) fn close(
        self: &Arc<Self>,
        token: &CancellationToken,
        how: Close,
        (grace, reason): (Duration, CancelReason),
    ) -> (Account, Panics) {
        let mut panics = Panics::default();
        let mut until = Instant::now().checked_add(grace);
        let mut stage = match how {
            Close::Drain => {
                self.refuse_jobs();
                Stage::Draining
            }
            Close::Cancel => {
                self.skip_pending(reason);
                Stage::Grace(reason)
            }
        };
        let _watch = self.drained.observe(token);
        loop {
            let ticket = self.drained.ticket();
            if self.queue.lock().is_drained() {
                break;
            }
            let is_over = until.is_some_and(|until| Instant::now() >= until);
            match stage {
                Stage::Draining => {
                    let late = is_over.then_some(CancelReason::Deadline);
                    if let Some(reason) = token.reason().or(late) {
                        self.skip_pending(reason);
                        stage = Stage::Grace(reason);
                        continue;
                    }
                }
                Stage::Grace(reason) if is_over => {
                    if let Err(payload) = panic::catch(|| self.token.cancel_with(reason)) {
                        panics.add(payload);
                    }
                    // Without a grace, a job that obeys its token still takes a moment.
                    until = Instant::now().checked_add(if grace.is_zero() { MOMENT } else { grace });
                    stage = Stage::Cancelled;
                    continue;
                }
                Stage::Cancelled if is_over => {
                    let running = self.queue.lock().running();
                    running.iter().for_each(|label| self.tell_overdue(label));
                    until = None;
                    stage = Stage::Told;
                    continue;
                }
                Stage::Grace(_) | Stage::Cancelled | Stage::Told => {}
            }
            // A cancelled token has nothing more to say.
            let look_at = if matches!(stage, Stage::Draining) { token.look_at() } else { None };
            self.drained.wait_until(ticket, [until, look_at, self.token.look_at()].into_iter().flatten().min());
        }
        // Other closers wait for this lock meanwhile.
        let mut threads = self.threads.lock();
        for handle in threads.drain(..) {
            if let Err(thrown) = handle.join() {
                panics.add(thrown.into());
            }
        }
        drop(threads);
        (self.account(), panics)
    }

    pub(super) fn account(&self) -> Account {
        self.queue.lock().account(self.now())
    }
}
