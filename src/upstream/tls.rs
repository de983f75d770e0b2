//! TLS towards the brokers.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::UpstreamError;
use crate::config::model::UpstreamTls;

/// What a connection needs, made once.
pub(super) struct Tls {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn new(settings: &UpstreamTls) -> Result<Self, UpstreamError> {
        // Named, not the process-wide default: two linked providers would panic there.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(UpstreamError::Versions)?
            .with_root_certificates(roots(settings.ca_file.as_deref())?);
        let config = match (&settings.cert_file, &settings.key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert_file), Some(key_file)) => builder
                .with_client_auth_cert(certificates("cert_file", cert_file)?, private_key(key_file)?)
                .map_err(UpstreamError::ClientCert)?,
            _ => return Err(UpstreamError::HalfClientCert),
        };
        let server_name = settings
            .server_name
            .as_ref()
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| UpstreamError::ServerName(name.clone())))
            .transpose()?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), server_name })
    }

    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.trim_end_matches('.').to_owned())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
        };
        self.connector.connect(name, stream).await
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, UpstreamError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "a part of the system's certificate authorities cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = ca_file {
        for certificate in certificates("ca_file", path)? {
            roots.add(certificate).map_err(|source| UpstreamError::Root { path: path.to_owned(), source })?;
        }
    }
    if roots.is_empty() {
        return Err(UpstreamError::NoRoots);
    }
    Ok(roots)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, UpstreamError> {
    let unreadable = |source| UpstreamError::Pem { key, path: path.to_owned(), source };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(UpstreamError::Empty { key, path: path.to_owned(), wanted: "certificate" });
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, UpstreamError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| match source {
        rustls::pki_types::pem::Error::NoItemsFound => UpstreamError::Empty {
            key: "key_file",
            path: path.to_owned(),
            wanted: "private key (encrypted ones are not read)",
        },
        source => UpstreamError::Pem { key: "key_file", path: path.to_owned(), source },
    })
}

/// What a person may do about a handshake that failed.
pub(super) fn hint(error: &io::Error) -> Option<&'static str> {
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
