//! Groups that change as they should, behind a kmend that would repair anything (`scope: any`): nothing is reported,
//! nobody rejoins for it, nobody loses what it has.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Kmend, Together, eventually};
use crate::hop::{COOPERATIVE, RANGE};
use crate::rolled::{Roll, kit, two_hops};
use crate::team::Team;
use crate::watch::Watch;
use crate::{AFTER, PATIENCE, kmend, outcomes};

/// As eager to mend as it can be.
pub fn eager() -> Kmend {
    kmend(json!({ "mode": "repair", "scope": "any", "stalled_after": "5s" }))
}

/// Three times as long as a partition may stay unfetched.
pub const LONG: i64 = (3 * AFTER.as_millis() / 200) as i64;

/// Waits long; nothing was reported, nobody rejoined meanwhile, nobody ever lost what it had.
#[track_caller]
pub fn check_calm(kmend: &Kmend, team: &Team, records: i64) {
    team.quiet();
    let before = team.marks();
    team.grow(records);
    check_silent(kmend);
    assert_eq!(team.marks(), before, "somebody rejoined\n{}", team.story());
    let lost: usize = team.members.iter().map(|m| m.lost()).sum();
    assert_eq!(lost, 0, "{}", team.story());
}

/// The mender under test has counted nothing, and shows nothing.
#[track_caller]
pub fn check_silent(kmend: &Kmend) {
    assert_eq!(outcomes(kmend), []);
    let metrics = kmend.metrics();
    for name in ["kmend_partitions_unfetched", "kmend_consumer_stalled"] {
        assert_eq!(metrics.sum(name, &[]), 0.0, "{name}");
    }
}

/// What the mender says that a group is assigned: that it looks at all.
#[track_caller]
pub fn check_seen(kmend: &Kmend, team: &Team) {
    let seen = || kmend.metrics().sum("kmend_partitions_assigned", &[("group", &team.group)]);
    let all = f64::from(team.partitions);
    assert!(eventually(PATIENCE / 3, || seen() == all), "{} of {all} partitions are seen as assigned", seen());
}

fn java_rolled() {
    let kmend = eager();
    let mut team = Team::new("rolled-java", 6);
    let watch = Watch::start(&[&team.group], &team.topic, team.partitions);
    two_hops(&mut team, &Roll { client: "java", servers: &kmend.listen }, 4);
    check_calm(&kmend, &team, LONG);
    team.catch_up();
    watch.check();
    check_seen(&kmend, &team);
}

/// librdkafka refuses a list with both kinds; its documentation has the whole group stopped in between.
fn librdkafka_rolled() {
    let kmend = eager();
    let mut team = Team::new("rolled-librdkafka", 6);
    let roll = Roll { client: "librdkafka", servers: &kmend.listen };
    let watch = Watch::start(&[&team.group], &team.topic, team.partitions);
    let mixed = team.join("mixed", "librdkafka", &kmend.listen, kit("librdkafka", "cooperative-sticky,range"));
    let refused = eventually(PATIENCE, || !team.members[mixed].app.errors().is_empty());
    assert!(refused, "it is not refused any more: roll it\n{}", team.story());
    println!("librdkafka with both kinds: {:?}", team.members[mixed].app.errors());
    team.members[mixed].app.signal(rustix::process::Signal::KILL);
    team.members[mixed].left = true;
    roll.begin(&mut team, 4, RANGE);
    // A rolling restart without a change first.
    roll.replace(&mut team, 2, RANGE);
    team.settle(RANGE);
    (0..team.members.len())
        .filter(|n| !team.members[*n].left)
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|n| team.leave(n));
    roll.begin(&mut team, 4, COOPERATIVE);
    roll.replace(&mut team, 2, COOPERATIVE);
    team.settle(COOPERATIVE);
    check_calm(&kmend, &team, LONG);
    team.catch_up();
    watch.check();
    check_seen(&kmend, &team);
}

fn broker_assigns() {
    let kmend = eager();
    let mut team = Team::new("kip848", 4);
    for tag in ["a", "b"] {
        team.join(tag, "java", &kmend.listen, |o| o.with("PROTOCOL", "consumer").with("CALLBACKS", "yes"));
        team.catch_up();
    }
    team.members.iter().for_each(|m| {
        m.app.wait("records of its own", PATIENCE, |c| c.progress() > 0);
    });
    check_calm(&kmend, &team, LONG);
    team.leave(0);
    team.catch_up();
    check_calm(&kmend, &team, LONG);
    team.catch_up();
    check_seen(&kmend, &team);
}

/// Two hundred partitions, and a third member that comes and goes.
fn two_hundred() {
    let kmend = eager();
    let mut team = Team::with_pause("many", 200, Duration::from_secs(1));
    for tag in ["a", "b"] {
        team.join(tag, "java", &kmend.listen, kit("java", COOPERATIVE));
    }
    team.settle(COOPERATIVE);
    team.catch_up();
    let third = team.join("c", "franz-go-1.22.2", &kmend.listen, kit("franz-go-1.22.2", COOPERATIVE));
    team.settle(COOPERATIVE);
    team.catch_up();
    team.leave(third);
    team.settle(COOPERATIVE);
    check_calm(&kmend, &team, LONG / 4);
    team.catch_up();
    check_seen(&kmend, &team);
}

const STORIES: &[(&str, fn())] = &[
    ("java", java_rolled),
    ("librdkafka", librdkafka_rolled),
    ("kip848", broker_assigns),
    ("two hundred", two_hundred),
];

static TOLD: Together = Together::new();

#[test]
fn java_rolled_through_both_hops_is_left_alone() {
    TOLD.tell("java", STORIES);
}

#[test]
fn librdkafka_stopped_and_started_is_left_alone() {
    TOLD.tell("librdkafka", STORIES);
}

#[test]
fn a_group_whose_broker_assigns_is_left_alone() {
    TOLD.tell("kip848", STORIES);
}

#[test]
fn two_hundred_partitions_are_left_alone() {
    TOLD.tell("two hundred", STORIES);
}
