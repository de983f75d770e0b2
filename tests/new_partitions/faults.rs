//! The broker does not answer what kmend asks by itself as it should: the app does not notice.

use std::time::{Duration, Instant};

use crate::Together;
use crate::behind::behind;
use crate::harness::{Client, Opts, eventually, unique};
use crate::relay::Fault;
use crate::truth::Truth;

const INTERVAL: u64 = 2;
const PARTITIONS: i32 = 3;

/// A producer's records flow, with pauses of at most `gap`, while its injected requests are answered so.
fn keeps_flowing(client: &str, fault: Fault, gap: Duration) {
    let behind = behind();
    let admin = behind.kafka.admin();
    let topic = unique(&format!("fault-{client}-{fault:?}").to_lowercase());
    admin.create(&topic, 1, &[]);
    let kmend = crate::kmend(&behind.upstream, "repair", INTERVAL);
    // What kmend says of it is its own affair.
    kmend.allow("Metadata").allow("metadata").allow("upstream").allow("broker");
    let opts = Opts::produce(&kmend.listen, &topic).with("CLIENT_ID", &topic).with("IDEMPOTENCE", "true");
    let app = Client::start(client, opts);
    app.wait("a steady run", Duration::from_secs(60), |c| c.progress() > 60);
    behind.relay.spoil(&topic, fault);
    let began = Instant::now();
    admin.add_partitions(&topic, PARTITIONS);
    let limit = Duration::from_secs(4 * INTERVAL + 6) + gap;
    eventually(limit, || began.elapsed() > Duration::from_secs(3 * INTERVAL) && behind.relay.spoiled(&topic) >= 2);
    let spoiled = behind.relay.spoiled(&topic);
    assert!(spoiled >= 1, "kmend has asked for nothing by itself");
    std::thread::sleep(gap.min(Duration::from_secs(5)));
    let longest = app.longest_gap(began);
    println!("{client}, {fault:?}: {spoiled} answers spoiled, longest pause {longest:?}");
    assert_eq!(app.errors(), Vec::<String>::new(), "{}", app.story());
    assert!(longest <= gap, "no record for {longest:?}\n{}", app.story());
    app.tell("close");
    assert_eq!(app.exit_code(Duration::from_secs(30)), Some(0), "{}", app.story());
    let truth = Truth::read(&admin, &topic, PARTITIONS);
    assert_eq!(truth.faults(&app, &topic), Vec::<String>::new(), "{}", app.story());
}

const STORIES: &[(&str, fn())] = &[
    ("error", || keeps_flowing("java", Fault::Error, Duration::from_secs(2))),
    // All that is behind it on that connection waits as long: twice, if two such requests follow each other.
    ("late", || keeps_flowing("librdkafka", Fault::Late, Duration::from_secs(8))),
    ("cut", || keeps_flowing("franz-go", Fault::Cut, Duration::from_secs(6))),
    // The broker is silent from there on: kmend's deadline ends it, not the client's own (30 s and more).
    ("never", || keeps_flowing("java", Fault::Never, Duration::from_secs(20))),
];

static TOLD: Together = Together::new();

#[test]
fn an_error_in_the_answer() {
    TOLD.tell("error", STORIES);
}

#[test]
fn an_answer_after_three_seconds() {
    TOLD.tell("late", STORIES);
}

#[test]
fn no_answer_but_the_end_of_the_connection() {
    TOLD.tell("cut", STORIES);
}

#[test]
fn no_answer_at_all() {
    TOLD.tell("never", STORIES);
}
