//! Certificates that are replaced while all goes on.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::harness::kafka::USER;
use crate::harness::secured::{BEARER, Pair as Certificate};
use crate::harness::{eventually, unique};
use crate::pair::{PATIENCE, Pair};
use crate::raw::asks_for;
use crate::scripted::Raw;
use crate::tls::{bearing, listen};
use crate::{kafka, over_tls, tell};

/// Until new connections have to show what is new.
const PROMISE: Duration = Duration::from_secs(5);
const HOSTS: [&str; 2] = ["localhost", "127.0.0.1"];

pub const STORIES: &[(&str, fn())] = &[("replaced", replaced_under_load), ("replaced upstream", replaced_upstream)];

#[test]
fn a_replaced_certificate_is_shown_in_time_and_no_connection_is_dropped() {
    tell("replaced");
}

#[test]
fn kmends_own_certificate_is_replaced() {
    tell("replaced upstream");
}

/// A folder as Kubernetes mounts a secret: its files are links through `..data`, itself a link, which is replaced.
struct Mounted {
    dir: PathBuf,
    name: &'static str,
    hosts: &'static [&'static str],
    version: u32,
}

impl Mounted {
    fn new(name: &'static str, hosts: &'static [&'static str]) -> Mounted {
        let dir = kafka().authority().ca().with_file_name(unique("mounted"));
        std::fs::create_dir_all(&dir).unwrap();
        for file in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(format!("..data/{file}"), dir.join(file)).unwrap();
        }
        let mut mounted = Mounted { dir, name, hosts, version: 0 };
        mounted.replace(name);
        mounted
    }

    fn files(&self) -> Certificate {
        Certificate { cert: self.dir.join("tls.crt"), key: self.dir.join("tls.key") }
    }

    /// A new certificate for the same hosts, in the name of `name`; the certificate itself.
    fn replace(&mut self, name: &str) -> Vec<u8> {
        let old = format!("..v{}", self.version);
        self.version += 1;
        let new = format!("..v{}", self.version);
        let folder = self.dir.join(&new);
        std::fs::create_dir(&folder).unwrap();
        let made = kafka().authority().pair(&folder, name, self.hosts);
        std::fs::rename(&made.cert, folder.join("tls.crt")).unwrap();
        std::fs::rename(&made.key, folder.join("tls.key")).unwrap();
        let link = self.dir.join("..data_tmp");
        std::os::unix::fs::symlink(&new, &link).unwrap();
        std::fs::rename(&link, self.dir.join("..data")).unwrap();
        let _ = std::fs::remove_dir_all(self.dir.join(old));
        certificate(&self.files().cert)
    }

    fn again(&mut self) -> Vec<u8> {
        self.replace(self.name)
    }
}

fn certificate(file: &Path) -> Vec<u8> {
    CertificateDer::from_pem_file(file).unwrap().to_vec()
}

/// The certificate that a new connection is shown; the connection is closed again.
fn shown(address: &str) -> Vec<u8> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(kafka().authority().ca()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).unwrap();
    }
    let seen = tls.peer_certificates().unwrap()[0].to_vec();
    tls.send_close_notify();
    let _ = tls.complete_io(&mut tcp);
    seen
}

fn replaced_under_load() {
    let mut own = Mounted::new("kmend", &HOSTS);
    let kmend = bearing(&kafka().authority().bearer(), |config| listen(config, &own.files()));
    let pairs = [["java", "librdkafka"], ["franz-go", "kafkajs"]]
        .map(|clients| Pair::start(clients, &kmend.listen, BEARER, over_tls));
    pairs.iter().for_each(Pair::begin);
    assert_eq!(shown(&kmend.listen), certificate(&own.files().cert));
    // Until now clients have left the bootstrap port for the broker's own.
    pairs[0].work(Duration::from_secs(2));
    let count = |name: &str, labels: &[(&str, &str)]| kmend.metrics().sum(name, labels);
    let accepted = || count("kmend_client_connections_total", &[]);
    let (before, mut asked) = (accepted(), 0.0);
    for _ in 0..2 {
        let new = own.again();
        let began = Instant::now();
        let there = eventually(PROMISE, || {
            asked += 1.0;
            shown(&kmend.listen) == new
        });
        println!("a new certificate was shown after {:?}", began.elapsed());
        assert!(there, "still the old certificate after {PROMISE:?}");
        let since = Instant::now();
        for app in pairs.iter().flat_map(|pair| [&pair.producer, &pair.consumer]) {
            app.wait("more records", PATIENCE, |c| c.progress_since(since) > 20);
        }
    }
    assert_eq!(accepted() - before, asked, "some client has connected anew");
    for side in ["proxy", "upstream"] {
        assert_eq!(count("kmend_disconnects_total", &[("side", side)]).abs(), 0.0, "{side} has ended a connection");
    }
    pairs.iter().for_each(|pair| assert!(pair.finish() > 0));
}

/// The broker shows which one it is: the new one is Alice's.
fn replaced_upstream() {
    let admin = kafka().admin();
    let topics = [BEARER, USER].map(|owner| {
        let topic = unique(&format!("{owner}-mounted"));
        admin.create(&topic, 1, &[]);
        topic
    });
    let mut own = Mounted::new(BEARER, &[]);
    let kmend = bearing(&own.files(), |_| {});
    let mut old = Raw::open(&kmend.listen);
    let who = |raw: &mut Raw| topics.each_ref().map(|topic| asks_for(raw, topic) == Some(0));
    assert_eq!(who(&mut old), [true, false]);
    own.replace(USER);
    let began = Instant::now();
    let there = eventually(PROMISE, || who(&mut Raw::open(&kmend.listen)) == [false, true]);
    println!("kmend has shown a new certificate after {:?}", began.elapsed());
    assert!(there, "still the old certificate after {PROMISE:?}");
    assert_eq!(who(&mut old), [true, false], "a connection that stands keeps what it has");
}
