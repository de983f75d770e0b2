//! 64 clients that each read a Fetch response of 50 MB slowly: kmend holds windows, not responses.
//!
//! The broker is scripted, so that its answers are there at once and all of them stand in kmend's way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod harness;
mod scripted;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::Kmend;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use scripted::{Asked, Broker, Raw};

const CONNECTIONS: usize = 64;
const SIZE: usize = 50_000_000;
/// What the design allows over idle.
const LIMIT: u64 = 8 << 20;
const FETCH: i16 = 1;
const API_VERSIONS: i16 = 18;
/// Topics by id, node endpoints in a tag: what today's clients send.
const VERSION: i16 = 17;
/// A reader takes this much, then pauses: 3.2 MB a second at most.
const GULP: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(20);

const TOPIC: uuid::Uuid = uuid::Uuid::from_u128(7);

/// A response with `SIZE` bytes that look like nothing in particular.
fn response() -> FetchResponse {
    let mut state = 88_172_645_463_325_252u64;
    let mut records = Vec::with_capacity(SIZE);
    while records.len() < SIZE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        records.extend_from_slice(&state.to_le_bytes());
    }
    let partition = PartitionData::default()
        .with_high_watermark(1_000_000)
        .with_last_stable_offset(1_000_000)
        .with_log_start_offset(0)
        .with_records(Some(Bytes::from(records)));
    let topic = FetchableTopicResponse::default().with_topic_id(TOPIC).with_partitions(vec![partition]);
    FetchResponse::default().with_session_id(0).with_responses(vec![topic])
}

fn request() -> FetchRequest {
    let partition = FetchPartition::default().with_fetch_offset(0).with_partition_max_bytes(SIZE as i32);
    let topic = FetchTopic::default().with_topic_id(TOPIC).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(500)
        .with_max_bytes(SIZE as i32)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// Fetches, and reads with `pause` after each gulp; length and checksum of all but the size prefix.
fn read(listen: &str, pause: Duration) -> (usize, u32) {
    let mut raw = Raw::open(listen);
    raw.send(VERSION, &request()).expect("sent");
    let mut size = [0; 4];
    raw.stream.read_exact(&mut size).expect("the answer");
    let total = u32::from_be_bytes(size) as usize;
    let (mut left, mut checksum, mut buffer) = (total, 0, vec![0; GULP]);
    while left > 0 {
        let gulp = left.min(GULP);
        raw.stream.read_exact(&mut buffer[..gulp]).expect("more of the answer");
        checksum = crc32c::crc32c_append(checksum, &buffer[..gulp]);
        left -= gulp;
        std::thread::sleep(pause);
    }
    (total, checksum)
}

/// Bytes of the process's own, watched until the end of `watched`; the highest that was seen. Pages of the binary, which
/// come in when their code first runs, are not among them.
fn watch(kmend: &Kmend, watched: impl FnOnce()) -> u64 {
    let (done, highest) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|s| {
        s.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                highest.fetch_max(kmend.own_memory(), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        watched();
        done.store(true, Ordering::SeqCst);
    });
    highest.into_inner()
}

#[test]
fn sixty_four_slow_readers_take_8_mib_at_most() {
    let body = scripted::body(VERSION, &response());
    let asked = Asked { api: FETCH, version: VERSION, correlation: 1 };
    let head = scripted::answer_head::<FetchResponse>(asked, &body);
    let expected = (head.len() - 4 + body.len(), crc32c::crc32c_append(crc32c::crc32c(&head[4..]), &body));
    let broker = Broker::start(move |asked: Asked, stream| match asked.api {
        API_VERSIONS => scripted::answer_versions(asked, stream, &[(API_VERSIONS, 0, 3), (FETCH, 4, VERSION)]),
        FETCH => scripted::answer::<FetchResponse>(asked, stream, &body),
        // kmend's own question for the brokers: a broker that wants a login first closes, too.
        _ => Err(std::io::ErrorKind::ConnectionAborted.into()),
    });
    let kmend = Kmend::start_at("127.0.0.1", std::slice::from_ref(&broker.address), |_| {});

    // What a first reader leaves behind is part of an idle process.
    assert_eq!(read(&kmend.listen, Duration::ZERO), expected, "what a single reader got");
    let idle = kmend.own_memory();

    let began = Instant::now();
    let got: Arc<std::sync::Mutex<Vec<(usize, u32)>>> = Arc::default();
    let peak = watch(&kmend, || {
        std::thread::scope(|s| {
            for _ in 0..CONNECTIONS {
                s.spawn(|| {
                    let one = read(&kmend.listen, PAUSE);
                    got.lock().unwrap().push(one);
                });
            }
        });
    });
    let over = peak.saturating_sub(idle);
    println!(
        "{CONNECTIONS} readers in {:?}; idle {} KiB, peak {} KiB, over idle {} KiB",
        began.elapsed(),
        idle >> 10,
        peak >> 10,
        over >> 10
    );
    let got = got.lock().unwrap();
    assert_eq!(got.len(), CONNECTIONS, "readers that came to the end");
    assert!(got.iter().all(|one| *one == expected), "every byte arrives as it was sent");
    assert!(over <= LIMIT, "{over} bytes over idle");
}
