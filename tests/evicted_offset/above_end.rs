//! A position above the log end (a recreated topic, an unclean election): clients drop records below
//! their own position without a word, so the broker's error passes, and only an explicit policy for
//! that topic steers what the client asks next.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, Kmend, Opts, slot, unique};
use crate::kafka;

/// A topic of 100 records and a group that has committed 5,000.
fn prepare(prefix: &str) -> (String, String) {
    let topic = unique(prefix);
    let group = format!("{topic}-group");
    let admin = kafka().admin();
    admin.create(&topic, 1, &[]);
    admin.produce(&topic, 0, 100);
    admin.commit(&group, &topic, 0, 5_000);
    (topic, group)
}

/// With `none` the error reaches the app by either way.
fn error_arrives(client: &str) {
    let _slot = slot();
    let kmend = Kmend::start(kafka(), |_| {});
    for servers in [kafka().servers(), kmend.listen.clone()] {
        let (topic, group) = prepare("above");
        let app = Client::start(client, Opts::consume(&servers, &topic, &group).with("RESET", "none"));
        app.wait("the broker's error", Duration::from_secs(20), |c| !c.errors().is_empty());
        assert!(app.handled(&topic, 0).is_empty());
        assert_eq!(kmend.metrics().sum("kmend_offset_resets_total", &[("topic", &topic)]), 0.0);
    }
}

#[test]
fn above_end_error_reaches_java() {
    error_arrives("java");
}

#[test]
fn above_end_error_reaches_librdkafka() {
    error_arrives("librdkafka");
}

#[test]
fn above_end_error_reaches_franz_go() {
    error_arrives("franz-go");
}

/// The client's own policy works as without kmend.
#[test]
fn above_end_earliest_starts_over() {
    let _slot = slot();
    let kmend = Kmend::start(kafka(), |_| {});
    for servers in [kafka().servers(), kmend.listen.clone()] {
        let (topic, group) = prepare("above");
        let app = Client::start("java", Opts::consume(&servers, &topic, &group).with("RESET", "earliest"));
        app.wait_handled(&topic, 0, 99, Duration::from_secs(20));
        assert_eq!(app.handled(&topic, 0).len(), 100);
    }
}

/// An explicit policy of the topic wins over the client's own.
#[test]
fn above_end_is_steered_by_an_explicit_policy() {
    let _slot = slot();
    let (topic, group) = prepare("steered");
    let kmend = Kmend::start(kafka(), |c| {
        c["menders"]["offset_reset"] = json!({ "topics": { topic.clone(): "earliest" } });
    });
    kmend.allow("above");
    let app = Client::start("java", Opts::consume(&kmend.listen, &topic, &group).with("RESET", "latest"));
    app.wait_handled(&topic, 0, 99, Duration::from_secs(20));
    assert_eq!(app.handled(&topic, 0), (0..100).collect::<Vec<i64>>());
    assert!(app.errors().is_empty(), "{}", app.story());
}
