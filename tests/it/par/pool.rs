//! Maps for which rayon can start no threads: each ends as the plain loop does, on the calling thread.

use std::collections::BTreeMap;
use std::thread;

use brigade::par::{Progress, par_map_init, par_reduce};
use brigade::{CancelReason, Cancelled, ParBuilder, par_map, scope};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Fate, builders, ending, live, run};
use crate::util::{alone, threads, until_threads, watched};

/// 32 stacks of 256 MB in 1 GB of address space.
const NO_ROOM: &str = "-v 1200000 && export RUST_MIN_STACK=268435456 RAYON_NUM_THREADS=32 MALLOC_ARENA_MAX=1";

/// A pool for which there is room.
fn own_pool() -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(2).stack_size(1 << 20).build().unwrap()
}

/// Every form, as text.
fn forms(builder: &ParBuilder<'_>, fates: &[Fate]) -> BTreeMap<&'static str, String> {
    let items = || fates.par_iter().enumerate();
    let f = |(item, fate): (usize, &Fate)| run(item, *fate);
    let push = |mut values: Vec<usize>, item| {
        values.push(f(item)?);
        Ok(values)
    };
    let listed = |all: brigade::Failures<anyhow::Error>| {
        anyhow::anyhow!("{}", all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    };
    BTreeMap::from([
        ("map", ending(|| builder.try_map(&live(), items(), f))),
        ("for_each", ending(|| builder.try_for_each(&live(), items(), |item| f(item).map(drop)))),
        ("map_init", ending(|| builder.try_map_init(&live(), items(), || 0, |_, item| f(item)).map(|both| both.0))),
        (
            "fold",
            ending(|| builder.try_fold(&live(), items(), Vec::new, push, |left, right| Ok([left, right].concat()))),
        ),
        ("collect_all", ending(|| builder.collect_all(&live(), items(), f).map_err(listed))),
    ])
}

/// A place in 3000 items that has another fate.
fn fates(fails: Option<(usize, Fate)>) -> Vec<Fate> {
    let mut fates = vec![Fate::Pass; 3_000];
    if let Some((item, fate)) = fails {
        (fates[item], fates[item + 700]) = (fate, fate);
    }
    fates
}

#[test]
fn without_a_pool_every_form_has_the_outputs_the_error_and_the_panic_of_the_loop() {
    if !alone!(without_a_pool_every_form_has_the_outputs_the_error_and_the_panic_of_the_loop, NO_ROOM) {
        return;
    }
    watched(|| {
        let ends = [None, Some((1_000, Fate::Fail)), Some((1_000, Fate::Panic))].map(fates);
        for (builder, fates) in
            builders([1, 2]).iter().flat_map(|builder| ends.iter().map(move |fates| (builder, fates)))
        {
            let loops =
                ending(|| fates.iter().enumerate().map(|(at, fate)| run(at, *fate)).collect::<Result<Vec<_>, _>>());
            let mut seen = forms(builder, fates);
            let all = seen.remove("collect_all").unwrap();
            let nothing = seen.remove("for_each").unwrap();
            assert_eq!(seen.into_values().collect::<Vec<_>>(), [&*loops; 3]);
            assert_eq!(nothing, if loops.starts_with('[') { "()" } else { &*loops });
            if !loops.starts_with('[') {
                let how = if loops.contains("failed") { "failed" } else { "panicked" };
                assert_eq!(all, format!("item#1000 {how}: item 1000 {how}, item#1700 {how}: item 1700 {how}"));
            }
        }
    });
}

#[test]
fn without_a_pool_all_runs_on_the_calling_thread_with_one_state_and_a_count_and_stops_when_told() {
    if !alone!(without_a_pool_all_runs_on_the_calling_thread_with_one_state_and_a_count_and_stops_when_told, NO_ROOM) {
        return;
    }
    watched(|| {
        let (before, progress, caller) = (threads(), Progress::new(), thread::current().id());
        for builder in builders([1, 2]) {
            let builder = builder.progress(&progress);
            let ids = builder.map(&live(), 0..100, |_| thread::current().id()).unwrap();
            assert!(ids.iter().all(|id| *id == caller));
            builder.for_each(&live(), 0..100, |_| assert_eq!(thread::current().id(), caller)).unwrap();
            let (_, states) = builder.map_init(&live(), 0..100, || 0, |count, _| *count += 1).unwrap();
            assert_eq!(states, [100]);
            let token = live();
            let mut ran = 0..;
            let ran = std::sync::Mutex::new(&mut ran);
            let cancel = |item| {
                ran.lock().unwrap().next();
                _ = item == 50 && token.cancel_with(CancelReason::Deadline);
            };
            assert_eq!(builder.map(&token, 0..100, cancel), Err(Cancelled::new(CancelReason::Deadline)));
            assert_eq!(ran.into_inner().unwrap().start, 51);
            assert_eq!(builder.reduce(&live(), 0..100, |a, b| a + b), Ok(Some(4_950)));
            assert_eq!(builder.fold(&live(), 0..0, || 7, |a: i32, b| a + b, |a, b| a + b), Ok(7));
        }
        assert_eq!(progress.to_string(), "1353 of 1500");
        // Those that rayon could start are gone again.
        until_threads(before);
    });
}

#[test]
fn without_a_pool_maps_run_within_maps_and_in_scopes() {
    if !alone!(without_a_pool_maps_run_within_maps_and_in_scopes, NO_ROOM) {
        return;
    }
    watched(|| {
        let inner = |outer: u32| par_reduce(&live(), 0..outer, |a, b| a + b).unwrap().unwrap_or(0);
        let expected: Vec<u32> = (0..20).map(|outer| (0..outer).sum()).collect();
        let nested = || {
            for builder in builders([1, 2]) {
                assert_eq!(builder.map(&live(), 0..20, inner).unwrap(), expected);
                let (sums, _) = builder.map_init(&live(), 0..20, || 0, |_, outer| inner(outer)).unwrap();
                assert_eq!(sums, expected);
                let zipped = (0..10).into_par_iter().zip(10..20).with_min_len(3).rev();
                assert_eq!(builder.map(&live(), zipped, |(a, b)| b - a).unwrap(), [10; 10]);
            }
        };
        let before = threads();
        nested();
        // Until then there may be no room for the thread of a task.
        until_threads(before);
        let scoped = scope(&live(), |s| {
            s.spawn(|_| {
                nested();
                Ok::<_, Cancelled>(())
            })?
            .join()
        });
        assert_eq!(scoped, Ok(()));
    });
}

#[test]
fn without_a_pool_a_sum_of_floats_has_the_bits_it_has_with_one() {
    if !alone!(without_a_pool_a_sum_of_floats_has_the_bits_it_has_with_one, NO_ROOM) {
        return;
    }
    watched(|| {
        let sum = |builder: &ParBuilder<'_>| {
            let floats = (1..20_000_u32).into_par_iter().map(|number| 1.0 / f64::from(number));
            builder.reduce(&live(), floats, |a, b| a + b).unwrap().unwrap().to_bits()
        };
        let bits = own_pool().install(|| sum(&ParBuilder::new()));
        builders([1, 2]).iter().for_each(|builder| assert_eq!(sum(builder), bits));
    });
}

#[test]
fn a_program_that_could_not_start_the_pool_itself_maps_on() {
    if !alone!(a_program_that_could_not_start_the_pool_itself_maps_on, NO_ROOM) {
        return;
    }
    watched(|| {
        // After that rayon says that there is one already.
        ThreadPoolBuilder::new().build_global().unwrap_err();
        assert_eq!(par_map(&live(), 0..3, |item| item + 1), Ok(vec![1, 2, 3]));
        assert_eq!(par_map_init(&live(), 0..3, || 0, |_, item| item), Ok((vec![0, 1, 2], vec![0])));
    });
}

#[test]
fn where_the_global_pool_is_refused_a_map_in_a_pool_of_the_programs_own_uses_that() {
    if !alone!(where_the_global_pool_is_refused_a_map_in_a_pool_of_the_programs_own_uses_that, NO_ROOM) {
        return;
    }
    watched(|| {
        let before = threads();
        assert_eq!(par_map(&live(), 0..3, |_| rayon::current_thread_index()), Ok(vec![None; 3]));
        until_threads(before);
        let own = own_pool();
        for builder in builders([2]) {
            let both = std::sync::Barrier::new(2);
            let meets = (0..2).into_par_iter().with_max_len(1);
            let meet = |_| (both.wait(), rayon::current_thread_index().unwrap()).1;
            let indexes = own.install(|| builder.map(&live(), meets, meet));
            assert_eq!(indexes.unwrap().into_iter().sum::<usize>(), 1);
        }
    });
}

#[test]
fn a_map_starts_the_pool_with_the_programs_own_settings_if_those_came_first() {
    if !alone!(a_map_starts_the_pool_with_the_programs_own_settings_if_those_came_first) {
        return;
    }
    watched(|| {
        ThreadPoolBuilder::new().num_threads(3).thread_name(|at| format!("own {at}")).build_global().unwrap();
        let names = par_map(&live(), 0..100, |_| thread::current().name().map(str::to_owned)).unwrap();
        assert!(names.into_iter().all(|name| name.is_some_and(|name| name.starts_with("own "))));
        assert_eq!(rayon::current_num_threads(), 3);
    });
}
