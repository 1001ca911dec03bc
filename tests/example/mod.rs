//! Finding the binary of an example.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Cargo does not build an example for a test that is run alone, and a test of an old one would tell lies.
pub(crate) fn binary(name: &str) -> PathBuf {
    // Test programs lie in `deps`, and examples in a folder beside it, each with a list of its sources.
    let test = env::current_exe().unwrap();
    let binary = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let sources = fs::read_to_string(binary.with_extension("d")).unwrap_or_default().replace("\\ ", "\0");
    let mut sources = sources.split_whitespace().skip(1).map(|source| PathBuf::from(source.replace('\0', " ")));
    let is_fresh = modified(&binary).is_some() && sources.all(|source| modified(&source) <= modified(&binary));
    let path = binary.display();
    assert!(is_fresh, "{path} is missing or older than its source: run `cargo build --example {name}` in this profile");
    binary
}
