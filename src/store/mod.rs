//! What kmend keeps on disk: the folder, and an append-only file of checksummed records.

pub mod checkpoints;
pub mod dir;
pub mod journal;
pub mod log;
mod os;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is in use by another kmend: give each its own menders.commit_buffer.journal.dir", path.display())]
    Locked { path: PathBuf },
    #[error("{} was written by a newer kmend (format {found}, this one knows {known})", path.display())]
    TooNew { path: PathBuf, found: u8, known: u8 },
    #[error("{} is not a file of kmend's", path.display())]
    Foreign { path: PathBuf },
}
