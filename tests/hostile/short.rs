//! Memory that is short: 64 MiB of address space, and clients that want to fill them. Those that stand still are cut,
//! newcomers are refused, a healthy client goes on, and when they have gone all is as before.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse};

use super::harness::{Kmend, Over, eventually};
use super::header;
use super::scripted::{self, Asked, Broker, Raw};

const PATIENCE: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(12);
const SIZE: usize = 20_000_000;

fn start() -> (Broker, Kmend) {
    let partition = PartitionData::default().with_records(Some(Bytes::from(vec![7; SIZE])));
    let topic =
        FetchableTopicResponse::default().with_topic_id(uuid::Uuid::from_u128(7)).with_partitions(vec![partition]);
    let body = scripted::body(17, &FetchResponse::default().with_responses(vec![topic]));
    let broker = Broker::start(move |asked: Asked, stream| match asked.api {
        18 => scripted::answer_versions(asked, stream, &[(1, 4, 17), (8, 2, 8), (18, 0, 3)]),
        1 => scripted::answer::<FetchResponse>(asked, stream, &body),
        _ => Err(ErrorKind::ConnectionAborted.into()),
    });
    let prefix = ["sh", "-c", r#"ulimit -v 65536; exec "$0" "$@""#].map(str::to_owned);
    let kmend = Kmend::start_in(&prefix, "127.0.0.1", std::slice::from_ref(&broker.address), |_| {});
    (broker, kmend)
}

/// Connects again and again while the crowd is there; what `hold` sends stays until it is cut.
fn crowd(kmend: &Kmend, over: &AtomicBool, hold: impl Fn(&mut TcpStream) -> std::io::Result<()>) {
    let mut held: Vec<TcpStream> = Vec::new();
    while !over.load(Ordering::Relaxed) {
        if let Ok(mut stream) = TcpStream::connect(&kmend.listen) {
            let _ = stream.set_write_timeout(Some(Duration::from_millis(200)));
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            if hold(&mut stream).is_ok() {
                held.push(stream);
            }
        }
        if held.len() > 400 {
            held.clear();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn sixty_four_mebibytes_are_enough_for_a_hostile_crowd() {
    let (_broker, kmend) = start();
    for text in ["was cut", "more were cut", "refused", "memory is short", "no broker", "cannot be accepted"] {
        kmend.allow(text);
    }
    let mut healthy = Raw::open(&kmend.listen);
    healthy.ask(3, &scripted::versions()).expect("ApiVersions");
    let over = AtomicBool::new(false);
    let mut overloaded = false;
    let mut longest = Duration::ZERO;
    let fetch = scripted::frame(17, 1, &FetchRequest::default().with_max_bytes(i32::MAX));
    std::thread::scope(|s| {
        let _over = Over(&over);
        // Requests that must be held whole, of which the end never comes.
        for size in [3_000_000, 1_000_000] {
            let frame = [header(4_000_000, 8, 2), vec![0; size]].concat();
            let (kmend, over) = (&kmend, &over);
            s.spawn(move || crowd(kmend, over, |stream| stream.write_all(&frame)));
        }
        // Answers that are not read beyond their beginning.
        s.spawn(|| {
            crowd(&kmend, &over, |stream| stream.write_all(&fetch).and_then(|()| stream.read_exact(&mut [0; 100])))
        });
        s.spawn(|| crowd(&kmend, &over, |stream| stream.write_all(b"GET / HTTP/1.1\r\n\r\n")));
        let began = Instant::now();
        // On a slow machine it takes longer until somebody has stood still for long enough.
        let mut cut = false;
        while began.elapsed() < LONG || (!cut && began.elapsed() < 5 * LONG) {
            let asked = Instant::now();
            healthy.ask(3, &scripted::versions()).expect("a healthy client goes on");
            longest = longest.max(asked.elapsed());
            std::thread::sleep(Duration::from_millis(20));
            let metrics = kmend.metrics();
            overloaded |= metrics.sum("kmend_overloaded", &[]) == 1.0;
            cut = metrics.sum("kmend_disconnects_total", &[("cause", "shed")]) > 0.0;
        }
    });
    let count = |name: &str, labels: &[(&str, &str)]| kmend.metrics().sum(name, labels);
    let shed = count("kmend_disconnects_total", &[("cause", "shed")]);
    let refused = count("kmend_connections_refused_total", &[("limit", "memory")]);
    println!(
        "{shed} cut, {refused} refused, the healthy client waited {longest:?} at most, {:?} bytes",
        kmend.memory()
    );
    assert!(kmend.runs());
    assert!(overloaded && shed > 0.0 && refused > 0.0, "overloaded: {overloaded}, {shed} cut, {refused} refused");
    let recovered = || {
        let served = || {
            let mut raw = Raw::open(&kmend.listen);
            raw.stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            raw.ask(3, &scripted::versions())
        };
        count("kmend_overloaded", &[]) == 0.0 && served().is_ok()
    };
    assert!(eventually(PATIENCE, recovered), "it does not recover");
    healthy.ask(3, &scripted::versions()).expect("the healthy client goes on");
}
