//! 10,000 topics of 20 partitions, 50 clients that start at once, 64 MiB of memory: everybody gets the
//! whole Metadata, with kmend's addresses in it.
//!
//! The broker is scripted: a real one takes many minutes to create 200,000 partitions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod harness;
mod scripted;

use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::{Kmend, eventually};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use scripted::{Asked, Broker, Raw};

const TOPICS: usize = 10_000;
const PARTITIONS: i32 = 20;
const CLIENTS: usize = 50;
const LIMIT: u64 = 64 << 20;
const VERSION: i16 = 12;
const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;

/// Node id, host, port.
type Address = (i32, String, i32);

fn addresses() -> Vec<Address> {
    (0..3).map(|id| (id, format!("broker-{id}.internal"), 9092)).collect()
}

/// The cluster's metadata with these addresses of its brokers.
fn metadata(brokers: &[Address], topics: usize) -> MetadataResponse {
    let text = |s: &str| StrBytes::from_string(s.to_owned());
    let broker = |(id, host, port): &Address| {
        MetadataResponseBroker::default().with_node_id(BrokerId(*id)).with_host(text(host)).with_port(*port)
    };
    let all: Vec<BrokerId> = brokers.iter().map(|(id, ..)| BrokerId(*id)).collect();
    let partition = |index: i32| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(index % 3))
            .with_leader_epoch(7)
            .with_replica_nodes(all.clone())
            .with_isr_nodes(all.clone())
    };
    let topic = |n: usize| {
        MetadataResponseTopic::default()
            .with_name(Some(TopicName(text(&format!("team-{}.orders-{n}", n % 100)))))
            .with_topic_id(uuid::Uuid::from_u128(n as u128 + 1))
            .with_partitions((0..PARTITIONS).map(partition).collect())
    };
    MetadataResponse::default()
        .with_brokers(brokers.iter().map(broker).collect())
        .with_cluster_id(Some(text("a-large-cluster")))
        .with_controller_id(BrokerId(0))
        .with_topics((0..topics).map(topic).collect())
}

fn broker(all: Bytes) -> Broker {
    Broker::start(move |asked: Asked, stream| match asked.api {
        API_VERSIONS => scripted::answer_versions(asked, stream, &[(API_VERSIONS, 0, 3), (METADATA, 0, VERSION)]),
        METADATA if asked.version == VERSION => scripted::answer::<MetadataResponse>(asked, stream, &all),
        // kmend's own question: brokers only.
        METADATA => {
            let body = scripted::body(asked.version, &metadata(&addresses(), 0));
            scripted::answer::<MetadataResponse>(asked, stream, &body)
        }
        other => panic!("API {other} is not in the script"),
    })
}

/// What one client got.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    bytes: usize,
    checksum: u32,
    brokers: Vec<Address>,
}

/// A client: ApiVersions, then all topics, read with pauses.
fn client(listen: &str, start: &Barrier) -> Got {
    start.wait();
    let mut raw = Raw::open(listen);
    raw.ask(3, &scripted::versions()).expect("ApiVersions");
    raw.send(VERSION, &MetadataRequest::default().with_topics(None)).expect("sent");
    read(&mut raw.stream)
}

fn read(stream: &mut TcpStream) -> Got {
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("the answer");
    let (mut left, mut checksum, mut front) = (u32::from_be_bytes(size) as usize, 0, Vec::new());
    let bytes = left;
    let mut buffer = vec![0; 32 << 10];
    while left > 0 {
        let wanted = left.min(buffer.len());
        let n = stream.read(&mut buffer[..wanted]).expect("more of the answer");
        assert!(n > 0, "the connection ended {left} bytes before the end of the answer");
        checksum = crc32c::crc32c_append(checksum, &buffer[..n]);
        if front.len() < 4096 {
            front.extend_from_slice(&buffer[..n]);
        }
        left -= n;
        std::thread::sleep(Duration::from_millis(5));
    }
    // The correlation id is the client's own; the rest is the same for all.
    Got { bytes, checksum, brokers: brokers(&front) }
}

/// The first section of a Metadata response version 12, by hand: the front alone is no message.
fn brokers(front: &[u8]) -> Vec<Address> {
    let number = |at: usize| i32::from_be_bytes(front[at..at + 4].try_into().unwrap());
    let mut at = 4 + 1 + 4; // correlation id, tags, throttle time
    let count = front[at] - 1;
    at += 1;
    let mut found = Vec::new();
    for _ in 0..count {
        let (id, len) = (number(at), front[at + 4] as usize - 1);
        let host = String::from_utf8_lossy(&front[at + 5..at + 5 + len]).into_owned();
        found.push((id, host, number(at + 5 + len)));
        at += 5 + len + 4 + 2; // no rack, no tags
    }
    found
}

/// A memory cgroup of our own; none where that is not allowed.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make(limit: u64) -> Option<Cgroup> {
        let v2 = ("/sys/fs/cgroup", "memory.max");
        let v1 = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes");
        [v2, v1].into_iter().find_map(|(root, file)| {
            if !Path::new(root).join("cgroup.procs").exists() {
                return None;
            }
            let group = Cgroup(Path::new(root).join(harness::unique("kmend-test")));
            std::fs::create_dir(&group.0).ok()?;
            // No such file: the controller is not ours to use, and nothing else creates one here.
            let file = group.0.join(file);
            (file.exists() && std::fs::write(file, limit.to_string()).is_ok()).then_some(group)
        })
    }
}

impl Cgroup {
    /// The most that was charged to it, sockets and files included where the kernel counts them.
    fn peak(&self) -> Option<u64> {
        let read = |file: &str| std::fs::read_to_string(self.0.join(file)).ok()?.trim().parse().ok();
        read("memory.peak").or_else(|| read("memory.max_usage_in_bytes"))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Until the last process has been reaped it is busy.
        eventually(Duration::from_secs(5), || std::fs::remove_dir(&self.0).is_ok());
    }
}

/// The command that kmend runs behind, and what it does.
fn limited(cgroup: Option<&Cgroup>) -> (Vec<String>, String) {
    let shell = |script: &str, arg: String| ["sh", "-c", script, &arg].map(str::to_owned).to_vec();
    if let Some(Cgroup(dir)) = cgroup {
        let prefix = shell(r#"echo $$ > "$0" && exec "$@""#, dir.join("cgroup.procs").display().to_string());
        return (prefix, format!("cgroup {}", dir.display()));
    }
    // RLIMIT_DATA counts the whole stack of every thread, touched or not: 2 MiB a core are not memory.
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let kib = LIMIT / 1024 + 2048 * cores;
    (shell(r#"ulimit -d "$0" && exec "$@""#, kib.to_string()), format!("ulimit -d {kib}"))
}

#[test]
fn fifty_clients_get_200_000_partitions_in_64_mib() {
    let broker = broker(scripted::body(VERSION, &metadata(&addresses(), TOPICS)));
    let cgroup = Cgroup::make(LIMIT);
    let (prefix, how) = limited(cgroup.as_ref());
    let kmend = Kmend::start_in(&prefix, "127.0.0.1", std::slice::from_ref(&broker.address), |_| {});
    let idle = kmend.memory().0;
    let began = Instant::now();
    let start = Arc::new(Barrier::new(CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (listen, start) = (kmend.listen.clone(), start.clone());
            std::thread::spawn(move || client(&listen, &start))
        })
        .collect();
    let got: Vec<Got> = clients.into_iter().map(|c| c.join().expect("a client got everything")).collect();
    let took = began.elapsed();
    let (_, peak) = kmend.memory();
    println!(
        "{CLIENTS} clients, {} bytes each in {took:?}; idle {} KiB, peak {} KiB; {how}, charged {:?} KiB",
        got[0].bytes,
        idle >> 10,
        peak >> 10,
        cgroup.as_ref().and_then(Cgroup::peak).map(|bytes| bytes >> 10)
    );
    assert!(peak < LIMIT, "peak {peak} bytes");

    // Only the addresses differ from what the broker said, and they are kmend's.
    let told = &got[0].brokers;
    assert_eq!(told.iter().map(|b| b.0).collect::<Vec<_>>(), [0, 1, 2]);
    for (id, host, port) in told {
        assert_eq!(host, "127.0.0.1", "broker {id}");
        TcpStream::connect((host.as_str(), *port as u16)).expect("kmend listens where it says");
    }
    let body = scripted::body(VERSION, &metadata(told, TOPICS));
    let asked = Asked { api: METADATA, version: VERSION, correlation: 2 };
    let head = scripted::answer_head::<MetadataResponse>(asked, &body);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&head[4..]), &body);
    let expected = Got { bytes: head.len() - 4 + body.len(), checksum, brokers: told.clone() };
    for (n, got) in got.iter().enumerate() {
        assert_eq!(*got, expected, "client {n}");
    }
    // The listeners lead to brokers that are not there.
    kmend.allow("no broker for a client");
}
