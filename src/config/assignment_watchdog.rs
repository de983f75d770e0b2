//! `menders.assignment_watchdog`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{Mode, ModeRule};
use super::units::Duration;

/// Partitions that are assigned and that nobody consumes; members that live and do nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AssignmentWatchdog {
    /// What is done where no pattern below says otherwise.
    pub mode: Mode,
    /// How long an assigned partition may stay unfetched before it is reported.
    pub after: Duration,
    /// Where members are made to rejoin; elsewhere unfetched partitions are only reported.
    pub scope: WatchdogScope,
    /// How long a member with lag may neither fetch nor commit before it is reported as stalled.
    pub stalled_after: Duration,
    /// Which members are then reported as stalled.
    pub stalled_scope: StalledScope,
    /// Per topic pattern: `{ mode }`.
    pub topics: BTreeMap<String, ModeRule>,
    /// Per group pattern: `{ mode }` or `{ scope }`.
    pub groups: BTreeMap<String, WatchdogGroupRule>,
    /// Per client id pattern: `{ mode }`.
    pub clients: BTreeMap<String, ModeRule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WatchdogScope {
    /// Only in groups that changed from an eager to a cooperative protocol.
    ProtocolSwitch,
    /// In every group.
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StalledScope {
    /// Those that stopped at an error: their last commit or Fetch was refused.
    AfterError,
    /// All of them, also those that may only be paused or slow.
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatchdogGroupRule {
    /// Instead of the mender's mode.
    pub mode: Option<Mode>,
    /// Instead of the mender's scope.
    pub scope: Option<WatchdogScope>,
}

impl Default for AssignmentWatchdog {
    fn default() -> Self {
        Self {
            mode: Mode::Repair,
            after: Duration::from_secs(30),
            scope: WatchdogScope::ProtocolSwitch,
            stalled_after: Duration::from_secs(60),
            stalled_scope: StalledScope::AfterError,
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            clients: BTreeMap::new(),
        }
    }
}
