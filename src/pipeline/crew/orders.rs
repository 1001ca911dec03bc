//! Every order of the steps of a caller and two workers over four items: no member sleeps while it has a
//! step, no item is worked twice, and the end is reached, with the outputs and the exit of the plain loop. Workers
//! leave when only outputs are left, though the sink may take long.
//!
//! A step is a member's act that is one for all others: it takes a ticket, enters the state, wakes others, works. The
//! walk tries each member in each situation, and does not go on from a situation that it has met before.

mod scene;
mod sim;

mod hand;
mod two;

use super::super::Order;
use super::super::source::Kind;
use scene::{ITEMS, Scene};
use sim::{Met, Sim};

/// Walks through every order of steps; returns the situations that it has met.
fn walk(scene: Scene) -> Met {
    let (mut met, mut path) = (Met::default(), Vec::new());
    loop {
        let mut sim = Sim::new(scene, path);
        sim.run(&mut met);
        path = sim.path;
        while path.last().is_some_and(|(choice, of)| choice + 1 == *of) {
            path.pop();
        }
        match path.last_mut() {
            Some((choice, _)) => *choice += 1,
            None => return met,
        }
    }
}

const PLAIN: Scene = Scene {
    kind: Kind::Ready,
    order: Order::Source,
    items: ITEMS as u64,
    window: Some(2),
    workers: 2,
    failing: None,
    has_feedback: false,
    is_caller_reserved: false,
    fan: [false; ITEMS],
};

fn walk_in_both_orders(scene: Scene) {
    for order in [Order::Source, Order::Arrival] {
        let situations = walk(Scene { order, ..scene }).situations.len();
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
    // Without a window a chunk may have two items. An alarm may ring at any time, so there are many more situations.
    for (workers, items, window) in [(1, 4, None), (1, 3, Some(2)), (2, 2, None)] {
        walk_in_both_orders(Scene { kind: Kind::Blocking, window, workers, items, ..PLAIN });
    }
}

#[test]
fn in_every_order_of_steps_a_source_that_waits_for_an_earlier_output_is_given_it() {
    for (workers, items) in [(0, 4), (1, 4), (2, 3)] {
        let scene = Scene { kind: Kind::Blocking, window: None, workers, items, has_feedback: true, ..PLAIN };
        walk_in_both_orders(scene);
    }
}

#[test]
fn in_every_order_of_steps_the_earliest_failure_ends_the_run() {
    for kind in [Kind::Data, Kind::Ready] {
        walk_in_both_orders(Scene { kind, failing: Some(1), ..PLAIN });
    }
}

#[test]
fn in_every_order_of_steps_a_run_whose_caller_only_outputs_ends() {
    for kind in [Kind::Data, Kind::Ready] {
        walk_in_both_orders(Scene { kind, is_caller_reserved: true, items: 3, ..PLAIN });
    }
    // The system refuses the worker that would do the caller's share.
    for workers in [0, 1] {
        for fan in [[false; ITEMS], [false, true, true, false]] {
            let scene = Scene { is_caller_reserved: true, workers, items: 3, window: None, fan, ..PLAIN };
            walk_in_both_orders(Scene { kind: Kind::Data, ..scene });
            walk_in_both_orders(Scene { kind: Kind::Blocking, has_feedback: true, fan: [false; ITEMS], ..scene });
        }
    }
}

#[test]
fn in_every_order_of_steps_parts_without_room_wait_and_go_on() {
    // The caller works the first item, while the workers have parts of the second and third, with room for one.
    let scene = Scene { kind: Kind::Data, window: Some(3), fan: [false, true, true, false], ..PLAIN };
    let arrival = Scene { order: Order::Arrival, ..scene };
    // Both are void before they are due.
    let failing = Scene { failing: Some(0), ..scene };
    for scene in [scene, arrival, failing] {
        let part_waits = walk(scene).part_waits;
        assert!(part_waits > 20, "{part_waits}");
    }
}

#[test]
fn in_every_order_of_steps_a_run_without_some_of_its_threads_ends() {
    for workers in [0, 1] {
        for kind in [Kind::Data, Kind::Ready, Kind::Blocking] {
            walk_in_both_orders(Scene { kind, workers, fan: [false, true, false, true], ..PLAIN });
        }
    }
}
