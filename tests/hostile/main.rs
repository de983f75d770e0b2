//! Bytes that are no Kafka request, clients that never end one, crowds of them, and brokers that lie: kmend
//! does what a broker does, counts it, says it in one line, and goes on for everybody else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../scripted/mod.rs"]
mod scripted;

mod counts;
mod crowds;
mod liars;
mod runs;
mod short;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use harness::{ClusterSpec, Kafka, Kmend, eventually};
use kafka_protocol::messages::MetadataRequest;
use scripted::Raw;
use serde_json::{Value, json};

fn kafka() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| Kafka::start(ClusterSpec::default()))
}

/// What becomes of a connection that says something.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Closed,
    /// The error code that stands at the start of the answer's body.
    Answered(i16),
    /// Neither, within 5 s.
    Silent,
}

/// Sends bytes, and perhaps the end of the stream, and waits for what happens.
fn outcome(address: &str, bytes: &[u8], finish: bool) -> Outcome {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket option");
    // It may be closed before all has been sent.
    let _ = stream.write_all(bytes);
    if finish {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut start = [0; 10];
    match stream.read_exact(&mut start) {
        Ok(()) => Outcome::Answered(i16::from_be_bytes([start[8], start[9]])),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Outcome::Silent,
        Err(_) => Outcome::Closed,
    }
}

/// How kmend tells of it.
enum Told {
    /// `kmend_frame_errors_total{reason}`, and one warning that holds this text.
    FrameError(&'static str, &'static str),
    /// The bytes are the broker's business: it closed, and `kmend_disconnects_total{side}` counts that.
    Disconnect(&'static str),
    /// An answer is no event.
    Nothing,
}

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    /// The client finishes its side after these bytes.
    finish: bool,
    expected: Outcome,
    told: Told,
}

/// A request header with its size, which may lie, and no tags where it has such.
fn header(size: i32, api: i16, version: i16) -> Vec<u8> {
    let mut out = size.to_be_bytes().to_vec();
    out.extend_from_slice(&api.to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 9, 0, 3, b'r', b'a', b'w', 0]);
    out
}

/// The header of ApiVersions 3, with these tags and zeros up to that size.
fn tagged(size: i32, tags: &[u8]) -> Vec<u8> {
    let mut out = header(size, 18, 3);
    out.pop();
    out.extend_from_slice(tags);
    out.resize(4 + size as usize, 0);
    out
}

/// ApiVersions 3 with 4,000 unknown tags in its header, and as many in its body.
fn thousands_of_tags() -> Vec<u8> {
    let mut tags = vec![0xa0, 0x1f];
    for tag in 100..4100_u32 {
        tags.extend_from_slice(&[(tag & 0x7f) as u8 | 0x80, (tag >> 7) as u8, 2, 7, 7]);
    }
    let body = [b"\x04raw\x021".as_slice(), &tags].concat();
    let mut out = header(0, 18, 3);
    out.pop();
    out.extend_from_slice(&tags);
    out.extend_from_slice(&body);
    let size = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&size.to_be_bytes());
    out
}

fn cases() -> Vec<Case> {
    use Outcome::{Answered, Closed};
    use Told::{Disconnect, FrameError, Nothing};
    let case = |name, bytes: &[u8], expected, told| Case { name, bytes: bytes.to_vec(), finish: false, expected, told };
    // A TLS 1.2 record with the start of a ClientHello.
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 7, 7, 7, 7, 7];
    let http = b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n";
    let truncated = header(1000, 3, 1);
    vec![
        case("an HTTP request", http, Closed, FrameError("http", "HTTP")),
        case("a TLS hello", &hello, Closed, FrameError("tls_on_plaintext", "TLS")),
        case("a negative length", &[0xff; 12], Closed, FrameError("negative_length", "negative")),
        case("a length of zero", &[0; 4], Closed, FrameError("too_short", "too short")),
        case("a huge length", &i32::MAX.to_be_bytes(), Closed, FrameError("over_max_frame", "limits.max_frame")),
        case("a header that lies", &[0, 0, 0, 12, 0, 3, 0, 1, 0, 0, 0, 9, 0x7f, 0xff, 1, 2], Closed, {
            FrameError("bad_header", "header")
        }),
        case("garbage", b"\0\0\0\x10qwertyuiopasdfgh", Closed, FrameError("bad_header", "header")),
        case("a newer Fetch", &header(14, 1, 99), Closed, FrameError("too_new", "Fetch version 99")),
        case("an unknown key", &header(14, 999, 0), Closed, FrameError("unknown_key", "API key 999")),
        case("tags without an end", &tagged(14, &[0xff; 10]), Closed, FrameError("bad_header", "header")),
        case("a tag of 2 GiB", &tagged(20, &[1, 0, 0xff, 0xff, 0xff, 0xff, 7]), Closed, {
            FrameError("bad_header", "header")
        }),
        case(
            "a varint of ten bytes",
            &tagged(30, &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            Closed,
            FrameError("bad_header", "header"),
        ),
        // Unknown tags are passed over (KIP-482), here and in the body.
        case("thousands of tags", &thousands_of_tags(), Answered(0), Nothing),
        case("an unknown version", &header(14, 12, 99), Closed, Disconnect("upstream")),
        // KIP-511: UNSUPPORTED_VERSION.
        case("ApiVersions from the future", &header(14, 18, 99), Answered(35), Nothing),
        Case { finish: true, ..case("a truncated frame", &truncated, Closed, Disconnect("client")) },
    ]
}

#[test]
fn what_is_no_request_ends_as_on_a_broker() {
    let kafka = kafka();
    let kmend = Kmend::start(kafka, |_| {});
    kmend.allow("a client was cut off");
    let mut other = Raw::open(&kmend.listen);
    let direct = kafka.servers();
    for Case { name, bytes, finish, expected, told } in cases() {
        let before = kmend.metrics();
        let lines = kmend.log().len();
        assert_eq!(outcome(&direct, &bytes, finish), expected, "{name}, to the broker");
        assert_eq!(outcome(&kmend.listen, &bytes, finish), expected, "{name}, to kmend");
        let counted = |metric: &str, labels: &[(&str, &str)]| {
            let was = before.sum(metric, labels);
            eventually(Duration::from_secs(5), || kmend.metrics().sum(metric, labels) == was + 1.0)
        };
        match told {
            Told::FrameError(reason, text) => {
                assert!(counted("kmend_frame_errors_total", &[("reason", reason)]), "{name}: {reason} is not counted");
                let told = || warnings(&kmend, lines);
                assert!(eventually(Duration::from_secs(5), || !told().is_empty()), "{name}: no line in the log");
                let told = told();
                assert_eq!(told.len(), 1, "{name}: {told:#?}");
                assert!(told[0].contains(text), "{name}: {}", told[0]);
                assert!(told[0].contains(&kmend.listen), "{name}: the listener is not named: {}", told[0]);
            }
            Told::Disconnect(side) => {
                assert!(counted("kmend_disconnects_total", &[("side", side)]), "{name}: {side} is not counted");
            }
            Told::Nothing => {}
        }
        other.ask(3, &scripted::versions()).unwrap_or_else(|e| panic!("after {name}, others: {e}"));
    }
    let open = || kmend.metrics().sum("kmend_upstream_connections", &[]);
    assert!(eventually(Duration::from_secs(5), || open() == 1.0), "{} upstream connections are open", open());
}

/// Warnings and errors from line `from` on.
fn warnings(kmend: &Kmend, from: usize) -> Vec<String> {
    let loud = |line: &String| {
        let level = serde_json::from_str::<Value>(line).ok().and_then(|v| v["level"].as_str().map(str::to_owned));
        matches!(level.as_deref(), Some("WARN" | "ERROR"))
    };
    kmend.log().into_iter().skip(from).filter(loud).collect()
}

/// A client that has broken off leaves nothing behind, whatever it was in the middle of.
#[test]
fn a_client_that_dies_in_the_middle_of_a_frame_is_forgotten() {
    let kmend = Kmend::start(kafka(), |_| {});
    let open = |name: &str| kmend.metrics().sum(name, &[]);
    let zeros = [0; 20].as_slice();
    // No transactional id, acks of all; one topic, of whose partitions nothing follows.
    let produce = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9, 0, 0, 0, 1, 0, 3, b'a', b'b', b'c', 0].as_slice();
    let fetch = [&[0; 20], b"\x01\0\x03abc\0".as_slice()].concat();
    for (api, version, rest) in [(0, 3, produce), (1, 4, &fetch), (3, 1, zeros), (9, 1, zeros), (11, 1, zeros)] {
        let mut raw = Raw::open(&kmend.listen);
        // An answer comes, so the connection stands.
        raw.ask(3, &scripted::versions()).expect("ApiVersions");
        let old = header(1000, api, version);
        // Versions this old have no tags.
        raw.stream.write_all(&[&old[..old.len() - 1], rest].concat()).expect("sent");
        std::thread::sleep(Duration::from_millis(50));
        drop(raw);
        let gone = || open("kmend_client_connections") == 0.0 && open("kmend_upstream_connections") == 0.0;
        assert!(eventually(Duration::from_secs(5), gone), "API {api}: the connection is still there");
    }
}

#[test]
fn more_clients_than_allowed_are_refused_until_one_leaves() {
    const MOST: usize = 5;
    let kmend = Kmend::start(kafka(), |config| config["limits"] = json!({ "max_connections": MOST }));
    kmend.allow("limits.max_connections is reached");
    let labels = [("limit", "connections")];
    let ask = |raw: &mut Raw| raw.ask(9, &MetadataRequest::default().with_topics(Some(vec![])));
    let mut clients: Vec<Raw> = (0..MOST).map(|_| Raw::open(&kmend.listen)).collect();
    clients.iter_mut().for_each(|c| drop(ask(c).expect("within the limit")));
    for _ in 0..3 {
        let mut late = TcpStream::connect(&kmend.listen).expect("it listens");
        late.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket option");
        match late.read(&mut [0; 1]) {
            Ok(0) => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("not refused: {other:?}"),
        }
    }
    assert_eq!(kmend.metrics().sum("kmend_connections_refused_total", &labels), 3.0);
    assert_eq!(kmend.metrics().sum("kmend_client_connections", &[]), MOST as f64);
    clients.iter_mut().for_each(|c| drop(ask(c).expect("the others go on")));
    clients.pop();
    let back = || {
        let mut raw = Raw::open(&kmend.listen);
        ask(&mut raw).is_ok().then_some(raw)
    };
    let newcomer = harness::wait::within(Duration::from_secs(5), back);
    assert!(newcomer.is_some(), "the place of a client that left is free again");
}
