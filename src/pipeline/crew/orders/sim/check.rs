//! What holds in each situation of a walk, and at its end.

use super::super::super::roster::Wakes;
use super::super::scene::{ITEMS, Place};
use super::{CALLER, LAST, Sim};
use crate::pipeline::Order;

impl Sim {
    /// The sink may take long. If only outputs are left then, no worker sleeps on, but has left.
    pub(super) fn check_sink(&self, able: &[usize]) {
        let Sim { scene, members, worked, path, .. } = self;
        let is_in_sink = matches!(members[CALLER].place, Place::Outputs(_)) && members[CALLER].wakes == Wakes::NONE;
        if !is_in_sink || able != [CALLER] || !self.ended || worked.len() < ITEMS {
            return;
        }
        let in_hand = members.iter().any(|member| member.hand.is_some() || member.worked.is_some());
        let have_left = members[1..].iter().all(|member| matches!(member.place, Place::Left));
        assert!(in_hand || have_left, "a worker waits for the sink alone: {scene:?} {members:#?} {path:?}");
    }

    /// No step is left: all members have left, and the sink has taken the outputs of the plain loop.
    pub(super) fn check_end(&self) {
        let Sim { scene, members, seen, path, failed, .. } = self;
        let have_left = members.iter().all(|member| matches!(member.place, Place::Left));
        assert!(have_left, "a wake is lost: {scene:?} {members:#?} {path:?}");
        assert_eq!(*failed, scene.failing.is_some());
        match (scene.order, scene.failing) {
            (Order::Source, Some(item)) => assert_eq!(*seen, scene.outputs(0..item)),
            (Order::Arrival, Some(_)) => assert!(seen.iter().all(|output| scene.outputs(0..LAST).contains(output))),
            (_, None) => assert_eq!(*seen, scene.outputs(0..LAST)),
        }
    }
}
