//! A producer that was running when its topic grew spreads its records as one that starts afterwards,
//! whatever chooses the partitions.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use crate::harness::{Client, Kmend, Opts, eventually, slot, unique};
use crate::kafka;

const PARTITIONS: i32 = 6;
/// Records that are compared; chance alone moves a share by less than 0.02 of all.
const SAMPLE: usize = 3000;
/// Behind the first record in a new partition, and not compared: what was under way before.
const UNDER_WAY: usize = 300;
const RATE: usize = 500;
/// Of all records, how many may lie elsewhere (the total variation distance).
const DISTANCE: f64 = 0.10;

struct Kind {
    name: &'static str,
    client: &'static str,
    with: &'static [(&'static str, &'static str)],
}

/// What the libraries do by default is idempotent, but for librdkafka.
const KINDS: [Kind; 6] = [
    Kind {
        name: "round robin",
        client: "java",
        with: &[("PROPS", "partitioner.class=org.apache.kafka.clients.producer.RoundRobinPartitioner")],
    },
    Kind { name: "keys", client: "java", with: &[] },
    // It changes the partition after each batch's worth of bytes; not by how long each partition's queue is, which
    // would measure the machine.
    Kind {
        name: "no keys",
        client: "java",
        with: &[
            ("KEYS", "none"),
            ("PROPS", "batch.size=200;linger.ms=0;partitioner.adaptive.partitioning.enable=false"),
        ],
    },
    Kind { name: "of its own", client: "java", with: &[("KEYS", "none"), ("PROPS", "partitioner.class=App$Counting")] },
    Kind { name: "franz-go", client: "franz-go", with: &[] },
    Kind { name: "librdkafka", client: "librdkafka", with: &[] },
];

struct Grown {
    kind: &'static Kind,
    topic: String,
    app: Client,
    kmend: Kmend,
    fresh_topic: String,
    fresh: Client,
}

impl Grown {
    fn start(kind: &'static Kind) -> Grown {
        let admin = kafka().admin();
        let (topic, fresh_topic) = (unique("spread"), unique("spread-fresh"));
        admin.create(&topic, 1, &[]);
        admin.create(&fresh_topic, PARTITIONS, &[]);
        let kmend = crate::kmend(&kafka().bootstrap(), "repair", 0);
        let start = |servers: &str, topic: &str| {
            let opts = Opts::produce(servers, topic).with("CLIENT_ID", topic).with("RATE", RATE);
            let opts = opts.with("IDEMPOTENCE", "true");
            Client::start(kind.client, kind.with.iter().fold(opts, |opts, (name, value)| opts.with(name, value)))
        };
        let app = start(&kmend.listen, &topic);
        let fresh = start(&kafka().servers(), &fresh_topic);
        Grown { kind, topic, app, kmend, fresh_topic, fresh }
    }

    /// Partitions of the records that are compared, once there are enough.
    fn sample(&self) -> Option<Vec<i32>> {
        let sent = in_turn(&self.app, &self.topic);
        let first = *sent.iter().find(|(_, p)| **p > 0)?.0;
        sample(&sent, first + UNDER_WAY)
    }

    fn fresh_sample(&self) -> Option<Vec<i32>> {
        sample(&in_turn(&self.fresh, &self.fresh_topic), UNDER_WAY)
    }
}

/// Partition by record, in the order in which the app made them: answers come in batches of one partition, so that
/// a stretch of them is no stretch of what the partitioner did.
fn in_turn(app: &Client, topic: &str) -> BTreeMap<usize, i32> {
    let number = |value: &str| value.strip_prefix('r').and_then(|n| n.parse().ok()).expect("a record's value is r<n>");
    app.sent(topic).iter().map(|(partition, _, value)| (number(value), *partition)).collect()
}

/// So many records in a row, if all of them have been answered.
fn sample(sent: &BTreeMap<usize, i32>, from: usize) -> Option<Vec<i32>> {
    let sample: Vec<i32> = sent.range(from..from + SAMPLE).map(|(_, partition)| *partition).collect();
    (sample.len() == SAMPLE).then_some(sample)
}

fn shares(sample: &[i32]) -> Vec<f64> {
    (0..PARTITIONS).map(|p| sample.iter().filter(|q| **q == p).count() as f64 / sample.len() as f64).collect()
}

#[derive(Debug, Clone)]
struct Outcome {
    kind: &'static str,
    shares: Option<(Vec<f64>, Vec<f64>)>,
    errors: Vec<String>,
    kmend: Vec<String>,
    story: String,
}

fn run() -> Vec<Outcome> {
    let _slot = slot();
    let admin = kafka().admin();
    let all: Vec<Grown> = KINDS.iter().map(Grown::start).collect();
    for g in &all {
        g.fresh.wait("a fresh producer's records", Duration::from_secs(60), |_| g.fresh_sample().is_some());
        g.fresh.tell("close");
        g.app.wait("a steady run", Duration::from_secs(60), |c| c.progress() > 1000);
    }
    all.iter().for_each(|g| admin.add_partitions(&g.topic, PARTITIONS));
    eventually(Duration::from_secs(30), || {
        std::thread::sleep(Duration::from_millis(200));
        all.iter().all(|g| g.sample().is_some())
    });
    let outcome = |g: &Grown| {
        let fresh = g.fresh_sample().expect("it was there before");
        let outcome = Outcome {
            kind: g.kind.name,
            shares: g.sample().map(|s| (shares(&s), shares(&fresh))),
            errors: g.app.errors(),
            kmend: g.kmend.unexpected(),
            story: g.app.story(),
        };
        // Each test says so for its own.
        g.kmend.allow("");
        outcome
    };
    all.iter().map(outcome).collect()
}

#[track_caller]
fn as_fresh(kind: &str) {
    static RUN: OnceLock<Result<Vec<Outcome>, String>> = OnceLock::new();
    let all = crate::once(&RUN, run);
    let outcome = all.iter().find(|o| o.kind == kind).expect("a kind of that name");
    let story = &outcome.story;
    let (shares, fresh) =
        outcome.shares.as_ref().unwrap_or_else(|| panic!("too few records after the growth\n{story}"));
    let apart: Vec<f64> = shares.iter().zip(fresh).map(|(a, b)| (a - b).abs()).collect();
    let distance = apart.iter().sum::<f64>() / 2.0;
    println!("{kind}: {distance:.3} of the records elsewhere\n  after the growth {shares:.3?}\n  fresh {fresh:.3?}");
    assert!(
        distance <= DISTANCE,
        "{distance:.3} of the records lie elsewhere: {shares:.3?}, fresh {fresh:.3?}\n{story}"
    );
    assert_eq!(outcome.errors, Vec::<String>::new(), "{story}");
    assert_eq!(outcome.kmend, Vec::<String>::new(), "kmend said what nobody expected");
}

#[test]
fn java_in_turn_spreads_as_a_fresh_one() {
    as_fresh("round robin");
}

#[test]
fn java_by_keys_spreads_as_a_fresh_one() {
    as_fresh("keys");
}

#[test]
fn java_without_keys_spreads_as_a_fresh_one() {
    as_fresh("no keys");
}

#[test]
fn java_with_a_partitioner_of_its_own_spreads_as_a_fresh_one() {
    as_fresh("of its own");
}

#[test]
fn franz_go_by_keys_spreads_as_a_fresh_one() {
    as_fresh("franz-go");
}

#[test]
fn librdkafka_by_keys_spreads_as_a_fresh_one() {
    as_fresh("librdkafka");
}
