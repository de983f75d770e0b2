//! An append-only file of checksummed records.
//!
//! ```text
//! file   = "kmend" 0x00, kind u8, format u8, record*
//! record = length u32, crc32c(payload) u32, payload          (little endian)
//! ```
//!
//! Invariants: a record is written by one `write`, so `kill -9` leaves at most the last one torn; a
//! torn or corrupt tail is cut when the file is opened, what stands before it is kept; a corrupt
//! record in the middle ends the reading there and is reported, because the lengths behind it
//! cannot be trusted. Over `max_bytes` the older half is dropped, through a new file and a rename.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::StoreError;
use super::os::cut;

const MAGIC: &[u8; 6] = b"kmend\0";
const FORMAT: u8 = 1;
pub(super) const HEADER: usize = 8;
const RECORD: usize = 8;
/// No record of kmend's is near that.
const MAX_RECORD: usize = 1 << 20;

/// What a file holds.
#[derive(Debug, Default)]
pub struct Contents {
    pub records: Vec<Vec<u8>>,
    /// Bytes of the file that make sense.
    pub sound: u64,
    /// Bytes behind them.
    pub cut: u64,
}

/// Reads a file. One that does not exist is empty.
pub fn read(path: &Path, kind: u8) -> Result<Contents, StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
        Err(e) => return Err(io(e)),
    };
    if bytes.len() < HEADER {
        // Torn while it was made: nothing was promised yet.
        return Ok(Contents { cut: bytes.len() as u64, ..Contents::default() });
    }
    check_header(&bytes, path, kind, FORMAT)?;
    let mut contents = Contents { sound: HEADER as u64, ..Contents::default() };
    let mut rest = bytes.get(HEADER..).unwrap_or_default();
    while let Some((payload, behind)) = record(rest) {
        contents.records.push(payload.to_vec());
        contents.sound += (RECORD + payload.len()) as u64;
        rest = behind;
    }
    contents.cut = rest.len() as u64;
    Ok(contents)
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_RECORD {
        return None;
    }
    let (payload, rest) = rest.split_at_checked(length)?;
    (crc32c::crc32c(payload) == u32::from_le_bytes(*crc)).then_some((payload, rest))
}

fn framed(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// How every file of kmend's begins.
pub(super) fn header(kind: u8, format: u8) -> [u8; HEADER] {
    let [a, b, c, d, e, f] = *MAGIC;
    [a, b, c, d, e, f, kind, format]
}

/// Whether a file (of `HEADER` bytes at least) is one of that kind, in a format that is known.
pub(super) fn check_header(bytes: &[u8], path: &Path, kind: u8, known: u8) -> Result<(), StoreError> {
    match bytes.first_chunk::<HEADER>() {
        Some([m @ .., k, format]) if m == MAGIC && *k == kind => {
            if *format > known {
                return Err(StoreError::TooNew { path: path.to_owned(), found: *format, known });
            }
            Ok(())
        }
        _ => Err(StoreError::Foreign { path: path.to_owned() }),
    }
}

/// A file that is open for appending.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    kind: u8,
    bytes: u64,
    max_bytes: u64,
}

impl Log {
    /// Opens or makes a file, cuts what is torn, and says what it held.
    pub fn open(path: &Path, kind: u8, max_bytes: u64) -> Result<(Log, Contents), StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        let contents = read(path, kind)?;
        let mut file = File::options().create(true).append(true).open(path).map_err(io)?;
        if contents.cut > 0 || contents.sound == 0 {
            cut(&file, path, contents.sound).map_err(io)?;
        }
        let mut bytes = contents.sound;
        if bytes == 0 {
            file.write_all(&header(kind, FORMAT)).map_err(io)?;
            bytes = HEADER as u64;
        }
        Ok((Log { path: path.to_owned(), file, kind, bytes, max_bytes }, contents))
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends a record; when this returns, `kill -9` does not lose it any more.
    pub fn append(&mut self, payload: &[u8]) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { path: self.path.clone(), source };
        let mut out = Vec::with_capacity(RECORD + payload.len());
        framed(&mut out, payload);
        if let Err(e) = self.file.write_all(&out) {
            // Half a record would hide those that come later.
            cut(&self.file, &self.path, self.bytes).map_err(io)?;
            return Err(io(e));
        }
        self.bytes += out.len() as u64;
        if self.bytes > self.max_bytes { self.drop_older_half() } else { Ok(()) }
    }

    fn drop_older_half(&mut self) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { path: self.path.clone(), source };
        let records = read(&self.path, self.kind)?.records;
        let mut out = header(self.kind, FORMAT).to_vec();
        let mut keep = self.max_bytes / 2;
        let newest = records.iter().rev().take_while(|r| {
            let size = (RECORD + r.len()) as u64;
            let fits = size <= keep;
            keep = keep.saturating_sub(size);
            fits
        });
        for payload in newest.collect::<Vec<_>>().into_iter().rev() {
            framed(&mut out, payload);
        }
        let temporary = self.path.with_extension("tmp");
        fs::write(&temporary, &out).map_err(io)?;
        fs::rename(&temporary, &self.path).map_err(io)?;
        self.file = File::options().append(true).open(&self.path).map_err(io)?;
        self.bytes = out.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_a_cut_at_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mut log, _) = Log::open(&path, 7, 1 << 20).unwrap();
        for payload in [&b"one"[..], b"", b"three"] {
            log.append(payload).unwrap();
        }
        let whole = fs::read(&path).unwrap();
        let ends = [8 + 8 + 3, 8 + 8 + 3 + 8, whole.len()];
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut log, contents) = Log::open(&path, 7, 1 << 20).unwrap();
            assert_eq!(contents.records.len(), ends.iter().filter(|e| **e <= cut).count(), "{cut}");
            log.append(b"after").unwrap();
            assert_eq!(read(&path, 7).unwrap().records.last().unwrap(), b"after", "{cut}");
        }
    }

    #[test]
    fn keeps_the_newest_when_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mut log, _) = Log::open(&path, 7, 1000).unwrap();
        for i in 0..500u32 {
            log.append(&i.to_le_bytes()).unwrap();
            assert!(log.bytes() <= 1012);
        }
        let records = read(&path, 7).unwrap().records;
        assert_eq!(records.last().unwrap(), &499u32.to_le_bytes());
        assert!(records.len() > 30);
    }

    #[test]
    fn refuses_what_is_not_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, b"something else").unwrap();
        assert!(matches!(Log::open(&path, 7, 1000), Err(StoreError::Foreign { .. })));
        fs::write(&path, b"kmend\0\x07\x09").unwrap();
        assert!(matches!(Log::open(&path, 7, 1000), Err(StoreError::TooNew { found: 9, .. })));
        fs::write(&path, b"kmend\0\x07\x01\x01\0\0\0\0\0\0\0x").unwrap();
        assert_eq!(Log::open(&path, 7, 1000).unwrap().1.records.len(), 0);
    }
}
