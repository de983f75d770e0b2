//! The newest Java client works at the broker's own highest versions through kmend: none of them is lowered.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use harness::tap::{Exchange, Tap};
use harness::{Client, ClusterSpec, Kafka, Kmend, Opts, ports, unique};

const API_VERSIONS: i16 = 18;
/// What a workload of a producer and two consumers cannot do without.
const NEEDED: [(i16, &str); 12] = [
    (0, "Produce"),
    (1, "Fetch"),
    (3, "Metadata"),
    (8, "OffsetCommit"),
    (9, "OffsetFetch"),
    (10, "FindCoordinator"),
    (11, "JoinGroup"),
    (12, "Heartbeat"),
    (14, "SyncGroup"),
    (18, "ApiVersions"),
    (22, "InitProducerId"),
    (68, "ConsumerGroupHeartbeat"),
];

fn work(kafka: &Kafka, servers: &str) {
    let topic = unique("newest");
    kafka.admin().create(&topic, 2, &[]);
    let producer = Client::start(
        "java",
        Opts::produce(servers, &topic).with("COUNT", 200).with("IDEMPOTENCE", true).with("RATE", 40),
    );
    let consume =
        |name| Client::start(name, Opts::consume(servers, &topic, &format!("{topic}-{name}")).with("COMMIT", "manual"));
    let apps = [consume("java"), consume("java-consumer")];
    producer.wait("200 records sent", Duration::from_secs(30), |c| c.progress() >= 200);
    for app in &apps {
        app.wait("200 records handled", Duration::from_secs(30), |c| c.progress() >= 200);
        // The classic group's heartbeat goes every 3 s.
        std::thread::sleep(Duration::from_secs(2));
        app.close();
    }
}

/// The versions of each API, as the broker saw them.
fn versions(exchanges: &[Exchange]) -> BTreeMap<i16, BTreeSet<i16>> {
    let mut found: BTreeMap<i16, BTreeSet<i16>> = BTreeMap::new();
    for exchange in exchanges {
        found.entry(exchange.api).or_default().insert(exchange.version);
    }
    found
}

/// The APIs and versions that the broker said it has. What stands behind them (the epoch of the finalized features)
/// changes with the cluster's metadata.
fn said(exchanges: &[Exchange]) -> BTreeSet<Vec<u8>> {
    let answers = exchanges.iter().filter(|e| e.api == API_VERSIONS && e.version >= 3);
    // Correlation id, error code, a length as varint, then 7 bytes for each API.
    let table = |r: &Vec<u8>| {
        let (low, high) = (usize::from(r[6]), usize::from(r[7]));
        let (n, width) = if low < 128 { (low - 1, 1) } else { ((low & 127) + (high << 7) - 1, 2) };
        r.get(6..6 + width + 7 * n).map(<[u8]>::to_vec)
    };
    answers.filter_map(|e| table(e.response.as_ref()?)).collect()
}

#[test]
fn no_version_is_lowered() {
    // The broker tells its clients the tap's port, so the tap sees what reaches it: directly, and from kmend.
    let port = ports::free();
    let kafka = Kafka::start(ClusterSpec { advertise: Some(port), ..ClusterSpec::default() });
    let upstream = format!("127.0.0.1:{port}");
    let pair = [(upstream.clone(), kafka.bootstrap()[0].clone())];

    let tap = Tap::start(&pair);
    work(&kafka, &upstream);
    let direct = tap.exchanges();
    tap.clear();
    let kmend = Kmend::start_at("127.0.0.1", std::slice::from_ref(&upstream), |_| {});
    let front = ports::free();
    let before = Tap::start(&[(format!("127.0.0.1:{front}"), kmend.listen.clone())]);
    work(&kafka, &format!("127.0.0.1:{front}"));
    let through = tap.exchanges();

    let (direct_versions, through_versions) = (versions(&direct), versions(&through));
    for (api, name) in NEEDED {
        let (a, b) = (direct_versions.get(&api), through_versions.get(&api));
        println!("{name}: directly {a:?}, through kmend {b:?}");
        let highest = |v: Option<&BTreeSet<i16>>| v.and_then(BTreeSet::last).copied();
        assert!(a.is_some(), "{name} was not used directly");
        assert_eq!(highest(a), highest(b), "{name}");
    }
    let own: BTreeSet<Vec<u8>> = said(&before.exchanges());
    assert!(!own.is_empty() && own.is_subset(&said(&direct)), "ApiVersions is what the broker says");
    let metrics = kmend.metrics();
    assert!(metrics.sum("kmend_requests_total", &[]) > 0.0);
}
