//! Upstream connections: name resolution, TCP, TLS.

mod dial;
mod error;
mod transport;

pub use dial::Dialer;
pub use error::{DialError, Step, UpstreamError};
pub use transport::Transport;
