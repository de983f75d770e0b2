//! The journal's bytes: records, frames, and how a damaged file is read.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Key, Kind, Promise, Record};
use crate::store::StoreError;
use crate::store::log::{HEADER, check_header, header};

/// Which of kmend's files it is, and the format of its frames.
const KIND: u8 = 2;
const FORMAT: u8 = 1;
/// Of the payload. Never 0x1e.
const VERSION: u8 = 1;
/// No JSON text holds the first of them.
const MARK: [u8; 4] = *b"\x1ekmj";
/// The mark, the length, the checksum.
const FRAME: usize = 12;
/// A commit of 10,000 partitions has about 3 MiB.
const MAX_PAYLOAD: usize = 16 << 20;

/// A record as it is written. Fields may be added with a default; a changed meaning needs a new
/// version, and a reader of this one.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnFile {
    Promised(PromiseOnFile),
    Settled(KeyOnFile),
}

#[derive(Serialize, Deserialize)]
struct KeyOnFile {
    cluster: Arc<str>,
    group: Arc<str>,
    topic: Arc<str>,
    partition: i32,
}

#[derive(Serialize, Deserialize)]
struct PromiseOnFile {
    #[serde(flatten)]
    key: KeyOnFile,
    kind: KindOnFile,
    /// 32 hexadecimal digits; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic_id: Option<String>,
    member: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<Arc<str>>,
    generation: i32,
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    consumer_protocol: bool,
    client_id: Arc<str>,
    offset: i64,
    leader_epoch: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    baseline: Option<i64>,
    time_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindOnFile {
    Buffered,
    Behind,
}

impl From<&Key> for KeyOnFile {
    fn from(key: &Key) -> KeyOnFile {
        let Key { cluster, group, topic, partition } = key.clone();
        KeyOnFile { cluster, group, topic, partition }
    }
}

impl From<KeyOnFile> for Key {
    fn from(key: KeyOnFile) -> Key {
        let KeyOnFile { cluster, group, topic, partition } = key;
        Key { cluster, group, topic, partition }
    }
}

impl From<&Record> for OnFile {
    fn from(record: &Record) -> OnFile {
        match record {
            Record::Settled(key) => OnFile::Settled(key.into()),
            Record::Promised(p) => OnFile::Promised(PromiseOnFile {
                key: (&p.key).into(),
                kind: match p.kind {
                    Kind::Buffered => KindOnFile::Buffered,
                    Kind::Behind => KindOnFile::Behind,
                },
                topic_id: (p.topic_id != [0; 16]).then(|| format!("{:032x}", u128::from_be_bytes(p.topic_id))),
                member: p.member.clone(),
                instance: p.instance.clone(),
                generation: p.generation,
                ready: p.ready,
                consumer_protocol: p.consumer_protocol,
                client_id: p.client_id.clone(),
                offset: p.offset,
                leader_epoch: p.leader_epoch,
                metadata: p.metadata.clone(),
                baseline: p.baseline,
                time_ms: p.time_ms,
            }),
        }
    }
}

impl OnFile {
    /// `None`: it is not what this version writes.
    fn record(self) -> Option<Record> {
        Some(match self {
            OnFile::Settled(key) => Record::Settled(key.into()),
            OnFile::Promised(p) => Record::Promised(Promise {
                key: p.key.into(),
                kind: match p.kind {
                    KindOnFile::Buffered => Kind::Buffered,
                    KindOnFile::Behind => Kind::Behind,
                },
                topic_id: match p.topic_id {
                    Some(digits) => u128::from_str_radix(&digits, 16).ok()?.to_be_bytes(),
                    None => [0; 16],
                },
                member: p.member,
                instance: p.instance,
                generation: p.generation,
                ready: p.ready,
                consumer_protocol: p.consumer_protocol,
                client_id: p.client_id,
                offset: p.offset,
                leader_epoch: p.leader_epoch,
                metadata: p.metadata,
                baseline: p.baseline,
                time_ms: p.time_ms,
            }),
        })
    }
}

/// What a new file begins with.
pub(super) fn beginning() -> Vec<u8> {
    header(KIND, FORMAT).to_vec()
}

/// Appends one frame to `out` and says for each record how many bytes it would take in a frame of
/// its own. `None`, and nothing appended: it is too large.
pub(super) fn frame(records: &[Record], out: &mut Vec<u8>) -> Option<Vec<u64>> {
    let start = out.len();
    let sizes = unbounded_frame(records, out);
    if sizes.is_none() {
        out.truncate(start);
    }
    sizes
}

fn unbounded_frame(records: &[Record], out: &mut Vec<u8>) -> Option<Vec<u64>> {
    let start = out.len();
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&[0; FRAME - MARK.len()]);
    out.extend_from_slice(&[VERSION, b'[']);
    let mut sizes = Vec::with_capacity(records.len());
    for (i, record) in records.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let before = out.len();
        serde_json::to_writer(&mut *out, &OnFile::from(record)).ok()?;
        sizes.push((out.len() - before + FRAME + 3) as u64);
    }
    out.push(b']');
    let payload = out.get(start + FRAME..)?;
    if payload.len() > MAX_PAYLOAD {
        return None;
    }
    let length = (payload.len() as u32).to_le_bytes();
    let crc = checksum(length, payload).to_le_bytes();
    out.get_mut(start + MARK.len()..start + FRAME)?.copy_from_slice(&[length, crc].concat());
    Some(sizes)
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

/// Any payload in a sound frame.
#[cfg(any(test, fuzzing))]
pub(super) fn framed(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    let crc = checksum(length, payload).to_le_bytes();
    [&MARK[..], &length, &crc, payload].concat()
}

/// The payload of the frame that begins here, and what is behind it.
fn sound_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(&MARK)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let size = u32::from_le_bytes(*length) as usize;
    if size > MAX_PAYLOAD {
        return None;
    }
    let (payload, rest) = rest.split_at_checked(size)?;
    (checksum(*length, payload) == u32::from_le_bytes(*crc)).then_some((payload, rest))
}

/// Why a sound frame cannot be read.
enum Unread {
    TooNew(u8),
    Damaged,
}

fn records(payload: &[u8]) -> Result<Vec<Record>, Unread> {
    let (version, json) = payload.split_first().ok_or(Unread::Damaged)?;
    match *version {
        VERSION => {
            let records: Vec<OnFile> = serde_json::from_slice(json).map_err(|_| Unread::Damaged)?;
            records.into_iter().map(OnFile::record).collect::<Option<_>>().ok_or(Unread::Damaged)
        }
        // There never was one below.
        0 => Err(Unread::Damaged),
        version => Err(Unread::TooNew(version)),
    }
}

/// A live promise and the bytes that it takes in a compacted file.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub promise: Promise,
    pub size: u64,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub live: HashMap<Key, Live>,
    /// All that could be read.
    pub records: u64,
    /// Where the last sound frame ends; 0: the file has not even a beginning.
    pub sound: u64,
    /// Bytes behind that.
    pub torn: u64,
    /// Damaged parts before that, and their bytes.
    pub corrupt: (u64, u64),
}

/// Reads what can be read.
pub(super) fn scan(bytes: &[u8], path: &Path) -> Result<Scan, StoreError> {
    if bytes.len() < HEADER {
        // Torn while it was made: nothing was promised yet.
        return Ok(Scan { torn: bytes.len() as u64, ..Scan::default() });
    }
    check_header(bytes, path, KIND, FORMAT)?;
    let mut scan = Scan { sound: HEADER as u64, ..Scan::default() };
    let mut rest = bytes.get(HEADER..).unwrap_or_default();
    while !rest.is_empty() {
        let Some((skipped, payload, behind)) = next_frame(rest) else { break };
        let mut lost = skipped;
        match records(payload) {
            Ok(records) => scan.apply(records),
            Err(Unread::TooNew(found)) => {
                return Err(StoreError::TooNew { path: path.to_owned(), found, known: VERSION });
            }
            Err(Unread::Damaged) => lost += FRAME + payload.len(),
        }
        if lost > 0 {
            scan.corrupt.0 += 1;
            scan.corrupt.1 += lost as u64;
        }
        scan.sound = (bytes.len() - behind.len()) as u64;
        rest = behind;
    }
    scan.torn = rest.len() as u64;
    Ok(scan)
}

/// The first sound frame from here on: bytes before it, its payload, what is behind it.
fn next_frame(bytes: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let mut at = 0;
    loop {
        let here = bytes.get(at..)?;
        if let Some((payload, behind)) = sound_frame(here) {
            return Some((at, payload, behind));
        }
        at += 1 + here.get(1..)?.iter().position(|b| *b == MARK[0])?;
    }
}

impl Scan {
    fn apply(&mut self, records: Vec<Record>) {
        self.records += records.len() as u64;
        let mut unused = Vec::new();
        for record in records {
            match record {
                Record::Settled(key) => {
                    self.live.remove(&key);
                }
                Record::Promised(promise) => {
                    unused.clear();
                    let record = Record::Promised(promise.clone());
                    let size = frame(std::slice::from_ref(&record), &mut unused);
                    let size = size.and_then(|s| s.first().copied()).unwrap_or_default();
                    self.live.insert(promise.key.clone(), Live { promise, size });
                }
            }
        }
    }
}
