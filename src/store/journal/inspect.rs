//! Looking at a journal without opening it.

use std::fs;
use std::path::{Path, PathBuf};

use super::{FILE, Promise, codec};
use crate::store::{StoreError, dir};

/// What one file holds.
#[derive(Debug)]
pub struct Inspection {
    pub path: PathBuf,
    /// Oldest first.
    pub promises: Vec<Promise>,
    /// All that can be read, and those of them that no longer count.
    pub records: u64,
    pub dead: u64,
    /// Of the file; of it, what the live promises would take alone.
    pub bytes: u64,
    pub live_bytes: u64,
    /// Damaged parts with sound ones behind them.
    pub corrupt_parts: u64,
    pub corrupt_bytes: u64,
    /// At the end. While kmend runs it may be about to be written.
    pub torn_bytes: u64,
}

/// The journals of a state folder or, where it has none, of the folders in it. Needs no lock and
/// changes nothing: it may be asked while kmend runs.
pub fn inspect(folder: &Path) -> Result<Vec<Inspection>, StoreError> {
    dir::files(folder, FILE).into_iter().map(one).collect()
}

fn one(path: PathBuf) -> Result<Inspection, StoreError> {
    let bytes = fs::read(&path).map_err(|source| StoreError::Io { path: path.clone(), source })?;
    let scan = codec::scan(&bytes, &path)?;
    let live_bytes = scan.live.values().map(|l| l.size).sum();
    let mut promises: Vec<Promise> = scan.live.into_values().map(|l| l.promise).collect();
    promises.sort_by(|a, b| (a.time_ms, &a.key).cmp(&(b.time_ms, &b.key)));
    Ok(Inspection {
        path,
        records: scan.records,
        dead: scan.records.saturating_sub(promises.len() as u64),
        promises,
        bytes: bytes.len() as u64,
        live_bytes,
        corrupt_parts: scan.corrupt.0,
        corrupt_bytes: scan.corrupt.1,
        torn_bytes: scan.torn,
    })
}
