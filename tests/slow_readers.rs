//! Many connections that each read a large Fetch answer slowly: what waits must wait at the broker, not in kmend.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod harness;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::admin::conn::{Conn, encode};
use harness::admin::records::Batch;
use harness::{ClusterSpec, Kafka, Kmend, unique, wait_for};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

const READERS: usize = 64;
const ANSWER: usize = 50 << 20;

fn fetch(topic: &str) -> Bytes {
    let name = TopicName(StrBytes::from_string(topic.to_owned()));
    let at = FetchPartition::default()
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(ANSWER as i32);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(500)
        .with_max_bytes(ANSWER as i32)
        .with_session_epoch(-1)
        .with_topics(vec![FetchTopic::default().with_topic(name).with_partitions(vec![at])]);
    encode(1, 12, 7, &request)
}

/// The address that kmend tells for node 1.
fn node(kmend: &Kmend) -> String {
    wait_for("Metadata through kmend", Duration::from_secs(10), || {
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        let answer = Conn::open(&kmend.listen)?.call(12, &request)?;
        answer.brokers.first().map(|b| format!("{}:{}", b.host.as_str(), b.port))
    })
}

#[test]
fn memory_does_not_grow_with_slow_readers() {
    let kafka = Kafka::start(ClusterSpec { extra: vec!["message.max.bytes=2000000".into()], ..ClusterSpec::default() });
    let topic = unique("slow");
    kafka.admin().create(&topic, 1, &[("segment.bytes", "200000000")]);
    // 56 batches of about 1 MB.
    kafka.admin().produce_batches(&topic, 0, Batch { n: 560, size: 10, bytes: 100_000, keys: 0 });

    let kmend = Kmend::start(&kafka, |_| {});
    let address = node(&kmend);
    let mut readers: Vec<Conn> = (0..READERS).map(|_| Conn::open(&address).expect("a connection")).collect();
    let wanted = fetch(&topic);
    // Idle is: all connections are open and have been served once.
    for reader in &mut readers {
        reader.call(12, &MetadataRequest::default().with_topics(Some(Vec::new()))).expect("an answer");
    }
    let idle = kmend.memory().0;
    let mut sizes = Vec::new();
    for reader in &mut readers {
        reader.stream().write_all(&wanted).expect("a request");
    }
    for reader in &mut readers {
        let mut size = [0; 4];
        reader.stream().read_exact(&mut size).expect("the beginning of an answer");
        sizes.push(u32::from_be_bytes(size) as usize);
    }
    assert!(sizes.iter().all(|s| *s > ANSWER * 9 / 10), "answers of 50 MB, not {sizes:?}");

    // 64 KiB in turn from each, for a while: every answer is under way all the time.
    let mut buffer = vec![0; 64 << 10];
    let mut read = vec![0; READERS];
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        for (i, reader) in readers.iter_mut().enumerate() {
            let some = buffer.len().min(sizes[i] - read[i]);
            reader.stream().read_exact(&mut buffer[..some]).expect("more of the answer");
            read[i] += some;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let (now, peak) = kmend.memory();
    println!("idle {} KiB, now {} KiB, peak {} KiB", idle >> 10, now >> 10, peak >> 10);
    assert!(peak.saturating_sub(idle) <= 8 << 20, "idle {idle}, peak {peak}");

    // No deadline cuts a slow but living reader: the first one gets the whole of it.
    let rest = sizes[0] - read[0];
    let mut tail = vec![0; rest];
    readers[0].stream().read_exact(&mut tail).expect("the end of the answer");
}
