//! Write-behind: what kmend has acknowledged gets to the broker, whoever is killed.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::commits;
use crate::harness::{Client, ClusterSpec, Kafka, Kmend, Opts, Together, eventually, unique};

const RECORDS: i64 = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// The interval of two seconds, and half of one for the rest.
const PROMISE: Duration = Duration::from_millis(2_500);
/// The drain that the test's kmend has for clients that stay, and the grace, and what the machine takes.
const EXIT: Duration = Duration::from_millis(2_000);

/// An app that has committed 1,000 records one by one, all of them acknowledged.
struct Committed<'a> {
    kafka: &'a Kafka,
    kmend: Kmend,
    app: Client,
    topic: String,
    group: String,
}

fn section() -> Value {
    json!({ "write_behind": { "enabled": true } })
}

impl Committed<'_> {
    fn start<'a>(kafka: &'a Kafka, client: &str) -> Committed<'a> {
        let admin = kafka.admin();
        let topic = unique(&format!("behind-{client}"));
        let group = format!("{topic}-group");
        admin.create(&topic, 1, &[]);
        let kmend = Kmend::start_at("127.0.0.1", &kafka.bootstrap(), |config| {
            config["menders"]["commit_buffer"]["write_behind"] = section()["write_behind"].clone();
            config["shutdown"]["drain_timeout"] = "100ms".into();
        });
        let opts = Opts::consume(&kmend.listen, &topic, &group).with("CLIENT_ID", &topic).with("COMMIT", "each");
        let app = Client::start(client, opts).ready();
        // One before the others, so that the first commit, which is written through, is behind us.
        admin.produce(&topic, 0, 1);
        app.wait("the first commit", PATIENCE, |c| c.commits() >= 1);
        admin.produce(&topic, 0, RECORDS as usize - 1);
        app.wait("all commits", PATIENCE, |c| c.commits() >= RECORDS as usize);
        assert_eq!(app.errors(), Vec::<String>::new(), "{}", app.story());
        Committed { kafka, kmend, app, topic, group }
    }

    fn at_broker(&self) -> i64 {
        self.kafka.admin().committed(&self.group, &self.topic, 0).unwrap_or(0)
    }

    /// How long it took until the broker had all of it.
    #[track_caller]
    fn arrives(&self, since: Instant) {
        let there = eventually(PATIENCE, || self.at_broker() == RECORDS);
        let took = since.elapsed();
        println!("{}: {} at the broker after {took:?}", self.app.name, self.at_broker());
        assert!(there && took <= PROMISE, "offset {} after {took:?}", self.at_broker());
    }

    #[track_caller]
    fn was_behind(&self) {
        let behind = commits(&self.kmend, "behind");
        println!(
            "{}: {} commits passed, {behind} were acknowledged at once",
            self.app.name,
            commits(&self.kmend, "passed")
        );
        assert!(behind >= RECORDS as f64 * 0.9, "only {behind} of {RECORDS} commits were acknowledged at once");
    }
}

fn own_kafka() -> Kafka {
    Kafka::start(ClusterSpec::default())
}

/// `kill -9` of the app.
fn app_killed(client: &str) {
    let run = Committed::start(&crate::behind().kafka, client);
    run.was_behind();
    let began = Instant::now();
    run.app.signal(Signal::KILL);
    run.arrives(began);
}

/// `kill -9` of both, at a moment when the broker does not have everything.
fn both_killed(client: &str) {
    for round in 0..5 {
        let run = Committed::start(&crate::behind().kafka, client);
        run.was_behind();
        let before = run.at_broker();
        run.kmend.kill();
        run.app.signal(Signal::KILL);
        let was = run.at_broker();
        println!("{client}, round {round}: the broker had {before}, and {was} after the kill");
        if was == RECORDS {
            // The interval was over just then.
            continue;
        }
        run.kmend.launch();
        run.kmend.wait_ready();
        run.arrives(Instant::now());
        return;
    }
    panic!("the broker had everything each time");
}

/// SIGTERM for kmend, while the app lives.
fn terminated(client: &str) {
    let run = Committed::start(&crate::behind().kafka, client);
    run.was_behind();
    run.kmend.allow("drain_timeout");
    let began = Instant::now();
    run.kmend.terminate();
    assert_eq!(run.kmend.exit_code(PATIENCE), Some(0));
    let took = began.elapsed();
    println!("{client}: kmend ended after {took:?}, the broker has {}", run.at_broker());
    assert!(took <= EXIT, "kmend ended after {took:?}");
    assert_eq!(run.at_broker(), RECORDS);
}

/// SIGTERM for kmend while the broker hangs: it ends in time, and tells the broker after its restart.
fn terminated_before_a_broker_that_hangs(client: &str) {
    let kafka = own_kafka();
    let run = Committed::start(&kafka, client);
    run.was_behind();
    run.kmend.allow("");
    kafka.signal(1, Signal::STOP);
    let began = Instant::now();
    run.kmend.terminate();
    let code = run.kmend.exit_code(PATIENCE);
    let took = began.elapsed();
    run.app.signal(Signal::KILL);
    kafka.signal(1, Signal::CONT);
    assert_eq!(code, Some(0));
    assert!(took <= EXIT, "kmend ended after {took:?}");
    run.kmend.launch();
    run.kmend.wait_ready();
    run.arrives(Instant::now());
}

const STORIES: &[(&str, fn())] = &[
    ("app killed", || app_killed("librdkafka")),
    ("both killed", || both_killed("aiokafka")),
    ("terminated", || terminated("franz-go")),
    ("hangs", || terminated_before_a_broker_that_hangs("kafka-python")),
];

static TOLD: Together = Together::new();

#[test]
fn an_app_that_is_killed_has_committed() {
    TOLD.tell("app killed", STORIES);
}

#[test]
fn kmend_and_app_killed_at_once() {
    TOLD.tell("both killed", STORIES);
}

#[test]
fn kmend_terminated() {
    TOLD.tell("terminated", STORIES);
}

#[test]
fn kmend_terminated_before_a_broker_that_hangs() {
    TOLD.tell("hangs", STORIES);
}
