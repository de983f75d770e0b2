//! TLS in both directions: towards the brokers ([`Client`]) and from the clients ([`Server`]).
//!
//! Everything is read from PEM files and checked before it is used, so that new certificates take the
//! place of the old ones whole or not at all. rustls does the work, with ring as its one provider of
//! cryptography, named here and nowhere taken from the process: TLS 1.2 and 1.3, nothing older.

mod certificate;
mod client;
mod error;
mod expiry;
pub mod files;
mod inspect;
mod notes;
mod server;
mod transport;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use certificate::Facts;
pub use client::{Client, hint, looks_like_tls};
pub use error::TlsError;
pub use expiry::expires;
pub use files::{Contents, watched};
pub use inspect::{Shown, inspect};
pub use notes::notes;
pub use server::{HandshakeError, Server};
pub use transport::{Session, Transport};

/// Bytes that a session may hold, of plaintext and of ciphertext each, while its peer does not read:
/// two records of the longest kind.
pub const BUFFER: usize = 32 * 1024;

/// The TLS error within, where a session ended with one.
pub fn cause(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// Named, not the process-wide default: two linked providers would panic there.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
