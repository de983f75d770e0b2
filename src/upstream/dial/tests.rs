//! Against sockets on loopback.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::units;

fn dialer(change: impl FnOnce(&mut Config)) -> Dialer {
    let mut config = Config::default();
    change(&mut config);
    Dialer::new(&config).unwrap()
}

async fn listener() -> (TcpListener, HostPort) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().into();
    (listener, address)
}

async fn dead() -> HostPort {
    listener().await.1
}

#[tokio::test]
async fn a_plain_connection_carries_bytes() {
    let (listener, address) = listener().await;
    let dialer = dialer(|_| {});
    let mut transport = dialer.dial(&address).await.unwrap().transport;
    assert!(!transport.is_tls());
    assert_eq!(HostPort::from(transport.peer_addr().unwrap()), address);
    let (mut peer, from) = listener.accept().await.unwrap();
    assert_eq!(transport.local_addr().unwrap(), from);
    transport.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    peer.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ping");
}

#[tokio::test]
async fn any_takes_turns_and_skips_the_dead() {
    let (_first, a) = listener().await;
    let (_second, b) = listener().await;
    let dialer = dialer(|_| {});
    let addresses = [a.clone(), b.clone(), dead().await];
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(dialer.dial_any(&addresses).await.unwrap().1);
    }
    // The third start is at the dead one, and goes on to the first.
    assert_eq!(seen, [a.clone(), b, a]);
}

#[tokio::test]
async fn errors_carry_address_and_step() {
    let dialer = dialer(|_| {});
    let address = dead().await;
    let error = dialer.dial(&address).await.unwrap_err();
    assert_eq!((error.address(), error.step()), (Some(&address), Some(Step::Tcp)));
    assert_eq!(crate::upstream::chain(&error), format!("{address}: no connection: Connection refused (os error 111)"));
    let error = dialer.dial_any(&[]).await.unwrap_err();
    assert_eq!(error.to_string(), "upstream.bootstrap is empty");
    let gone = HostPort::new("broker.invalid", 1);
    let error = dialer.dial(&gone).await.unwrap_err();
    assert_eq!(error.step(), Some(Step::Dns));
}

#[tokio::test]
async fn a_slow_failure_is_remembered_and_forgotten() {
    // TLS against a listener that never answers.
    let (_listener, address) = listener().await;
    let trusted = tls_broker(false).await;
    let dialer = tls_dialer(&trusted, |config| {
        config.upstream.connect_timeout = units::Duration::from_millis(300);
    });
    let error = dialer.dial(&address).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{address}: tls took longer than upstream.connect_timeout (300ms)"));
    let error = dialer.dial(&address).await.unwrap_err();
    assert!(matches!(error, DialError::Recent { .. }), "{error}");
    tokio::time::sleep(MEMORY).await;
    let error = dialer.dial(&address).await.unwrap_err();
    assert!(matches!(error, DialError::Timeout { .. }), "{error}");
}

/// A broker with TLS: its authority's PEM file, and the listener.
struct TlsBroker {
    ca_file: tempfile::NamedTempFile,
    cert_file: tempfile::NamedTempFile,
    key_file: tempfile::NamedTempFile,
    address: HostPort,
}

/// Echoes what it is sent; its certificate is for `localhost`.
async fn tls_broker(wants_certificate: bool) -> TlsBroker {
    use std::io::Write;
    let file = |text: String| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    };
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(params, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let params = rcgen::CertificateParams::new(names).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = if wants_certificate {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let der = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = builder.with_single_cert(vec![certificate.der().clone()], der).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut bytes = [0; 4];
            if stream.read_exact(&mut bytes).await.is_ok() {
                stream.write_all(&bytes).await.unwrap();
                let _ = stream.shutdown().await;
            }
        }
    });
    TlsBroker {
        ca_file: file(ca.pem()),
        cert_file: file(certificate.pem()),
        key_file: file(key.serialize_pem()),
        address,
    }
}

fn tls_dialer(broker: &TlsBroker, change: impl FnOnce(&mut Config)) -> Dialer {
    dialer(|config| {
        config.upstream.tls.enabled = true;
        config.upstream.tls.ca_file = Some(broker.ca_file.path().into());
        change(config);
    })
}

async fn echo(transport: &mut Transport) -> std::io::Result<[u8; 4]> {
    transport.write_all(b"ping").await?;
    transport.flush().await?;
    let mut bytes = [0; 4];
    transport.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[tokio::test]
async fn tls_verifies_the_name_that_is_set() {
    let broker = tls_broker(false).await;
    // The address is 127.0.0.1, which the certificate does not hold.
    let error = tls_dialer(&broker, |_| {}).dial(&broker.address).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("set upstream.tls.server_name"), "{error}");
    let dialer = tls_dialer(&broker, |config| {
        config.upstream.tls.server_name = Some("localhost".to_owned());
    });
    let mut transport = dialer.dial(&broker.address).await.unwrap().transport;
    assert!(transport.is_tls());
    assert_eq!(&echo(&mut transport).await.unwrap(), b"ping");
    let by_name = HostPort::new("localhost", broker.address.port);
    let dialer = tls_dialer(&broker, |_| {});
    assert!(dialer.dial(&by_name).await.unwrap().transport.is_tls());
}

#[tokio::test]
async fn an_unknown_authority_is_refused_until_a_reload() {
    let (broker, other) = (tls_broker(false).await, tls_broker(false).await);
    let by_name = HostPort::new("localhost", broker.address.port);
    let dialer = tls_dialer(&other, |_| {});
    let error = dialer.dial(&by_name).await.unwrap_err().to_string();
    assert!(error.contains("set upstream.tls.ca_file"), "{error}");
    let mut config = Config::default();
    config.upstream.tls.enabled = true;
    config.upstream.tls.ca_file = Some("/none.pem".into());
    assert!(dialer.reload(&config).is_err());
    config.upstream.tls.ca_file = Some(broker.ca_file.path().into());
    dialer.reload(&config).unwrap();
    assert!(dialer.dial(&by_name).await.is_ok());
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let broker = tls_broker(true).await;
    let by_name = HostPort::new("localhost", broker.address.port);
    let with = tls_dialer(&broker, |config| {
        config.upstream.tls.cert_file = Some(broker.cert_file.path().into());
        config.upstream.tls.key_file = Some(broker.key_file.path().into());
    });
    let mut transport = with.dial(&by_name).await.unwrap().transport;
    assert_eq!(&echo(&mut transport).await.unwrap(), b"ping");
    // TLS 1.3: the refusal comes with the first read.
    let without = tls_dialer(&broker, |_| {});
    let mut transport = without.dial(&by_name).await.unwrap().transport;
    assert!(echo(&mut transport).await.is_err());
}

#[tokio::test]
async fn tls_against_plaintext_says_so() {
    let (listener, address) = listener().await;
    let dialer = tls_dialer(&tls_broker(false).await, |_| {});
    // A broker's plaintext listener reads the hello as a length that it does not allow.
    let broker = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
    });
    let error = dialer.dial(&address).await.unwrap_err();
    assert_eq!(error.step(), Some(Step::Tls));
    assert!(error.to_string().contains("set upstream.tls.enabled: false"), "{error}");
    broker.await.unwrap();
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |change: fn(&mut Config)| {
        let mut config = Config::default();
        config.upstream.tls.enabled = true;
        change(&mut config);
        Dialer::new(&config).unwrap_err().to_string()
    };
    let error = refused(|config| config.upstream.tls.ca_file = Some("/none.pem".into()));
    assert_eq!(error, "upstream.tls.ca_file: /none.pem cannot be read as PEM");
    let error = refused(|config| config.upstream.tls.ca_file = Some("/dev/null".into()));
    assert_eq!(error, "upstream.tls.ca_file: /dev/null holds no certificate");
}
