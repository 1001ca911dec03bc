//! Drives the example `digest` as its users do, and compares it with coreutils' `sha256sum` 9.1 or later.
//!
//! `cargo test` builds the example; to run these tests alone, build it first:
//! `cargo build --example digest && cargo test --test digest`.
#![cfg(unix)]

mod check;
#[path = "../example/mod.rs"]
mod example;
mod print;
mod run;
mod stop;
