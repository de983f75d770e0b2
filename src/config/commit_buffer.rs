//! `menders.commit_buffer`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{Mode, ModeRule};
use super::units::{Auto, ByteSize, Duration};

/// Commits survive rebalances and the ends of processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CommitBuffer {
    /// What is done where no pattern below says otherwise.
    pub mode: Mode,
    /// How long a refused commit is kept beyond the group's rebalance timeout; then it is given up, with a warning.
    pub max_age: Duration,
    /// Per topic pattern: `{ mode }`.
    pub topics: BTreeMap<String, ModeRule>,
    /// Per group pattern: `{ mode }` or `{ unknown_member: pass }`.
    pub groups: BTreeMap<String, CommitGroupRule>,
    /// Per client id pattern: `{ mode }`.
    pub clients: BTreeMap<String, ModeRule>,
    /// Commits acknowledged from the journal.
    pub write_behind: WriteBehind,
    /// Commits for clients that die without one.
    pub delivered: Delivered,
    /// Where commits are kept.
    pub journal: Journal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CommitGroupRule {
    /// Instead of the mender's mode.
    pub mode: Option<Mode>,
    /// `pass`: the broker's UNKNOWN_MEMBER_ID (25) reaches the client; `buffer` (the default): its commit is kept.
    pub unknown_member: Option<UnknownMember>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownMember {
    Buffer,
    Pass,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WriteBehind {
    /// `true`: commits are acknowledged before the broker has them.
    pub enabled: bool,
    /// How often the broker gets what was acknowledged.
    pub interval: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Delivered {
    /// `true`: commit what a dead client has provably handled.
    pub enabled: bool,
    /// `true`: also for software whose position runs ahead of its app, or that has not been measured (at most once: records may be skipped).
    #[serde(rename = "unsafe")]
    pub unmeasured: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Journal {
    /// Folder of the journal and of the rest of kmend's state; `auto`: `/var/lib/kmend`, else the user's state folder.
    pub dir: Auto<PathBuf>,
    /// Most that is promised at one time. The file takes up to twice as much, and for a moment four times.
    pub max_bytes: ByteSize,
    /// `write` survives the end of kmend, `always` (a flush to the disk before each acknowledgement) that of the machine.
    pub sync: Sync,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    Write,
    Always,
}

impl Default for CommitBuffer {
    fn default() -> Self {
        Self {
            mode: Mode::Repair,
            max_age: Duration::from_secs(60),
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            clients: BTreeMap::new(),
            write_behind: WriteBehind::default(),
            delivered: Delivered::default(),
            journal: Journal::default(),
        }
    }
}

impl Default for WriteBehind {
    fn default() -> Self {
        Self { enabled: false, interval: Duration::from_secs(2) }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self { dir: Auto::Auto, max_bytes: ByteSize::mib(16), sync: Sync::Write }
    }
}
