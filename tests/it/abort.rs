//! `panic = "abort"`: shown by a program that is compiled so, in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::util::watched;

/// Builds `tests/abort/program.rs` in a package of its own: tests themselves are always compiled to unwind.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let package = tempfile::tempdir().expect("a directory");
        let manifest = package.path().join("Cargo.toml");
        let text = format!(
            "[package]\nname = \"abort\"\nedition = \"2024\"\n[workspace]\n[profile.dev]\npanic = \"abort\"\n\
             [[bin]]\nname = \"abort\"\npath = '{root}/tests/abort/program.rs'\n\
             [dependencies]\nbrigade = {{ path = '{root}' }}\n",
            root = root.display(),
        );
        std::fs::write(&manifest, text).expect("a manifest");
        // The same versions as ours, which are here already.
        std::fs::copy(root.join("Cargo.lock"), package.path().join("Cargo.lock")).expect("our lock file");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abort");
        let built = Command::new(env!("CARGO"))
            .current_dir(root)
            .args(["build", "--quiet", "--offline", "--manifest-path"])
            .arg(manifest)
            .arg("--target-dir")
            .arg(&target)
            .output()
            .expect("cargo");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        target.join("debug/abort")
    })
}

fn run(case: &'static str) -> Output {
    let program = program();
    watched(move || Command::new(program).arg(case).output().expect("it starts"))
}

fn prints(case: &'static str) -> String {
    let output = run(case);
    assert!(output.status.success(), "{case}: {output:?}");
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

/// The process is gone at the panic, whose message has been printed: no policy and no hook of a scope is asked.
fn aborts(case: &'static str, thread: &str) {
    use std::os::unix::process::ExitStatusExt;
    let output = run(case);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(6), "{case}: {complained}");
    assert!(complained.contains(thread) && complained.contains("a bug"), "{case}: {complained}");
    assert_eq!(output.stdout, b"", "{case}");
}

#[test]
fn a_panic_of_a_task_ends_the_process_and_names_the_thread() {
    aborts("panic in a scope", "crash#0");
}

#[test]
fn a_panic_in_a_map_ends_the_process() {
    aborts("panic in a map", "panicked at");
}

#[test]
fn an_error_and_a_cancel_of_a_scope_return_as_ever() {
    assert_eq!(prints("failure in a scope"), "disk full");
    assert_eq!(prints("cancel in a scope"), "cancelled: signal 2");
}

#[test]
fn an_error_and_a_cancel_of_a_map_return_as_ever() {
    assert_eq!(prints("failure in a map"), "item 700");
    assert_eq!(prints("cancel in a map"), "cancelled: signal 2");
}
