//! What is printed for files and trees.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::tempdir;

use crate::run::{JOBS, digest, model, plant, read_line, sha256sum, show, walk, watched};

/// Makes `dir/tree`, with every kind of name and file that a walk may meet.
fn strange_tree(dir: &Path) {
    let names: [&[u8]; 16] = [
        b"plain",
        b"two words",
        b" leading and trailing ",
        b"back\\slash",
        b"new\nline",
        b"carriage\rreturn",
        b"all\\of\nthem\r",
        b"\\",
        b"\n",
        b"not UTF-8 \xff\xfe\x80",
        "caf\u{e9}".as_bytes(),
        b"*star",
        b"-c",
        b"tab\tand \x1b[31mescape",
        b"a.b",
        b"a-b",
    ];
    for path in ["tree", "tree/a", "tree/a/b", "tree/a/b/c", "tree/sub\ndir", "tree/empty dir"] {
        fs::create_dir(dir.join(path)).unwrap();
        if path == "tree/empty dir" {
            continue;
        }
        for name in names {
            fs::write(dir.join(path).join(OsStr::from_bytes(name)), [path.as_bytes(), name].concat()).unwrap();
        }
        fs::write(dir.join(path).join("empty"), b"").unwrap();
    }
    // Around the sizes of a hash's block and of one read, and one of many reads.
    for size in [55, 56, 63, 64, 65, 4095, 4096, 131_071, 131_072, 131_073, 4_000_001] {
        let bytes: Vec<u8> = (0..size).map(|at: u32| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        fs::write(dir.join(format!("tree/a/size {size}")), bytes).unwrap();
    }
    symlink("plain", dir.join("tree/link to a file")).unwrap();
    symlink("a", dir.join("tree/link to a directory")).unwrap();
    symlink(".", dir.join("tree/loop")).unwrap();
    symlink("nowhere", dir.join("tree/dangling")).unwrap();
    drop(UnixListener::bind(dir.join("tree/socket")).unwrap());
}

#[test]
fn a_tree_prints_as_sha256sum_prints_its_files_at_any_number_of_threads() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        strange_tree(dir.path());
        let files = walk(dir.path(), Path::new("tree"));
        assert_eq!(files.len(), 5 * 17 + 11);
        let expected = model(watch, dir.path(), &files);
        for jobs in JOBS {
            watch.run(&mut digest(dir.path(), ["-j", jobs, "tree"])).expect(&expected, "", 0);
        }
        watch.run(&mut digest(dir.path(), ["tree"])).expect(&expected, "", 0);
    });
}

#[test]
fn paths_print_in_the_order_given_and_as_given() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        strange_tree(dir.path());
        fs::write(dir.path().join("file"), "x").unwrap();
        let paths = ["tree/plain", "./file", "tree/a/b/", "file", "tree//plain", "tree/a/b/../b/c", "file"];
        let mut files = Vec::new();
        for path in paths.map(Path::new) {
            if dir.path().join(path).is_dir() {
                files.extend(walk(dir.path(), path));
            } else {
                files.push(path.to_owned());
            }
        }
        let expected = model(watch, dir.path(), &files);
        for jobs in JOBS {
            let args = ["-j", jobs].into_iter().chain(paths);
            watch.run(&mut digest(dir.path(), args)).expect(&expected, "", 0);
        }
    });
}

#[test]
fn a_link_is_followed_where_it_was_named_and_nowhere_else() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        strange_tree(dir.path());
        let inside = walk(&dir.path().join("tree"), Path::new("a"));
        let named =
            inside.iter().map(|file| Path::new("tree/link to a directory").join(file.strip_prefix("a").unwrap()));
        let files: Vec<PathBuf> = [PathBuf::from("tree/link to a file")].into_iter().chain(named).collect();
        let expected = model(watch, dir.path(), &files);
        let args = ["tree/link to a file", "tree/link to a directory"];
        watch.run(&mut digest(dir.path(), args)).expect(&expected, "", 0);
    });
}

#[test]
fn what_cannot_be_read_costs_a_message_in_its_place_and_the_status() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        plant(watch, dir.path(), "first", 20);
        plant(watch, dir.path(), "second", 20);
        symlink("nowhere", dir.path().join("dangling")).unwrap();
        symlink("circle", dir.path().join("circle")).unwrap();
        drop(UnixListener::bind(dir.path().join("socket")).unwrap());
        let files = [walk(dir.path(), Path::new("first")), walk(dir.path(), Path::new("second"))].concat();
        let expected = model(watch, dir.path(), &files);
        let messages = "digest: missing: No such file or directory\n\
                        digest: dangling: No such file or directory\n\
                        digest: socket: No such device or address\n\
                        digest: circle: Too many levels of symbolic links\n\
                        digest: \\two\\nlines: No such file or directory\n\
                        digest: first/missing: No such file or directory\n";
        let paths = ["missing", "first", "dangling", "socket", "circle", "two\nlines", "second", "first/missing"];
        for jobs in JOBS {
            let args = ["-j", jobs].into_iter().chain(paths);
            watch.run(&mut digest(dir.path(), args)).expect(&expected, messages, 1);
        }
    });
}

/// A file that opens and then cannot be read, even by root: a process's memory has nothing at address 0.
#[cfg(target_os = "linux")]
#[test]
fn a_read_that_fails_halfway_costs_a_message_and_the_status() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        let expected = model(watch, dir.path(), &[PathBuf::from("file")]);
        let message = "digest: /proc/self/mem: Input/output error\n";
        watch.run(&mut digest(dir.path(), ["/proc/self/mem", "file"])).expect(&expected, message, 1);
    });
}

/// Nobody but root can open everything, and root cannot be kept from it, so each kind of user tests what they can.
#[test]
fn a_file_without_permission_costs_what_it_costs_sha256sum() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        fs::write(dir.path().join("secret"), "y").unwrap();
        fs::set_permissions(dir.path().join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
        let args = ["file", "secret", "file"];
        let model = watch.run(&mut sha256sum(dir.path(), args));
        let messages = model.stderr.replace("sha256sum:", "digest:");
        watch.run(&mut digest(dir.path(), args)).expect(&model.stdout, &messages, model.status.code().unwrap());
    });
}

/// The output fills its pipe and stops the walk, so what lies far behind has been listed and not yet been opened.
#[test]
fn what_vanishes_during_the_walk_costs_a_message_and_the_status() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        plant(watch, dir.path(), "tree", 2000);
        fs::create_dir(dir.path().join("tree/lost directory")).unwrap();
        fs::write(dir.path().join("tree/lost file"), "x").unwrap();
        let files: Vec<PathBuf> =
            walk(dir.path(), Path::new("tree")).into_iter().filter(|file| !file.ends_with("lost file")).collect();
        let expected = model(watch, dir.path(), &files);

        let mut command = digest(dir.path(), ["-j", "1", "tree"]);
        let mut running = watch.start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut printed = read_line(running.child.stdout.as_mut().unwrap());
        fs::remove_dir(dir.path().join("tree/lost directory")).unwrap();
        fs::remove_file(dir.path().join("tree/lost file")).unwrap();
        let ended = running.finish();
        printed.extend_from_slice(&ended.stdout);
        assert_eq!(show(&printed), show(&expected));
        let messages = "digest: tree/lost directory: No such file or directory\n\
                        digest: tree/lost file: No such file or directory\n";
        assert_eq!((ended.stderr.as_str(), ended.status.code()), (messages, Some(1)));
    });
}

#[test]
fn a_command_line_without_sense_is_refused_and_nothing_printed() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        let cases: [(&[&str], &str); 7] = [
            (&["-j", "0", "file"], "invalid value '0' for '-j <N>': hashing needs a thread to run on; 1 is the least"),
            (&["-j", "two", "file"], "invalid value 'two' for '-j <N>': not a number of threads"),
            (&["-j", "-1", "file"], "unexpected argument '-1'"),
            (&["-j", "", "file"], "invalid value '' for '-j <N>': not a number of threads"),
            (&["-c", "file", "file"], "the argument '-c <LIST>' cannot be used with"),
            (&[], "required arguments were not provided"),
            (&["-j", "2"], "required arguments were not provided"),
        ];
        for (args, message) in cases {
            let ended = watch.run(&mut digest(dir.path(), args));
            assert!(ended.stderr.contains(message), "{args:?}: {}", ended.stderr);
            assert_eq!((ended.stdout.as_slice(), ended.status.code()), (&b""[..], Some(2)), "{args:?}");
        }
    });
}

#[test]
fn a_name_that_is_no_text_can_be_an_argument() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        let name = OsString::from(OsStr::from_bytes(b"\xff\xfe"));
        fs::write(dir.path().join(&name), "x").unwrap();
        let expected = model(watch, dir.path(), &[PathBuf::from(&name)]);
        watch.run(&mut digest(dir.path(), [name])).expect(&expected, "", 0);
    });
}
