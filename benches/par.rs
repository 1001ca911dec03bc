//! The cost of a parallel map, beside that of rayon's own and of the plain loop.

use brigade::{CancellationToken, par_map, try_par_map};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

const ITEMS: u32 = 1_000_000;

fn maps(c: &mut Criterion) {
    let token = CancellationToken::new();
    let work = |item: u32| item.wrapping_mul(2_654_435_761).rotate_left(7);
    let mut group = c.benchmark_group("par");
    group.throughput(Throughput::Elements(u64::from(ITEMS)));
    group.bench_function("par_map", |b| b.iter(|| par_map(&token, 0..ITEMS, work)));
    group.bench_function("try_par_map", |b| b.iter(|| try_par_map(&token, 0..ITEMS, |item| anyhow::Ok(work(item)))));
    group.bench_function("rayon", |b| b.iter(|| (0..ITEMS).into_par_iter().map(work).collect::<Vec<_>>()));
    group.bench_function("plain loop", |b| b.iter(|| (0..ITEMS).map(work).collect::<Vec<_>>()));
    group.finish();
}

criterion_group!(benches, maps);
criterion_main!(benches);
