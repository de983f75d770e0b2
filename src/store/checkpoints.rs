//! The repairs that were made, and how to go back (rule A9).

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::log::{self, Log};
use super::{StoreError, dir};

/// The file's name in the state folder.
pub const FILE: &str = "checkpoints.log";
const KIND: u8 = 1;
/// About 5,000 repairs.
const MAX_BYTES: u64 = 1 << 20;

/// One repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Milliseconds since 1970 (UTC).
    pub time_ms: u64,
    /// The group, where it is known: a consumer may fetch without one.
    pub group: Option<String>,
    pub client_id: String,
    pub topic: String,
    pub partition: i32,
    /// The position that was asked for, and the one it was moved to.
    pub old: i64,
    pub new: i64,
}

impl Checkpoint {
    pub fn now_ms() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
    }

    /// The command of Kafka's own tools that puts the group back where it was. Below the log start
    /// there is nothing to read any more: it is for a topic whose older data has been restored.
    pub fn way_back(&self, bootstrap: &str) -> String {
        let group = quoted(self.group.as_deref().unwrap_or("<group>"));
        let topic = quoted(&format!("{}:{}", self.topic, self.partition));
        let offset = self.old;
        format!(
            "kafka-consumer-groups.sh --bootstrap-server {} --group {group} --topic {topic} --reset-offsets --to-offset {offset} --execute",
            quoted(bootstrap)
        )
    }
}

/// A word of a shell command: group ids are free text.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Where repairs are noted.
#[derive(Debug)]
pub struct Checkpoints {
    log: Option<Mutex<Log>>,
}

impl Checkpoints {
    /// Without a folder nothing is kept.
    pub fn none() -> Checkpoints {
        Checkpoints { log: None }
    }

    pub fn open(dir: &Path) -> Result<Checkpoints, StoreError> {
        let (log, contents) = Log::open(&dir.join(FILE), KIND, MAX_BYTES)?;
        if contents.cut > 0 {
            tracing::warn!(bytes = contents.cut, "the end of {FILE} was torn or corrupt and has been cut");
        }
        Ok(Checkpoints { log: Some(Mutex::new(log)) })
    }

    pub fn note(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let Some(log) = &self.log else { return Ok(()) };
        let payload =
            serde_json::to_vec(checkpoint).map_err(|e| StoreError::Io { path: FILE.into(), source: e.into() })?;
        log.lock().unwrap_or_else(PoisonError::into_inner).append(&payload)
    }
}

/// All repairs that a state folder (or, without one there, the folders below it) remembers, oldest
/// first. Needs no lock: it may be asked while kmend runs.
pub fn read(folder: &Path) -> Result<Vec<Checkpoint>, StoreError> {
    let mut all = Vec::new();
    for file in dir::files(folder, FILE) {
        let records = log::read(&file, KIND)?.records;
        all.extend(records.iter().filter_map(|r| serde_json::from_slice::<Checkpoint>(r).ok()));
    }
    all.sort_by_key(|c| c.time_ms);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_and_names_the_way_back() {
        let dir = tempfile::tempdir().unwrap();
        let c = Checkpoint {
            time_ms: 1,
            group: Some("billing".into()),
            client_id: "app".into(),
            topic: "orders".into(),
            partition: 3,
            old: 62_129_856,
            new: 84_603_153,
        };
        Checkpoints::open(dir.path()).unwrap().note(&c).unwrap();
        assert_eq!(read(dir.path()).unwrap(), std::slice::from_ref(&c));
        assert!(c.way_back("k:9092").contains("--group billing --topic orders:3 --reset-offsets --to-offset 62129856"));
    }
}
