//! The first hop of a two-hop change from range to cooperative-sticky, with franz-go: two members of the old kind, two of
//! the new kind one after the other while the old ones leave. When the last old one has left the group changes its
//! protocol. Up to 1.16.1 the members that are left then do not fetch what they had before.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::harness::Kmend;
use crate::team::Team;
use crate::{AFTER, SLACK, behind};

/// With eight partitions and three members each new one has three of the first six; the last two are new to them.
pub const MANY: i32 = 8;
/// With two each new one has one and gets no other: nothing is left that it would fetch.
pub const FEW: i32 = 2;

pub const RANGE: &str = "range";
pub const BOTH: &str = "cooperative-sticky,range";
pub const COOPERATIVE: &str = "cooperative-sticky";

/// A group after the hop.
pub struct Hop {
    pub team: Team,
    /// The places of the two that are left.
    pub left: [usize; 2],
    /// The ends of the logs when the group was stable again.
    pub ends: Vec<i64>,
    /// When that was.
    pub at: Instant,
}

/// Whose kmends the members are behind: none, one for all, or one each.
pub fn servers(kmends: &[Kmend], n: usize) -> String {
    match kmends {
        [] => behind().upstream[0].clone(),
        some => some[n % some.len()].listen.clone(),
    }
}

/// What dangles directly, with that many partitions.
pub fn expected(partitions: i32) -> BTreeSet<i32> {
    if partitions == MANY { (0..6).collect() } else { (0..partitions).collect() }
}

impl Hop {
    /// Goes the hop; `meanwhile` is called when the last old member has left, before the group is stable again.
    pub fn go(client: &str, partitions: i32, kmends: &[Kmend], meanwhile: impl FnOnce()) -> Hop {
        let mut team = Team::new("hop", partitions);
        // The new ones come first by name: range gives them partitions even where there are few.
        let join = |team: &mut Team, n: usize, tag: &str, balancers: &str| {
            team.join(tag, client, &servers(kmends, n), |o| o.with("BALANCERS", balancers))
        };
        let old = [join(&mut team, 0, "z-old-1", RANGE), join(&mut team, 1, "z-old-2", RANGE)];
        team.settle(RANGE);
        team.catch_up();
        let first = join(&mut team, 2, "a-new-1", BOTH);
        team.settle(RANGE);
        team.catch_up();
        team.leave(old[0]);
        let second = join(&mut team, 3, "a-new-2", BOTH);
        team.settle(RANGE);
        team.catch_up();
        team.leave(old[1]);
        meanwhile();
        team.settle(COOPERATIVE);
        let at = Instant::now();
        let ends = team.ends();
        Hop { team, left: [first, second], ends, at }
    }

    /// What nobody has fetched within twelve records of each partition (more than two seconds).
    pub fn dangles(&self) -> BTreeSet<i32> {
        self.team.grow(12);
        self.team.starved(&self.ends)
    }

    /// The time that has to pass before nothing may be said to have happened.
    pub fn wait_long(&self) {
        let records = (3 * AFTER.as_millis() / 200) as i64;
        self.team.grow(records);
    }

    /// How long after the group was stable a report may come at the latest.
    pub fn left_to_report(&self) -> Duration {
        (AFTER + SLACK).saturating_sub(self.at.elapsed())
    }
}
