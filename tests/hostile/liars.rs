//! Brokers that hang, break off, or lie: the client gets a clean end, or what a direct client would get; one line
//! says it; other connections do not notice.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use kafka_protocol::messages::{
    DescribeClusterRequest, FetchRequest, FindCoordinatorRequest, ListGroupsRequest, MetadataRequest,
};

use serde_json::{Value, json};

use super::harness::{Kmend, eventually};
use super::scripted::{self, Asked, Broker, Raw};
use super::warnings;

const PATIENCE: Duration = Duration::from_secs(5);
const RANGES: [(i16, i16, i16); 6] = [(1, 4, 17), (3, 0, 12), (10, 0, 4), (16, 0, 4), (18, 0, 3), (60, 0, 1)];

/// What the broker does when it is asked: the number stands in the correlation id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    Hangs,
    Resets,
    BreaksOff,
    OtherCorrelation,
    Twice,
    OutOfOrder,
    Negative,
    Huge,
    Http,
    Alert,
    Counts,
    Trickle,
}

const CORRELATION: i32 = 1000;

impl Lie {
    const ALL: [Lie; 12] = [
        Lie::Hangs,
        Lie::Resets,
        Lie::BreaksOff,
        Lie::OtherCorrelation,
        Lie::Twice,
        Lie::OutOfOrder,
        Lie::Negative,
        Lie::Huge,
        Lie::Http,
        Lie::Alert,
        Lie::Counts,
        Lie::Trickle,
    ];

    fn asked(asked: Asked) -> Option<Lie> {
        Lie::ALL.get(usize::try_from(asked.correlation - CORRELATION).ok()?).copied()
    }

    fn correlation(self) -> i32 {
        CORRELATION + Lie::ALL.iter().position(|l| *l == self).expect("it is one") as i32
    }

    fn tell(self, asked: Asked, stream: &mut TcpStream) -> io::Result<()> {
        let id = asked.correlation.to_be_bytes();
        let frame = |id: [u8; 4], rest: &[u8]| [&(rest.len() as u32 + 4).to_be_bytes()[..], &id, rest].concat();
        let closed = || Err(ErrorKind::ConnectionAborted.into());
        let answer = frame(id, &[0; 40]);
        match self {
            Lie::Hangs => {}
            Lie::Resets => {
                socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
                return closed();
            }
            Lie::BreaksOff => {
                stream.write_all(&answer[..20])?;
                return closed();
            }
            Lie::OtherCorrelation => stream.write_all(&frame(7_i32.to_be_bytes(), &[0; 40]))?,
            Lie::Twice => stream.write_all(&answer.repeat(2))?,
            Lie::OutOfOrder => stream.write_all(&frame((asked.correlation + 50).to_be_bytes(), &[0; 40]))?,
            Lie::Negative => stream.write_all(&[0xff; 40])?,
            Lie::Huge => {
                // A client that asks directly waits for all of it.
                stream.write_all(&i32::MAX.to_be_bytes())?;
                stream.write_all(&id)?;
                stream.write_all(&[0; 100])?;
                return closed();
            }
            Lie::Http => stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")?,
            Lie::Alert => stream.write_all(&[0x15, 3, 3, 0, 2, 2, 0x50])?,
            Lie::Counts => stream.write_all(&frame(id, &[0x7f, 0xff, 0xff, 0xff].repeat(30)))?,
            Lie::Trickle => {
                stream.write_all(&1_000_000_u32.to_be_bytes())?;
                stream.write_all(&id)?;
                for _ in 0..200 {
                    stream.write_all(&[0])?;
                    std::thread::sleep(Duration::from_millis(20));
                }
                return closed();
            }
        }
        Ok(())
    }
}

fn start(limits: Value) -> (Broker, Kmend) {
    let broker = Broker::start(|asked: Asked, stream| match (Lie::asked(asked), asked.api) {
        (Some(lie), _) => lie.tell(asked, stream),
        (None, 18) => scripted::answer_versions(asked, stream, &RANGES),
        // kmend's own questions.
        _ => Err(ErrorKind::ConnectionAborted.into()),
    });
    let kmend = Kmend::start_at("127.0.0.1", std::slice::from_ref(&broker.address), |c| c["limits"] = limits);
    (broker, kmend)
}

/// A request by that correlation id, of the APIs that kmend changes in answers and of one that it does not touch.
fn requests(id: i32) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("Metadata", scripted::frame(12, id, &MetadataRequest::default()).to_vec()),
        ("FindCoordinator", scripted::frame(4, id, &FindCoordinatorRequest::default()).to_vec()),
        ("DescribeCluster", scripted::frame(0, id, &DescribeClusterRequest::default()).to_vec()),
        ("Fetch", scripted::frame(17, id, &FetchRequest::default()).to_vec()),
        ("ListGroups", scripted::frame(0, id, &ListGroupsRequest::default()).to_vec()),
    ]
}

#[test]
fn a_broker_that_lies_hurts_only_whom_it_lies_to() {
    let (_broker, kmend) = start(json!({}));
    kmend.allow("a connection was cut").allow("more were cut").allow("could not be read");
    let mut other = Raw::open(&kmend.listen);
    for (lie, cause) in [
        (Lie::Resets, None),
        (Lie::BreaksOff, None),
        (Lie::OtherCorrelation, Some("correlation")),
        (Lie::OutOfOrder, Some("correlation")),
        (Lie::Negative, Some("negative_length")),
        (Lie::Huge, None),
        (Lie::Http, Some("http")),
        (Lie::Alert, Some("tls_alert")),
    ] {
        for (api, request) in requests(lie.correlation()) {
            ends(&kmend, &request, cause, &format!("{lie:?}, {api}"));
            other.ask(3, &scripted::versions()).unwrap_or_else(|e| panic!("after {lie:?}, others: {e}"));
        }
    }
    for (api, request) in requests(Lie::Counts.correlation()).into_iter().take(3) {
        ends(&kmend, &request, Some("unreadable"), &format!("counts, {api}"));
    }
    // The first answer is one.
    let twice = scripted::frame(0, Lie::Twice.correlation(), &ListGroupsRequest::default());
    let mut got = vec![0; 48];
    let mut stream = open(&kmend);
    stream.write_all(&twice).expect("sent");
    stream.read_exact(&mut got).expect("an answer");
    assert!(is_closed(&mut stream), "a second answer to one request");
    let open = || kmend.metrics().sum("kmend_upstream_connections", &[]);
    assert!(eventually(PATIENCE, || open() == 1.0), "{} upstream connections are open", open());
    other.ask(3, &scripted::versions()).expect("others go on");
}

fn open(kmend: &Kmend) -> TcpStream {
    let stream = TcpStream::connect(&kmend.listen).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    stream
}

/// Nothing but the end comes, by a close or a reset.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(e) => !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

fn ends(kmend: &Kmend, request: &[u8], cause: Option<&str>, what: &str) {
    let count = || {
        let labels = [("side", "upstream"), ("cause", cause.unwrap_or_default())];
        kmend.metrics().sum("kmend_disconnects_total", if cause.is_some() { &labels } else { &[] })
    };
    let (before, lines) = (count(), kmend.log().len());
    let mut stream = open(kmend);
    stream.write_all(request).expect("sent");
    assert!(is_closed(&mut stream), "{what}: it stays open");
    assert!(eventually(PATIENCE, || count() == before + 1.0), "{what}: not counted as {cause:?}");
    // Five of a kind in ten seconds are told whole.
    let told = warnings(kmend, lines).len();
    assert!(told <= 1, "{what}: {told} lines");
}

#[test]
fn a_broker_that_hangs_or_trickles_holds_nobody_else() {
    // A client that has gone may only have finished sending: its answer is waited for so long.
    let (_broker, kmend) = start(json!({ "idle_timeout": "3s" }));
    kmend.allow("a connection was cut").allow("could not be read");
    let mut waiting: Vec<TcpStream> = Vec::new();
    for lie in [Lie::Hangs, Lie::Trickle] {
        for (_, request) in requests(lie.correlation()) {
            let mut stream = open(&kmend);
            stream.write_all(&request).expect("sent");
            waiting.push(stream);
        }
    }
    let mut other = Raw::open(&kmend.listen);
    for _ in 0..20 {
        other.ask(3, &scripted::versions()).expect("others go on");
    }
    let held = || kmend.metrics().sum("kmend_memory_held_bytes", &[]);
    assert!(eventually(PATIENCE, || held() > 0.0));
    // Of a frame that comes by the byte no more is held than a window.
    assert!(held() < 500_000.0, "{} bytes are held", held());
    drop(waiting);
    let open = || kmend.metrics().sum("kmend_upstream_connections", &[]);
    assert!(eventually(2 * PATIENCE, || open() <= 1.0), "{} upstream connections are open", open());
}

#[test]
fn a_broker_that_stops_in_the_middle_is_given_up() {
    let broker = Broker::start(|asked: Asked, stream| match asked.api {
        18 => scripted::answer_versions(asked, stream, &RANGES),
        16 => {
            stream.write_all(&1000_u32.to_be_bytes())?;
            stream.write_all(&asked.correlation.to_be_bytes())
        }
        _ => Err(ErrorKind::ConnectionAborted.into()),
    });
    let change = |config: &mut Value| config["limits"] = json!({ "idle_timeout": "1s" });
    let kmend = Kmend::start_at("127.0.0.1", std::slice::from_ref(&broker.address), change);
    kmend.allow("the broker stopped in the middle of an answer");
    let mut stream = open(&kmend);
    stream.write_all(&scripted::frame(0, 1, &ListGroupsRequest::default())).expect("sent");
    assert!(is_closed(&mut stream));
    let labels = [("side", "upstream"), ("cause", "stalled")];
    assert!(eventually(PATIENCE, || kmend.metrics().sum("kmend_disconnects_total", &labels) == 1.0));
}
