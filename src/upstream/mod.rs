//! Upstream connections: name resolution, TCP, TLS, and kmend's own login where it has one.
//!
//! [`Dialer`] makes a [`Transport`](crate::tls::Transport); what goes over it then is the session's business.
//! [`own`] asks brokers on connections that have no client.

mod connect;
mod dial;
mod error;
pub mod own;
mod resolve;
pub mod sasl;

pub use dial::{Connected, Dialer, Trail};
pub use error::{DialError, Step, UpstreamError, chain};
