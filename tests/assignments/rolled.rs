//! Rolling restarts: each app of a group is replaced by one with other assignors, one after the other.

use crate::harness::Opts;
use crate::hop::{BOTH, COOPERATIVE, RANGE};
use crate::team::Team;

/// An app with these assignors, in order, that says what its callbacks are given.
pub fn kit(client: &str, assignors: &str) -> impl Fn(Opts) -> Opts + use<> {
    let class = |name: &str| match name {
        COOPERATIVE => "org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
        _ => "org.apache.kafka.clients.consumer.RangeAssignor",
    };
    let list = match client {
        "java" => assignors.split(',').map(class).collect::<Vec<_>>().join(","),
        _ => assignors.to_owned(),
    };
    let props = format!("partition.assignment.strategy={list};heartbeat.interval.ms=500;session.timeout.ms=10000");
    let (own, plain) = (assignors.to_owned(), client.starts_with("franz-go"));
    move |o| {
        let o = o.with("CALLBACKS", "yes");
        if plain { o.with("BALANCERS", &own) } else { o.with("PROPS", &props) }
    }
}

/// How a group of one kind of apps is put together.
pub struct Roll<'a> {
    pub client: &'a str,
    pub servers: &'a str,
}

impl Roll<'_> {
    /// Starts so many members with these assignors.
    pub fn begin(&self, team: &mut Team, count: usize, assignors: &str) {
        for n in 0..count {
            self.one(team, n, assignors);
        }
        team.settle(assignors.split(',').next().unwrap_or_default());
        team.catch_up();
    }

    /// Replaces the first `count` of those that live, each once the group rests.
    pub fn replace(&self, team: &mut Team, count: usize, assignors: &str) {
        let live: Vec<usize> = (0..team.members.len()).filter(|n| !team.members[*n].left).collect();
        for old in live.into_iter().take(count) {
            team.leave(old);
            self.one(team, team.members.len(), assignors);
            // What the group agrees on changes with the last one that is not like the others.
            team.rest();
            team.catch_up();
        }
    }

    fn one(&self, team: &mut Team, n: usize, assignors: &str) {
        team.join(&format!("m{n}"), self.client, self.servers, kit(self.client, assignors));
    }
}

/// range -> [cooperative-sticky, range] -> cooperative-sticky, `count` members.
pub fn two_hops(team: &mut Team, roll: &Roll, count: usize) {
    roll.begin(team, count, RANGE);
    roll.replace(team, count, BOTH);
    team.settle(COOPERATIVE);
    roll.replace(team, count, COOPERATIVE);
    team.settle(COOPERATIVE);
    team.quiet();
    assert!(team.is_whole(), "{:?}", team.assigned());
}
