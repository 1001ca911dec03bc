//! What a token costs.

use std::hint::black_box;
use std::time::Duration;

use brigade::CancellationToken;
use criterion::{Criterion, criterion_group, criterion_main};

fn token(c: &mut Criterion) {
    let token = CancellationToken::new();
    c.bench_function("token/is_cancelled", |b| b.iter(|| black_box(&token).is_cancelled()));
    c.bench_function("token/child made and dropped", |b| b.iter(|| drop(black_box(&token).child_token())));
    let mut line = token.clone();
    c.bench_function("token/generation", |b| b.iter(|| line = line.child_token()));
    let hour = Duration::from_secs(3600);
    c.bench_function("token/deadline armed and disarmed", |b| {
        b.iter(|| drop(black_box(&token).child_with_timeout(hour)));
    });
    c.bench_function("token/callback registered and dropped", |b| {
        b.iter(|| drop(black_box(&token).on_cancel(|_| ())));
    });
    c.bench_function("token/new and cancel", |b| b.iter(|| CancellationToken::new().cancel()));
}

criterion_group!(benches, token);
criterion_main!(benches);
