//! x
use brigade::{CancellationToken, Pipeline};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    let _ = s;
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}
fn main() {
    let token = CancellationToken::new();
    let floats: Vec<f64> = (1..=10_000_000_u32).map(|number| 1.0 / f64::from(number)).collect();
    for leaf in [1024, 4096, 16384, 65536] {
        let (mut a, mut b, mut ca, mut cb) = (vec![], vec![], 0.0, 0.0);
        for _ in 0..60 {
            let (t, c) = (Instant::now(), cpu());
            let p = Pipeline::from_data(&floats).threads(2).map(|float| *float);
            black_box(p.reduce_by(&token, leaf, |sum, float| sum + float).unwrap());
            a.push(t.elapsed().as_secs_f64());
            ca += cpu() - c;
            let (t, c) = (Instant::now(), cpu());
            black_box(floats.par_iter().sum::<f64>());
            b.push(t.elapsed().as_secs_f64());
            cb += cpu() - c;
        }
        a.sort_by(f64::total_cmp);
        b.sort_by(f64::total_cmp);
        println!(
            "{leaf}: ours {:.2} ms rayon {:.2} ms ratio {:.3} (min {:.3}) cpu {:.2} {:.2}",
            a[30] * 1e3,
            b[30] * 1e3,
            a[30] / b[30],
            a[0] / b[0],
            ca / 60. * 1e3,
            cb / 60. * 1e3
        );
    }
}
