//! The cost of a scope and its tasks, beside std's.
#![expect(clippy::disallowed_methods, reason = "the peer")]

use brigade::{CancellationToken, Cancelled, scope};
use criterion::{Criterion, criterion_group, criterion_main};

fn tasks(c: &mut Criterion) {
    let token = CancellationToken::new();
    c.bench_function("scope/brigade, two empty tasks", |b| {
        b.iter(|| {
            scope(&token, |s| {
                let (left, right) = (s.spawn(|_| Ok(1))?, s.spawn(|_| Ok(2))?);
                Ok::<_, Cancelled>(left.join()? + right.join()?)
            })
        });
    });
    c.bench_function("scope/std, two empty tasks", |b| {
        b.iter(|| {
            std::thread::scope(|s| {
                let (left, right) = (s.spawn(|| 1), s.spawn(|| 2));
                left.join().expect("it does not panic") + right.join().expect("it does not panic")
            })
        });
    });
}

criterion_group!(benches, tasks);
criterion_main!(benches);
