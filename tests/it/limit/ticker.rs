//! Ticks.

use std::time::{Duration, Instant};

use brigade::limit::Ticker;
use brigade::{CancelReason, Cancelled};
use crossbeam::channel::select;

use super::{HOUR, cancelled};
use crate::util::{live, message_of, watched};

const PERIOD: Duration = Duration::from_millis(2);

#[test]
fn ticks_come_at_the_times_of_the_schedule_and_never_early() {
    watched(|| {
        let before = Instant::now();
        let mut ticker = Ticker::new(PERIOD);
        let after = Instant::now();
        let (mut count, mut last) = (0, None);
        while count < 30 {
            let tick = ticker.tick(&live()).unwrap();
            assert!(Instant::now() >= tick.at);
            count += 1 + u32::try_from(tick.missed).unwrap();
            // However late each tick was, the next has its own time.
            assert!(before + PERIOD * count <= tick.at && tick.at <= after + PERIOD * count);
            assert!(last.is_none_or(|last| tick.at > last));
            last = Some(tick.at);
        }
    });
}

#[test]
fn missed_ticks_come_as_one_that_counts_them() {
    watched(|| {
        let mut ticker = Ticker::new(PERIOD);
        let first = ticker.tick(&live()).unwrap();
        assert_eq!(live().wait_timeout(PERIOD * 10), None);
        let late = ticker.tick(&live()).unwrap();
        assert!(late.missed >= 8, "{late:?}");
        assert_eq!(late.at - first.at, PERIOD * (u32::try_from(late.missed).unwrap() + 1));
        let next = ticker.tick(&live()).unwrap();
        assert_eq!(next.at - late.at, PERIOD * (u32::try_from(next.missed).unwrap() + 1));
    });
}

#[test]
fn due_is_one_channel_with_one_message_until_the_ticker_advances() {
    watched(|| {
        let mut ticker = Ticker::new(PERIOD);
        let due = ticker.due().clone();
        assert!(due.same_channel(ticker.due()));
        let at = select! { recv(ticker.due()) -> at => at.unwrap() };
        assert!(due.same_channel(ticker.due()) && due.try_recv().is_err());
        let tick = ticker.advance();
        assert!(tick.missed > 0 || tick.at == at);
        assert!(!due.same_channel(ticker.due()));
        assert!(ticker.due().recv().unwrap() > at);
    });
}

#[test]
fn a_cancelled_call_loses_no_tick() {
    watched(|| {
        let mut ticker = Ticker::new(PERIOD);
        ticker.due().recv().unwrap();
        assert_eq!(ticker.tick(&cancelled()), Err(Cancelled::new(CancelReason::Requested)));
        let tick = ticker.tick(&live()).unwrap();
        assert!(tick.at <= Instant::now());
    });
}

#[test]
fn an_early_advance_leaves_a_tick_out() {
    let start = Instant::now();
    let mut ticker = Ticker::new(HOUR);
    let left_out = ticker.advance();
    assert!(left_out.at >= start + HOUR && left_out.missed == 0);
    assert_eq!(ticker.advance().at - left_out.at, HOUR);
}

#[test]
fn a_period_that_the_clock_cannot_hold_never_ticks() {
    watched(|| {
        let mut ticker = Ticker::new(Duration::MAX);
        assert_eq!(ticker.period(), Duration::MAX);
        let token = live().child_with_timeout(PERIOD);
        assert_eq!(ticker.tick(&token), Err(Cancelled::new(CancelReason::Deadline)));
        assert!(ticker.due().is_empty());
        assert_eq!(ticker.advance().missed, 0);
    });
}

#[test]
fn a_period_of_zero_is_refused() {
    assert_eq!(message_of(|| drop(Ticker::new(Duration::ZERO))), "a ticker with a period of zero would never wait");
}
