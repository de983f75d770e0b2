//! The journal over any file: what can be read is read, and is the same after all that follows.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prometheus::Registry;

use super::codec;
use super::core::{Core, Write};
use super::disk::Disk;
use super::faults::Metrics;
use super::{Promise, Record};
use crate::config::commit_buffer::Sync;

/// A disk that never fails.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn with<T>(&self, call: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        call(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Disk for Memory {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.with(|bytes| bytes.clone()))
    }
    fn append(&mut self, more: &[u8]) -> io::Result<()> {
        self.with(|bytes| bytes.extend_from_slice(more));
        Ok(())
    }
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.with(|bytes| bytes.truncate(length as usize));
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn replace(&mut self, instead: &[u8]) -> io::Result<()> {
        self.with(|bytes| *bytes = instead.to_vec());
        Ok(())
    }
}

fn open(disk: &Memory, max_bytes: u64) -> Option<(Core, Vec<Promise>)> {
    let metrics = Metrics::new(&Registry::new());
    Core::open(Box::new(disk.clone()), Path::new(super::FILE), max_bytes, Sync::Write, metrics).ok()
}

/// A file with these payloads, each in a sound frame behind the version of today.
pub fn file(payloads: &[&[u8]]) -> Vec<u8> {
    let mut out = codec::beginning();
    for payload in payloads {
        out.extend(codec::framed(payload));
    }
    out
}

/// A file as the journal writes it.
pub fn written(writes: &[Vec<Record>]) -> Vec<u8> {
    let mut out = codec::beginning();
    for records in writes {
        assert!(codec::frame(records, &mut out).is_some(), "it is too large");
    }
    out
}

/// Opens the file; what it holds survives being opened again, another write, and a compaction. How
/// many promises it holds.
pub fn reopened(file: &[u8], max_bytes: u64, more: Promise) -> usize {
    let disk = Memory(Arc::new(Mutex::new(file.to_vec())));
    let Some((core, held)) = open(&disk, max_bytes) else {
        assert!(disk.with(|bytes| bytes == file), "a file that is refused is left alone");
        return 0;
    };
    drop(core);
    let tended = disk.with(|bytes| bytes.clone());
    assert!(tended.len() <= file.len().max(codec::beginning().len()));
    let (mut core, again) = open(&disk, max_bytes).expect("it was opened before");
    assert!(again == held, "it holds something else when it is opened again");
    assert!(disk.with(|bytes| *bytes == tended), "what is sound is left as it is");

    // One promise more, and the first one settled.
    let settled = held.first().map(|p| p.key.clone());
    let mut expected: HashMap<_, _> = held.iter().map(|p| (p.key.clone(), p.clone())).collect();
    let mut ticket = 0;
    let mut write = |core: &mut Core, record: Record| {
        ticket += 1;
        core.commit(&[Write { ticket, records: vec![record] }], HashMap::new(), Instant::now()) == [true]
    };
    if let Some(key) = settled {
        assert!(write(&mut core, Record::Settled(key.clone())), "what is settled always fits");
        expected.remove(&key);
    }
    if write(&mut core, Record::Promised(more.clone())) {
        expected.insert(more.key.clone(), more);
    }
    core.tend(Instant::now());
    assert!(core.close(Instant::now()));
    let (_, last) = open(&disk, max_bytes).expect("it was written by us");
    let last: HashMap<_, _> = last.into_iter().map(|p| (p.key.clone(), p)).collect();
    assert!(last == expected, "it holds something else after a write");
    held.len()
}
