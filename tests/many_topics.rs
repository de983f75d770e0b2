//! A cluster with 200,000 partitions, and 50 clients that all ask for all of it at once, in little memory.
//!
//! The broker here is a script: a real one would need 200,000 folders to say the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod harness;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use harness::admin::conn::Conn;
use harness::{Kmend, slot};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, MetadataRequest, MetadataResponse, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};

const TOPICS: i32 = 10_000;
const PARTITIONS: i32 = 20;
const CLIENTS: usize = 50;
const LIMIT: u64 = 64 << 20;

/// Metadata of everything, without its header.
fn metadata(port: u16) -> Bytes {
    let node = || vec![BrokerId(1)];
    let partition = |p| {
        let p = MetadataResponsePartition::default().with_partition_index(p).with_leader_id(BrokerId(1));
        p.with_replica_nodes(node()).with_isr_nodes(node())
    };
    let topic = |t| {
        let name = TopicName(StrBytes::from_string(format!("a-topic-with-a-name-of-usual-length-{t}")));
        let partitions = (0..PARTITIONS).map(partition).collect();
        MetadataResponseTopic::default().with_name(Some(name)).with_partitions(partitions)
    };
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(1))
        .with_host(StrBytes::from_static_str("127.0.0.3"))
        .with_port(port.into());
    let answer = MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(StrBytes::from_static_str("many-topics")))
        .with_controller_id(BrokerId(1))
        .with_topics((0..TOPICS).map(topic).collect());
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes, 12).expect("Metadata");
    bytes.freeze()
}

fn versions() -> Bytes {
    let api = |key, max| ApiVersion::default().with_api_key(key).with_max_version(max);
    let answer = ApiVersionsResponse::default().with_api_keys(vec![api(3, 12), api(18, 0)]);
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes, 0).expect("ApiVersions");
    bytes.freeze()
}

/// Answers ApiVersions and Metadata until the connection ends.
fn serve(mut client: TcpStream, all: &Bytes) -> Option<()> {
    loop {
        let mut size = [0; 4];
        client.read_exact(&mut size).ok()?;
        let mut request = vec![0; u32::from_be_bytes(size) as usize];
        client.read_exact(&mut request).ok()?;
        let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
        let id = i32::from_be_bytes([request[4], request[5], request[6], request[7]]);
        let (body, header) = match number(0) {
            3 => (all.clone(), MetadataResponse::header_version(12)),
            _ => (versions(), 0),
        };
        let mut head = BytesMut::new();
        ResponseHeader::default().with_correlation_id(id).encode(&mut head, header).expect("a header");
        let mut frame = BytesMut::new();
        frame.put_u32((head.len() + body.len()) as u32);
        frame.put(head);
        client.write_all(&frame).ok()?;
        client.write_all(&body).ok()?;
    }
}

#[test]
fn fifty_clients_get_two_hundred_thousand_partitions() {
    let _slot = slot();
    let listener = TcpListener::bind("127.0.0.3:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let all = Arc::new(metadata(address.port()));
    println!("one answer is {} KiB", all.len() >> 10);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let all = all.clone();
            std::thread::spawn(move || serve(client, &all));
        }
    });

    let kmend = Kmend::start_at("127.0.0.1", &[address.to_string()], |_| {});
    kmend.allow("upstream");
    std::thread::scope(|threads| {
        for _ in 0..CLIENTS {
            threads.spawn(|| {
                let mut client = Conn::open(&kmend.listen).expect("a connection");
                let answer = client.call(12, &MetadataRequest::default().with_topics(None)).expect("Metadata");
                assert_eq!(answer.topics.len(), TOPICS as usize);
                assert!(answer.topics.iter().all(|t| t.partitions.len() == PARTITIONS as usize));
                assert_eq!(answer.brokers.len(), 1);
                assert_eq!(answer.brokers[0].host.as_str(), "127.0.0.1");
            });
        }
    });
    let (now, peak) = kmend.memory();
    println!("now {} KiB, peak {} KiB", now >> 10, peak >> 10);
    assert!(peak <= LIMIT, "peak {peak} over {LIMIT}");
}
