//! Try.
use std::hint::black_box;
use std::time::Instant;
use brigade::{CancellationToken, Pipeline};
#[inline(never)]
fn work(steps: u64, item: u64) -> u64 {
    (0..steps).fold(item, |value, _| black_box(value).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let steps: u64 = a[1].parse().unwrap();
    let runs: usize = a[2].parse().unwrap();
    let items = (60_000_000.0 / (steps as f64 * 4.2)) as usize;
    let token = CancellationToken::new();
    let mut ratios = Vec::new();
    for _ in 0..runs {
        let t = Instant::now();
        let mut sum = 0u64; Pipeline::from_data(0..items).threads(2).map(move |i| work(steps, i as u64)).for_each(&token, |o| sum = sum.wrapping_add(o)).unwrap(); black_box(sum);
        let a = t.elapsed();
        let t = Instant::now();
        let mut sum = 0u64; for o in Pipeline::from_data(0..items).threads(2).map(move |i| work(steps, i as u64)).into_iter(&token) { let o: Result<u64, brigade::Cancelled> = o; sum = sum.wrapping_add(o.unwrap()); } black_box(sum);
        ratios.push((t.elapsed().as_secs_f64() / a.as_secs_f64(), a.as_nanos() as f64 / items as f64));
    }
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let q = |f: f64| ratios[((runs - 1) as f64 * f) as usize].0;
    println!("steps {steps}: into_iter / for_each {:.3} ({:.3} {:.3}); for_each {:.1}", q(0.5), q(0.25), q(0.75), ratios[runs / 2].1);
}
