//! Members that leave partitions alone on purpose, or have nothing to do: none of it is reported, by a kmend that would
//! repair anything. What is paused is shown as paused.

use std::time::Duration;

use serde_json::json;

use crate::calm::{LONG, check_calm, check_seen, check_silent, eager};
use crate::harness::{Client, Kmend, Together, eventually};
use crate::hop::{COOPERATIVE, RANGE};
use crate::rolled::kit;
use crate::team::Team;
use crate::{PATIENCE, kmend};

const PARTITIONS: i32 = 3;

fn paused(kmend: &Kmend, team: &Team) -> f64 {
    kmend.metrics().sum("kmend_partitions_paused", &[("group", &team.group)])
}

/// The member's app, where it is alone.
fn app(team: &Team) -> &Client {
    &team.members[0].app
}

/// Pauses all partitions, or some, for that many records of each; then goes on, and nothing was missed.
pub fn paused_for(client: &str, which: &str, records: i64) {
    let kmend = eager();
    let mut team = Team::new("paused", PARTITIONS);
    team.join("one", client, &kmend.listen, kit(client, COOPERATIVE));
    team.catch_up();
    let count = if which.is_empty() { PARTITIONS } else { 1 };
    app(&team).tell(format!("pause {which}").trim());
    // What was fetched before may still be handed out.
    team.grow(5);
    let ends = team.ends();
    check_calm(&kmend, &team, records);
    assert_eq!(team.starved(&ends).len(), count as usize, "{}", team.story());
    // It is shown once nothing has been fetched for a while.
    let shown = || paused(&kmend, &team) == f64::from(count);
    assert!(eventually(PATIENCE / 3, shown), "{} are shown as paused, not {count}", paused(&kmend, &team));
    app(&team).tell(format!("resume {which}").trim());
    team.catch_up();
    check_silent(&kmend);
    let none = || paused(&kmend, &team) == 0.0;
    assert!(eventually(PATIENCE / 3, none), "{} are shown as paused", paused(&kmend, &team));
}

/// Pauses one partition in the callback that it is assigned in: it is never fetched.
fn paused_at_assignment(client: &str) {
    let kmend = eager();
    let mut team = Team::new("paused-at", PARTITIONS);
    let own = kit(client, RANGE);
    let plain = !client.contains("kafka");
    team.join("one", client, &kmend.listen, |o| if plain { own(o) } else { o }.with("PAUSE_AT", "1"));
    let others = |p: i32| !app(&team).handled(&team.topic, p).is_empty();
    app(&team).wait("records of the others", PATIENCE, |_| others(0) && others(2));
    check_calm(&kmend, &team, LONG);
    assert_eq!(app(&team).handled(&team.topic, 1), Vec::<i64>::new(), "{}", team.story());
    check_seen(&kmend, &team);
    let shown = || paused(&kmend, &team) == 1.0;
    assert!(eventually(PATIENCE / 3, shown), "{} are shown as paused", paused(&kmend, &team));
}

/// Nothing ever comes; or only to some partitions.
fn idle(fed: i32) {
    let kmend = eager();
    let mut team = Team::unfed("idle", PARTITIONS);
    // What makes the time pass.
    let clock = Team::new("clock", 1);
    team.feed.only(fed);
    team.join("one", "java", &kmend.listen, kit("java", RANGE));
    team.join("two", "franz-go-1.22.2", &kmend.listen, kit("franz-go-1.22.2", RANGE));
    team.settle(RANGE);
    team.quiet_by(&clock);
    let before = team.marks();
    clock.grow(LONG);
    check_silent(&kmend);
    assert_eq!(team.marks(), before, "{}", team.story());
    team.catch_up();
    check_seen(&kmend, &team);
}

/// A static member is started again: it has what it had, without a rebalance.
fn static_member(client: &str) {
    let kmend = eager();
    let mut team = Team::new("static", 4);
    let own = |name: &'static str| {
        let kit = kit(client, RANGE);
        move |o: crate::harness::Opts| {
            let props = format!(
                "partition.assignment.strategy=org.apache.kafka.clients.consumer.RangeAssignor;\
                 heartbeat.interval.ms=500;session.timeout.ms=30000;group.instance.id={name}"
            );
            let o = kit(o).with("INSTANCE", name);
            if client == "java" { o.with("PROPS", props) } else { o }
        }
    };
    team.join("a", client, &kmend.listen, own("a"));
    team.join("b", client, &kmend.listen, own("b"));
    team.settle(RANGE);
    team.catch_up();
    for _ in 0..2 {
        let last = team.members.len() - 1;
        team.leave(last);
        team.join("b", client, &kmend.listen, own("b"));
        team.rest();
        team.catch_up();
    }
    team.quiet();
    let before = team.marks();
    team.grow(LONG);
    assert_eq!(team.marks(), before, "{}", team.story());
    check_silent(&kmend);
    team.catch_up();
    check_seen(&kmend, &team);
}

/// Somebody else reads, past kmend; the member only says how far.
fn only_commits() {
    let kmend = kmend(json!({ "mode": "repair", "scope": "any" }));
    let mut team = Team::new("commits", PARTITIONS);
    team.join("one", "java", &kmend.listen, |o| kit("java", RANGE)(o).with("COMMIT", "only").with("PAUSE_AT", "all"));
    let ends = team.ends();
    let all = || (0..).zip(&ends).all(|(p, end)| team.admin.committed(&team.group, &team.topic, p) >= Some(*end));
    assert!(eventually(PATIENCE, all), "nothing is committed\n{}", team.story());
    check_calm(&kmend, &team, LONG);
    assert_eq!(app(&team).progress(), 0, "it reads\n{}", team.story());
    // The same without a membership: assigned by hand, commits under the group's name.
    let mut alone = Team::new("by-hand", PARTITIONS);
    let by_hand = format!("{}:0:earliest,{}:1:earliest", alone.topic, alone.topic);
    alone.join("one", "java", &kmend.listen, |o| o.with("ASSIGN", by_hand).with("COMMIT", "manual"));
    app(&alone).wait("commits", PATIENCE, |c| c.commits() > 4);
    check_calm(&kmend, &alone, LONG);
    assert!(!eventually(Duration::ZERO, || !app(&alone).errors().is_empty()), "{}", alone.story());
}

const STORIES: &[(&str, fn())] = &[
    ("all", || paused_for("java", "", LONG)),
    ("one", || paused_for("java", "1", LONG)),
    ("franz-go", || paused_for("franz-go-1.22.2", "1", LONG)),
    ("java at", || paused_at_assignment("java")),
    ("franz-go at", || paused_at_assignment("franz-go-1.22.2")),
    ("aiokafka at", || paused_at_assignment("aiokafka")),
    ("kafka-python at", || paused_at_assignment("kafka-python")),
    ("idle", || idle(0)),
    ("empty", || idle(2)),
    ("static java", || static_member("java")),
    ("static franz-go", || static_member("franz-go-1.22.2")),
    ("commits", only_commits),
];

static TOLD: Together = Together::new();

#[test]
fn one_that_pauses_everything_is_left_alone() {
    TOLD.tell("all", STORIES);
}

#[test]
fn one_that_pauses_a_partition_is_left_alone() {
    TOLD.tell("one", STORIES);
    TOLD.tell("franz-go", STORIES);
}

#[test]
fn java_that_pauses_at_assignment_is_left_alone() {
    TOLD.tell("java at", STORIES);
}

#[test]
fn franz_go_that_pauses_at_assignment_is_left_alone() {
    TOLD.tell("franz-go at", STORIES);
}

#[test]
fn aiokafka_that_pauses_at_assignment_is_left_alone() {
    TOLD.tell("aiokafka at", STORIES);
}

#[test]
fn kafka_python_that_pauses_at_assignment_is_left_alone() {
    TOLD.tell("kafka-python at", STORIES);
}

#[test]
fn an_idle_topic_is_left_alone() {
    TOLD.tell("idle", STORIES);
}

#[test]
fn empty_partitions_are_left_alone() {
    TOLD.tell("empty", STORIES);
}

#[test]
fn static_members_that_restart_are_left_alone() {
    TOLD.tell("static java", STORIES);
    TOLD.tell("static franz-go", STORIES);
}

#[test]
fn members_that_only_commit_are_left_alone() {
    TOLD.tell("commits", STORIES);
}
