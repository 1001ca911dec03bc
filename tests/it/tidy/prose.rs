//! The rules of CONTRIBUTING.md on prose that a test can check.

use super::{files, read};

/// Words that stand for an actor without naming it. Spelled apart, so that a search for them does not find this file.
const UNNAMED: [&str; 4] =
    [concat!("who", "ever"), concat!("some", "body"), concat!("no", "body"), concat!("any", "body")];

/// The comments of the sources and the lines of the documents, each with its place.
fn prose() -> Vec<(String, String)> {
    let mut prose = Vec::new();
    for folder in ["src", "examples"] {
        for file in files(folder) {
            for (number, line) in read(&file).lines().enumerate() {
                if let Some(at) = line.find("//") {
                    prose.push((format!("{}:{}", file.display(), number + 1), line[at..].to_owned()));
                }
            }
        }
    }
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        for (number, line) in read(document).lines().enumerate() {
            prose.push((format!("{document}:{}", number + 1), line.to_owned()));
        }
    }
    assert!(prose.len() > 2_000, "the comments are found");
    prose
}

#[test]
fn comments_name_the_actor() {
    let mut found = Vec::new();
    for (place, line) in prose() {
        let line = line.to_lowercase();
        let mut words = line.split(|c: char| !c.is_alphabetic());
        if words.any(|word| UNNAMED.contains(&word)) {
            found.push(place);
        }
    }
    assert_eq!(found, [""; 0], "these say {UNNAMED:?}: name the worker, caller, task, batch, source or sink");
}

/// A row of a table cannot be broken, and may be longer.
#[test]
fn comments_end_by_column_120() {
    let mut found = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        for file in files(folder) {
            for (number, line) in read(&file).lines().enumerate() {
                let text = line.trim_start();
                let is_row = text.trim_start_matches(['/', '!']).trim_start().starts_with('|');
                if text.starts_with("//") && !is_row && line.chars().count() > 120 {
                    found.push(format!("{}:{}", file.display(), number + 1));
                }
            }
        }
    }
    assert_eq!(found, [""; 0], "these comment lines are too long");
}
