//! Running the example and its model, under a watchdog.

use std::any::type_name;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use brigade::{CancellationToken, Cancelled, scope};

use crate::example::binary;

/// Far longer than any test takes: reaching it is a hang.
const LIMIT: Duration = Duration::from_secs(120);

/// The numbers of threads at which everything must come out the same.
pub(crate) const JOBS: [&str; 3] = ["1", "2", "8"];

/// Runs a test. Should it hang, its children are killed and the test program ends, naming it.
pub(crate) fn watched<F: FnOnce(&Watch)>(test: F) {
    // A closure is named after the function it stands in, which is the test.
    let name = type_name::<F>().trim_end_matches("::{{closure}}");
    let watch = Watch { pids: Mutex::new(Vec::new()) };
    let over = CancellationToken::new();
    scope(&CancellationToken::new(), |s| {
        let _over = over.drop_guard();
        s.named("watchdog").spawn(|_| {
            if over.wait_timeout(LIMIT).is_none() {
                // Not by `eprintln`: what a test prints is kept back, and would be lost here.
                let _ = writeln!(io::stderr(), "the test {name} hung");
                for pid in watch.pids.lock().unwrap().iter() {
                    kill(*pid, "KILL");
                }
                #[expect(clippy::disallowed_methods, reason = "the test hangs, and so would its threads")]
                process::exit(101);
            }
            Ok(())
        })?;
        test(&watch);
        Ok::<_, Cancelled>(())
    })
    .expect("the watchdog could not be started");
}

/// The children of a test that are running.
pub(crate) struct Watch {
    pids: Mutex<Vec<u32>>,
}

impl Watch {
    pub(crate) fn start(&self, command: &mut Command) -> Running<'_> {
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: cannot be run, and is needed: {error}"));
        self.pids.lock().unwrap().push(child.id());
        Running { watch: self, child }
    }

    /// Runs to the end, with nothing to read.
    pub(crate) fn run(&self, command: &mut Command) -> Ended {
        self.feed(command, b"")
    }

    /// Runs to the end, with `input` to read.
    pub(crate) fn feed(&self, command: &mut Command, input: &[u8]) -> Ended {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = self.start(command);
        // What is fed is small enough for the pipe. A child that does not read it is no failure here.
        let _ = running.child.stdin.take().unwrap().write_all(input);
        running.finish()
    }
}

/// A child, killed if the test fails before it has ended.
pub(crate) struct Running<'a> {
    watch: &'a Watch,
    pub(crate) child: Child,
}

impl Running<'_> {
    pub(crate) fn signal(&self, name: &str) {
        kill(self.child.id(), name);
    }

    /// Waits for the end and returns what is left to read of its output.
    pub(crate) fn finish(mut self) -> Ended {
        let stdout = self.child.stdout.take();
        let stderr = self.child.stderr.take();
        // The standard error holds a few lines at most here, which fit the pipe.
        let stdout = stdout.map_or_else(Vec::new, drain);
        let stderr = stderr.map_or_else(Vec::new, drain);
        let status = self.child.wait().unwrap();
        Ended { stdout, stderr: String::from_utf8_lossy(&stderr).into_owned(), status }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.watch.pids.lock().unwrap().retain(|pid| *pid != self.child.id());
    }
}

/// What a child left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) status: ExitStatus,
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect(&self, stdout: &[u8], stderr: &str, code: i32) {
        assert_eq!(show(&self.stdout), show(stdout));
        assert_eq!(self.stderr, stderr);
        assert_eq!(self.status.code(), Some(code));
    }
}

/// Makes bytes readable in a failure, without losing any.
pub(crate) fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\n", "\\n\n")
}

/// The example, to be run in `dir`.
pub(crate) fn digest<A: AsRef<OsStr>>(dir: &Path, args: impl IntoIterator<Item = A>) -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    command(BINARY.get_or_init(|| binary("digest")), dir, args)
}

/// Its model, to be run in `dir`.
pub(crate) fn sha256sum<A: AsRef<OsStr>>(dir: &Path, args: impl IntoIterator<Item = A>) -> Command {
    command("sha256sum", dir, args)
}

pub(crate) fn command<A: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    dir: &Path,
    args: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).env("LC_ALL", "C");
    command
}

/// What `sha256sum` prints for these files.
pub(crate) fn model(watch: &Watch, dir: &Path, files: &[PathBuf]) -> Vec<u8> {
    let args = [OsStr::new("--")].into_iter().chain(files.iter().map(|file| file.as_os_str()));
    let ended = watch.run(&mut sha256sum(dir, args));
    assert!(ended.status.success(), "sha256sum: {}", ended.stderr);
    ended.stdout
}

/// The regular files below `dir/path`, depth first by the bytes of their names: an independent walk.
pub(crate) fn walk(dir: &Path, path: &Path) -> Vec<PathBuf> {
    let mut names: Vec<OsString> =
        fs::read_dir(dir.join(path)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    let mut files = Vec::new();
    for name in names {
        let path = path.join(name);
        let kind = fs::symlink_metadata(dir.join(&path)).unwrap().file_type();
        if kind.is_dir() {
            files.extend(walk(dir, &path));
        } else if kind.is_file() {
            files.push(path);
        }
    }
    files
}

/// Makes the directory `path` with `count` small files, whose lines are 160 bytes long and more. Returns what
/// `sha256sum` prints for it.
pub(crate) fn plant(watch: &Watch, dir: &Path, path: &str, count: usize) -> Vec<u8> {
    fs::create_dir(dir.join(path)).unwrap();
    for index in 0..count {
        fs::write(dir.join(path).join(format!("{index:0>90}")), format!("file {index}")).unwrap();
    }
    model(watch, dir, &walk(dir, Path::new(path)))
}

pub(crate) fn mkfifo(path: &Path) {
    let status = Command::new("mkfifo").arg(path).status().expect("mkfifo cannot be run, and these tests need it");
    assert!(status.success());
}

/// Reads one byte at a time up to the end of a line, so that nothing behind it is taken.
pub(crate) fn read_line(source: &mut impl Read) -> Vec<u8> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") && source.read(&mut byte).unwrap() > 0 {
        line.push(byte[0]);
    }
    line
}

fn drain(mut source: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).unwrap();
    bytes
}

fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{signal} {pid} failed");
}

/// A file to write to whose device is always full.
pub(crate) fn full_device() -> File {
    File::options().write(true).open("/dev/full").expect("/dev/full is needed to run these tests")
}
