//! `kmend checkpoints`: the repairs that were made, and how to go back.
//!
//! The seam: the store reads, this prints. Until the store keeps checkpoints, [`run`] only finds
//! the folder that they would be in.

use std::path::PathBuf;

use super::out::Out;
use super::{Failed, UNAVAILABLE};
use crate::config::{self, ConfigError, Sources};

pub(super) fn run(dir: Option<PathBuf>, sources: &Sources, out: &mut Out) -> Result<(), Failed> {
    let dir = match dir {
        Some(dir) => dir,
        None => configured(sources, out)?,
    };
    out.error(&format!("{}: no journal in this version", dir.display()));
    Err(UNAVAILABLE)
}

/// The first folder that is there. What the rest of the configuration means does not matter here.
fn configured(sources: &Sources, out: &mut Out) -> Result<PathBuf, Failed> {
    let loaded = config::read(sources).map_err(|error| {
        out.error(&error.to_string());
        ConfigError::EXIT_CODE
    })?;
    let folders = loaded.config.menders.commit_buffer.journal.folders();
    folders
        .iter()
        .find(|folder| folder.is_dir())
        .cloned()
        .ok_or_else(|| {
            let names: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
            out.error(&format!("no journal in {}", names.join(" or ")));
            UNAVAILABLE
        })
}
