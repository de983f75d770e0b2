//! TLS towards the brokers.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ConfigBuilder, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::TlsError;
use super::files::{Contents, certificates, private_key, trust};
use super::transport::Transport;
use crate::config::model::UpstreamTls;

const SECTION: &str = "upstream.tls";

/// What a connection needs, made once.
pub struct Client {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
    contents: Contents,
    own: Option<CertificateDer<'static>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Client {
    /// Reads the files; `None` where TLS is off.
    pub fn new(settings: &UpstreamTls) -> Result<Option<Self>, TlsError> {
        if !settings.enabled {
            return Ok(None);
        }
        let (roots, mut contents) = roots("upstream.tls.enabled", "upstream.tls.ca_file", settings.ca_file.as_deref())?;
        let builder = builder(SECTION, roots)?;
        let mut own = None;
        let config = match (&settings.cert_file, &settings.key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert_file), Some(key_file)) => {
                let chain = certificates("upstream.tls.cert_file", cert_file)?;
                let key = private_key("upstream.tls.key_file", key_file)?;
                contents = contents.with_certificates(&chain).with_key(&key);
                own = chain.first().cloned();
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|source| TlsError::Pair { section: SECTION, source })?
            }
            _ => return Err(TlsError::Half { section: SECTION, required: false }),
        };
        let server_name = settings
            .server_name
            .as_ref()
            .map(|name| {
                let wrong = |_| TlsError::ServerName { key: "upstream.tls.server_name", name: name.clone() };
                ServerName::try_from(name.clone()).map_err(wrong)
            })
            .transpose()?;
        Ok(Some(Self { connector: TlsConnector::from(Arc::new(config)), server_name, contents, own }))
    }

    /// For a server that is no broker: its authorities are the system's and those of `ca_file`, and it wants no
    /// certificate. `keys`: those to name where there are no authorities, and for the file.
    pub fn trusting(keys: [&'static str; 2], ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let (roots, contents) = roots(keys[0], keys[1], ca_file)?;
        let config = builder(keys[0], roots)?.with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), server_name: None, contents, own: None })
    }

    /// A session with the broker that is known as `host`.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<Transport> {
        let name = self.name(host)?;
        let bounded = |session: &mut rustls::ClientConnection| session.set_buffer_limit(Some(super::BUFFER));
        let stream = self.connector.connect_with(name, stream, bounded).await?;
        Ok(Transport::Tls(Box::new(stream.into())))
    }

    /// The name that is verified.
    pub(super) fn name(&self, host: &str) -> io::Result<ServerName<'static>> {
        self.server_name.clone().map_or_else(|| server_name(host), Ok)
    }

    pub fn contents(&self) -> Contents {
        self.contents
    }

    /// The certificate that brokers are shown.
    pub fn own(&self) -> Option<&CertificateDer<'static>> {
        self.own.as_ref()
    }
}

pub(super) fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let name = host.trim_end_matches('.').to_owned();
    ServerName::try_from(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn builder(
    section: &'static str,
    roots: RootCertStore,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let builder = ClientConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Versions { section, source })?;
    Ok(builder.with_root_certificates(roots))
}

/// The system's authorities and those of `ca_file`, and what that file held. `enabled` and `ca_key` are
/// the keys to name where there is none at all.
fn roots(
    enabled: &'static str,
    ca_key: &'static str,
    ca_file: Option<&Path>,
) -> Result<(RootCertStore, Contents), TlsError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "a part of the system's certificate authorities cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    let mut contents = Contents::default();
    if let Some(path) = ca_file {
        contents = contents.with_certificates(&trust(&mut roots, ca_key, path)?);
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots { key: enabled, ca_file: ca_key });
    }
    Ok((roots, contents))
}

/// What a person may do about a handshake that failed.
pub fn hint(error: &io::Error) -> Option<&'static str> {
    const PLAIN: &str = "does the broker speak plaintext? then set upstream.tls.enabled: false";
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Some(PLAIN),
            _ => None,
        };
    };
    match error {
        rustls::Error::InvalidMessage(_) => Some(PLAIN),
        rustls::Error::InvalidCertificate(reason) => match reason {
            // A bad signature: an authority that was renewed under its old name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Some("its authority is not trusted: set upstream.tls.ca_file")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Some("set upstream.tls.server_name to a name that the certificate holds")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Some("the broker's certificate has expired")
            }
            _ => None,
        },
        rustls::Error::AlertReceived(_) => Some(
            "the broker refused: does it want a client certificate? \
             then set upstream.tls.cert_file and key_file",
        ),
        _ => None,
    }
}

/// Whether an answer's first bytes are TLS: an alert or a handshake. Then the broker speaks TLS,
/// and `upstream.tls.enabled` is false.
pub fn looks_like_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15 | 0x16, 0x03, 0x00..=0x04, ..])
}
