//! Directly at the broker: what a refused commit does to a naive app.

use std::time::Duration;

use crate::harness::{ALL_CLIENTS, Together};
use crate::scenario::{Outcome, Party, Trouble, Verdict};

/// An app that has not come to the end of the log by then does not get there.
const LIMIT: Duration = Duration::from_secs(15);

/// One app directly at the broker in one trouble.
pub fn outcome(client: &str, trouble: Trouble) -> Outcome {
    let outcome = Party::start(client, None, |o| o).meet_for_sure(trouble, LIMIT);
    println!("{client}, {trouble:?}, directly: {}", outcome.text());
    outcome
}

/// It dies, or (aiokafka, by chance) lives on and does nothing more.
fn ends(client: &str, trouble: Trouble) {
    let outcome = outcome(client, trouble);
    assert_ne!(outcome.verdict, Verdict::GoesOn, "{}\n{}", outcome.text(), outcome.story);
    assert!(outcome.refused.contains(&trouble.code()), "{}\n{}", outcome.text(), outcome.story);
}

/// Each client once, each code twice at least.
const STORIES: &[(&str, fn())] = &[
    ("java", || ends("java", Trouble::Removed)),
    ("librdkafka", || ends("librdkafka", Trouble::Renewed)),
    ("franz-go", || ends("franz-go", Trouble::Renewed)),
    ("sarama", || ends("sarama", Trouble::Removed)),
    ("aiokafka", || ends("aiokafka", Trouble::Queued)),
    ("kafka-python", || ends("kafka-python", Trouble::Told)),
    ("kafkajs", || ends("kafkajs", Trouble::Told)),
];

static TOLD: Together = Together::new();

#[test]
fn java_dies_when_its_member_is_removed() {
    TOLD.tell("java", STORIES);
}

#[test]
fn librdkafka_dies_when_its_generation_is_over() {
    TOLD.tell("librdkafka", STORIES);
}

#[test]
fn franz_go_dies_when_its_generation_is_over() {
    TOLD.tell("franz-go", STORIES);
}

#[test]
fn sarama_dies_when_its_member_is_removed() {
    TOLD.tell("sarama", STORIES);
}

#[test]
fn aiokafka_ends_when_it_commits_behind_its_own_rejoin() {
    TOLD.tell("aiokafka", STORIES);
}

#[test]
fn kafka_python_dies_between_join_and_sync() {
    TOLD.tell("kafka-python", STORIES);
}

#[test]
fn kafkajs_dies_between_join_and_sync() {
    TOLD.tell("kafkajs", STORIES);
}

#[test]
fn each_client_is_shown_once() {
    assert!(ALL_CLIENTS.iter().all(|c| STORIES.iter().any(|(name, _)| name == c)));
}
