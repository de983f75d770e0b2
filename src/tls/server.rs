//! TLS from the clients: the handshake, and what it means when it fails.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{AlertDescription, CertificateError, RootCertStore, ServerConfig, ServerConnection};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::error::TlsError;
use super::files::{Contents, certificates, private_key, trust};
use super::transport::Transport;
use crate::config::model::ListenTls;

const SECTION: &str = "listen.tls";

/// What a listener needs, made once.
pub struct Server {
    acceptor: TlsAcceptor,
    contents: Contents,
    own: CertificateDer<'static>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("contents", &self.contents).finish_non_exhaustive()
    }
}

impl Server {
    /// Reads the files; `None` where TLS is off.
    pub fn new(settings: &ListenTls) -> Result<Option<Self>, TlsError> {
        if !settings.enabled {
            return Ok(None);
        }
        let (Some(cert_file), Some(key_file)) = (&settings.cert_file, &settings.key_file) else {
            return Err(TlsError::Half { section: SECTION, required: true });
        };
        let chain = certificates("listen.tls.cert_file", cert_file)?;
        let key = private_key("listen.tls.key_file", key_file)?;
        let mut contents = Contents::default().with_certificates(&chain).with_key(&key);
        let own = chain.first().cloned().unwrap_or_else(|| Vec::new().into());
        let builder = ServerConfig::builder_with_provider(super::provider())
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Versions { section: SECTION, source })?;
        let builder = match &settings.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(path) => {
                // Only these: a certificate from one of the system's authorities is nobody's permission.
                let key = "listen.tls.client_ca_file";
                let mut roots = RootCertStore::empty();
                contents = contents.with_certificates(&trust(&mut roots, key, path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), super::provider())
                    .build()
                    .map_err(|source| TlsError::Verifier { key, source })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(|source| TlsError::Pair { section: SECTION, source })?;
        if settings.client_ca_file.is_some() {
            // A resumed session shows no certificate: one that has expired since would still be let in.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Some(Self { acceptor: TlsAcceptor::from(Arc::new(config)), contents, own }))
    }

    /// The handshake with a client. The caller bounds the time.
    pub async fn accept(&self, stream: TcpStream) -> Result<Transport, HandshakeError> {
        let mut start = [0; 8];
        // Looked at only to say what it was.
        let seen = match stream.peek(&mut start).await {
            Ok(0) | Err(_) => return Err(HandshakeError::Gone),
            Ok(seen) => start.get(..seen).unwrap_or_default(),
        };
        let bounded = |session: &mut ServerConnection| session.set_buffer_limit(Some(super::BUFFER));
        match self.acceptor.accept_with(stream, bounded).await {
            Ok(stream) => Ok(Transport::Tls(Box::new(stream.into()))),
            Err(error) => Err(HandshakeError::of(error, seen)),
        }
    }

    pub fn contents(&self) -> Contents {
        self.contents
    }

    /// The certificate that clients are shown.
    pub fn own(&self) -> &CertificateDer<'static> {
        &self.own
    }
}

/// Why a client has no TLS session. Each is the client's doing.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// Not a byte: a health check, or a client that changed its mind.
    #[error("the client closed the connection")]
    Gone,
    #[error("the client speaks plaintext")]
    Plaintext,
    #[error("the client speaks HTTP")]
    Http,
    #[error("the client speaks neither TLS nor Kafka")]
    Garbage,
    #[error("the client showed no certificate, and listen.tls.client_ca_file wants one")]
    NoCertificate,
    #[error("the client's certificate is refused: {0}")]
    BadCertificate(Reason),
    #[error(
        "the client does not trust kmend's certificate (alert {0:?}): its authority must be in the client's trust \
         store, and the host that the client dials in the certificate"
    )]
    Untrusted(AlertDescription),
    #[error("the client hung up in the TLS handshake: does it trust kmend's certificate?")]
    HungUp,
    #[error("no TLS session with it: {0}")]
    Other(rustls::Error),
    #[error("no TLS session with it: {0}")]
    Io(io::Error),
}

impl HandshakeError {
    /// `start`: the first bytes that the client sent.
    fn of(error: io::Error, start: &[u8]) -> HandshakeError {
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                    HandshakeError::HungUp
                }
                _ => HandshakeError::Io(error),
            };
        };
        match tls {
            rustls::Error::InvalidMessage(_) if !is_tls(start) => looks_like(start),
            rustls::Error::NoCertificatesPresented => HandshakeError::NoCertificate,
            rustls::Error::InvalidCertificate(why) => HandshakeError::BadCertificate(Reason(why.clone())),
            rustls::Error::AlertReceived(alert) if is_distrust(*alert) => HandshakeError::Untrusted(*alert),
            other => HandshakeError::Other(other.clone()),
        }
    }

    /// One line for who reads the log: what it looked like on this listener, and what to do.
    pub fn line(&self, listener: SocketAddr) -> String {
        match self {
            HandshakeError::Plaintext => format!(
                "a plaintext client connected to the TLS listener {listener}: \
                 set security.protocol=SSL (or SASL_SSL) in the client"
            ),
            HandshakeError::Http => format!("an HTTP client connected to the TLS listener {listener}"),
            other => format!("a client is refused by the TLS listener {listener}: {other}"),
        }
    }

    /// A bounded label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            HandshakeError::Gone => "closed",
            HandshakeError::Plaintext => "plaintext_on_tls",
            HandshakeError::Http => "http_on_tls",
            HandshakeError::NoCertificate => "tls_no_certificate",
            HandshakeError::BadCertificate(_) => "tls_bad_certificate",
            HandshakeError::Garbage
            | HandshakeError::Untrusted(_)
            | HandshakeError::HungUp
            | HandshakeError::Other(_)
            | HandshakeError::Io(_) => "tls_handshake",
        }
    }
}

/// Why a client's certificate is refused, in words for who reads the log.
#[derive(Debug, Clone)]
pub struct Reason(CertificateError);

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                f.write_str("no authority of listen.tls.client_ca_file has signed it")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => f.write_str("it has expired"),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                f.write_str("it is not meant for clients (extended key usage clientAuth)")
            }
            other => other.fmt(f),
        }
    }
}

fn is_distrust(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::DecryptError
    )
}

/// A record's type: from change_cipher_spec to heartbeat.
fn is_tls(start: &[u8]) -> bool {
    matches!(start, [0x14..=0x18, 0x03, ..] | [0x14..=0x18])
}

fn looks_like(start: &[u8]) -> HandshakeError {
    const METHODS: [&[u8]; 9] =
        [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"PRI * "];
    match start {
        start if METHODS.iter().any(|method| start.starts_with(method)) => HandshakeError::Http,
        // A length below 16 MiB, as of every first request of a Kafka client.
        [0, ..] => HandshakeError::Plaintext,
        _ => HandshakeError::Garbage,
    }
}
