//! The login that kmend makes at the brokers, where `upstream.sasl` names a mechanism: PLAIN (RFC 4616), SCRAM-SHA-256 and
//! SCRAM-SHA-512 (RFC 5802, RFC 7677), OAUTHBEARER (RFC 7628, KIP-255).
//!
//! [`Account`] knows who kmend is; [`Login`] is one login, without IO; a [`Session`] is what came of it.

mod account;
mod error;
mod exchange;
mod http;
mod login;
mod secret;
mod token;

pub use account::{Account, Session};
pub use error::{LoginError, TokenError};
pub use login::{Login, LoginRequest, Step};
pub use secret::Secret;
#[cfg(any(test, fuzzing))]
pub use token::granted;

#[cfg(test)]
mod tests;
