//! One member in `repair`, the rest in `observe`: a rule by client id.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::dangling::{BROKEN, REPORT, counted, reported};
use crate::harness::eventually;
use crate::hop::{Hop, MANY, expected};
use crate::watch::Watch;
use crate::{PATIENCE, kmend, outcomes};

pub fn run() {
    let kmends = [kmend(json!({ "mode": "observe", "clients": { "*-a-new-1": { "mode": "repair" } } }))];
    kmends[0].allow(REPORT);
    let hop = Hop::go(BROKEN, MANY, &kmends, || {});
    let team = &hop.team;
    let [canary, other] = hop.left;
    let before = team.marks();
    let owned: BTreeSet<i32> = team.assigned()[&team.members[canary].id].clone();
    let watch = Watch::start(&[&team.group], &team.topic, MANY);
    let in_time = eventually(hop.left_to_report(), || counted(&kmends, "reported") >= 2.0);
    assert!(in_time, "{:?}\n{}", outcomes(&kmends[0]), team.story());
    assert_eq!(reported(&kmends, &team.group), expected(MANY));
    // What the canary had is fetched again by whoever has it then.
    let mends = || team.starved(&hop.ends).is_disjoint(&owned);
    assert!(eventually(PATIENCE, mends), "{:?} dangle\n{}", team.starved(&hop.ends), team.story());
    assert!(eventually(Duration::from_secs(15), || counted(&kmends, "healed") == 1.0), "{:?}", outcomes(&kmends[0]));
    hop.wait_long();
    assert_eq!(counted(&kmends, "told"), 1.0, "{:?}", outcomes(&kmends[0]));
    assert_eq!(team.members[canary].lost(), before[0].2 + 1, "{}", team.story());
    assert_eq!(team.members[other].lost(), before[1].2, "the other one was told\n{}", team.story());
    watch.check();
}
