//! A broker that answers by a script, and raw connections: for sizes that a real broker takes minutes
//! to set up, and for bytes that no client library sends.

#![allow(dead_code)] // each test binary uses its part

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// The head of a request that the script is asked to answer.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub api: i16,
    pub version: i16,
    pub correlation: i32,
}

/// A running scripted broker; one thread per connection.
pub struct Broker {
    pub address: String,
    stop: Arc<AtomicBool>,
}

impl Broker {
    /// `script` writes the whole answer to each request.
    pub fn start(script: impl Fn(Asked, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, script) = (stop.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let script = script.clone();
                // The end of a connection, by whomever, is no failure of the broker.
                std::thread::spawn(move || serve(stream, &*script).ok());
            }
        });
        Broker { address, stop }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(mut stream: TcpStream, script: &impl Fn(Asked, &mut TcpStream) -> io::Result<()>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let frame = read_frame(&mut stream)?;
        let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
        let correlation = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
        script(Asked { api: number(0), version: number(2), correlation }, &mut stream)?;
    }
}

/// A frame without its size.
pub fn read_frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut frame = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// What goes before the body of an answer, and the body. Apart, so that many answers share one body.
pub fn answer_head<R: HeaderVersion>(asked: Asked, body: &[u8]) -> Bytes {
    let mut head = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(asked.correlation);
    header.encode(&mut head, R::header_version(asked.version)).expect("a header");
    let mut out = BytesMut::new();
    out.put_u32((head.len() + body.len()) as u32);
    out.extend_from_slice(&head);
    out.freeze()
}

pub fn body<R: Encodable>(version: i16, response: &R) -> Bytes {
    let mut out = BytesMut::new();
    response.encode(&mut out, version).expect("a body");
    out.freeze()
}

/// Answers with a body that is there already.
pub fn answer<R: HeaderVersion>(asked: Asked, stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    stream.write_all(&answer_head::<R>(asked, body))?;
    stream.write_all(body)
}

/// The answer to ApiVersions of a broker that has these: key, oldest, newest.
pub fn answer_versions(asked: Asked, stream: &mut TcpStream, versions: &[(i16, i16, i16)]) -> io::Result<()> {
    let keys = versions
        .iter()
        .map(|(key, min, max)| ApiVersion::default().with_api_key(*key).with_min_version(*min).with_max_version(*max));
    let response = ApiVersionsResponse::default().with_api_keys(keys.collect());
    answer::<ApiVersionsResponse>(asked, stream, &body(asked.version, &response))
}

/// A connection that sends what it is told to.
pub struct Raw {
    pub stream: TcpStream,
    next: i32,
}

impl Raw {
    pub fn open(address: &str) -> Raw {
        let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket option");
        Raw { stream, next: 1 }
    }

    /// Sends a request, does not wait.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> io::Result<()> {
        let id = self.next;
        self.next += 1;
        self.stream.write_all(&frame(version, id, request))
    }

    /// Sends a request and reads its answer.
    pub fn ask<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.send(version, request)?;
        let mut answer = Bytes::from(read_frame(&mut self.stream)?);
        let bad = |e| io::Error::other(format!("{e:?}"));
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version)).map_err(bad)?;
        assert_eq!(header.correlation_id, self.next - 1, "answers come in order");
        R::Response::decode(&mut answer, version).map_err(bad)
    }
}

/// A question for the versions; a broker wants to know from whom it comes.
pub fn versions() -> ApiVersionsRequest {
    let text = StrBytes::from_static_str;
    ApiVersionsRequest::default().with_client_software_name(text("raw")).with_client_software_version(text("1"))
}

/// A whole request frame.
pub fn frame<R: Request>(version: i16, correlation: i32, request: &R) -> Bytes {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("raw")));
    let mut content = BytesMut::new();
    header.encode(&mut content, R::header_version(version)).expect("a header");
    request.encode(&mut content, version).expect("a request");
    let mut out = BytesMut::new();
    out.put_u32(content.len() as u32);
    out.extend_from_slice(&content);
    out.freeze()
}
