//! A program that is compiled with `panic = "abort"`, for `tests/it/abort.rs`: its argument says what happens in it.

use std::io;

use brigade::hooks::Hooks;
use brigade::{CancelReason, CancellationToken, Cancelled, Panic, ScopeBuilder, par_map, scope, try_par_map};

struct Tell;

impl Hooks for Tell {
    fn panicked(&self, _: &Panic) {
        println!("a hook was told");
    }
}

fn main() {
    let token = CancellationToken::new();
    match std::env::args().nth(1).as_deref() {
        Some("panic in a scope") => {
            let failures = ScopeBuilder::new().named("crash").hooks(&Tell).collect_all(&token, |s| {
                s.spawn(|_| -> Result<(), Cancelled> { panic!("a bug") })?.join().map_err(|_| token.check().unwrap_err())
            });
            println!("went on: {failures:?}");
        }
        Some("failure in a scope") => {
            let failed: io::Result<()> = scope(&token, |s| {
                s.spawn(|s| Ok(s.token().wait()))?;
                s.spawn(|_| Err::<(), _>(io::Error::other("disk full")))?;
                Ok(())
            });
            println!("{}", failed.unwrap_err());
        }
        Some("cancel in a scope") => {
            let ended: Result<(), Cancelled> = ScopeBuilder::new().limit(2).run(&token, |s| {
                for task in 0..1_000 {
                    let token = &token;
                    s.spawn(move |_| Ok(task == 500 && token.cancel_with(CancelReason::Signal(2))))?;
                }
                Ok(())
            });
            println!("{}", ended.unwrap_err());
        }
        Some("failure in a map") => {
            let failed = try_par_map(&token, 0..100_000, |item| match item {
                700 | 99_000 => Err(io::Error::other(format!("item {item}"))),
                _ => Ok(item),
            });
            println!("{}", failed.unwrap_err());
        }
        Some("cancel in a map") => {
            let ended = par_map(&token, 0..100_000, |item| item == 700 && token.cancel_with(CancelReason::Signal(2)));
            println!("{}", ended.unwrap_err());
        }
        Some("panic in a map") => {
            let ended = par_map(&token, 0..100_000, |item| assert!(item != 700, "a bug"));
            println!("went on: {ended:?}");
        }
        other => unreachable!("{other:?} is no case"),
    }
}
