//! Why a login did not come about.

use std::path::PathBuf;

use crate::upstream::own::OwnError;
use crate::wire::codec::ask::CodecError;

/// No login. Nothing in it is a secret.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("{key}: {} cannot be read", path.display())]
    File {
        key: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{key}: {} {why}", path.display())]
    Content { key: &'static str, path: PathBuf, why: &'static str },
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the broker knows no {wanted}{}: set upstream.sasl.mechanism to one that it knows", known(offered))]
    Mechanism { wanted: &'static str, offered: Vec<String> },
    #[error("the broker wants no login on this listener: set upstream.sasl.mechanism to null, or use another port")]
    NotWanted,
    #[error("the broker hung up on the login: is this port one with SASL{}?", if *tls { "" } else { ", and without TLS" })]
    HungUp { tls: bool, why: std::io::Error },
    /// In the broker's words.
    #[error("the broker refused the login: {0}")]
    Refused(String),
    #[error(
        "the broker asks for {asked} SCRAM iterations, expected {least} to {most}: it is no honest broker, or its users were made too weak"
    )]
    Iterations { asked: u32, least: u32, most: u32 },
    #[error("the login went wrong: {0}")]
    Exchange(String),
    #[error("the broker speaks no version of SaslAuthenticate that kmend does")]
    Version,
    #[error(transparent)]
    Own(#[from] OwnError),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

fn known(offered: &[String]) -> String {
    match offered {
        [] => String::new(),
        offered => format!(" (it knows {})", offered.join(", ")),
    }
}

/// No token from the endpoint.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("{url}: the token endpoint cannot be reached: {why}")]
    Unreachable { url: String, why: String },
    #[error("{url}: the token endpoint does not answer within {0:?}", after)]
    Late { url: String, after: std::time::Duration },
    #[error("{url}: the token endpoint answered {status}{}", detail.as_deref().map(|d| format!(": {d}")).unwrap_or_default())]
    Status { url: String, status: u16, detail: Option<String> },
    #[error("{url}: the token endpoint's answer cannot be used: {why}")]
    Answer { url: String, why: &'static str },
}
