//! `merge`.

use brigade::{CancelReason, Cancelled, Until, merge, scope};
use crossbeam::channel::{bounded, unbounded};

use super::cancelled;
use crate::util::{live, watched};

#[test]
fn merge_gives_the_messages_of_each_channel_in_order_and_ends_with_the_last() {
    watched(|| {
        for capacity in [Some(0), Some(1), Some(64), None] {
            let token = live();
            let (senders, receivers): (Vec<_>, Vec<_>) =
                (0..5).map(|_| capacity.map_or_else(unbounded, bounded)).unzip();
            let merged = scope(&token, |s| {
                for (at, sender) in senders.into_iter().enumerate() {
                    s.spawn(move |s| {
                        Ok(sender.until(s.token()).send_all((0..100 * at).map(|value| (at, value))).unwrap())
                    })?;
                }
                merge(&token, receivers).collect::<Result<Vec<_>, Cancelled>>()
            })
            .unwrap();
            assert_eq!(merged.len(), 1000);
            for at in 0..5 {
                let of_one = merged.iter().filter(|(from, _)| *from == at).map(|(_, value)| *value);
                assert!(of_one.eq(0..100 * at));
            }
        }
    });
}

#[test]
fn merge_takes_turns_and_holds_no_channel_hostage_to_another() {
    watched(|| {
        let token = live();
        let (busy, from_busy) = unbounded();
        let (rare, from_rare) = unbounded();
        let (_silent, from_silent) = unbounded();
        (0..1000).for_each(|_| busy.send("busy").unwrap());
        rare.send("rare").unwrap();
        let mut merged = merge(&token, [from_silent, from_busy, from_rare]);
        let first: Vec<_> = merged.by_ref().take(2).map(Result::unwrap).collect();
        assert!(first.contains(&"rare"), "{first:?}");
        rare.send("rare").unwrap();
        rare.send("rare").unwrap();
        let next: Vec<_> = merged.by_ref().take(6).map(Result::unwrap).collect();
        assert_eq!(next.iter().filter(|message| **message == "rare").count(), 2, "{next:?}");
    });
}

#[test]
fn merge_of_nothing_ends_and_of_a_cancelled_token_says_so_once() {
    watched(|| {
        assert!(merge::<u32>(&live(), []).next().is_none());
        let (sender, receiver) = unbounded();
        sender.send(1).unwrap();
        let token = cancelled();
        let mut merged = merge(&token, [receiver]);
        assert_eq!(merged.next(), Some(Err(Cancelled::new(CancelReason::Requested))));
        assert_eq!(merged.next(), None);
    });
}
