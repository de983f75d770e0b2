//! Through kmend: the same apps, the same refusals, and nobody notices. One app meets one trouble after the other,
//! which it could not directly.

use std::time::Duration;

use crate::commits;
use crate::harness::{ALL_CLIENTS, Together};
use crate::scenario::{Outcome, Party, Trouble};

/// Until the replay has been done: a rebalance of the client's own, with its heartbeats' interval, and again for its
/// new member id.
pub const LIMIT: Duration = Duration::from_secs(40);

/// One app through a kmend of its own, in these troubles.
pub fn outcomes(client: &str, troubles: &[Trouble]) -> Vec<Outcome> {
    let party = Party::start(client, Some(crate::repairing()), |o| o);
    let mut all = Vec::new();
    for trouble in troubles {
        assert!(party.rests(), "the group is not at rest\n{}", party.app.story());
        let before = commits(party.kmend.as_ref().expect("a kmend"), "buffered");
        let outcome = party.meet_for_sure(*trouble, LIMIT);
        party.check_mended(*trouble, before, &outcome);
        all.push(outcome);
    }
    party.app.close();
    all
}

/// One app through a kmend of its own in one trouble, for the report: some troubles do not reach the broker.
pub fn outcome(client: &str, trouble: Trouble) -> Outcome {
    let party = Party::start(client, Some(crate::repairing()), |o| o);
    let outcome = party.meet_for_sure(trouble, LIMIT);
    println!("{client}, {trouble:?}, through kmend: {}", outcome.text());
    assert_eq!(party.app.errors(), Vec::<String>::new(), "{}", outcome.story);
    outcome
}

fn goes_on(client: &str, troubles: &[Trouble]) {
    outcomes(client, troubles);
}

use Trouble::{Noticed, Queued, Removed, Renewed, Told};

/// Each client in each code; what rejoins in the background also behind its own JoinGroup.
const STORIES: &[(&str, fn())] = &[
    ("java", || goes_on("java", &[Renewed, Noticed, Told])),
    ("librdkafka", || goes_on("librdkafka", &[Renewed, Removed, Told])),
    ("franz-go", || goes_on("franz-go", &[Renewed, Removed, Told])),
    ("sarama", || goes_on("sarama", &[Renewed, Removed, Told])),
    ("aiokafka", || goes_on("aiokafka", &[Queued, Removed, Told])),
    ("kafka-python", || goes_on("kafka-python", &[Renewed, Noticed, Told])),
    ("kafkajs", || goes_on("kafkajs", &[Renewed, Removed, Told])),
];

static TOLD: Together = Together::new();

#[test]
fn java_goes_on() {
    TOLD.tell("java", STORIES);
}

#[test]
fn librdkafka_goes_on() {
    TOLD.tell("librdkafka", STORIES);
}

#[test]
fn franz_go_goes_on() {
    TOLD.tell("franz-go", STORIES);
}

#[test]
fn sarama_goes_on() {
    TOLD.tell("sarama", STORIES);
}

#[test]
fn aiokafka_goes_on() {
    TOLD.tell("aiokafka", STORIES);
}

#[test]
fn kafka_python_goes_on() {
    TOLD.tell("kafka-python", STORIES);
}

#[test]
fn kafkajs_goes_on() {
    TOLD.tell("kafkajs", STORIES);
}

#[test]
fn each_client_goes_on() {
    assert!(ALL_CLIENTS.iter().all(|c| STORIES.iter().any(|(name, _)| name == c)));
}
