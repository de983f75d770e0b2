//! The mode is switched off by a reload in the middle of a rebalance.

use serde_json::json;

use crate::dangling::{BROKEN, REPORT, counted, stays_stuck};
use crate::harness::{Kmend, eventually};
use crate::hop::{COOPERATIVE, Hop, MANY};
use crate::watch::Watch;
use crate::{PATIENCE, kmend, outcomes};

fn switch_off(kmend: &Kmend) {
    kmend.reload(|config| config["menders"]["assignment_watchdog"]["mode"] = "off".into());
}

/// While the group changes its protocol: it is then as without kmend.
pub fn before_the_repair() {
    let kmends = [kmend(json!({ "mode": "repair" }))];
    let hop = Hop::go(BROKEN, MANY, &kmends, || switch_off(&kmends[0]));
    let before = hop.team.marks();
    let watch = Watch::start(&[&hop.team.group], &hop.team.topic, MANY);
    stays_stuck(&hop, MANY);
    assert_eq!(hop.team.marks(), before, "{}", hop.team.story());
    assert_eq!(outcomes(&kmends[0]), []);
    watch.check();
}

/// While the members that were told rejoin: nobody is held, nobody is lost.
pub fn within_the_repair() {
    let kmends = [kmend(json!({ "mode": "repair" }))];
    kmends[0].allow(REPORT);
    let hop = Hop::go(BROKEN, MANY, &kmends, || {});
    let team = &hop.team;
    let watch = Watch::start(&[&team.group], &team.topic, MANY);
    assert!(eventually(PATIENCE, || counted(&kmends, "told") >= 1.0), "{:?}\n{}", outcomes(&kmends[0]), team.story());
    switch_off(&kmends[0]);
    team.settle(COOPERATIVE);
    assert!(eventually(PATIENCE, || team.is_whole()), "{:?}\n{}", team.assigned(), team.story());
    team.quiet();
    let before = team.marks();
    hop.wait_long();
    assert_eq!(team.marks(), before, "it does not rest\n{}", team.story());
    let lost = team.live().map(|m| m.lost()).max();
    assert_eq!(lost, Some(1), "{}", team.story());
    watch.check();
}
