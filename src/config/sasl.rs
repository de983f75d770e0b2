//! The login that kmend itself makes at the brokers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A login that kmend makes upstream; without a mechanism the client's own passes through.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sasl {
    /// How kmend logs in; null: the client's own login passes through.
    pub mechanism: Option<SaslMechanism>,
    /// User name, for PLAIN and SCRAM.
    pub username: Option<String>,
    /// File that holds the password, for PLAIN and SCRAM; read anew for each login. A line break at its end does not count.
    pub password_file: Option<PathBuf>,
    /// For OAUTHBEARER: where tokens come from.
    pub oauth: OAuth,
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

impl SaslMechanism {
    /// As it is registered with IANA, and as Kafka spells it.
    pub fn name(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
            SaslMechanism::OauthBearer => "OAUTHBEARER",
        }
    }
}

/// A file with a token, or an endpoint that gives one for client credentials (RFC 6749, section 4.4).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OAuth {
    /// File that holds a token, such as one that Kubernetes projects; read anew for each login.
    pub token_file: Option<PathBuf>,
    /// Token endpoint, `https://...`; `http://` only on this host.
    pub token_url: Option<String>,
    /// The client's name at the endpoint.
    pub client_id: Option<String>,
    /// File that holds the client's secret at the endpoint.
    pub client_secret_file: Option<PathBuf>,
    /// Scopes to ask for, with spaces between them.
    pub scope: Option<String>,
    /// Whom the token is for, where the endpoint wants to be told.
    pub audience: Option<String>,
    /// PEM file with the authorities to trust besides the system's, for the endpoint.
    pub ca_file: Option<PathBuf>,
    /// SASL extensions (KIP-342) that the brokers want to see, such as `logicalCluster`.
    pub extensions: BTreeMap<String, String>,
}
