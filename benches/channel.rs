//! What a message costs, beside crossbeam's own calls.

use brigade::{CancellationToken, Until, merge};
use criterion::{Criterion, criterion_group, criterion_main};
use crossbeam::channel::{Receiver, bounded, select};

fn one_thread(c: &mut Criterion) {
    let token = CancellationToken::new();
    let (sender, receiver) = bounded::<u64>(64);
    c.bench_function("channel/send and recv until", |b| {
        b.iter(|| {
            sender.until(&token).send(1).expect("there is room");
            receiver.until(&token).recv()
        });
    });
    c.bench_function("channel/send and recv, crossbeam's", |b| {
        b.iter(|| {
            sender.send(1).expect("there is room");
            receiver.recv()
        });
    });
    let done = token.done();
    c.bench_function("channel/send and select!", |b| {
        b.iter(|| {
            sender.send(1).expect("there is room");
            select! {
                recv(receiver) -> value => value.ok(),
                recv(done) -> _ => None,
            }
        });
    });
}

fn many(c: &mut Criterion) {
    let token = CancellationToken::new();
    let fill = || -> Vec<Receiver<u64>> {
        (0..8)
            .map(|_| {
                let (sender, receiver) = bounded(64);
                sender.until(&token).send_all(0..64).expect("there is room");
                receiver
            })
            .collect()
    };
    c.bench_function("channel/merge, 8 channels of 64 messages", |b| {
        b.iter(|| merge(&token, fill()).map(Result::unwrap_or_default).sum::<u64>());
    });
    c.bench_function("channel/one after the other, 8 channels of 64 messages", |b| {
        b.iter(|| fill().iter().flat_map(Receiver::iter).sum::<u64>());
    });
    c.bench_function("channel/recv_many, 64 messages", |b| {
        let mut buffer = Vec::new();
        let (sender, receiver) = bounded::<u64>(64);
        b.iter(|| {
            sender.until(&token).send_all(0..64).expect("there is room");
            buffer.clear();
            receiver.until(&token).recv_many(&mut buffer, 64)
        });
    });
}

criterion_group!(benches, one_thread, many);
criterion_main!(benches);
