//! Rebalances as two kmends see them: each its own members' causes, and "elsewhere" for the other one's.

use serde_json::json;

use crate::harness::{Kmend, eventually};
use crate::hop::RANGE;
use crate::team::Team;
use crate::{PATIENCE, kmend};

const CLIENT: &str = "franz-go-1.22.2";
const CAUSES: [&str; 6] = ["join", "leave", "expiry", "metadata", "repair", "elsewhere"];

fn count(kmend: &Kmend, group: &str) -> f64 {
    kmend.metrics().sum("kmend_group_rebalances_total", &[("group", group)])
}

fn cause(kmend: &Kmend, group: &str, cause: &str) -> f64 {
    kmend.metrics().sum("kmend_group_rebalance_causes_total", &[("group", group), ("cause", cause)])
}

/// Waits until one more rebalance, with this cause and no other, has been counted.
#[track_caller]
fn one_more(kmend: &Kmend, group: &str, step: &str, before: &(f64, Vec<f64>), wanted: &str) {
    let all = || (count(kmend, group), CAUSES.map(|c| cause(kmend, group, c)).to_vec());
    let mut after = before.clone();
    after.0 += 1.0;
    let place = CAUSES.iter().position(|c| *c == wanted).expect("a cause");
    after.1[place] += 1.0;
    let counted = eventually(PATIENCE / 3, || all() == after);
    assert!(counted, "{step}: of {CAUSES:?} {:?} became {:?}, not {after:?}", before, all());
}

fn state(kmend: &Kmend, group: &str) -> (f64, Vec<f64>) {
    (count(kmend, group), CAUSES.map(|c| cause(kmend, group, c)).to_vec())
}

/// Eager members: each change is one rebalance.
pub fn causes() {
    let [near, far] = [kmend(json!({ "mode": "observe" })), kmend(json!({ "mode": "observe" }))];
    let mut team = Team::new("causes", 4);
    let group = team.group.clone();
    let step = |team: &mut Team, what: &str, wanted: [Option<&str>; 2], change: &dyn Fn(&mut Team)| {
        let before = [state(&near, &group), state(&far, &group)];
        change(team);
        team.settle(RANGE);
        for ((kmend, before), wanted) in [&near, &far].into_iter().zip(&before).zip(wanted) {
            match wanted {
                Some(cause) => one_more(kmend, &group, what, before, cause),
                None => assert_eq!(&state(kmend, &group), before, "{what}"),
            }
        }
        team.catch_up();
    };
    let join = |team: &mut Team, tag: &str, kmend: &Kmend| {
        team.join(tag, CLIENT, &kmend.listen, |o| o.with("BALANCERS", RANGE));
    };
    step(&mut team, "the first joins", [Some("join"), None], &|t| join(t, "a", &near));
    step(&mut team, "a second joins", [Some("join"), None], &|t| join(t, "b", &near));
    step(&mut team, "one joins elsewhere", [Some("elsewhere"), Some("join")], &|t| join(t, "c", &far));
    step(&mut team, "another one joins elsewhere", [Some("elsewhere"), Some("join")], &|t| join(t, "d", &far));
    step(&mut team, "one leaves elsewhere", [Some("elsewhere"), Some("leave")], &|t| t.leave(3));
    // One dies; its session ends ten seconds later. Nobody is told that here, so the near one may not know why.
    let (here, there) = (count(&near, &group), state(&far, &group));
    team.members[1].app.signal(rustix::process::Signal::KILL);
    team.members[1].left = true;
    team.settle(RANGE);
    one_more(&far, &group, "one dies", &there, "elsewhere");
    assert!(eventually(PATIENCE / 3, || count(&near, &group) == here + 1.0), "one dies: {:?}", state(&near, &group));
    team.catch_up();
    // The near one has no member left then; whether it counts that is not said.
    let before = state(&far, &group);
    team.leave(0);
    one_more(&far, &group, "one leaves", &before, "elsewhere");
    // The broker forgets a member that lives, and that is told so: alone, so that nobody else's rejoin comes first.
    let mut alone = Team::new("forgotten", 2);
    join(&mut alone, "a", &near);
    alone.settle(RANGE);
    alone.catch_up();
    let before = state(&near, &alone.group);
    alone.admin.remove_member(&alone.group, &alone.members[0].id);
    one_more(&near, &alone.group, "one is forgotten", &before, "expiry");
    for kmend in [&near, &far] {
        let took = kmend.metrics().sum("kmend_group_rebalance_duration_seconds_count", &[("group", &group)]);
        assert!(took >= 1.0, "no rebalance has taken any time");
    }
}
