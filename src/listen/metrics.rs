//! Labels for what listeners count.

use crate::upstream::DialError;

/// The outcome of a dial, as a bounded label.
pub fn outcome<T>(dialled: &Result<T, DialError>) -> &'static str {
    match dialled {
        Ok(_) => "connected",
        Err(DialError::Dns { .. }) => "dns",
        Err(DialError::Tcp { .. }) => "refused",
        Err(DialError::Tls { .. }) => "tls",
        Err(DialError::Login { .. }) => "login",
        Err(DialError::Timeout { .. }) => "timeout",
        Err(DialError::Recent { .. }) => "recent",
        Err(DialError::NoAddress) => "no_address",
    }
}
