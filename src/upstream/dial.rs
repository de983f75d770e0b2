//! Making connections.

use super::error::{DialError, UpstreamError};
use super::transport::Transport;
use crate::config::Config;
use crate::config::units::HostPort;

/// Makes upstream connections.
#[derive(Debug)]
pub struct Dialer {}

impl Dialer {
    pub fn new(_config: &Config) -> Result<Self, UpstreamError> {
        Ok(Self {})
    }

    pub async fn dial(&self, address: &HostPort) -> Result<Transport, DialError> {
        let stream = tokio::net::TcpStream::connect((address.host.as_str(), address.port))
            .await
            .map_err(|source| DialError::Tcp {
                address: address.clone(),
                source,
            })?;
        Ok(Transport::Plain(stream))
    }

    pub async fn dial_any(
        &self,
        addresses: &[HostPort],
    ) -> Result<(Transport, HostPort), DialError> {
        let address = addresses.first().ok_or(DialError::NoAddress)?;
        Ok((self.dial(address).await?, address.clone()))
    }
}
