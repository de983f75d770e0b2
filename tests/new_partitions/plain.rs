//! Producers that do not retry, and producers that never hear an answer: they are not to be harmed.

use std::time::{Duration, Instant};

use crate::Together;
use crate::growth::Role;
use crate::harness::metrics::Metrics;
use crate::harness::{Client, Kmend, Opts, eventually, unique};
use crate::kafka;
use crate::truth::Truth;

const INTERVAL: u64 = 2;
const PARTITIONS: i32 = 4;

struct Outcome {
    /// Seconds until the first new partition was used.
    first: Option<f64>,
    metrics: Metrics,
    kmend: Kmend,
    app: Client,
    lost: Vec<String>,
}

/// A producer with these variables on a topic that grows, and what it has done once it has ended well.
fn run(client: &'static str, with: &[(&'static str, &str)]) -> Outcome {
    let admin = kafka().admin();
    let topic = unique(&format!("plain-{client}"));
    admin.create(&topic, 1, &[]);
    let kmend = crate::kmend(&kafka().bootstrap(), "repair", INTERVAL);
    let opts = Opts::produce(&kmend.listen, &topic).with("CLIENT_ID", &topic);
    let opts = with.iter().fold(opts, |opts, (name, value)| opts.with(name, value));
    let app = Client::start(client, opts);
    app.wait("a steady run", Duration::from_secs(60), |c| c.progress() > 60);
    let began = Instant::now();
    admin.add_partitions(&topic, PARTITIONS);
    let limit = crate::limit(client, Role::Producer, INTERVAL);
    let first = || (1..PARTITIONS).filter_map(|p| app.first_in(&topic, p)).min();
    eventually(limit + Duration::from_secs(1), || first().is_some());
    // What a nudge does to it shows a little later.
    std::thread::sleep(Duration::from_secs(2));
    let metrics = kmend.metrics();
    app.tell("close");
    assert_eq!(app.exit_code(Duration::from_secs(30)), Some(0), "{}", app.story());
    let lost = Truth::read(&admin, &topic, PARTITIONS).lost(&app, &topic);
    let first = first().map(|at| (at - began).as_secs_f64());
    println!("{client} {with:?}: {} sent, new partitions after {first:?} s", app.progress());
    Outcome { first, metrics, kmend, app, lost }
}

impl Outcome {
    #[track_caller]
    fn unharmed(&self) {
        assert_eq!(self.app.errors(), Vec::<String>::new(), "{}", self.app.story());
        assert_eq!(self.lost, Vec::<String>::new(), "{}", self.app.story());
    }

    #[track_caller]
    fn finds(&self) {
        let limit = Duration::from_secs(2 * INTERVAL + 2).as_secs_f64();
        assert!(self.first.is_some_and(|s| s <= limit), "found after {:?}\n{}", self.first, self.app.story());
    }

    fn nudges(&self, how: &str) -> f64 {
        self.metrics.sum("kmend_metadata_nudges_total", &[("how", how)])
    }

    /// The growth was seen: what was not done was not done on purpose.
    #[track_caller]
    fn was_seen(&self) {
        let log = self.kmend.log();
        let added = self.metrics.sum("kmend_partitions_added_total", &[]);
        assert!(added > 0.0, "kmend has not seen the growth\n{}", log[log.len().saturating_sub(20)..].join("\n"));
    }
}

const NO_RETRIES: (&str, &str) = ("PROPS", "retries=0;enable.idempotence=false");

/// One rejected request would be one error in the app.
fn no_retries_low_rate() {
    let outcome = run("java", &[("ACKS", "1"), NO_RETRIES, ("RATE", "20")]);
    outcome.unharmed();
    outcome.finds();
    assert_eq!(outcome.nudges("reject"), 0.0);
}

/// Never idle, and nothing may be rejected: it may stay without the new partitions, but unharmed.
fn no_retries_high_rate() {
    let outcome = run("java", &[("ACKS", "1"), NO_RETRIES, ("RATE", "2000")]);
    outcome.unharmed();
    outcome.was_seen();
    assert_eq!(outcome.nudges("reject"), 0.0);
}

/// Nobody knows what of it has arrived, so its connection is neither closed nor refused anything.
/// Java has another one to lose, which carries no records.
fn without_acks(client: &'static str, spare: bool) {
    let outcome = run(client, &[("ACKS", "0"), ("RATE", "20")]);
    outcome.unharmed();
    if spare {
        outcome.was_seen();
    }
    assert!(outcome.nudges("close") <= f64::from(u8::from(spare)));
    assert_eq!(outcome.nudges("reject"), 0.0);
}

const STORIES: &[(&str, fn())] = &[
    ("low rate", no_retries_low_rate),
    ("high rate", no_retries_high_rate),
    ("java", || without_acks("java", true)),
    ("librdkafka", || without_acks("librdkafka", false)),
];

static TOLD: Together = Together::new();

#[test]
fn java_without_retries_at_a_low_rate_finds_them_without_an_error() {
    TOLD.tell("low rate", STORIES);
}

#[test]
fn java_without_retries_at_a_high_rate_sees_no_error() {
    TOLD.tell("high rate", STORIES);
}

#[test]
fn java_without_acks_is_left_alone() {
    TOLD.tell("java", STORIES);
}

#[test]
fn librdkafka_without_acks_is_left_alone() {
    TOLD.tell("librdkafka", STORIES);
}

/// The control for both: an app that is not told of a loss shows it here.
#[test]
fn a_loss_would_be_seen() {
    let topic = unique("plain-lost");
    let admin = kafka().admin();
    admin.create(&topic, 1, &[]);
    let app = Client::start("franz-go", Opts::produce(&kafka().servers(), &topic).with("COUNT", 50).with("RATE", 200));
    assert_eq!(app.exit_code(Duration::from_secs(30)), Some(0), "{}", app.story());
    assert_eq!(Truth::read(&admin, &topic, 1).faults(&app, &topic), Vec::<String>::new());
    admin.delete_records(&topic, 0, 10);
    assert!(Truth::read(&admin, &topic, 1).lost(&app, &topic).len() >= 10);
}
