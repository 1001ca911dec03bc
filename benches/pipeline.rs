//! What a pipeline costs at trivial work, beside the plain loop.

use std::hint::black_box;

use brigade::{CancellationToken, Pipeline};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ITEMS: usize = 1_000_000;

fn streams(c: &mut Criterion) {
    let token = CancellationToken::new();
    let work = |item: usize| item.wrapping_mul(2_654_435_761).rotate_left(7);
    let mut group = c.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(ITEMS as u64));
    group.bench_function("data, ordered", |b| {
        b.iter(|| Pipeline::from_data(0..ITEMS).map(work).for_each(&token, |item| _ = black_box(item)));
    });
    group.bench_function("data, unordered", |b| {
        b.iter(|| Pipeline::from_data(0..ITEMS).unordered().map(work).for_each(&token, |item| _ = black_box(item)));
    });
    group.bench_function("ready iterator, ordered", |b| {
        b.iter(|| Pipeline::from_ready(0..ITEMS).map(work).for_each(&token, |item| _ = black_box(item)));
    });
    group.bench_function("iterator, ordered", |b| {
        b.iter(|| Pipeline::from_iter(0..ITEMS).map(work).for_each(&token, |item| _ = black_box(item)));
    });
    group.bench_function("plain loop", |b| b.iter(|| (0..ITEMS).map(work).for_each(|item| _ = black_box(item))));
    group.finish();
    c.bench_function("pipeline/ten items, two threads", |b| {
        b.iter(|| Pipeline::from_data(0..10).threads(2).map(work).for_each(&token, |item| _ = black_box(item)));
    });
}

criterion_group!(benches, streams);
criterion_main!(benches);
