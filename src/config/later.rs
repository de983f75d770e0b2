//! Keys that are documented and checked, but have no effect in this version.
//!
//! A configuration written for a later kmend is thus read by this one, and a typing error in it is
//! found today. The menders' default here is `off`, so that `kmend config` shows what really
//! happens; validation notes a mode other than `off`, and refuses what would be unsafe to ignore.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::Mode;
use super::units::Duration;

/// A login that kmend makes upstream; without a mechanism the client's own passes through.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sasl {
    /// Not in this version: the client's own login passes through.
    pub mechanism: Option<SaslMechanism>,
    /// Not in this version.
    pub username: Option<String>,
    /// Not in this version: a file that holds the password.
    pub password_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
}

/// Not in this version: members that never fetch what they were assigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AssignmentWatchdog {
    /// Not in this version: anything but `off` is noted and has no effect.
    pub mode: Mode,
    /// How long a partition may stay unfetched.
    pub after: Duration,
    /// Where the repair is automatic.
    pub scope: WatchdogScope,
    /// How long a member may neither fetch nor commit while it lags.
    pub stalled_after: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WatchdogScope {
    /// Only in groups that changed from an eager to a cooperative protocol.
    ProtocolSwitch,
    /// In every group.
    Any,
}

impl Default for AssignmentWatchdog {
    fn default() -> Self {
        Self {
            mode: Mode::Off,
            after: Duration::from_secs(30),
            scope: WatchdogScope::ProtocolSwitch,
            stalled_after: Duration::from_secs(60),
        }
    }
}
