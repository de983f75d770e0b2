//! On a real file system. All of it works as root too.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;

use super::super::core::{Core, PAUSE, Write};
use super::super::disk::{Disk, FileDisk};
use super::super::faults::Reason;
use super::super::{FILE, Journal, OnDisk, Written, inspect};
use super::*;
use crate::config::commit_buffer::Sync;
use crate::store::StoreError;

const LONG: Duration = Duration::from_secs(60);

fn open(dir: &Path, sync: Sync) -> (OnDisk, Vec<Promise>) {
    OnDisk::open(dir, 1 << 20, sync, Arc::new(|_| {}), &Registry::new()).unwrap()
}

fn core(dir: &Path, sync: Sync) -> Core {
    let path = dir.join(FILE);
    Core::open(Box::new(FileDisk::open(&path).unwrap()), &path, 1 << 20, sync, metrics()).unwrap().0
}

fn commit(core: &mut Core, ticket: u64, records: Vec<Record>, now: std::time::Instant) -> bool {
    core.commit(&[Write { ticket, records }], Default::default(), now)[0]
}

fn found(dir: &Path) -> Vec<(i32, i64)> {
    let all = inspect(dir).unwrap();
    all.iter().flat_map(|i| &i.promises).map(|p| (p.key.partition, p.offset)).collect()
}

#[test]
fn promises_survive() {
    for sync in [Sync::Write, Sync::Always] {
        let dir = tempfile::tempdir().unwrap();
        let (journal, promises) = open(dir.path(), sync);
        assert!(promises.is_empty() && journal.is_durable());
        journal.write(vec![promised(0, 5), promised(1, 6)], None);
        journal.write(vec![promised(0, 7), settled(1), promised(2, 6)], None);
        assert!(journal.close(LONG));
        let ticket = journal.write(vec![promised(9, 1)], None);
        assert_eq!(journal.written(ticket), Written::No);
        // Oldest first.
        assert_eq!(open(dir.path(), sync).1, [promise(2, 6), promise(0, 7)]);
    }
}

#[test]
fn what_is_damaged_is_passed_over_and_a_torn_end_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), Sync::Write);
    for partition in 0..3 {
        journal.write(vec![promised(partition, 5)], None);
    }
    assert!(journal.close(LONG));
    let path = dir.path().join(FILE);
    let mut bytes = fs::read(&path).unwrap();
    let sound = bytes.len();
    bytes[sound / 2] ^= 0x40;
    bytes.extend_from_slice(b"\x1ekmj and half a frame");
    fs::write(&path, &bytes).unwrap();
    let seen = inspect(dir.path()).unwrap().remove(0);
    assert_eq!((seen.corrupt_parts, seen.torn_bytes, seen.records, seen.dead), (1, 21, 2, 0));
    assert_eq!(fs::read(&path).unwrap(), bytes, "looking changes nothing");
    let (journal, promises) = open(dir.path(), Sync::Write);
    assert_eq!(promises, [promise(0, 5), promise(2, 5)]);
    assert_eq!(fs::metadata(&path).unwrap().len(), sound as u64);
    journal.write(vec![promised(3, 5)], None);
    assert!(journal.close(LONG));
    assert_eq!(found(dir.path()), [(0, 5), (2, 5), (3, 5)]);
}

#[test]
fn what_cannot_be_opened_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let attempt =
        || OnDisk::open(dir.path(), 1, Sync::Write, Arc::new(|_| {}), &Registry::new()).map(|_| ()).unwrap_err();
    fs::write(dir.path().join(FILE), "something else").unwrap();
    assert!(matches!(attempt(), StoreError::Foreign { .. }));
    assert!(matches!(inspect(dir.path()), Err(StoreError::Foreign { .. })));
    fs::remove_file(dir.path().join(FILE)).unwrap();
    fs::create_dir(dir.path().join(FILE)).unwrap();
    assert!(matches!(attempt(), StoreError::Io { .. }));
    let missing = dir.path().join("missing");
    assert!(OnDisk::open(&missing, 1, Sync::Write, Arc::new(|_| {}), &Registry::new()).is_err());
    assert!(!missing.exists());
}

/// A file torn while it was made.
#[test]
fn a_file_without_a_beginning_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    for length in 0..8 {
        fs::write(dir.path().join(FILE), &b"kmend\0\x02\x01"[..length]).unwrap();
        let (journal, promises) = open(dir.path(), Sync::Always);
        assert!(promises.is_empty());
        journal.write(vec![promised(0, 5)], None);
        assert!(journal.close(LONG));
        assert_eq!(found(dir.path()), [(0, 5)]);
    }
}

#[test]
fn a_removed_folder_is_noticed_and_its_return_too() {
    for sync in [Sync::Write, Sync::Always] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("state");
        fs::create_dir(&dir).unwrap();
        let mut core = core(&dir, sync);
        let mut now = std::time::Instant::now();
        assert!(commit(&mut core, 0, vec![promised(0, 5), promised(1, 5)], now));
        fs::remove_dir_all(&dir).unwrap();
        assert!(!commit(&mut core, 1, vec![promised(2, 6), settled(1)], now));
        now += PAUSE;
        assert!(!commit(&mut core, 2, vec![promised(3, 6)], now), "there is no folder yet");
        fs::create_dir(&dir).unwrap();
        assert!(!commit(&mut core, 3, vec![promised(4, 6)], now), "it is left alone for a while");
        assert!(core.due().is_some());
        now += PAUSE;
        core.tend(now);
        // What was promised before is there again, what was settled meanwhile is not.
        assert_eq!(found(&dir), [(0, 5)]);
        assert!(commit(&mut core, 4, vec![promised(5, 7)], now));
        assert_eq!(found(&dir), [(0, 5), (5, 7)]);
    }
}

#[test]
fn a_file_of_another_kmend_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("state");
    fs::create_dir(&dir).unwrap();
    let mut ours = core(&dir, Sync::Write);
    let mut now = std::time::Instant::now();
    fs::rename(&dir, home.path().join("away")).unwrap();
    fs::create_dir(&dir).unwrap();
    let mut theirs = core(&dir, Sync::Write);
    assert!(commit(&mut theirs, 0, vec![promised(0, 5)], now));
    for ticket in 0..3 {
        assert!(!commit(&mut ours, ticket, vec![promised(1, 6)], now));
        now += PAUSE;
        ours.tend(now);
    }
    assert_eq!(found(&dir), [(0, 5)]);
}

#[test]
fn a_disk_without_room_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("full");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let error = FileDisk::open(&path).unwrap().append(b"x").unwrap_err();
    assert_eq!(Reason::of(&error), Reason::Full);
    let of = |kind: io::ErrorKind| Reason::of(&kind.into());
    assert_eq!(of(io::ErrorKind::QuotaExceeded), Reason::Full);
    assert_eq!(of(io::ErrorKind::ReadOnlyFilesystem), Reason::ReadOnly);
    assert_eq!(Reason::of(&io::Error::from_raw_os_error(5)), Reason::Io);
}

#[test]
fn a_failed_replacement_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let mut disk = FileDisk::open(&path).unwrap();
    disk.append(b"old").unwrap();
    // Something that cannot be removed as a file is where the new one would be made.
    let temporary = path.with_extension("tmp");
    fs::create_dir(&temporary).unwrap();
    assert!(disk.replace(b"new").is_err());
    disk.append(b"er").unwrap();
    assert_eq!(disk.read().unwrap(), b"older");
    fs::remove_dir(&temporary).unwrap();
    fs::File::create(&temporary).unwrap().write_all(b"left by a kill").unwrap();
    disk.replace(b"new").unwrap();
    disk.append(b"er").unwrap();
    disk.cut(4).unwrap();
    disk.append(b"est").unwrap();
    disk.sync().unwrap();
    assert_eq!(disk.read().unwrap(), b"neweest");
    assert!(!temporary.exists());
}

#[test]
fn folders_in_a_folder_are_looked_at() {
    let home = tempfile::tempdir().unwrap();
    for (name, partition) in [("b", 2), ("a", 1)] {
        let dir = home.path().join(name);
        fs::create_dir(&dir).unwrap();
        let (journal, _) = open(&dir, Sync::Write);
        journal.write(vec![promised(partition, 5)], None);
        assert!(journal.close(LONG));
    }
    assert_eq!(found(home.path()), [(1, 5), (2, 5)]);
}
