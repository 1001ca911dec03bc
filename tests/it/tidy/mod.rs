//! The rules of ARCHITECTURE.md that a test can check.

mod house;
mod prose;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Rust files under a folder, relative to the root.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = walkdir::WalkDir::new(root().join(folder))
        .into_iter()
        .map(|entry| entry.expect("readable").into_path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.strip_prefix(root()).expect("below the root").to_owned())
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{folder} is not empty");
    found
}

/// Lines that are code, or at least no comment.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn files_naming(word: &str) -> Vec<String> {
    let mut named: Vec<_> = files("src")
        .into_iter()
        .filter(|file| code(&read(file)).any(|line| line.contains(word)))
        .map(|file| file.to_str().expect("text").to_owned())
        .collect();
    named.sort();
    named
}

#[test]
fn one_module_catches_panics() {
    assert_eq!(files_naming("catch_unwind"), ["src/panic.rs"]);
    assert_eq!(files_naming("resume_unwind"), ["src/panic.rs"]);
    assert_eq!(files_naming("set_hook"), ["src/panic.rs"]);
}

#[test]
fn one_module_starts_threads_and_detaches_the_clock_only() {
    assert_eq!(files_naming("thread::Builder"), [""; 0]);
    assert_eq!(files_naming("spawn_scoped"), ["src/thread.rs"]);
    assert_eq!(files_naming(" Builder::new"), ["src/thread.rs"]);
    assert_eq!(files_naming("thread::detach"), ["src/token/clock.rs"]);
    assert_eq!(files_naming("std::thread::scope"), ["src/thread.rs"]);
}

#[test]
fn rayon_is_named_by_the_maps_and_the_pipeline_only() {
    for file in files_naming("rayon::") {
        assert!(file.starts_with("src/par") || file.starts_with("src/pipeline"), "{file} names rayon");
    }
}

#[test]
fn crossbeam_is_named_where_it_is_meant_to_be() {
    for file in files_naming("crossbeam::") {
        let may = [
            "src/sync",
            "src/token",
            "src/channel",
            "src/limit/ticker",
            "src/scope",
            "src/par/progress",
            "src/pipeline",
            "src/pool",
            "src/signal",
        ]
        .iter()
        .any(|part| file.starts_with(part));
        assert!(may, "{file} names crossbeam");
    }
}

#[test]
fn the_system_is_named_by_the_modules_of_its_features_only() {
    for file in files_naming("rustix::") {
        assert!(file.starts_with("src/io") || file.starts_with("src/signal"), "{file} names rustix");
    }
    for file in files_naming("signal_hook::") {
        assert!(file.starts_with("src/signal"), "{file} names signal-hook");
    }
}

#[test]
fn no_file_of_src_is_longer_than_400_lines() {
    for file in files("src") {
        let lines = read(&file).lines().count();
        assert!(lines <= 400, "{} has {lines} lines: look for the seam", file.display());
    }
}

#[test]
fn no_file_of_the_tests_is_longer_than_500_lines() {
    for file in files("tests") {
        let lines = read(&file).lines().count();
        assert!(lines <= 500, "{} has {lines} lines: look for the seam", file.display());
    }
}

#[test]
fn nothing_is_left_undone() {
    // Spelled apart, so that this file does not hold them.
    let undone = [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("#[", "ignore"), concat!("FIX", "ME")];
    for folder in ["src", "tests", "benches", "examples"] {
        for file in files(folder) {
            for word in undone {
                assert!(!read(&file).contains(word), "{} has {word}", file.display());
            }
        }
    }
}

#[test]
fn no_test_sleeps() {
    for file in files("tests") {
        let sleep = concat!("thread::", "sleep");
        assert!(!read(&file).contains(sleep), "{} sleeps", file.display());
    }
}

#[test]
fn the_default_build_depends_on_what_it_is_said_to() {
    let manifest = read("Cargo.toml");
    let dependencies = manifest.split("[dependencies]").nth(1).and_then(|rest| rest.split("\n[").next());
    let names: Vec<&str> = dependencies
        .expect("a section")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        .collect();
    // crossbeam-channel is crossbeam's own part, named for its lowest version.
    assert_eq!(names, ["crossbeam", "crossbeam-channel", "parking_lot", "rayon", "thiserror"]);
}

#[test]
fn the_changelog_has_this_version() {
    assert!(read("CHANGELOG.md").contains(concat!("\n## ", env!("CARGO_PKG_VERSION"))));
}
