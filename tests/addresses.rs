//! No broker's address ever reaches a client: every answer of a mixed workload is looked at, through a leader
//! change, a broker that restarts and a broker that is added.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod harness;

use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::tap::{Exchange, Tap, tapped};
use harness::{Client, ClusterSpec, Kafka, Opts, slot, unique};
use kafka_protocol::messages::{FindCoordinatorResponse, MetadataResponse, ResponseHeader};
use kafka_protocol::protocol::{Decodable, HeaderVersion};

/// The brokers' host, and nobody else's.
const BROKERS: &str = "127.0.0.3";

const METADATA: i16 = 3;
const FIND_COORDINATOR: i16 = 10;

fn leaks(exchange: &Exchange) -> bool {
    let response = exchange.response.as_deref().unwrap_or_default();
    response.windows(BROKERS.len()).any(|w| w == BROKERS.as_bytes())
}

/// Host and port of everybody whom an answer names, for the two APIs that clients go by.
fn named(exchange: &Exchange) -> Vec<(String, i32)> {
    let Some(response) = exchange.response.clone() else { return Vec::new() };
    let (mut bytes, version) = (Bytes::from(response), exchange.version);
    match exchange.api {
        METADATA => {
            ResponseHeader::decode(&mut bytes, MetadataResponse::header_version(version)).expect("a header");
            let answer = MetadataResponse::decode(&mut bytes, version).expect("Metadata");
            answer.brokers.iter().map(|b| (b.host.to_string(), b.port)).collect()
        }
        FIND_COORDINATOR => {
            ResponseHeader::decode(&mut bytes, FindCoordinatorResponse::header_version(version)).expect("a header");
            let answer = FindCoordinatorResponse::decode(&mut bytes, version).expect("FindCoordinator");
            let many = answer.coordinators.iter().filter(|c| c.error_code == 0).map(|c| (c.host.to_string(), c.port));
            let one = (version < 4 && answer.error_code == 0).then(|| (answer.host.to_string(), answer.port));
            many.chain(one).collect()
        }
        _ => Vec::new(),
    }
}

fn check(tap: &Tap, first: u16) {
    let exchanges = tap.exchanges();
    for exchange in &exchanges {
        let (api, version) = (exchange.api, exchange.version);
        assert!(!leaks(exchange), "API {api} version {version} holds a broker's host");
        for (host, port) in named(exchange) {
            assert_eq!(host, "127.0.0.1", "API {api} version {version}");
            assert!((i32::from(first)..i32::from(first) + 24).contains(&port), "API {api} names port {port}");
        }
    }
    for api in [0, 1, METADATA, FIND_COORDINATOR] {
        assert!(exchanges.iter().any(|e| e.api == api && e.response.is_some()), "no answer of API {api} was seen");
    }
}

#[test]
fn no_answer_names_a_broker() {
    let _slot = slot();
    let kafka = Kafka::start(ClusterSpec { nodes: 3, host: BROKERS, ..ClusterSpec::default() });
    let admin = kafka.admin();

    // The control: without kmend the very same look finds the brokers.
    let own = harness::ports::free();
    let open = Tap::start(&[(format!("127.0.0.1:{own}"), kafka.bootstrap()[0].clone())]);
    let topic = unique("addresses");
    admin.create_replicated(&topic, 6, 3, &[("min.insync.replicas", "1")]);
    let direct = Client::start("franz-go", Opts::produce(&format!("127.0.0.1:{own}"), &topic).with("COUNT", 10));
    direct.wait("10 records", Duration::from_secs(20), |c| c.progress() >= 10);
    assert!(open.exchanges().iter().any(leaks), "the control sees nothing");
    drop((direct, open));

    let (kmend, tap, servers) = tapped(&kafka.bootstrap(), |_| {});
    kmend.allow("");
    let first: u16 = servers.rsplit_once(':').and_then(|(_, p)| p.parse().ok()).expect("a port");
    let produce = |name| Client::start(name, Opts::produce(&servers, &topic).with("RATE", 50));
    let consume = |name: &str| Client::start(name, Opts::consume(&servers, &topic, &format!("{topic}-{name}")));
    let apps = [
        Client::start("java", Opts::produce(&servers, &topic).with("RATE", 50).with("IDEMPOTENCE", true)),
        produce("sarama"),
        consume("java-consumer"),
        consume("librdkafka"),
        consume("franz-go"),
        consume("kafkajs"),
        consume("aiokafka"),
        consume("kafka-python"),
    ];
    let all_go_on = |what: &str| {
        let since = Instant::now();
        for app in &apps {
            app.wait(what, Duration::from_secs(30), |c| c.progress_since(since) > 0);
        }
    };
    all_go_on("the start");
    let away = |p: i32| 1 + (admin.leader_id(&topic, p)) % 3;
    for p in 0..3 {
        admin.move_leader(&topic, p, away(p));
    }
    all_go_on("leader changes");
    kafka.stop(2);
    all_go_on("a broker that is gone");
    kafka.start_node(2);
    kafka.wait_for_brokers(3);
    all_go_on("a broker that is back");
    let added = kafka.add_node() as i32;
    for p in 0..6 {
        admin.move_leader(&topic, p, added);
    }
    all_go_on("a broker that was added");
    check(&tap, first);
    drop(apps);
}
