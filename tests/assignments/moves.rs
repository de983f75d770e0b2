//! Groups that move to other assignors, think better of it on the way, and go back; and a second group in the place of the
//! first: no partition goes without for longer than `after` and a rebalance, no committed offset goes back, no record is
//! skipped, with kmend in `repair` as it is by itself.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::calm::{LONG, check_calm, check_silent};
use crate::harness::{Kmend, Together};
use crate::hop::{BOTH, COOPERATIVE, RANGE};
use crate::rolled::Roll;
use crate::team::Team;
use crate::watch::Watch;
use crate::{AFTER, kmend};

/// franz-go rejoins within a second; the rest is for two cores that are busy.
const REBALANCE: Duration = Duration::from_secs(6);
const MEMBERS: usize = 3;
const CLIENT: &str = "franz-go-1.22.2";

/// What every move is looked at with.
struct Look {
    watch: Watch,
    since: Instant,
}

impl Look {
    fn begin(groups: &[&str], team: &Team) -> Look {
        Look { watch: Watch::start(groups, &team.topic, team.partitions), since: Instant::now() }
    }

    #[track_caller]
    fn end(self, kmend: &Kmend, team: &Team) {
        check_calm(kmend, team, LONG);
        team.catch_up();
        let (partition, gap) = team.longest_gap(self.since);
        println!("{}: at the longest {:.1} s without a record ([{partition}])", team.topic, gap.as_secs_f64());
        assert!(gap < AFTER + REBALANCE, "[{partition}] went without for {gap:?}\n{}", team.story());
        assert!(team.is_whole(), "{:?}", team.assigned());
        self.watch.check();
    }
}

fn moved(name: &str, begin: &str, path: impl Fn(&Roll, &mut Team)) {
    let kmend = kmend(json!({ "mode": "repair" }));
    let mut team = Team::new(name, 6);
    let roll = Roll { client: CLIENT, servers: &kmend.listen };
    roll.begin(&mut team, MEMBERS, begin);
    let look = Look::begin(&[&team.group], &team);
    path(&roll, &mut team);
    look.end(&kmend, &team);
}

fn forward() {
    moved("forward", RANGE, |roll, team| {
        roll.replace(team, MEMBERS, BOTH);
        team.settle(COOPERATIVE);
        roll.replace(team, MEMBERS, COOPERATIVE);
        team.settle(COOPERATIVE);
    });
}

/// Given up when one old member is left: those that were replaced first go back first.
fn aborted() {
    moved("aborted", RANGE, |roll, team| {
        roll.replace(team, MEMBERS - 1, BOTH);
        team.settle(RANGE);
        roll.replace(team, MEMBERS, RANGE);
        team.settle(RANGE);
    });
}

/// cooperative-sticky -> [cooperative-sticky, range] -> range: with the first that knows only range the group is eager.
fn back() {
    moved("back", COOPERATIVE, |roll, team| {
        roll.replace(team, MEMBERS, BOTH);
        team.settle(COOPERATIVE);
        roll.replace(team, MEMBERS, RANGE);
        team.settle(RANGE);
    });
}

/// A second group takes over where the first one stood: its offsets are set before it starts.
fn blue_green() {
    let kmend = kmend(json!({ "mode": "repair" }));
    let mut team = Team::new("blue-green", 6);
    let (blue, green) = (team.group.clone(), format!("{}-green", team.topic));
    Roll { client: CLIENT, servers: &kmend.listen }.begin(&mut team, MEMBERS, RANGE);
    let look = Look::begin(&[&blue, &green], &team);
    for p in 0..team.partitions {
        let at = team.admin.committed(&blue, &team.topic, p).unwrap_or(0);
        team.admin.commit(&green, &team.topic, p, at);
    }
    // The second group has the same places as the first for a while.
    team.group = green;
    let first = team.members.len();
    for n in 0..MEMBERS {
        let own = crate::rolled::kit(CLIENT, COOPERATIVE);
        team.join(&format!("green{n}"), CLIENT, &kmend.listen, own);
    }
    let greens = |team: &Team| {
        let group = team.admin.membership(&team.group);
        group.state == "Stable" && group.members.len() == MEMBERS
    };
    assert!(crate::harness::eventually(crate::PATIENCE, || greens(&team)), "{}", team.story());
    team.catch_up();
    (0..first).for_each(|n| team.leave(n));
    team.settle(COOPERATIVE);
    team.catch_up();
    check_silent(&kmend);
    look.end(&kmend, &team);
}

const STORIES: &[(&str, fn())] =
    &[("forward", forward), ("aborted", aborted), ("back", back), ("blue green", blue_green)];

static TOLD: Together = Together::new();

#[test]
fn rolled_forward() {
    TOLD.tell("forward", STORIES);
}

#[test]
fn given_up_in_the_middle() {
    TOLD.tell("aborted", STORIES);
}

#[test]
fn rolled_back() {
    TOLD.tell("back", STORIES);
}

#[test]
fn a_second_group_takes_over() {
    TOLD.tell("blue green", STORIES);
}
