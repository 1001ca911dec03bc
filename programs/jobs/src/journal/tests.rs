use std::sync::Arc;

use brigade::scope;
use tempfile::tempdir;

use super::*;
use crate::entry::{Accepted, Ended};
use crate::util::{alone, watched};
use crate::work::{OutputKind, Work};

const KEEP: Keep = Keep { jobs: 100, bytes: 1 << 20 };

fn accepted(id: u64) -> Entry {
    Entry::Accepted(Accepted { id, created: 1, timeout: None, work: Work::Primes { below: id } })
}

fn ended(id: u64) -> Entry {
    let (kind, status) = ("primes".to_owned(), "completed".to_owned());
    Entry::Ended(Ended { id, kind, created: 1, at: 2, status, message: None, output: Some(OutputKind::Json) })
}

/// Opens and closes a journal; returns the ids that are pending and those that have ended, and what was dropped.
fn ids(folder: &Path) -> (Vec<u64>, Vec<u64>, usize) {
    let dropped = read(&folder.join("journal"), KEEP).expect("a file").rest.len();
    let (_, restored) = Journal::open(folder, KEEP, false).expect("a journal");
    let pending = restored.pending.iter().map(|accepted| accepted.id).collect();
    (pending, restored.ended.iter().map(|(ended, _)| ended.id).collect(), dropped)
}

fn fill(folder: &Path, entries: &[Entry]) {
    let (journal, _) = Journal::open(folder, KEEP, false).expect("a journal");
    let token = CancellationToken::new();
    for entry in entries {
        journal.commit(&token, entry, b"a\nresult").expect("a disk");
    }
}

#[test]
fn what_has_not_ended_is_pending_in_whichever_order_it_was_written() {
    let folder = tempdir().expect("a folder");
    fill(folder.path(), &[accepted(0), accepted(1), ended(0), ended(2), accepted(2), accepted(3)]);
    // The second time from the compacted file.
    for _ in 0..2 {
        assert_eq!(ids(folder.path()), (vec![1, 3], vec![0, 2], 0));
    }
    let (_, restored) = Journal::open(folder.path(), KEEP, false).expect("a journal");
    assert_eq!((restored.next, &*restored.ended[0].1), (4, &b"a\nresult"[..]));
}

#[test]
fn a_torn_end_loses_its_own_frame_at_every_cut() {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("journal");
    fill(folder.path(), &[accepted(0), accepted(1)]);
    // As the next start compacts it.
    fill(folder.path(), &[]);
    let before = fs::read(&path).expect("a file").len();
    fill(folder.path(), &[accepted(2)]);
    let whole = fs::read(&path).expect("a file");
    for cut in before..whole.len() {
        fs::write(&path, &whole[..cut]).expect("a file");
        assert_eq!(ids(folder.path()), (vec![0, 1], vec![], cut - before), "{cut}");
        let mut wrong = whole.clone();
        wrong[cut] ^= 1;
        fs::write(&path, &wrong).expect("a file");
        assert_eq!(ids(folder.path()), (vec![0, 1], vec![], whole.len() - before), "{cut}");
        // Each tail is kept, under a number of its own: two for each cut but the first, where there is none.
        let number = 2 * (cut - before) + 1;
        let kept = folder.path().join(format!("journal.damaged-{number}"));
        assert_eq!(fs::read(kept).expect("a copy"), wrong[before..]);
    }
}

#[test]
fn damage_before_the_end_is_refused_and_repaired_only_on_demand() {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("journal");
    fill(folder.path(), &[accepted(0), accepted(1)]);
    fill(folder.path(), &[]);
    let before = fs::read(&path).expect("a file").len();
    fill(folder.path(), &[accepted(2), accepted(3), ended(2), accepted(4)]);
    let whole = fs::read(&path).expect("a file");
    let first = frame(&accepted(2), b"a\nresult").expect("a frame").len();
    for (number, at) in (before..before + first).step_by(7).enumerate() {
        let mut wrong = whole.clone();
        wrong[at] ^= 0x81;
        fs::write(&path, &wrong).expect("a file");
        let error = Journal::open(folder.path(), KEEP, false).expect_err("it is damaged").to_string();
        assert!(error.contains(&format!("is damaged at byte {before},")) && error.contains("--repair"), "{error}");
        assert_eq!(fs::read(&path).expect("a file"), wrong, "it is as it was");
        let (_, restored) = Journal::open(folder.path(), KEEP, true).expect("a journal");
        let pending: Vec<u64> = restored.pending.iter().map(|accepted| accepted.id).collect();
        // The ids of the jobs that are lost are not given out again.
        assert_eq!((pending, restored.next), (vec![0, 1], 5));
        let kept = folder.path().join(format!("journal.damaged-{}", number + 1));
        assert_eq!(fs::read(kept).expect("a copy"), wrong);
        assert_eq!(ids(folder.path()), (vec![0, 1], vec![], 0));
    }
}

#[test]
fn an_entry_of_a_later_program_is_refused_and_not_dropped() {
    let folder = tempdir().expect("a folder");
    fill(folder.path(), &[accepted(0)]);
    let path = folder.path().join("journal");
    let later = frame(&Entry::Next(7), &[]).expect("a frame");
    let mut payload = later[8..].to_vec();
    payload[2..6].copy_from_slice(b"what");
    let mut crc = flate2::Crc::new();
    crc.update(&payload);
    let head = [u32::try_from(payload.len()).expect("few").to_le_bytes(), crc.sum().to_le_bytes()].concat();
    let bytes = [fs::read(&path).expect("a file"), head, payload].concat();
    fs::write(&path, &bytes).expect("a file");
    assert!(Journal::open(folder.path(), KEEP, false).is_err());
    assert_eq!(fs::read(&path).expect("a file"), bytes);
}

#[test]
fn a_journal_that_is_damaged_while_it_is_written_is_not_compacted() {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let (journal, _) = Journal::open(folder.path(), KEEP, false).expect("a journal");
    let token = CancellationToken::new();
    journal.commit(&token, &accepted(0), &[]).expect("a disk");
    let mut bytes = fs::read(&path).expect("a file");
    bytes[10] ^= 1;
    // In the same file, not in a new one.
    fs::write(&path, &bytes).expect("a file");
    journal.disk.lock().longest = 0;
    journal.commit(&token, &accepted(1), &[]).expect("a disk");
    assert_eq!(fs::read(&path).expect("a file")[..bytes.len()], bytes);
    assert!(journal.is_sound() && !folder.path().join("journal.new").exists());
}

#[test]
fn a_new_folder_is_made_with_its_parents() {
    let folder = tempdir().expect("a folder");
    let deep = folder.path().join("a/b");
    fill(&deep, &[accepted(0)]);
    assert_eq!(ids(&deep), (vec![0], vec![], 0));
}

#[test]
fn only_the_last_ends_survive_a_start() {
    let folder = tempdir().expect("a folder");
    fill(folder.path(), &(0..300).map(ended).collect::<Vec<_>>());
    let (pending, kept, _) = ids(folder.path());
    assert_eq!((pending, kept), (vec![], (200..300).collect()));
    assert!(fs::metadata(folder.path().join("journal")).expect("a file").len() < 20_000);
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let folder = tempdir().expect("a folder");
    let first = Journal::open(folder.path(), KEEP, false).expect("a journal");
    assert!(
        Journal::open(folder.path(), KEEP, false).expect_err("it is locked").to_string().contains("another process")
    );
    drop(first);
    assert!(Journal::open(folder.path(), KEEP, false).is_ok());
}

#[test]
fn entries_of_several_threads_are_all_there() {
    let folder = tempdir().expect("a folder");
    let (journal, _) = Journal::open(folder.path(), Keep { jobs: 9, bytes: 9 }, false).expect("a journal");
    let journal = Arc::new(journal);
    scope(&CancellationToken::new(), |s| {
        for thread in 0..8 {
            let journal = &journal;
            s.spawn(move |s| {
                for number in 0..50 {
                    journal.commit(s.token(), &accepted(thread * 50 + number), &[])?;
                }
                anyhow::Ok(())
            })?;
        }
        Ok(())
    })
    .expect("a disk");
    drop(journal);
    assert_eq!(ids(folder.path()), ((0..400).collect(), vec![], 0));
}

#[test]
fn a_disk_that_refuses_breaks_the_journal_for_good() {
    let folder = tempdir().expect("a folder");
    let (mut journal, _) = Journal::open(folder.path(), KEEP, false).expect("a journal");
    let token = CancellationToken::new();
    // A file that is open for reading only refuses each write.
    let read_only = File::open(folder.path().join("journal")).expect("a file");
    let writable = std::mem::replace(&mut journal.disk.get_mut().file, read_only);
    assert!(matches!(journal.commit(&token, &accepted(0), &[]), Err(CommitError::Broken)));
    journal.disk.get_mut().file = writable;
    assert!(matches!(journal.commit(&token, &accepted(1), &[]), Err(CommitError::Broken)));
    assert!(!journal.is_sound());
}

#[test]
fn a_journal_that_grows_is_compacted_while_it_is_written() {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let (journal, _) = Journal::open(folder.path(), Keep { jobs: 9, bytes: 1 << 20 }, false).expect("a journal");
    let token = CancellationToken::new();
    let commit = |entry: &Entry| {
        let mut disk = journal.disk.lock();
        disk.longest = disk.longest.min(2_000);
        drop(disk);
        journal.commit(&token, entry, &[]).expect("a disk");
        assert!(fs::metadata(&path).expect("a file").len() < 3_000);
    };
    // The end of a job that is accepted much later.
    commit(&ended(1_000));
    for id in 0..500 {
        commit(&accepted(id));
        // Each hundredth job does not end.
        if id % 100 > 0 {
            commit(&ended(id));
        }
    }
    commit(&accepted(1_000));
    drop(journal);
    let (_, restored) = Journal::open(folder.path(), Keep { jobs: 9, bytes: 1 << 20 }, false).expect("a journal");
    let pending: Vec<u64> = restored.pending.iter().map(|accepted| accepted.id).collect();
    let ended: Vec<u64> = restored.ended.iter().map(|(ended, _)| ended.id).collect();
    assert_eq!((pending, ended), (vec![0, 100, 200, 300, 400], (491..500).collect()));
    assert_eq!(restored.next, 1_001);
}

#[test]
fn a_disk_that_is_full_at_a_compaction_leaves_the_journal_sound() {
    let folder = tempdir().expect("a folder");
    let (journal, _) = Journal::open(folder.path(), KEEP, false).expect("a journal");
    // No file can be made under a name that a folder has.
    fs::create_dir(folder.path().join("journal.new")).expect("a folder");
    journal.disk.lock().longest = 0;
    let token = CancellationToken::new();
    journal.commit(&token, &accepted(0), &[]).expect("a disk");
    journal.commit(&token, &accepted(1), &[]).expect("a disk");
    assert!(journal.is_sound());
    fs::remove_dir(folder.path().join("journal.new")).expect("it is empty");
    drop(journal);
    assert_eq!(ids(folder.path()), (vec![0, 1], vec![], 0));
}

#[test]
fn a_compaction_needs_no_descriptor_for_the_folder() {
    if !alone!(a_compaction_needs_no_descriptor_for_the_folder, "-n 40") {
        return;
    }
    watched(|| {
        let folder = tempdir().expect("a folder");
        let (journal, _) = Journal::open(folder.path(), KEEP, false).expect("a journal");
        let token = CancellationToken::new();
        journal.commit(&token, &accepted(0), &[]).expect("a disk");
        journal.commit(&token, &ended(0), &[]).expect("a disk");
        journal.disk.lock().longest = 0;
        let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        // One is left, for the old file and then for the new one.
        hoard.pop();
        journal.commit(&token, &accepted(1), &[]).expect("a disk");
        assert!(journal.is_sound());
        journal.commit(&token, &accepted(2), &[]).expect("a disk");
        drop(hoard);
        let bytes = fs::read(folder.path().join("journal")).expect("a file");
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("{\"kept\":") && !text.contains("{\"ended\":"), "it was compacted: {text}");
        drop(journal);
        assert_eq!(ids(folder.path()), (vec![1, 2], vec![0], 0));
    });
}
