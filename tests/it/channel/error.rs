//! Errors, and calls that do not wait.

use std::time::{Duration, Instant};

use brigade::channel::{RecvError, SendError};
use brigade::{CancelReason, Cancelled, Until, merge};
use crossbeam::channel::{bounded, unbounded};

use super::{HOUR, cancelled};
use crate::util::{Census, live, watched};

#[test]
fn a_call_that_does_not_wait_does_not_look_at_the_token() {
    let token = cancelled();
    let (sender, receiver) = bounded(3);
    (0..3).for_each(|value| sender.until(&token).try_send(value).unwrap());
    assert!(sender.until(&token).try_send(3).unwrap_err().is_full());
    assert_eq!(receiver.until(&token).try_recv(), Ok(0));
    assert_eq!(receiver.until(&token).try_iter().collect::<Vec<_>>(), [1, 2]);
    assert!(receiver.until(&token).try_recv().unwrap_err().is_empty());
}

#[test]
fn each_error_answers_to_its_own_name_only() {
    watched(|| {
        let recv =
            |error: RecvError| [error.is_cancelled(), error.is_disconnected(), error.is_timeout(), error.is_empty()];
        let send = |error: &SendError<u32>| {
            [error.is_cancelled(), error.is_disconnected(), error.is_timeout(), error.is_full()]
        };
        let only = |name: usize| [0, 1, 2, 3].map(|at| at == name);
        let live = live();
        let (sender, receiver) = bounded(1);
        assert_eq!(recv(receiver.until(&cancelled()).recv().unwrap_err()), only(0));
        assert_eq!(recv(receiver.until(&live).recv_timeout(Duration::ZERO).unwrap_err()), only(2));
        assert_eq!(recv(receiver.until(&live).recv_deadline(Instant::now()).unwrap_err()), only(2));
        assert_eq!(recv(receiver.until(&live).try_recv().unwrap_err()), only(3));
        sender.send(0).unwrap();
        assert_eq!(send(&sender.until(&cancelled()).send(1).unwrap_err()), only(0));
        assert_eq!(send(&sender.until(&live).send_timeout(1, Duration::ZERO).unwrap_err()), only(2));
        assert_eq!(send(&sender.until(&live).send_deadline(1, Instant::now()).unwrap_err()), only(2));
        assert_eq!(send(&sender.until(&live).try_send(1).unwrap_err()), only(3));
        drop(receiver);
        assert_eq!(send(&sender.until(&live).send(1).unwrap_err()), only(1));
        assert_eq!(send(&sender.until(&live).send_timeout(1, HOUR).unwrap_err()), only(1));
        assert_eq!(send(&sender.until(&live).try_send(1).unwrap_err()), only(1));
        assert_eq!(send(&sender.until(&live).send_all([1]).unwrap_err()), only(1));
        let (sender, receiver) = bounded::<u32>(1);
        sender.send(0).unwrap();
        drop(sender);
        assert_eq!(receiver.until(&live).recv(), Ok(0));
        assert_eq!(recv(receiver.until(&live).recv().unwrap_err()), only(1));
        assert_eq!(recv(receiver.until(&live).recv_timeout(HOUR).unwrap_err()), only(1));
        assert_eq!(recv(receiver.until(&live).try_recv().unwrap_err()), only(1));
        assert_eq!(recv(receiver.until(&live).recv_many(&mut Vec::new(), 1).unwrap_err()), only(1));
    });
}

#[test]
fn an_error_of_send_gives_the_value_back() {
    watched(|| {
        let census = Census::default();
        let (sender, receiver) = bounded(1);
        sender.send(census.make("first")).unwrap();
        let token = live();
        let failures = [
            sender.until(&cancelled()).send(census.make("a")),
            sender.until(&token).try_send(census.make("b")),
            sender.until(&token).send_timeout(census.make("c"), Duration::from_millis(1)),
            sender.until(&token.child_with_timeout(Duration::from_millis(1))).send(census.make("d")),
        ];
        let returned = failures.map(|failed| failed.err().unwrap().into_inner().value);
        assert_eq!(returned, ["a", "b", "c", "d"]);
        assert_eq!(census.alive(), 1);
        drop(receiver);
        assert_eq!(sender.until(&token).send(census.make("e")).err().unwrap().into_inner().value, "e");
        drop(sender);
        assert_eq!(census.alive(), 0);
    });
}

#[test]
fn errors_say_what_happened_and_are_errors_of_std() {
    fn error<E: std::error::Error + Send + Sync + 'static>(error: E) -> String {
        anyhow::Error::from(error).to_string()
    }
    let (sender, receiver) = bounded(0);
    assert_eq!(error(receiver.until(&cancelled()).recv().unwrap_err()), "cancelled: requested");
    assert_eq!(error(receiver.until(&live()).try_recv().unwrap_err()), "the channel is empty");
    assert_eq!(error(sender.until(&live()).try_send(1).unwrap_err()), "the channel is full");
    let late = sender.until(&live()).send_timeout(1, Duration::ZERO).unwrap_err();
    assert_eq!(error(late), "the channel had no room in time");
    let late = receiver.until(&live()).recv_timeout(Duration::ZERO).unwrap_err();
    assert_eq!(error(late), "nothing came through the channel in time");
    drop(receiver);
    let gone = sender.until(&live()).send(1).unwrap_err();
    assert_eq!(format!("{gone:?}"), "SendError { why: Disconnected, .. }");
    assert_eq!(error(gone), "every receiver of the channel is gone");
    let (_, receiver) = bounded::<u32>(0);
    let gone = receiver.until(&live()).recv().unwrap_err();
    assert_eq!(error(gone), "the channel is empty, and every sender is gone");
    assert!(RecvError::from(Cancelled::new(CancelReason::Failed)).is_cancelled());
}

#[test]
fn views_show_what_they_look_at() {
    let (sender, receiver) = unbounded();
    sender.send(1).unwrap();
    let token = live();
    let shown = "messages: 1, token: CancellationToken { cancelled: false } }";
    assert_eq!(format!("{:?}", receiver.until(&token)), format!("ReceiverUntil {{ {shown}"));
    assert_eq!(format!("{:?}", sender.until(&token)), format!("SenderUntil {{ {shown}"));
    assert_eq!(
        format!("{:?}", merge(&token, [receiver])),
        "Merge { channels: 1, token: CancellationToken { cancelled: false } }"
    );
}
