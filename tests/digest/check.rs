//! What `-c` says about lists, against what `sha256sum -c` says.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::run::{JOBS, Watch, digest, plant, sha256sum, show, watched};

/// The SHA-256 of `x`.
const X: &str = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";

/// Makes files that hold `x`, and other things that a list may name.
fn furnish(dir: &Path) {
    for name in
        ["plain", "two words", "a\nb", "back\\slash", "c\rd", "all\\\n\r", " lead", "*star", "(paren) = x", "cr\r"]
    {
        fs::write(dir.join(name), "x").unwrap();
    }
    fs::write(dir.join("other"), "y").unwrap();
    fs::create_dir(dir.join("dir")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.join("dangling")).unwrap();
}

/// Compares the two on the list named `list`, or fed as `input`.
#[track_caller]
fn same(watch: &Watch, dir: &Path, list: &str, input: &[u8], context: &str) {
    let model = watch.feed(&mut sha256sum(dir, ["-c", list]), input);
    let messages = messages_of(&model.stderr);
    for jobs in JOBS {
        let ended = watch.feed(&mut digest(dir, ["-j", jobs, "-c", list]), input);
        assert_eq!(show(&ended.stdout), show(&model.stdout), "-j {jobs}: {context}");
        assert_eq!(ended.stderr, messages, "-j {jobs}: {context}");
        assert_eq!(ended.status.code(), model.status.code(), "-j {jobs}: {context}");
    }
}

/// The model's messages as they should be here. It quotes names for a shell where it thinks they need it; here they
/// stand bare, and escaped as in a list if they would break the line.
fn messages_of(model: &str) -> String {
    let bare = |line: &str| {
        let message = line.strip_prefix("sha256sum: ").unwrap();
        match message.strip_prefix('\'').and_then(|message| message.split_once("': ")) {
            Some(("no'$'\\n''b\\'$'\\r", reason)) => format!("\\no\\nb\\\\\\r: {reason}"),
            Some(("no'$'\\r", reason)) => format!("no\r: {reason}"),
            Some((name, reason)) if name != "standard input" => format!("{name}: {reason}"),
            _ => message.to_owned(),
        }
    };
    model.lines().flat_map(|line| ["digest: ".to_owned(), bare(line), "\n".to_owned()]).collect()
}

/// Compares the two on each of these lists, as a file and as the standard input.
fn same_for_all(watch: &Watch, lists: &[String]) {
    let dir = tempdir().unwrap();
    furnish(dir.path());
    for list in lists {
        fs::write(dir.path().join("list"), list).unwrap();
        same(watch, dir.path(), "list", b"", &format!("{list:?} as a file"));
        same(watch, dir.path(), "-", list.as_bytes(), &format!("{list:?} as the standard input"));
    }
}

#[test]
fn each_form_of_line_verifies_as_with_sha256sum() {
    let upper = X.to_uppercase();
    let lists = [
        format!("{X}  plain\n"),
        format!("{X} *plain\n"),
        format!("{X} plain\n"),
        format!("{X}\tplain\n"),
        format!("{X}\t plain\n"),
        format!("{X}\t*plain\n"),
        format!("{upper}  plain\n"),
        format!("  \t{X}  plain\n"),
        format!("SHA256 (plain) = {X}\n"),
        format!("SHA256(plain)={upper}\n"),
        format!("SHA256 (plain)\t =\t {X}\n"),
        format!(" SHA256 (plain) = {X}\n"),
        format!("SHA256 ((paren) = x) = {X}\n"),
        format!("{X}  two words\n"),
        format!("{X}   lead\n"),
        format!("{X}  *star\n"),
        format!("{X}  other\n"),
        format!("{X}  plain"),
        format!("SHA256 (plain) = {X}"),
    ];
    watched(|watch| same_for_all(watch, &lists));
}

#[test]
fn escaped_names_verify_as_with_sha256sum() {
    let lists = [
        format!("\\{X}  a\\nb\n"),
        format!("\\{X} *a\\nb\n"),
        format!("\\{X}  back\\\\slash\n"),
        format!("\\{X}  c\\rd\n"),
        format!("\\{X}  all\\\\\\n\\r\n"),
        format!("\\{X}  plain\n"),
        format!("\\SHA256 (a\\nb) = {X}\n"),
        format!("  \\SHA256 (all\\\\\\n\\r) = {X}\n"),
        // Without the mark a backslash is a backslash.
        format!("{X}  a\\nb\n"),
        format!("{X}  back\\slash\n"),
        // Not what an escaped name can look like.
        format!("\\{X}  a\\qb\n"),
        format!("\\{X}  ab\\\n"),
        format!("\\\\{X}  a\\nb\n"),
        format!("\\SHA256 (a\\q) = {X}\n"),
        // Escaped again in verdicts, as a whole, if the name holds a line end.
        format!("\\{X}  no\\nb\\\\\\r\n"),
        format!("\\{X}  no\\r\n"),
        format!("\\{}  a\\nb\n", "0".repeat(64)),
    ];
    watched(|watch| same_for_all(watch, &lists));
}

#[test]
fn what_is_no_line_of_a_list_is_passed_over_as_by_sha256sum() {
    let (short, bad) = (&X[1..], format!("{}g", &X[1..]));
    let good = format!("{X}  plain\n");
    let mut lists: Vec<String> = [
        String::new(),
        "\n".into(),
        "\r\n".into(),
        "# comment\n".into(),
        "garbage\n".into(),
        "garbage".into(),
        X.into(),
        format!("{X}\n"),
        format!("{X} \n"),
        format!("{X}  \n"),
        format!("{X}   \n"),
        format!("{X} *\n"),
        format!("{X} p\n"),
        format!("{X}  p\n"),
        format!("{X} *p\n"),
        format!("{X}0  plain\n"),
        format!("{short}  plain\n"),
        format!("{short}   plain\n"),
        format!("{bad}  plain\n"),
        format!("SHA1 (plain) = {X}\n"),
        format!("SHA256  (plain) = {X}\n"),
        format!("SHA256 (plain) = {X} \n"),
        format!("SHA256 (plain) = {short}\n"),
        format!("SHA256 (plain) = {bad}\n"),
        format!("SHA256 (plain) {X}\n"),
        format!("SHA256 () = {X}\n"),
        format!("SHA256 (pl)ain) = {X}\n"),
        format!("SHA256 ) = {X}\n"),
        "SHA256 (plain)\n".into(),
        "SHA256 (plain) =\n".into(),
        "SHA256 (plain\n".into(),
        "SHA256 (\n".into(),
        "SHA256 (".into(),
        "SHA256".into(),
        " # indented\n".into(),
        // What C takes for the end of a string.
        format!("{X}  plain\0in\n"),
        format!("\\{X}  plain\0in\n"),
        format!("SHA256 (plain\0) = {X}\0\n"),
        "\0\n".into(),
    ]
    .to_vec();
    // Once alone, once among lines that are right.
    lists.extend(lists.clone().iter().map(|list| format!("{good}{}\n{good}", list.trim_end_matches('\n'))));
    watched(|watch| same_for_all(watch, &lists));
}

#[test]
fn a_list_keeps_to_the_form_it_began_with() {
    let (marked, bare) = (format!("{X}  plain\n"), format!("{X} plain\n"));
    let (lead, tagged) = (format!("{X}   lead\n"), format!("SHA256 (plain) = {X}\n"));
    let lists = [
        [&*marked, &bare, &marked].concat(),
        [&*bare, &marked, &bare].concat(),
        [&*bare, &lead].concat(),
        [&*marked, &tagged, &bare].concat(),
        [&*tagged, &bare, &tagged, &marked].concat(),
        // A line that is not good for anything may decide all the same.
        format!("\\{X} a\\q\n{marked}"),
        format!("\\{X}  a\\q\n{bare}"),
        format!("{X}  \n{marked}"),
    ];
    watched(|watch| same_for_all(watch, &lists));
}

#[test]
fn line_ends_of_other_systems_verify_as_with_sha256sum() {
    let lists = [
        format!("{X}  plain\r\n{X} *other\r\n\r\n# comment\r\n"),
        format!("SHA256 (plain) = {X}\r\n"),
        format!("{X}  plain\r"),
        format!("{X}  cr\r\r\n"),
        format!("\\{X}  a\\nb\r\n"),
    ];
    watched(|watch| same_for_all(watch, &lists));
}

#[test]
fn verdicts_and_warnings_add_up_as_with_sha256sum() {
    let [good, wrong, missing, dir, dangling] =
        ["plain", "other", "missing", "dir", "dangling"].map(|name| format!("{X}  {name}\n"));
    let junk = "junk\n";
    let lists = [
        [&*good, &wrong].concat(),
        [&*good, &wrong, &wrong].concat(),
        [&*good, &missing].concat(),
        [&*good, &missing, &dir, &dangling].concat(),
        [&*good, junk].concat(),
        [&*good, junk, junk].concat(),
        [&*dir, junk, &good, &wrong].concat(),
        [&*dir, &dangling, &missing, &wrong, &good, junk, junk, &wrong].concat(),
        missing.clone(),
        wrong.clone(),
    ];
    watched(|watch| same_for_all(watch, &lists));
}

#[test]
fn lists_that_cannot_be_read_are_reported_as_by_sha256sum() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        furnish(dir.path());
        for list in ["nowhere", "dangling", "dir", "plain"] {
            same(watch, dir.path(), list, b"", list);
        }
    });
}

#[test]
fn the_standard_input_can_be_verified_unless_the_list_comes_from_it() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        furnish(dir.path());
        let list = format!("{X}  -\n{X}  plain\n");
        fs::write(dir.path().join("list"), &list).unwrap();
        same(watch, dir.path(), "list", b"x", "x from the standard input");
        same(watch, dir.path(), "list", b"y", "y from the standard input");
        same(watch, dir.path(), "-", list.as_bytes(), "the list from the standard input");
    });
}

#[test]
fn verdicts_come_in_the_order_of_the_list() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        let list = String::from_utf8(plant(watch, dir.path(), "tree", 2000)).unwrap();
        // Backwards, so that the order is the list's own, and with something wrong every so often.
        let mut lines = Vec::new();
        for (index, line) in list.lines().rev().enumerate() {
            lines.push(match index % 50 {
                7 => format!("{}{}\n", "0".repeat(64), &line[64..]),
                21 => format!("{line} which is not there\n"),
                35 => "junk\n".to_owned(),
                _ => format!("{line}\n"),
            });
        }
        fs::write(dir.path().join("list"), lines.concat()).unwrap();
        let model = watch.run(&mut sha256sum(dir.path(), ["-c", "list"]));
        for jobs in JOBS {
            let ended = watch.run(&mut digest(dir.path(), ["-j", jobs, "-c", "list"]));
            ended.expect(&model.stdout, &messages_of(&model.stderr), 1);
        }
    });
}

#[test]
fn what_it_prints_it_verifies() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        furnish(dir.path());
        fs::remove_file(dir.path().join("dangling")).unwrap();
        let printed = watch.run(&mut digest(dir.path(), ["."])).stdout;
        assert_eq!(printed.split_inclusive(|&byte| byte == b'\n').count(), 11);
        same(watch, dir.path(), "-", &printed, "its own list");
        let ended = watch.feed(&mut digest(dir.path(), ["-c", "-"]), &printed);
        assert_eq!((ended.stderr.as_str(), ended.status.code()), ("", Some(0)));
    });
}

/// `sha256sum` would take it into its memory, however long it is.
#[test]
fn a_line_without_end_is_malformed_and_the_list_goes_on() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        furnish(dir.path());
        let list = format!("{X}  {}\n{X}  plain\n", "long".repeat(1 << 20));
        fs::write(dir.path().join("list"), list).unwrap();
        let ended = watch.run(&mut digest(dir.path(), ["-c", "list"]));
        ended.expect(b"plain: OK\n", "digest: WARNING: 1 line is improperly formatted\n", 0);
    });
}
