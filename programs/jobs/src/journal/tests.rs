use std::sync::Arc;

use brigade::scope;
use tempfile::tempdir;

use super::*;
use crate::entry::{Accepted, Ended};
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
fn ids(folder: &Path) -> (Vec<u64>, Vec<u64>, u64) {
    let (_, restored) = Journal::open(folder, KEEP).expect("a journal");
    let pending = restored.pending.iter().map(|accepted| accepted.id).collect();
    (pending, restored.ended.iter().map(|(ended, _)| ended.id).collect(), restored.dropped)
}

fn fill(folder: &Path, entries: &[Entry]) {
    let (journal, _) = Journal::open(folder, KEEP).expect("a journal");
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
    let (_, restored) = Journal::open(folder.path(), KEEP).expect("a journal");
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
        assert_eq!(ids(folder.path()), (vec![0, 1], vec![], (cut - before) as u64), "{cut}");
        let mut wrong = whole.clone();
        wrong[cut] ^= 1;
        fs::write(&path, &wrong).expect("a file");
        assert_eq!(ids(folder.path()), (vec![0, 1], vec![], (whole.len() - before) as u64), "{cut}");
        assert_eq!(fs::read(folder.path().join("journal.damaged")).expect("a copy"), wrong);
    }
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
    let first = Journal::open(folder.path(), KEEP).expect("a journal");
    assert!(Journal::open(folder.path(), KEEP).expect_err("it is locked").to_string().contains("another process"));
    drop(first);
    assert!(Journal::open(folder.path(), KEEP).is_ok());
}

#[test]
fn entries_of_several_threads_are_all_there() {
    let folder = tempdir().expect("a folder");
    let (journal, _) = Journal::open(folder.path(), Keep { jobs: 9, bytes: 9 }).expect("a journal");
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
    let (mut journal, _) = Journal::open(folder.path(), KEEP).expect("a journal");
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
    let (journal, _) = Journal::open(folder.path(), Keep { jobs: 9, bytes: 1 << 20 }).expect("a journal");
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
    let (_, restored) = Journal::open(folder.path(), Keep { jobs: 9, bytes: 1 << 20 }).expect("a journal");
    let pending: Vec<u64> = restored.pending.iter().map(|accepted| accepted.id).collect();
    let ended: Vec<u64> = restored.ended.iter().map(|(ended, _)| ended.id).collect();
    assert_eq!((pending, ended), (vec![0, 100, 200, 300, 400], (491..500).collect()));
    assert_eq!((restored.next, restored.dropped), (1_001, 0));
}

#[test]
fn a_disk_that_is_full_at_a_compaction_leaves_the_journal_sound() {
    let folder = tempdir().expect("a folder");
    let (journal, _) = Journal::open(folder.path(), KEEP).expect("a journal");
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
