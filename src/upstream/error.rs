//! What goes wrong on the way to a broker: where to, in which step, and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::units::HostPort;

/// A part of making a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Dns,
    Tcp,
    Tls,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        })
    }
}

/// No connection to a broker.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("{address}: the name cannot be resolved")]
    Dns {
        address: HostPort,
        #[source]
        source: io::Error,
    },
    #[error("{address}: no connection")]
    Tcp {
        address: HostPort,
        #[source]
        source: io::Error,
    },
    #[error(
        "{address}: no TLS session{}",
        hint.map(|hint| format!(" ({hint})")).unwrap_or_default()
    )]
    Tls {
        address: HostPort,
        hint: Option<&'static str>,
        #[source]
        source: io::Error,
    },
    #[error("{address}: {step} took longer than upstream.connect_timeout ({after:?})")]
    Timeout { address: HostPort, step: Step, after: Duration },
    /// It failed less than a second ago, and is not tried again yet.
    #[error("{address}: failed a moment ago ({reason})")]
    Recent { address: HostPort, reason: String },
    #[error("upstream.bootstrap is empty")]
    NoAddress,
}

impl DialError {
    pub fn address(&self) -> Option<&HostPort> {
        match self {
            Self::Dns { address, .. }
            | Self::Tcp { address, .. }
            | Self::Tls { address, .. }
            | Self::Timeout { address, .. }
            | Self::Recent { address, .. } => Some(address),
            Self::NoAddress => None,
        }
    }

    /// Where it ended; `None` where nothing was tried.
    pub fn step(&self) -> Option<Step> {
        match self {
            Self::Dns { .. } => Some(Step::Dns),
            Self::Tcp { .. } => Some(Step::Tcp),
            Self::Tls { .. } => Some(Step::Tls),
            Self::Timeout { step, .. } => Some(*step),
            Self::Recent { .. } | Self::NoAddress => None,
        }
    }
}

/// The upstream settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("upstream.tls.{key}: {} cannot be read as PEM", path.display())]
    Pem {
        key: &'static str,
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("upstream.tls.{key}: {} holds no {wanted}", path.display())]
    Empty { key: &'static str, path: PathBuf, wanted: &'static str },
    #[error(
        "upstream.tls.enabled: no certificate authority to trust: this system has none \
         (install ca-certificates or set SSL_CERT_FILE) and upstream.tls.ca_file is not set"
    )]
    NoRoots,
    #[error("upstream.tls.ca_file: {} holds a certificate that cannot be used", path.display())]
    Root {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("upstream.tls.cert_file and upstream.tls.key_file: they cannot be used together")]
    ClientCert(#[source] rustls::Error),
    #[error("upstream.tls: set both cert_file and key_file, or none")]
    HalfClientCert,
    #[error("upstream.tls.server_name: `{0}` is not a host name")]
    ServerName(String),
    #[error("upstream.tls: no TLS version in common with this build")]
    Versions(#[source] rustls::Error),
}

/// An error with its sources in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        // Wrappers repeat what they wrap.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = source.source();
    }
    text
}
