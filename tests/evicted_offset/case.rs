//! One case: a client with a reset policy in a scenario, directly on the broker or through kmend.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use crate::harness::kmend::binary;
use crate::harness::{Client, Kafka, Kmend, Opts, eventually, slot, unique};
use crate::scenario::{self, Scenario};

/// The group protocol is part of the client here: `java-consumer` is Java with KIP-848.
pub const CLIENTS: [&str; 8] =
    ["java", "java-consumer", "librdkafka", "franz-go", "sarama", "aiokafka", "kafka-python", "kafkajs"];

/// The reset policies that a client has.
pub fn resets(client: &str) -> &'static [&'static str] {
    if client == "kafkajs" { &["earliest", "latest"] } else { &["none", "earliest", "latest"] }
}

/// What became of the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All that was left was handled once, and what came later too.
    Healed,
    /// The app ended.
    Died,
    /// The app lives, and handles nothing any more.
    Stuck,
    /// The app goes on, but records that were there were never handled.
    Skipped,
    /// Some record was handled twice.
    Twice,
}

/// All that can be said about a case.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub verdict: Verdict,
    /// Records that were there, and how many of them were not handled.
    pub there: usize,
    pub missed: usize,
    pub errors: Vec<String>,
    /// Per partition: the app's position when it was evicted, and the log starts that there were.
    pub moved: Vec<(i64, Vec<i64>)>,
    /// Of the first partition: the offsets between that position and the last log start that were not handled.
    pub never_handled: i64,
    pub seconds: f64,
    pub story: String,
}

/// Runs a case directly on the broker. `patience`: for an app that dies, as long as that may take; else it is waited for in vain.
pub fn direct(kafka: &Kafka, client: &str, reset: &str, scenario: Scenario, patience: Duration) -> Outcome {
    let _slot = slot();
    let topic = unique(&format!("direct-{client}"));
    run(kafka, &kafka.servers(), &topic, client, reset, scenario, patience)
}

/// Runs a case through kmend and checks everything that the design promises.
pub fn mended(kafka: &Kafka, client: &str, reset: &str, scenario: Scenario) -> Outcome {
    let _slot = slot();
    let topic = unique(&format!("mended-{client}"));
    let kmend = Kmend::start(kafka, |_| {});
    // A mended offset is told to the operator; whether as WARN or INFO is not what is tested here.
    kmend.allow("evicted");
    let outcome = run(kafka, &kmend.listen, &topic, client, reset, scenario, Duration::from_secs(20));
    assert_eq!(outcome.verdict, Verdict::Healed, "{client} {reset} {scenario:?}: {outcome:#?}");
    let errors: Vec<&String> = outcome.errors.iter().filter(|e| !excused(client, scenario, e)).collect();
    assert!(errors.is_empty(), "an error reached the app: {errors:?}\n{}", outcome.story);
    check_metrics(&kmend, &topic, scenario, &outcome);
    check_status(&kmend, &topic);
    outcome
}

/// sarama checks a committed offset by itself, before it fetches, so kmend learns from that very
/// check that it is evicted: one failed session is what the design accepts (rule A8).
fn excused(client: &str, scenario: Scenario, error: &str) -> bool {
    client == "sarama" && scenario == Scenario::Committed && error.contains("outside the range of offsets")
}

/// One reset per partition, and exactly the records between position and log start skipped.
fn check_metrics(kmend: &Kmend, topic: &str, scenario: Scenario, outcome: &Outcome) {
    let labels = [("topic", topic)];
    let metrics = kmend.metrics();
    let resets = metrics.sum("kmend_offset_resets_total", &labels);
    let skipped = metrics.sum("kmend_offset_records_skipped_total", &labels) as i64;
    let moved: Vec<&(i64, Vec<i64>)> = outcome.moved.iter().filter(|(at, starts)| starts.last() > Some(at)).collect();
    if scenario == Scenario::MovingStart {
        // The app may have got something between two moves; what it never got has been skipped.
        assert!(resets >= 1.0, "no reset was counted");
        assert_eq!(skipped, outcome.never_handled, "kmend_offset_records_skipped_total; moved: {moved:?}");
    } else {
        let expected: i64 = moved.iter().map(|(at, starts)| starts[starts.len() - 1] - at).sum();
        assert_eq!(resets, moved.len() as f64, "kmend_offset_resets_total; moved: {moved:?}");
        assert_eq!(skipped, expected, "kmend_offset_records_skipped_total; moved: {moved:?}");
    }
}

/// `kmend status` tells as many resets as were counted.
fn check_status(kmend: &Kmend, topic: &str) {
    let output = Command::new(binary()).args(["status", "--admin", &kmend.admin]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let resets = kmend.metrics().sum("kmend_offset_resets_total", &[("topic", topic)]);
    let told = |line: &&str| line.contains("  offset_reset  ") && line.contains(topic) && line.contains("evicted");
    assert_eq!(text.lines().filter(told).count() as f64, resets, "{text}");
}

fn run(
    kafka: &Kafka,
    servers: &str,
    topic: &str,
    client: &str,
    reset: &str,
    scenario: Scenario,
    patience: Duration,
) -> Outcome {
    let admin = kafka.admin();
    let group = format!("{topic}-group");
    let all = 0..scenario.partitions();
    admin.create(topic, scenario.partitions(), scenario.config());
    scenario::prepare(scenario, &admin, topic, &group);
    let opts = Opts::consume(servers, topic, &group).with("RESET", reset).with("CLIENT_ID", topic);
    let app = Client::start(client, scenario.opts(opts));
    let starts = scenario::evict(scenario, &admin, topic, &app);
    let began = std::time::Instant::now();

    let there = |p: i32| admin.read(topic, p, scenario.committed_only());
    let missing = |p: i32, wanted: &[i64]| {
        let handled: BTreeSet<i64> = app.handled(topic, p).into_iter().collect();
        wanted.iter().filter(|o| !handled.contains(o)).count()
    };
    let wanted: Vec<Vec<i64>> = all.clone().map(there).collect();
    let settled = || !app.alive() || all.clone().all(|p| missing(p, &wanted[p as usize]) == 0);
    eventually(patience, settled);
    let seconds = began.elapsed().as_secs_f64();
    // What comes later tells an app that skipped from one that is stuck.
    let later: Vec<i64> = all.clone().map(|p| admin.produce(topic, p, 20)).collect();
    let goes_on = || all.clone().all(|p| app.handled(topic, p).contains(&(later[p as usize] + 19)));
    eventually(patience, || !app.alive() || goes_on());

    let missed = all.clone().map(|p| missing(p, &wanted[p as usize])).sum();
    let twice = |p: i32| app.handled(topic, p).len() != app.handled(topic, p).iter().collect::<BTreeSet<_>>().len();
    let verdict = match () {
        () if !app.alive() => Verdict::Died,
        () if !goes_on() => Verdict::Stuck,
        () if missed > 0 => Verdict::Skipped,
        () if all.clone().any(twice) => Verdict::Twice,
        () => Verdict::Healed,
    };
    let position = |p: i32| {
        let end = *starts[p as usize].first().unwrap_or(&0);
        let from = if scenario == Scenario::Committed { 100 } else { 0 };
        app.handled(topic, p).into_iter().filter(|o| *o < end).max().map_or(from, |o| o + 1)
    };
    let moved = all.clone().map(|p| (position(p), starts[p as usize].clone())).collect();
    let handled: BTreeSet<i64> = app.handled(topic, 0).into_iter().collect();
    let gone = position(0)..*starts[0].last().unwrap_or(&0);
    let never_handled = gone.filter(|o| !handled.contains(o)).count() as i64;
    let errors = app.errors();
    let outcome = Outcome {
        verdict,
        there: wanted.iter().map(Vec::len).sum(),
        missed,
        errors,
        moved,
        never_handled,
        seconds,
        story: app.story(),
    };
    if app.alive() && outcome.verdict == Verdict::Healed {
        app.close();
    }
    outcome
}
