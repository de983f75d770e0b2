//! franz-go up to 1.16.1 after the first hop to cooperative-sticky: directly the partitions dangle, for ever; `observe`
//! says which; `repair` takes them back at the price of one rejoin. 1.17.0 is the control.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Kmend, Together, eventually};
use crate::hop::{FEW, Hop, MANY, expected};
use crate::watch::Watch;
use crate::{PATIENCE, kmend, outcomes, repairs};

pub const BROKEN: &str = "franz-go-1.16.1";
const MENDED: &str = "franz-go-1.17.0";
pub const REPORT: &str = "partitions are assigned and nobody fetches them";

/// The partitions that a log line names: `topic[0,3]`, of one topic here.
pub fn named(line: &Value) -> BTreeSet<i32> {
    let text = match line.get("partitions") {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let list = text.split_once('[').map_or(text.as_str(), |(_, list)| list);
    list.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
}

/// The partitions of a group that all its kmends have reported in their logs.
pub fn reported(kmends: &[Kmend], group: &str) -> BTreeSet<i32> {
    let of = |v: &Value| v.get("group").and_then(Value::as_str) == Some(group);
    kmends.iter().flat_map(|k| k.said(REPORT)).filter(of).flat_map(|v| named(&v)).collect()
}

fn unfetched(kmends: &[Kmend], group: &str) -> f64 {
    kmends.iter().map(|k| k.metrics().sum("kmend_partitions_unfetched", &[("group", group)])).sum()
}

pub fn counted(kmends: &[Kmend], outcome: &str) -> f64 {
    kmends.iter().map(|k| repairs(k, outcome)).sum()
}

/// Waits until exactly the partitions that are expected dangle, and sees them do so for long.
pub fn stays_stuck(hop: &Hop, partitions: i32) {
    let wanted = expected(partitions);
    let dangles = eventually(PATIENCE, || hop.dangles() == wanted);
    assert!(dangles, "{:?} dangle, not {wanted:?}\n{}", hop.dangles(), hop.team.story());
    hop.wait_long();
    assert_eq!(hop.dangles(), wanted, "{}", hop.team.story());
}

fn directly(partitions: i32) {
    let hop = Hop::go(BROKEN, partitions, &[], || {});
    stays_stuck(&hop, partitions);
    // The broker sees nothing wrong.
    let group = hop.team.admin.membership(&hop.team.group);
    assert_eq!((group.state.as_str(), group.members.len()), ("Stable", 2));
    assert!(hop.team.is_whole(), "{:?}", hop.team.assigned());
}

fn control(kmends: &[Kmend]) {
    let hop = Hop::go(MENDED, MANY, kmends, || {});
    hop.team.catch_up();
    let before = hop.team.marks();
    hop.wait_long();
    hop.team.catch_up();
    assert_eq!(hop.team.marks(), before, "{}", hop.team.story());
    for kmend in kmends {
        assert_eq!(outcomes(kmend), []);
        assert_eq!(kmend.said(REPORT), Vec::<Value>::new());
    }
}

fn observed() {
    let kmends = [kmend(json!({ "mode": "observe" }))];
    kmends[0].allow(REPORT);
    let hop = Hop::go(BROKEN, MANY, &kmends, || {});
    let (group, wanted) = (hop.team.group.clone(), expected(MANY));
    let before = hop.team.marks();
    let there = || {
        unfetched(&kmends, &group) == wanted.len() as f64
            && reported(&kmends, &group) == wanted
            && counted(&kmends, "reported") == 2.0
    };
    let in_time = eventually(hop.left_to_report(), there);
    let said = reported(&kmends, &group);
    assert!(in_time, "reported: {said:?}, {:?}, {} unfetched", outcomes(&kmends[0]), unfetched(&kmends, &group));
    stays_stuck(&hop, MANY);
    assert_eq!(hop.team.marks(), before, "somebody rejoined\n{}", hop.team.story());
    // Once for each member and generation.
    assert_eq!(counted(&kmends, "reported"), 2.0);
    assert_eq!((counted(&kmends, "told"), counted(&kmends, "healed")), (0.0, 0.0));
    assert_eq!(counted(&kmends, "observed"), 2.0);
}

/// How a repair went: seconds from the stable group until every partition was fetched again.
pub struct Repaired {
    pub seconds: f64,
    /// JoinGroups that each of the two has sent since.
    pub joins: Vec<usize>,
    pub generations: i32,
}

/// Goes the hop behind these kmends, in repair, and sees all of it mended.
pub fn repaired(partitions: i32, kmends: &[Kmend]) -> Repaired {
    kmends.iter().for_each(|k| _ = k.allow(REPORT));
    let hop = Hop::go(BROKEN, partitions, kmends, || {});
    let team = &hop.team;
    let before = team.marks();
    let watch = Watch::start(&[&team.group], &team.topic, partitions);
    let fetched = eventually(PATIENCE, || team.starved(&hop.ends).is_empty());
    let seconds = hop.at.elapsed().as_secs_f64();
    let counts: Vec<_> = kmends.iter().map(outcomes).collect();
    assert!(fetched, "{:?} dangle still; {counts:?}\n{}", team.starved(&hop.ends), team.story());
    // It was needed, and it is enough.
    let healed = || counted(kmends, "healed") == 2.0 && unfetched(kmends, &team.group) == 0.0;
    assert!(eventually(Duration::from_secs(15), healed), "{:?}", kmends.iter().map(outcomes).collect::<Vec<_>>());
    assert_eq!(reported(kmends, &team.group), expected(partitions));
    hop.wait_long();
    // No record was skipped.
    team.catch_up();
    watch.check();
    let after = team.marks();
    let joins: Vec<usize> = before.iter().zip(&after).map(|(b, a)| a.1 - b.1).collect();
    let lost: Vec<usize> = before.iter().zip(&after).map(|(b, a)| a.2 - b.2).collect();
    assert_eq!(lost, [1, 1], "{}", team.story());
    if joins != [1, 1] {
        println!("{joins:?} JoinGroups:\n{}\n{}", kmends[0].log().join("\n"), team.story());
    }
    assert_eq!(counted(kmends, "told"), 2.0, "{:?}", kmends.iter().map(outcomes).collect::<Vec<_>>());
    let newest = |marks: &[(String, usize, usize, i32)]| marks.iter().map(|m| m.3).max().unwrap_or(-1);
    Repaired { seconds, joins, generations: newest(&after) - newest(&before) }
}

fn mended(partitions: i32) {
    let done = repaired(partitions, &[kmend(json!({ "mode": "repair" }))]);
    println!(
        "{partitions} partitions: {:.1} s, {:?} JoinGroups, {} generations",
        done.seconds, done.joins, done.generations
    );
    assert_eq!(done.joins, [1, 1], "each concerned rejoins once");
    assert_eq!(done.generations, 1, "one rebalance for both");
}

/// They cannot wait for each other: the one that is told first makes the other one rejoin besides.
fn mended_apart() {
    let one = || kmend(json!({ "mode": "repair" }));
    let done = repaired(MANY, &[one(), one(), one(), one()]);
    println!("a kmend each: {:.1} s, {:?} JoinGroups, {} generations", done.seconds, done.joins, done.generations);
    assert!(done.joins.iter().all(|n| (1..=4).contains(n)), "{:?}", done.joins);
}

const STORIES: &[(&str, fn())] = &[
    ("directly", || directly(MANY)),
    ("directly few", || directly(FEW)),
    ("directly control", || control(&[])),
    ("observe", observed),
    ("repair", || mended(MANY)),
    ("repair few", || mended(FEW)),
    ("repair apart", mended_apart),
    ("control", || control(&[kmend(json!({ "mode": "repair", "scope": "any" }))])),
    ("canary", crate::canary::run),
    ("off between", crate::switched_off::before_the_repair),
    ("off within", crate::switched_off::within_the_repair),
];

static TOLD: Together = Together::new();

#[test]
fn directly_partitions_dangle_for_ever() {
    TOLD.tell("directly", STORIES);
}

#[test]
fn directly_a_member_may_fetch_nothing_at_all() {
    TOLD.tell("directly few", STORIES);
}

#[test]
fn its_successor_has_no_trouble_directly() {
    TOLD.tell("directly control", STORIES);
}

#[test]
fn observe_reports_the_right_partitions_in_time_and_nobody_rejoins() {
    TOLD.tell("observe", STORIES);
}

#[test]
fn repair_has_every_partition_fetched_again_with_one_rejoin() {
    TOLD.tell("repair", STORIES);
}

#[test]
fn repair_sees_members_that_fetch_nothing_at_all() {
    TOLD.tell("repair few", STORIES);
}

#[test]
fn repair_works_with_one_kmend_for_each_member() {
    TOLD.tell("repair apart", STORIES);
}

#[test]
fn of_its_successor_nothing_is_reported() {
    TOLD.tell("control", STORIES);
}

#[test]
fn one_member_may_be_in_repair_and_the_rest_observe() {
    TOLD.tell("canary", STORIES);
}

#[test]
fn switched_off_before_the_repair_nobody_is_told() {
    TOLD.tell("off between", STORIES);
}

#[test]
fn switched_off_within_the_repair_the_group_comes_to_rest() {
    TOLD.tell("off within", STORIES);
}
