//! Authorities, certificates, and both ends of a session.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::model::ListenTls;
use crate::tls::{HandshakeError, Server, Transport, provider};

pub struct Authority {
    pub pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate, its key, and both in files.
pub struct Leaf {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
    folder: TempDir,
}

impl Authority {
    pub fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Authority { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    pub fn leaf(&self, names: &[&str]) -> Leaf {
        self.leaf_with(names, |_| {})
    }

    pub fn leaf_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(folder.path().join("tls.key"), key.serialize_pem()).unwrap();
        std::fs::write(folder.path().join("ca.crt"), &self.pem).unwrap();
        Leaf { chain: vec![certificate.der().clone()], key, folder }
    }
}

impl Leaf {
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn settings(&self) -> ListenTls {
        ListenTls {
            enabled: true,
            cert_file: Some(self.file("tls.crt")),
            key_file: Some(self.file("tls.key")),
            client_ca_file: None,
        }
    }

    fn der_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }
}

pub fn server(settings: &ListenTls) -> Server {
    Server::new(settings).unwrap().unwrap()
}

/// How a client of a test speaks TLS.
pub struct Speaks<'a> {
    pub trusts: &'a Authority,
    pub shows: Option<&'a Leaf>,
    pub version: &'static SupportedProtocolVersion,
}

impl<'a> Speaks<'a> {
    pub fn new(trusts: &'a Authority) -> Speaks<'a> {
        Speaks { trusts, shows: None, version: &rustls::version::TLS13 }
    }

    pub async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusts.der.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[self.version]).unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match self.shows {
            Some(leaf) => builder.with_client_auth_cert(leaf.chain.clone(), leaf.der_key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

/// Two ends of a TCP connection: the client's, the listener's.
pub async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// A handshake of both, at the same time.
pub async fn handshake(
    server: &Server,
    speaks: &Speaks<'_>,
) -> (io::Result<TlsStream<TcpStream>>, Result<Transport, HandshakeError>) {
    let (client, accepted) = pair().await;
    tokio::join!(speaks.connect(client), server.accept(accepted))
}
