//! One blocking connection: a request, then its answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// One connection to a broker.
pub struct Conn {
    stream: TcpStream,
    next: i32,
}

impl Conn {
    /// Dials; none where nobody listens.
    pub fn open(address: &str) -> Option<Conn> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(15))).ok()?;
        Some(Conn { stream, next: 1 })
    }

    /// Sends a request and reads its answer; none where the connection breaks.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> Option<R::Response> {
        let id = self.next;
        self.next += 1;
        let frame = encode(R::KEY, version, id, request);
        self.stream.write_all(&frame).ok()?;
        let mut answer = self.read_frame()?;
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version)).ok()?;
        assert_eq!(header.correlation_id, id, "answers come in order");
        Some(R::Response::decode(&mut answer, version).expect("an answer of the version that was asked for"))
    }

    /// The socket itself, for whoever reads at a speed of its own.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    fn read_frame(&mut self) -> Option<Bytes> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut frame).ok()?;
        Some(Bytes::from(frame))
    }
}

/// A whole frame: size, header, body.
pub fn encode<R: Request>(key: i16, version: i16, id: i32, request: &R) -> Bytes {
    let header = RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(id)
        .with_client_id(Some(StrBytes::from_static_str("kmend-tests")));
    let mut body = BytesMut::new();
    header.encode(&mut body, R::header_version(version)).expect("a header");
    request.encode(&mut body, version).expect("a request");
    let mut frame = BytesMut::with_capacity(body.len() + 4);
    frame.put_u32(body.len() as u32);
    frame.put(body.chunk());
    frame.freeze()
}
