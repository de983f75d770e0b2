//! The map of nodes on disk: JSON, replaced whole by a rename, so that `kill -9` leaves the old or
//! the new one.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Node;

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    version: u32,
    pub cluster_id: Option<String>,
    pub nodes: Vec<SavedNode>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedNode {
    pub id: i32,
    pub host: String,
    pub port: u16,
    pub local_port: u16,
}

/// `None`: there is no map yet, or it is of a version that this kmend does not know.
pub(super) fn read(path: &Path) -> io::Result<Option<Saved>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let saved: Saved = serde_json::from_slice(&text)?;
    Ok((saved.version == VERSION).then_some(saved))
}

pub(super) fn write(path: &Path, cluster_id: Option<&str>, nodes: &HashMap<i32, Node>) -> io::Result<()> {
    let mut nodes: Vec<SavedNode> = nodes
        .iter()
        .map(|(id, n)| SavedNode { id: *id, host: n.upstream.host.clone(), port: n.upstream.port, local_port: n.port })
        .collect();
    nodes.sort_unstable_by_key(|n| n.id);
    let saved = Saved { version: VERSION, cluster_id: cluster_id.map(str::to_owned), nodes };
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, serde_json::to_vec_pretty(&saved)?)?;
    fs::rename(&temporary, path)
}
