//! The thread: who is woken when, what a disk that hangs holds up, and the way out.

use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::super::codec;
use super::super::disk::Disk;
use super::super::faults::{Metrics, Reason};
use super::super::{Journal, OnDisk, Written};
use super::flaky::{Fault, Flaky};
use super::*;
use crate::config::commit_buffer::Sync;

/// Long enough for any machine; nothing waits for it but a test that fails.
const LONG: Duration = Duration::from_secs(60);

/// A disk that hangs in `append` while its gate is shut.
#[derive(Clone)]
struct Gated {
    disk: Flaky,
    gate: Arc<(Mutex<bool>, Condvar)>,
    /// Told of each append that begins.
    begun: Sender<()>,
}

impl Gated {
    fn set(&self, is_open: bool) {
        *self.gate.0.lock().unwrap() = is_open;
        self.gate.1.notify_all();
    }
}

impl Disk for Gated {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        self.disk.read()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let _ = self.begun.send(());
        let open = self.gate.1.wait_while(self.gate.0.lock().unwrap(), |is_open| !*is_open);
        drop(open.unwrap());
        self.disk.append(bytes)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.disk.cut(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.sync()
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.replace(bytes)
    }
}

struct Rig {
    journal: OnDisk,
    disk: Gated,
    metrics: Metrics,
    woken: Receiver<u64>,
    begun: Receiver<()>,
}

fn rig() -> Rig {
    let (begin, begun) = mpsc::channel();
    let disk = Gated { disk: Flaky::default(), gate: Arc::new((Mutex::new(true), Condvar::new())), begun: begin };
    let (wake, woken) = mpsc::channel();
    let wake = Mutex::new(wake);
    let metrics = metrics();
    let (journal, _) = OnDisk::start(
        Box::new(disk.clone()),
        Path::new("commits.log"),
        1 << 20,
        Sync::Always,
        Arc::new(move |waiter| {
            let _ = wake.lock().unwrap().send(waiter);
        }),
        metrics.clone(),
    )
    .unwrap();
    Rig { journal, disk, metrics, woken, begun }
}

impl Rig {
    fn live(&self) -> Vec<i32> {
        let scan = codec::scan(&self.disk.disk.contents(), Path::new("")).unwrap();
        let mut live: Vec<i32> = scan.live.keys().map(|k| k.partition).collect();
        live.sort_unstable();
        live
    }
}

#[test]
fn who_waits_is_woken_when_it_is_decided() {
    let rig = rig();
    assert_eq!(rig.metrics.bytes.get(), 8);
    for waiter in 0..100 {
        let ticket = rig.journal.write(vec![promised(waiter as i32, 5)], Some(waiter));
        assert_eq!(rig.woken.recv_timeout(LONG), Ok(waiter));
        assert_eq!(rig.journal.written(ticket), Written::Yes);
    }
    assert!(rig.journal.close(LONG));
    assert_eq!(rig.live().len(), 100);
    assert_eq!(rig.metrics.bytes.get(), rig.disk.disk.contents().len() as i64);
}

#[test]
fn a_disk_that_hangs_holds_up_nobody() {
    let rig = rig();
    rig.disk.set(false);
    let first = rig.journal.write(vec![promised(0, 5)], Some(7));
    rig.begun.recv_timeout(LONG).unwrap();
    let mut tickets = vec![first];
    // Until the queue is full: then at once `No`.
    let refused = loop {
        let ticket = rig.journal.write((1..1000).map(|p| promised(p, 6)).collect(), Some(8));
        match rig.journal.written(ticket) {
            Written::NotYet => tickets.push(ticket),
            Written::No => break ticket,
            Written::Yes => panic!(),
        }
        assert!(tickets.len() < 1000);
    };
    assert_eq!(rig.metrics.errors(Reason::Queue), 1);
    // What is settled now is not forgotten, though it does not fit.
    let settled_late = rig.journal.write((0..1000).map(settled).collect(), None);
    assert_eq!(rig.journal.written(settled_late), Written::No);
    assert!(!rig.journal.close(Duration::ZERO), "a disk that hangs is not waited for");
    assert!(rig.woken.try_recv().is_err());
    rig.disk.set(true);
    assert_eq!(rig.woken.recv_timeout(LONG), Ok(7));
    assert_eq!(rig.woken.recv_timeout(LONG), Ok(8));
    assert!(rig.journal.close(LONG));
    assert!(tickets.iter().all(|t| rig.journal.written(*t) == Written::Yes));
    assert_eq!(rig.journal.written(refused), Written::No);
    assert_eq!(rig.live(), Vec::<i32>::new());
}

#[test]
fn what_waits_together_is_written_and_synced_together() {
    let rig = rig();
    rig.disk.set(false);
    rig.journal.write(vec![promised(0, 5)], Some(1));
    rig.begun.recv_timeout(LONG).unwrap();
    for partition in 1..50 {
        rig.journal.write(vec![promised(partition, 5)], Some(2));
    }
    let before = rig.disk.disk.platter().calls;
    rig.disk.set(true);
    assert_eq!(rig.woken.recv_timeout(LONG), Ok(1));
    assert_eq!(rig.woken.recv_timeout(LONG), Ok(2));
    assert_eq!(rig.disk.disk.platter().calls - before, 4, "two appends, two syncs");
    assert!(rig.journal.close(LONG));
    assert!(rig.woken.try_recv().is_err(), "each once");
}

#[test]
fn a_refusal_is_told_and_the_settled_are_written_when_the_disk_is_back() {
    let rig = rig();
    rig.journal.write(vec![promised(0, 5), promised(1, 5)], Some(1));
    rig.woken.recv_timeout(LONG).unwrap();
    rig.disk.disk.platter().faults.push_back(Some(Fault::Full { part: 100 }));
    let ticket = rig.journal.write(vec![promised(2, 5), settled(0)], Some(2));
    assert_eq!(rig.woken.recv_timeout(LONG), Ok(2));
    assert_eq!(rig.journal.written(ticket), Written::No);
    assert_eq!(rig.metrics.errors(Reason::Full), 1);
    assert_eq!(rig.live(), [0, 1]);
    // Nobody writes: it is done all the same, at the latest on the way out.
    assert!(rig.journal.close(LONG));
    assert_eq!(rig.live(), [1]);
}

#[test]
fn a_disk_that_stays_broken_is_no_clean_end() {
    let rig = rig();
    rig.journal.write(vec![promised(0, 5)], Some(1));
    rig.woken.recv_timeout(LONG).unwrap();
    rig.disk.disk.platter().faults.extend([Some(Fault::Io { part: 0 }); 9]);
    rig.journal.write(vec![settled(0)], Some(2));
    rig.woken.recv_timeout(LONG).unwrap();
    assert!(!rig.journal.close(LONG));
}

/// kmend's way out is short, and a disk may be busy with others.
#[test]
fn a_disk_is_asked_at_the_end_only_where_there_is_something_to_sync() {
    let start = |disk: &Flaky, sync| {
        let disk = Box::new(disk.clone());
        OnDisk::start(disk, Path::new("commits.log"), 1 << 20, sync, Arc::new(|_| {}), metrics()).unwrap().0
    };
    for sync in [Sync::Write, Sync::Always] {
        let disk = Flaky::default();
        let close = |promises: bool| {
            let journal = start(&disk, sync);
            if promises {
                let ticket = journal.write(vec![promised(0, 5)], None);
                while journal.written(ticket) == Written::NotYet {
                    std::thread::yield_now();
                }
            }
            disk.platter().faults.push_back(Some(Fault::Io { part: 0 }));
            let closed = journal.close(LONG);
            let was_asked = disk.platter().faults.is_empty();
            disk.platter().faults.clear();
            (closed, was_asked)
        };
        assert_eq!(close(false), (true, false), "{sync:?}");
        let is_synced = sync == Sync::Always;
        assert_eq!(close(true), (is_synced, !is_synced), "{sync:?}");
        // A promise of an earlier run is one of this run.
        assert_eq!(close(false), (is_synced, !is_synced), "{sync:?}");
    }
}

#[test]
fn a_thread_that_dies_is_a_refusal() {
    let disk = Flaky::default();
    let (journal, _) = OnDisk::start(
        Box::new(disk),
        Path::new("commits.log"),
        1 << 20,
        Sync::Write,
        Arc::new(|_| panic!("a mistake elsewhere")),
        metrics(),
    )
    .unwrap();
    let first = journal.write(vec![promised(0, 5)], Some(1));
    assert!(!journal.close(LONG));
    assert_eq!(journal.written(first), Written::Yes);
    let second = journal.write(vec![promised(0, 6)], Some(1));
    assert_eq!(journal.written(second), Written::No);
}
