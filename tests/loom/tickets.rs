//! `Event`: waits with a ticket, and notifications.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::{CancellationToken, Event};
use loom::model;
use loom::sync::Mutex;
use loom::thread::spawn;

use crate::{A, bounded, with};

#[test]
fn a_ticket_is_stale_after_a_notification() {
    model(|| {
        let event = Arc::new(Event::default());
        let state = Arc::new(AtomicUsize::new(0));
        let notifying = spawn({
            let (event, state) = (Arc::clone(&event), Arc::clone(&state));
            move || {
                state.store(1, Ordering::SeqCst);
                event.notify_one();
            }
        });
        loop {
            let ticket = event.ticket();
            if state.load(Ordering::SeqCst) == 1 {
                break;
            }
            event.wait(ticket);
        }
        notifying.join().unwrap();
    });
}

#[test]
fn one_of_two_waits_at_an_event_goes_on_after_one_notification() {
    bounded(4, || {
        let event = Arc::new(Event::default());
        // The thread that takes the one thing tells the other that no more will come.
        let state = Arc::new(Mutex::new((0, false)));
        let taking = |event: Arc<Event>, state: Arc<Mutex<(usize, bool)>>| {
            move || loop {
                let ticket = event.ticket();
                {
                    let mut state = state.lock().unwrap();
                    if state.0 > 0 {
                        *state = (0, true);
                        drop(state);
                        event.notify_all();
                        return;
                    }
                    if state.1 {
                        return;
                    }
                }
                event.wait(ticket);
            }
        };
        let other = spawn(taking(Arc::clone(&event), Arc::clone(&state)));
        let giving = spawn({
            let (event, state) = (Arc::clone(&event), Arc::clone(&state));
            move || {
                state.lock().unwrap().0 = 1;
                event.notify_one();
            }
        });
        taking(event, state)();
        other.join().unwrap();
        giving.join().unwrap();
    });
}

#[test]
fn a_wait_at_an_event_that_observes_a_token_does_not_sleep_through_its_cancel() {
    model(|| {
        let token = CancellationToken::new();
        let event = Arc::new(Event::default());
        let cancelling = with(&token, |token| token.cancel_with(A));
        let handle = event.observe(&token);
        loop {
            let ticket = event.ticket();
            if token.is_cancelled() {
                break;
            }
            event.wait(ticket);
        }
        drop(handle);
        assert!(cancelling.join().unwrap());
    });
}
