//! What a server shows in a handshake: for the words that tell why a session does not come about.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::client::{Client, server_name};

/// What was seen until the handshake ended.
#[derive(Debug, Default, Clone)]
pub struct Shown {
    /// The chain, the server's own certificate first; empty where it has shown none.
    pub certificates: Vec<CertificateDer<'static>>,
    /// It wants a client's certificate, and these are the authorities that it takes (their names in DER; none: it
    /// does not say).
    pub wants_certificate: Option<Vec<Vec<u8>>>,
}

/// Begins a session as `client` does, looks, and ends it: whatever is shown is refused, so nothing is ever said over
/// such a session. `None`: a client without settings.
pub async fn inspect(client: Option<&Client>, host: &str, stream: TcpStream) -> Shown {
    let provider = super::provider();
    let look = Arc::new(Look { shown: Mutex::default(), provider: provider.clone() });
    let name = client.map_or_else(|| server_name(host), |client| client.name(host));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let (Ok(name), Ok(builder)) = (name, builder) else {
        return Shown::default();
    };
    let config =
        builder.dangerous().with_custom_certificate_verifier(look.clone()).with_client_cert_resolver(look.clone());
    // It ends with an error; what matters has been noted on the way.
    let _ = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    look.with(|shown| shown.clone())
}

/// Trusts nobody, and remembers whom.
#[derive(Debug)]
struct Look {
    shown: Mutex<Shown>,
    provider: Arc<CryptoProvider>,
}

impl Look {
    fn with<T>(&self, f: impl FnOnce(&mut Shown) -> T) -> T {
        f(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all = std::iter::once(own).chain(chain).map(|c| c.clone().into_owned());
        self.with(|shown| shown.certificates = all.collect());
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ResolvesClientCert for Look {
    fn resolve(&self, authorities: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.with(|shown| shown.wants_certificate = Some(authorities.iter().map(|name| name.to_vec()).collect()));
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
