//! Closures that are run again.

use std::time::{Duration, Instant};

use brigade::limit::Retry;
use brigade::{CancelReason, Cancelled, scope};
use proptest::prelude::*;

use super::HOUR;
use crate::util::{Gate, live, message_of, payload_of, watched};

const NONE: Duration = Duration::ZERO;

#[derive(Debug, PartialEq)]
enum Error {
    Number(u32),
    Cancelled(Cancelled),
}

impl From<Cancelled> for Error {
    fn from(cancelled: Cancelled) -> Self {
        Error::Cancelled(cancelled)
    }
}

proptest! {
    /// The model is the loop that one would write.
    #[test]
    fn a_closure_runs_until_it_works_or_fails_for_good(
        attempts in 1..6_u32,
        results in prop::collection::vec(prop_oneof![(0..4_u32).prop_map(Err), Just(Ok(()))], 6),
    ) {
        let (mut expected, mut runs) = (Ok(()), 0);
        for result in results.iter().take(attempts as usize) {
            runs += 1;
            expected = result.map_err(Error::Number);
            if *result == Ok(()) || *result == Err(0) {
                break;
            }
        }
        let mut next = results.iter();
        let retry = Retry::new(attempts).backoff(NONE, NONE);
        let result = retry.run_if(
            &live(),
            |error| *error != Error::Number(0),
            || next.next().unwrap().map_err(Error::Number),
        );
        prop_assert_eq!(result, expected);
        prop_assert_eq!(results.len() - next.len(), runs);
    }
}

#[test]
fn pauses_double_up_to_the_longest_and_are_no_shorter_than_half() {
    watched(|| {
        let ms = Duration::from_millis;
        let mut times = Vec::new();
        let result = Retry::new(5).backoff(ms(2), ms(5)).run(&live(), || {
            times.push(Instant::now());
            Err::<(), _>(Error::Number(1))
        });
        assert_eq!(result, Err(Error::Number(1)));
        let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (pause, least) in pauses.into_iter().zip([ms(2), ms(4), ms(5), ms(5)]) {
            assert!(pause >= least / 2, "{pause:?} is less than half of {least:?}");
        }
    });
}

#[test]
fn a_cancel_during_a_pause_ends_the_attempts() {
    watched(|| {
        let (token, failed) = (live(), Gate::default());
        let mut runs = 0;
        scope(&live(), |s| {
            s.spawn(|_| {
                failed.pass();
                Ok::<_, Cancelled>(token.cancel())
            })?;
            let result = Retry::new(9).backoff(HOUR, HOUR).run_if(
                &token,
                |_| {
                    failed.open();
                    true
                },
                || {
                    runs += 1;
                    Err::<(), _>(Error::Number(1))
                },
            );
            // The cancel may come before the pause has begun.
            let requested = Error::Cancelled(Cancelled::new(CancelReason::Requested));
            assert!(result == Err(requested) || result == Err(Error::Number(1)));
            Ok(())
        })
        .unwrap();
        assert_eq!(runs, 1);
    });
}

#[test]
fn an_attempt_that_fails_after_the_cancel_tells_its_own_error() {
    let token = live();
    let result = Retry::new(9).backoff(HOUR, HOUR).run(&token, || {
        token.cancel();
        Err::<(), _>(Error::Number(1))
    });
    assert_eq!(result, Err(Error::Number(1)));
    let result = Retry::new(9).run(&token, || Ok::<_, Error>(()));
    assert_eq!(result, Err(Error::Cancelled(Cancelled::new(CancelReason::Requested))));
}

#[test]
fn a_panic_ends_the_attempts() {
    let mut runs = 0;
    let payload = payload_of(|| {
        let _ = Retry::new(9).run(&live(), || -> Result<(), Error> {
            runs += 1;
            std::panic::panic_any(7)
        });
    });
    assert_eq!((payload.downcast_ref(), runs), (Some(&7), 1));
}

#[test]
fn no_attempt_is_refused() {
    assert_eq!(message_of(|| _ = Retry::new(0)), "0 attempts would not run the closure at all");
}
