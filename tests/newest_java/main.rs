//! The newest Java client speaks through kmend exactly the versions that it speaks to the broker
//! directly, and those are the broker's own highest.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../scripted/mod.rs"]
mod scripted;
#[allow(unused_imports)]
#[path = "../tapped/mod.rs"]
mod tapped;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Client, Opts, setup};
use kmend::wire::api::ApiKey;
use scripted::Raw;
use tapped::Tapped;

const RECORDS: usize = 50;
/// What must be spoken at the broker's own highest version, by a consumer of either protocol or a producer.
const NEWEST: [ApiKey; 12] = [
    ApiKey::API_VERSIONS,
    ApiKey::PRODUCE,
    ApiKey::FETCH,
    ApiKey::METADATA,
    ApiKey::FIND_COORDINATOR,
    ApiKey::JOIN_GROUP,
    ApiKey::SYNC_GROUP,
    ApiKey::HEARTBEAT,
    ApiKey::LEAVE_GROUP,
    ApiKey::OFFSET_COMMIT,
    ApiKey::OFFSET_FETCH,
    ApiKey::CONSUMER_GROUP_HEARTBEAT,
];

/// API name to the versions that were used.
type Spoken = BTreeMap<String, BTreeSet<i16>>;

/// A producer, a consumer of each protocol, and an admin that describes everything.
fn speak(tapped: &Tapped, servers: &str) {
    let limit = Duration::from_secs(60);
    let topic = harness::unique("newest");
    tapped.kafka.admin().create(&topic, 1, &[]);
    let opts = Opts::produce(servers, &topic).with("COUNT", RECORDS).with("RATE", 500).with("IDEMPOTENCE", "true");
    let producer = Client::start("java", opts);
    producer.wait("all records sent", limit, |c| c.progress() >= RECORDS);
    assert_eq!(producer.exit_code(limit), Some(0), "{}", producer.story());
    let groups = ["classic", "consumer"].map(|protocol| (protocol, format!("{topic}-{protocol}")));
    let consumers = groups.clone().map(|(protocol, group)| {
        let opts = Opts::consume(servers, &topic, &group).with("PROTOCOL", protocol).with("RESET", "earliest");
        // Beats, at least one of which falls into the test.
        let quick = if protocol == "classic" { "heartbeat.interval.ms=200" } else { "" };
        Client::start("java", opts.with("COMMIT", "manual").with("PROPS", quick))
    });
    for consumer in &consumers {
        consumer.wait("all records handled and committed", limit, |c| {
            c.progress() >= RECORDS && c.committed(&topic, 0) == Some(RECORDS as i64)
        });
    }
    std::thread::sleep(Duration::from_millis(600));
    for consumer in &consumers {
        consumer.close();
        assert_eq!(consumer.errors(), Vec::<String>::new());
    }
    describe(servers, &topic, &groups.map(|(_, group)| group));
}

/// JDKs run a source file as it is.
fn describe(servers: &str, topic: &str, groups: &[String]) {
    let place = setup::place("java");
    let mut java = Command::new(place.join("java"));
    java.args(["-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]).arg(place.join("libs/*"));
    java.arg(setup::root().join("tests/newest_java/Describe.java")).args([servers, topic]).args(groups);
    let out = java.output().expect("java starts");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains(&format!("TOPICS [{topic}]")), "{text}");
    let host = servers.split(':').next().unwrap_or_default();
    assert!(text.contains(host), "the brokers are where the client was told: {text}");
}

/// The highest version of each API that is offered there.
fn offered(address: &str) -> BTreeMap<i16, i16> {
    let answer = Raw::open(address).ask(3, &scripted::versions()).expect("ApiVersions");
    assert_eq!(answer.error_code, 0, "{address}");
    answer.api_keys.iter().map(|k| (k.api_key, k.max_version)).collect()
}

#[test]
fn no_version_is_lowered() {
    let tapped = Tapped::start();
    let began = Instant::now();
    let broker = offered(&tapped.servers);
    tapped.recorder.take(Duration::from_secs(5));

    speak(&tapped, &tapped.servers);
    let mut directly = Spoken::new();
    for e in tapped.recorder.take(Duration::from_secs(10)).iter().flat_map(tapped::Connection::exchanges) {
        directly.entry(name(ApiKey(e.api))).or_default().insert(e.version);
    }

    let (kmend, before) = tapped.kmend(|_| {});
    let servers = tapped::servers(&kmend);
    assert_eq!(offered(&servers), broker, "what kmend offers, and what the broker does");
    let asked = kmend.metrics().sum("kmend_requests_total", &[("api", "ApiVersions"), ("version", "3")]);
    assert_eq!(asked, 1.0, "our own question, which does not count below");
    speak(&tapped, &servers);
    before.take(Duration::from_secs(10));
    let mut through = Spoken::new();
    for sample in kmend.metrics().all("kmend_requests_total", &[]).filter(|s| s.value > 0.0) {
        let version = sample.labels["version"].parse().expect("a version that kmend knows by number");
        let ours = sample.labels["api"] == "ApiVersions" && version == 3 && sample.value == asked;
        if !ours {
            through.entry(sample.labels["api"].clone()).or_default().insert(version);
        }
    }

    println!("broker's highest, directly, through kmend ({:?}):", began.elapsed());
    for (api, versions) in &directly {
        println!("  {api}: {:?} {versions:?} {:?}", highest(&broker, api), through.get(api));
    }
    assert_eq!(through, directly, "versions of each API: through kmend, and directly");
    for api in NEWEST {
        let used = through.get(&name(api)).and_then(|v| v.last().copied());
        assert!(used.is_some(), "{} was not used", name(api));
        assert_eq!(used, highest(&broker, &name(api)), "the newest version of {}", name(api));
    }
}

fn name(api: ApiKey) -> String {
    api.name().map_or_else(|| format!("{}", api.0), str::to_owned)
}

fn highest(broker: &BTreeMap<i16, i16>, api: &str) -> Option<i16> {
    broker.iter().find(|(key, _)| name(ApiKey(**key)) == api).map(|(_, max)| *max)
}
