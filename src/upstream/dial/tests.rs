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
    let mut transport = dialer.dial(&address).await.unwrap();
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
    assert_eq!(
        (error.address(), error.step()),
        (Some(&address), Some(Step::Tcp))
    );
    assert_eq!(
        crate::upstream::chain(&error),
        format!("{address}: no connection: Connection refused (os error 111)")
    );
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
    let certificate = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ca.pem");
    let dialer = dialer(|config| {
        config.upstream.tls.enabled = true;
        config.upstream.tls.ca_file = Some(certificate.into());
        config.upstream.connect_timeout = units::Duration::from_millis(300);
    });
    let error = dialer.dial(&address).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{address}: tls took longer than upstream.connect_timeout (300ms)")
    );
    let error = dialer.dial(&address).await.unwrap_err();
    assert!(matches!(error, DialError::Recent { .. }), "{error}");
    tokio::time::sleep(MEMORY).await;
    let error = dialer.dial(&address).await.unwrap_err();
    assert!(matches!(error, DialError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn tls_against_plaintext_says_so() {
    let (listener, address) = listener().await;
    let certificate = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ca.pem");
    let dialer = dialer(|config| {
        config.upstream.tls.enabled = true;
        config.upstream.tls.ca_file = Some(certificate.into());
    });
    // A broker's plaintext listener reads the hello as a length that it does not allow.
    let broker = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
    });
    let error = dialer.dial(&address).await.unwrap_err();
    assert_eq!(error.step(), Some(Step::Tls));
    assert!(
        error
            .to_string()
            .contains("set upstream.tls.enabled: false"),
        "{error}"
    );
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
    assert_eq!(
        error,
        "upstream.tls.ca_file: /none.pem cannot be read as PEM"
    );
    let error = refused(|config| config.upstream.tls.ca_file = Some("/dev/null".into()));
    assert_eq!(
        error,
        "upstream.tls.ca_file: /dev/null holds no certificate"
    );
}
