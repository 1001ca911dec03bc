//! Maps.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;

use brigade::{CancellationToken, ParBuilder};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::{Act, Armed, Arsenal, Bang, Bomb, Defuse, Error, acts, armed, ends_well};
use crate::model::try_programs;
use crate::util::{Census, alone};

/// Maps with a limit. Without one, outputs are dropped by unwinding, as the docs of [`par_map`](brigade::par_map) say.
fn try_maps(states: bool) {
    let programs = || (armed(150), 0..150_usize, (0..150_usize, acts()), (0..150_usize, acts()), 1..=3_usize);
    try_programs(200, programs, move |program, census| {
        eprintln!("{program:?}");
        let (armed, items, in_source, in_map, limit) = program;
        let (arsenal, token) = (Arsenal::new(&armed, census), CancellationToken::new());
        let source = (0..items).into_par_iter().map(|at| {
            if in_source == (at, Act::Panic) {
                resume_unwind(Box::new(arsenal.make(at)));
            }
            arsenal.make(at)
        });
        let map = |item: Bomb| {
            let at = item.at;
            if at % 2 == 0 || at == in_map.0 {
                item.defuse();
                if at == in_map.0 {
                    arsenal.act(in_map.1, at, &token)?;
                }
                return Ok(arsenal.make(at));
            }
            Ok(item)
        };
        let builder = ParBuilder::new().limit(limit);
        let ended_well = ends_well(|| {
            if states {
                let mapped = builder.try_map_init(&token, source, || arsenal.make(1_000), |_, item| map(item));
                let (outputs, states) = mapped?;
                states.defuse();
                Ok(outputs)
            } else {
                builder.try_map(&token, source, map)
            }
        });
        assert!(!ended_well || arsenal.went_off.load(Ordering::SeqCst) == 0, "a panic was lost");
    });
}

#[test]
fn limited_maps_whose_values_panic_when_they_are_dropped_end_no_process_and_lose_no_panic() {
    if alone!(limited_maps_whose_values_panic_when_they_are_dropped_end_no_process_and_lose_no_panic) {
        try_maps(false);
    }
}

#[test]
fn limited_maps_whose_states_panic_when_they_are_dropped_end_no_process_and_lose_no_panic() {
    if alone!(limited_maps_whose_states_panic_when_they_are_dropped_end_no_process_and_lose_no_panic) {
        try_maps(true);
    }
}

#[test]
fn folds_whose_values_panic_when_they_are_dropped_end_no_process() {
    if !alone!(folds_whose_values_panic_when_they_are_dropped_end_no_process) {
        return;
    }
    let census = Census::default();
    for round in 0..150 {
        let arsenal = Arsenal::new(&Armed::All, &census);
        let builder = if round % 3 == 0 { ParBuilder::new() } else { ParBuilder::new().limit(round % 3) };
        let begin = || {
            let dud = arsenal.make(0);
            dud.snuff();
            dud
        };
        let step = |folded: Bomb, item: usize| {
            folded.defuse();
            if item == 13 { Err(Error::Cancelled) } else { Ok(arsenal.make(item)) }
        };
        let combine = |left: Bomb, right: Bomb| {
            left.defuse();
            right.defuse();
            Ok(arsenal.make(0))
        };
        let fold = || builder.try_fold(&CancellationToken::new(), 0..29_usize, begin, step, combine).is_ok();
        assert!(!catch_unwind(AssertUnwindSafe(fold)).is_ok_and(|ended_well| ended_well));
    }
    census.assert_all_dropped_once();
}

#[test]
fn a_state_and_the_error_of_a_map_that_both_panic_when_they_are_dropped_end_no_process() {
    if !alone!(a_state_and_the_error_of_a_map_that_both_panic_when_they_are_dropped_end_no_process) {
        return;
    }
    let census = Census::default();
    for limit in 1..3 {
        let arsenal = Arsenal::new(&Armed::All, &census);
        let fail = |_: &mut Bomb, at: usize| Err::<(), _>(Error::Failed(arsenal.make(at)));
        let map = || {
            let builder = ParBuilder::new().limit(limit);
            builder.try_map_init(&CancellationToken::new(), 0..3_usize, || arsenal.make(1_000), fail).map(drop)
        };
        assert!(catch_unwind(AssertUnwindSafe(map)).err().expect("a state's panic").is::<Bang>());
    }
    census.assert_all_dropped_once();
}
