//! What goes wrong on the way to a broker: where to, in which step, and what to do.

use std::fmt;
use std::io;
use std::time::Duration;

use super::sasl::LoginError;
use crate::config::units::HostPort;
use crate::tls::TlsError;

/// A part of making a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Dns,
    Tcp,
    Tls,
    Sasl,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Sasl => "login",
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
    #[error("{address}: no login")]
    Login {
        address: HostPort,
        #[source]
        source: LoginError,
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
    /// This process, or this system, has no descriptor left: nothing is wrong with the broker.
    pub fn is_out_of_descriptors(&self) -> bool {
        // EMFILE, ENFILE, and WSAEMFILE on Windows.
        let codes = if cfg!(windows) { [10_024, 10_024] } else { [24, 23] };
        match self {
            Self::Dns { source, .. } | Self::Tcp { source, .. } => {
                source.raw_os_error().is_some_and(|code| codes.contains(&code))
            }
            _ => false,
        }
    }

    pub fn address(&self) -> Option<&HostPort> {
        match self {
            Self::Dns { address, .. }
            | Self::Tcp { address, .. }
            | Self::Tls { address, .. }
            | Self::Login { address, .. }
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
            Self::Login { .. } => Some(Step::Sasl),
            Self::Timeout { step, .. } => Some(*step),
            Self::Recent { .. } | Self::NoAddress => None,
        }
    }
}

/// The upstream settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("upstream.sasl.{key}: missing")]
    Login { key: &'static str },
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
