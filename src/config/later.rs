//! Keys that are documented and checked, but have no effect in this version.
//!
//! A configuration written for a later kmend is thus read by this one, and a typing error in it is
//! found today. Validation refuses what would be unsafe to ignore.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
