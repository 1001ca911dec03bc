//! Every order of the steps of a caller and two workers over four items: no member sleeps while it has a
//! step, no item is worked twice, and the end is reached, with the outputs and the exit of the plain loop.
//!
//! A step is a member's act that is one for all others: it takes a ticket, enters the state, wakes others, works. The
//! walk tries each member in each situation, and does not go on from a situation that it has met before.

mod scene;
mod sim;

use std::collections::HashSet;

use super::super::Order;
use super::super::source::Kind;
use scene::{ITEMS, Scene};
use sim::Sim;

/// Walks through every order of steps; returns how many situations there are.
fn walk(scene: Scene) -> usize {
    let (mut met, mut path) = (HashSet::new(), Vec::new());
    loop {
        let mut sim = Sim::new(scene, path);
        sim.run(&mut met);
        path = sim.path;
        while path.last().is_some_and(|(choice, of)| choice + 1 == *of) {
            path.pop();
        }
        match path.last_mut() {
            Some((choice, _)) => *choice += 1,
            None => return met.len(),
        }
    }
}

const PLAIN: Scene =
    Scene { kind: Kind::Ready, order: Order::Source, window: Some(2), workers: 2, failing: None, fan: [false; ITEMS] };

fn walk_in_both_orders(scene: Scene) {
    for order in [Order::Source, Order::Arrival] {
        let situations = walk(Scene { order, ..scene });
        assert!(situations > 20, "{situations}");
    }
}

#[test]
fn in_every_order_of_steps_a_run_from_data_ends() {
    walk_in_both_orders(Scene { kind: Kind::Data, window: None, ..PLAIN });
}

#[test]
fn in_every_order_of_steps_a_run_from_a_ready_source_ends() {
    walk_in_both_orders(PLAIN);
}

#[test]
fn in_every_order_of_steps_a_run_from_a_blocking_source_ends() {
    walk_in_both_orders(Scene { kind: Kind::Blocking, ..PLAIN });
}

#[test]
fn in_every_order_of_steps_the_earliest_failure_ends_the_run() {
    for kind in [Kind::Data, Kind::Ready] {
        walk_in_both_orders(Scene { kind, failing: Some(1), ..PLAIN });
    }
}

#[test]
fn in_every_order_of_steps_parts_without_room_wait_and_go_on() {
    walk_in_both_orders(Scene { kind: Kind::Data, fan: [false, true, true, false], ..PLAIN });
}

#[test]
fn in_every_order_of_steps_a_run_without_some_of_its_threads_ends() {
    for workers in [0, 1] {
        for kind in [Kind::Data, Kind::Ready, Kind::Blocking] {
            walk_in_both_orders(Scene { kind, workers, fan: [false, true, false, true], ..PLAIN });
        }
    }
}
