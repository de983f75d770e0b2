//! Brokers by script: clusters that say of themselves what no broker here can be made to say.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, DescribeConfigsResponse, MetadataResponse, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

use crate::harness::secured::Pair;
use crate::scripted::{Asked, answer_head, body, read_frame};

/// What the cluster says.
#[derive(Clone, Default)]
pub struct Script {
    /// Node id, host, port; port 0: the one that answers.
    pub brokers: Vec<(i32, String, u16)>,
    /// A login is wanted, by one of these.
    pub mechanisms: Vec<&'static str>,
}

impl Script {
    pub fn brokers(brokers: &[(i32, &str, u16)]) -> Script {
        let brokers = brokers.iter().map(|(node, host, port)| (*node, (*host).to_owned(), *port)).collect();
        Script { brokers, mechanisms: Vec::new() }
    }

    /// Serves on a free port of this address; the port.
    pub fn serve(self, host: &str) -> u16 {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let script = self.clone();
                std::thread::spawn(move || script.talk(&mut stream, port));
            }
        });
        port
    }

    /// The same over TLS, with this certificate.
    pub fn serve_tls(self, pair: &Pair) -> u16 {
        self.serve_sessions(pair, rustls::ALL_VERSIONS, None)
    }

    /// The same by TLS 1.2 alone, for clients that this authority knows: there the handshake itself tells of a
    /// certificate that is missing.
    pub fn serve_tls12(self, pair: &Pair, clients: &Path) -> u16 {
        self.serve_sessions(pair, &[&rustls::version::TLS12], Some(clients))
    }

    fn serve_sessions(
        self,
        pair: &Pair,
        versions: &[&'static SupportedProtocolVersion],
        clients: Option<&Path>,
    ) -> u16 {
        let chain: Vec<_> = CertificateDer::pem_file_iter(&pair.cert).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
        };
        let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, session) = (self.clone(), ServerConnection::new(config.clone()).unwrap());
                std::thread::spawn(move || script.talk(&mut StreamOwned::new(session, stream), port));
            }
        });
        port
    }

    /// Until one of both has enough.
    fn talk(&self, stream: &mut (impl Read + Write), port: u16) -> Option<()> {
        loop {
            let frame = read_frame(stream).ok()?;
            let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
            let correlation = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
            let asked = Asked { api: number(0), version: number(2), correlation };
            stream.write_all(&self.answer(asked, port)?).ok()?;
            stream.flush().ok()?;
        }
    }

    fn answer(&self, asked: Asked, port: u16) -> Option<Vec<u8>> {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let content = match asked.api {
            18 => {
                let of = |key: i16, max: i16| ApiVersion::default().with_api_key(key).with_max_version(max);
                let keys = [of(3, 12), of(17, 1), of(18, 3), of(32, 4), of(36, 2)];
                body(asked.version, &ApiVersionsResponse::default().with_api_keys(keys.to_vec()))
            }
            17 => {
                let known = self.mechanisms.iter().map(|m| text(m)).collect();
                let error = if self.mechanisms.is_empty() { 34 } else { 33 };
                body(asked.version, &SaslHandshakeResponse::default().with_error_code(error).with_mechanisms(known))
            }
            _ if !self.mechanisms.is_empty() => return None,
            3 => {
                let brokers = self.brokers.iter().map(|(node, host, at)| {
                    let at = if *at == 0 { port } else { *at };
                    let broker = MetadataResponseBroker::default().with_node_id(BrokerId(*node));
                    broker.with_host(text(host)).with_port(i32::from(at))
                });
                let answer = MetadataResponse::default().with_cluster_id(Some(text("scripted")));
                body(asked.version, &answer.with_controller_id(BrokerId(1)).with_brokers(brokers.collect()))
            }
            32 => {
                let result = DescribeConfigsResult::default().with_resource_type(4);
                body(asked.version, &DescribeConfigsResponse::default().with_results(vec![result]))
            }
            _ => return None,
        };
        Some([&answer_head::<MetadataResponse>(Asked { version: 2, ..asked }, &content)[..], &content].concat())
    }
}

/// An address of this host that is not loopback: what the system would send from. Nothing is sent.
pub fn own_address() -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("198.51.100.1:9").expect("this host has a way out: an address that is not loopback is needed");
    let ip = socket.local_addr().unwrap().ip();
    assert!(!ip.is_loopback(), "{ip}");
    ip.to_string()
}

/// A server that does this with every connection.
pub fn server(serve: impl Fn(std::net::TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Keeps a PEM text in a file.
pub fn write(path: &Path, text: &str) {
    File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}
