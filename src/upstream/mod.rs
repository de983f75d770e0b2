//! Upstream connections: name resolution, TCP, TLS.
//!
//! [`Dialer`] makes a [`Transport`]. It speaks no Kafka: what goes over the connection is the
//! session's business.

mod connect;
mod dial;
mod error;
mod resolve;
mod tls;
mod transport;

pub use dial::Dialer;
pub use error::{DialError, Step, UpstreamError, chain};
pub use tls::looks_like_tls;
pub use transport::Transport;
