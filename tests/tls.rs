//! TLS from the clients, in front of a real broker: whole sessions, everything that is none, and certificates
//! that change on disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod harness;
mod scripted;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use harness::{ClusterSpec, Kafka, Kmend, eventually};
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::{Decodable, Request};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// The broker's own TLS listener stands beside: what it does with bad clients is what kmend should do.
fn kafka() -> &'static (Kafka, Secrets) {
    static SHARED: OnceLock<(Kafka, Secrets)> = OnceLock::new();
    SHARED.get_or_init(|| {
        let secrets = Secrets::new();
        secrets.put("broker");
        let file = |name: &str| secrets.file(&format!("broker/{name}")).display().to_string();
        // One file for Java: the key, then the certificates.
        let key = std::fs::read_to_string(secrets.file("broker/tls.key")).unwrap();
        let chain = std::fs::read_to_string(secrets.file("broker/tls.crt")).unwrap();
        std::fs::write(secrets.file("broker/keystore.pem"), key + &chain).unwrap();
        let option = |name: &str, value: &str| format!("listener.name.client.ssl.{name}={value}");
        let extra = vec![
            "listener.security.protocol.map=CLIENT:SSL,INNER:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            option("keystore.type", "PEM"),
            option("keystore.location", &file("keystore.pem")),
            option("truststore.type", "PEM"),
            option("truststore.location", &file("ca.crt")),
            option("client.auth", "required"),
        ];
        (Kafka::start(ClusterSpec { extra, ..ClusterSpec::default() }), secrets)
    })
}

/// An authority, and folders with certificates of it.
struct Secrets {
    dir: tempfile::TempDir,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Secrets {
    fn new() -> Secrets {
        let dir = tempfile::Builder::new().prefix("kmend-tls-").tempdir().unwrap();
        harness::reaper::remove_at_end(dir.path());
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Secrets { dir, pem, issuer: Issuer::new(params, key) }
    }

    /// A folder with `tls.crt`, `tls.key` and `ca.crt`.
    fn put(&self, folder: &str) -> PathBuf {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let folder = self.file(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
        std::fs::write(folder.join("ca.crt"), &self.pem).unwrap();
        folder
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn leaf(folder: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(folder.join("tls.crt")).unwrap()
}

/// TLS to the broker with the certificate in `own`, TLS from the clients with the one in `shown`.
fn configure(config: &mut Value, own: &Path, shown: &Path, mutual: bool) {
    let file = |folder: &Path, name: &str| folder.join(name).display().to_string();
    let pair = |folder: &Path| json!({ "enabled": true, "cert_file": file(folder, "tls.crt"), "key_file": file(folder, "tls.key") });
    config["upstream"]["tls"] = pair(own);
    config["upstream"]["tls"]["ca_file"] = file(own, "ca.crt").into();
    config["listen"]["tls"] = pair(shown);
    if mutual {
        config["listen"]["tls"]["client_ca_file"] = file(shown, "ca.crt").into();
    }
}

type Session = StreamOwned<ClientConnection, TcpStream>;

/// A TLS session with what listens there; the handshake happens with the first bytes.
fn session(address: &str, trusts: &Path, shows: Option<&Path>) -> Session {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusts.join("ca.crt")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match shows {
        None => builder.with_no_client_auth(),
        Some(folder) => {
            let key = PrivateKeyDer::from_pem_file(folder.join("tls.key")).unwrap();
            builder.with_client_auth_cert(vec![leaf(folder)], key).unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

/// Sends a request and reads its answer's body (of a version whose header has no tags).
fn ask<R: Request>(session: &mut Session, version: i16, request: &R) -> std::io::Result<R::Response> {
    session.write_all(&scripted::frame(version, 7, request))?;
    session.flush()?;
    let mut prefix = [0; 4];
    session.read_exact(&mut prefix)?;
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    session.read_exact(&mut frame)?;
    let mut body = bytes::Bytes::from(frame).split_off(4);
    R::Response::decode(&mut body, version).map_err(std::io::Error::other)
}

fn versions(session: &mut Session) -> std::io::Result<()> {
    ask(session, 0, &ApiVersionsRequest::default()).map(drop)
}

/// The certificate that a new client is shown.
fn shown(address: &str, trusts: &Path) -> Option<CertificateDer<'static>> {
    let mut session = session(address, trusts, Some(trusts));
    versions(&mut session).ok()?;
    session.conn.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.clone().into_owned())
}

#[test]
fn sessions_on_every_listener_and_towards_the_broker() {
    let (kafka, secrets) = kafka();
    let own = secrets.put("own");
    for mutual in [false, true] {
        let kmend = Kmend::start(kafka, |config| configure(config, &own, &own, mutual));
        let mut client = session(&kmend.listen, &own, mutual.then_some(own.as_path()));
        versions(&mut client).unwrap();
        let brokers: MetadataResponse = ask(&mut client, 1, &MetadataRequest::default()).unwrap();
        assert_eq!(brokers.brokers.len(), 1);
        // Its own listener has TLS too, with the same demands.
        let broker = format!("{}:{}", brokers.brokers[0].host.as_str(), brokers.brokers[0].port);
        assert_ne!(broker, kafka.servers());
        versions(&mut session(&broker, &own, mutual.then_some(own.as_path()))).unwrap();
        if mutual {
            kmend.allow("is refused by the TLS listener");
            versions(&mut session(&broker, &own, None)).unwrap_err();
            assert!(counted(&kmend, "tls_no_certificate", 1.0));
        }
        assert!(
            kmend.metrics().sum("kmend_tls_certificate_expiry_timestamp_seconds", &[("which", "listener")]) > 1.8e9
        );
    }
}

fn counted(kmend: &Kmend, reason: &str, times: f64) -> bool {
    eventually(Duration::from_secs(5), || {
        let metrics = kmend.metrics();
        let cut = metrics.sum("kmend_disconnects_total", &[("side", "client"), ("cause", reason)]);
        cut == times && metrics.sum("kmend_frame_errors_total", &[("reason", reason)]) == times
    })
}

/// Whether the other side closes within 5 s; an alert may come first.
fn closes(mut stream: impl Read) -> bool {
    loop {
        match stream.read(&mut [0; 64]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
            Err(_) => return true,
        }
    }
}

fn raw(address: &str, bytes: &[u8], finish: bool) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(bytes).unwrap();
    if finish {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    closes(stream)
}

/// A hello of TLS 1.0, with one cipher suite of that time.
fn old_hello() -> Vec<u8> {
    let mut body = vec![3, 1];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let mut hello = vec![1, 0, 0, body.len() as u8];
    hello.extend(body);
    [vec![0x16, 3, 1, 0, hello.len() as u8], hello].concat()
}

#[test]
fn what_is_no_session_ends_as_on_a_broker() {
    let (kafka, secrets) = kafka();
    let (own, direct) = (secrets.put("refuses"), kafka.servers());
    let kmend = Kmend::start(kafka, |config| configure(config, &own, &own, true));
    kmend.allow("TLS listener");
    let mut other = session(&kmend.listen, &own, Some(&own));
    versions(&mut other).unwrap();
    let plaintext = scripted::frame(0, 7, &ApiVersionsRequest::default());
    let mut handshakes = 0.0;
    for (name, bytes, finish, reason, line) in [
        ("a plaintext client", &plaintext[..], false, "plaintext_on_tls", "a plaintext client connected to the TLS"),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n", false, "http_on_tls", "an HTTP client connected to the TLS"),
        ("garbage", b"qwertyuiopasdfgh", false, "tls_handshake", "neither TLS nor Kafka"),
        ("TLS 1.0", &old_hello(), false, "tls_handshake", "no TLS session"),
        ("half a hello", &old_hello()[..20], true, "tls_handshake", "hung up"),
    ] {
        let lines = kmend.log().len();
        assert!(raw(&direct, bytes, finish), "{name}, to the broker");
        assert!(raw(&kmend.listen, bytes, finish), "{name}, to kmend");
        handshakes += f64::from(reason == "tls_handshake");
        assert!(counted(&kmend, reason, if reason == "tls_handshake" { handshakes } else { 1.0 }), "{name}: {reason}");
        assert_told(&kmend, lines, name, line);
        versions(&mut other).unwrap_or_else(|e| panic!("after {name}, others: {e}"));
    }
    let stranger = Secrets::new();
    let foreign = stranger.put("foreign");
    let (none, not_ours) = (None, Some(foreign.as_path()));
    for (name, trusts, shows, reason, times, line) in [
        ("no certificate", &own, none, "tls_no_certificate", 1.0, "client_ca_file wants one"),
        (
            "a foreign certificate",
            &own,
            not_ours,
            "tls_bad_certificate",
            1.0,
            "no authority of listen.tls.client_ca_file",
        ),
        ("no trust", &foreign, not_ours, "tls_handshake", handshakes + 1.0, "does not trust kmend's certificate"),
    ] {
        let lines = kmend.log().len();
        versions(&mut session(&direct, trusts, shows)).expect_err(name);
        versions(&mut session(&kmend.listen, trusts, shows)).expect_err(name);
        assert!(counted(&kmend, reason, times), "{name}: {reason}");
        assert_told(&kmend, lines, name, line);
        versions(&mut other).unwrap_or_else(|e| panic!("after {name}, others: {e}"));
    }
    // A health check says nothing, and nothing is said of it.
    let lines = kmend.log().len();
    assert!(raw(&kmend.listen, b"", true));
    let open = || kmend.metrics().sum("kmend_client_connections", &[]) == 1.0;
    assert!(eventually(Duration::from_secs(5), open), "only the good one is left");
    assert_eq!(kmend.log().iter().skip(lines).filter(|l| l.contains("WARN")).count(), 0);
}

/// One line of the log, from line `from` on, says it, and names the listener.
fn assert_told(kmend: &Kmend, from: usize, name: &str, line: &str) {
    let told = || kmend.log().into_iter().skip(from).filter(|l| l.contains("WARN")).collect::<Vec<_>>();
    assert!(eventually(Duration::from_secs(5), || !told().is_empty()), "{name}: no line in the log");
    let told = told();
    assert_eq!(told.len(), 1, "{name}: {told:#?}");
    assert!(told[0].contains(line) && told[0].contains(&kmend.listen), "{name}: {}", told[0]);
}

#[test]
fn who_stops_in_the_handshake_is_cut() {
    let (kafka, secrets) = kafka();
    let own = secrets.put("slow");
    let kmend = Kmend::start(kafka, |config| {
        configure(config, &own, &own, false);
        config["limits"] = json!({ "handshake_timeout": "1s" });
    });
    kmend.allow("a client was cut off");
    let began = Instant::now();
    let begun = [&b""[..], &old_hello()[..1], &old_hello()[..20]];
    let connections = begun.map(|bytes| {
        let mut stream = TcpStream::connect(&kmend.listen).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    });
    assert!(connections.into_iter().all(closes));
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
    let cut = || kmend.metrics().sum("kmend_disconnects_total", &[("side", "client"), ("cause", "handshake_timeout")]);
    assert!(eventually(Duration::from_secs(5), || cut() == 3.0), "{}", cut());
    // No broker was dialled for them: only kmend's own question at the start.
    assert!(kmend.metrics().sum("kmend_upstream_connections_total", &[]) == 0.0);
}

/// A broker whose TLS session takes its time; what it is sent in each, it adds to `got`.
fn slow_broker(folder: PathBuf, takes: Duration, got: Arc<Mutex<Vec<Vec<u8>>>>) -> String {
    let key = PrivateKeyDer::from_pem_file(folder.join("tls.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![leaf(&folder)], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (config, got) = (config.clone(), got.clone());
            std::thread::spawn(move || {
                std::thread::sleep(takes);
                let mut session = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                if session.conn.complete_io(&mut session.sock).is_err() {
                    return;
                }
                let nth = {
                    let mut all = got.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                let mut buf = [0; 4096];
                while let Ok(n @ 1..) = session.read(&mut buf) {
                    got.lock().unwrap()[nth].extend_from_slice(&buf[..n]);
                }
            });
        }
    });
    address
}

/// The client has its whole time for the first request, from when its broker is there.
#[test]
fn a_slow_broker_takes_no_time_from_its_client() {
    let (_, secrets) = kafka();
    let folder = secrets.put("slow-broker");
    let got: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let broker = slow_broker(folder.clone(), Duration::from_secs(2), Arc::clone(&got));
    let kmend = Kmend::start_at("127.0.0.1", &[broker], |config| {
        config["upstream"]["tls"] = json!({ "enabled": true, "ca_file": folder.join("ca.crt") });
        config["limits"] = json!({ "handshake_timeout": "1s" });
    });
    // This broker answers nothing.
    kmend.allow("");
    let sessions = || got.lock().unwrap().len();
    assert!(eventually(Duration::from_secs(20), || sessions() == 1), "kmend's own question at the start");
    let mut client = TcpStream::connect(&kmend.listen).unwrap();
    assert!(eventually(Duration::from_secs(20), || sessions() == 2));
    std::thread::sleep(Duration::from_millis(300));
    let request = scripted::frame(0, 7, &ApiVersionsRequest::default());
    client.write_all(&request).unwrap();
    let arrives = || got.lock().unwrap().iter().any(|bytes| bytes.ends_with(&request));
    assert!(eventually(Duration::from_secs(5), arrives), "{:?}", kmend.log());
}

/// As Kubernetes lays out a secret: `tls.crt -> ..data/tls.crt`, `..data -> ..one`.
fn project(folder: &Path, version: &Path) {
    let next = folder.join("..data_tmp");
    std::os::unix::fs::symlink(version, &next).unwrap();
    std::fs::rename(&next, folder.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        let _ = std::os::unix::fs::symlink(Path::new("..data").join(name), folder.join(name));
    }
}

#[test]
fn new_certificates_are_used_and_old_connections_go_on() {
    const PATIENCE: Duration = Duration::from_secs(5);
    let (kafka, secrets) = kafka();
    let (one, two) = (secrets.put("..one"), secrets.put("..two"));
    let folder = secrets.file("projected");
    std::fs::create_dir_all(&folder).unwrap();
    project(&folder, &one);
    let kmend = Kmend::start(kafka, |config| configure(config, &folder, &folder, true));
    kmend.allow("cannot be used");
    let mut before = session(&kmend.listen, &one, Some(&one));
    versions(&mut before).unwrap();
    let shows = |version: &Path| shown(&kmend.listen, &one).as_ref() == Some(&leaf(version));
    let reloads = |outcome: &str| kmend.metrics().sum("kmend_tls_reloads_total", &[("outcome", outcome)]);
    assert!(shows(&one));

    project(&folder, &two);
    let began = Instant::now();
    assert!(eventually(PATIENCE, || shows(&two)), "the new certificate is not shown");
    println!("shown after {:?}", began.elapsed());
    assert!(eventually(PATIENCE, || reloads("reloaded") == 1.0));
    versions(&mut before).unwrap();
    assert_eq!(kmend.said("TLS files were read again: new connections use them").len(), 1);

    // A certificate without its key: the old ones stay, and it is said once.
    let half = secrets.put("..half");
    std::fs::copy(one.join("tls.key"), half.join("tls.key")).unwrap();
    project(&folder, &half);
    assert!(eventually(PATIENCE, || reloads("failed") == 1.0), "a pair that does not fit is not counted");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(reloads("failed"), 1.0);
    assert!(shows(&two));
    let cannot = "TLS files have changed and cannot be used: those read before stay in force";
    assert_eq!(kmend.said(cannot).len(), 1);

    project(&folder, &one);
    assert!(eventually(PATIENCE, || shows(&one)), "the way back");
    assert_eq!(reloads("reloaded"), 2.0);
    versions(&mut before).unwrap();

    // SIGHUP does it at once; what the watch finds then is nothing new.
    project(&folder, &two);
    kmend.reload(|_| {});
    assert!(shows(&two));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(reloads("reloaded"), 3.0);
}
