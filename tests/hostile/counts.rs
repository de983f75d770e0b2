//! Array counts of 2^31-1 and the like, at many places of every request that clients send, in its oldest and its
//! newest version: what a broker makes of it, a client gets through kmend.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use super::harness::Kmend;
use super::scripted::Raw;
use super::{kafka, scripted};

/// How long no answer is none: some requests of zeros are sound and have none (Produce without acks).
const SILENT: Duration = Duration::from_millis(1500);
/// Where the count stands in a body of zeros.
const PLACES: [usize; 6] = [0, 2, 4, 8, 14, 20];

/// What clients send. Not SaslHandshake: the broker has none here.
const KEYS: [i16; 27] =
    [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 22, 23, 24, 26, 28, 32, 42, 60, 68, 78, 79];

#[derive(Debug, PartialEq, Eq, Clone)]
enum Got {
    Closed,
    /// So many bytes, with this error where most answers have theirs.
    Answer,
    Silent,
}

fn frame(key: ApiKey, version: i16, place: usize) -> Vec<u8> {
    let mut content = (key as i16).to_be_bytes().to_vec();
    content.extend_from_slice(&version.to_be_bytes());
    content.extend_from_slice(b"\0\0\0\x09\0\x03raw");
    let is_flexible = key.request_header_version(version) >= 2;
    content.extend(is_flexible.then_some(0));
    content.extend(std::iter::repeat_n(0, place));
    content.extend_from_slice(if is_flexible { &[0xff, 0xff, 0xff, 0xff, 7] } else { &[0x7f, 0xff, 0xff, 0xff] });
    content.extend_from_slice(&[0; 24]);
    [&(content.len() as u32).to_be_bytes()[..], &content].concat()
}

fn got(address: &str, frame: &[u8]) -> Got {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(SILENT)).expect("a socket option");
    let _ = stream.write_all(frame);
    match stream.read_exact(&mut [0; 8]) {
        Ok(()) => Got::Answer,
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Got::Silent,
        Err(_) => Got::Closed,
    }
}

#[test]
fn counts_that_lie_end_as_on_a_broker() {
    let kmend = Kmend::start(kafka(), |_| {});
    kmend.allow("was cut").allow("more were cut");
    let mut other = Raw::open(&kmend.listen);
    let mut cases = VecDeque::new();
    for key in KEYS.map(|k| ApiKey::try_from(k).expect("a key")) {
        let range = key.valid_versions();
        for version in [range.min, range.max] {
            cases.extend(PLACES.map(|place| (key, version, place)));
        }
    }
    let (all, cases, odd) = (cases.len(), Mutex::new(cases), Mutex::new(Vec::new()));
    let closed = Mutex::new(0);
    std::thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| {
                loop {
                    let Some((key, version, place)) = cases.lock().unwrap().pop_front() else { return };
                    let frame = frame(key, version, place);
                    let (direct, mended) = (got(&kafka().servers(), &frame), got(&kmend.listen, &frame));
                    *closed.lock().unwrap() += usize::from(direct == Got::Closed);
                    if direct != mended {
                        odd.lock()
                            .unwrap()
                            .push(format!("{key:?} {version} at {place}: {direct:?}, through kmend {mended:?}"));
                    }
                }
            });
        }
    });
    let odd = odd.into_inner().unwrap();
    assert!(odd.is_empty(), "{} of {all}: {odd:#?}", odd.len());
    let closed = closed.into_inner().unwrap();
    assert!(closed > all / 3, "only {closed} of {all} were bad to the broker");
    other.ask(3, &scripted::versions()).expect("others go on");
}
