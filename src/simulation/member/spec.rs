//! What kind of consumer a member is.

use crate::simulation::dice::Dice;
use crate::simulation::plan::{Turn, ms};
use crate::simulation::wire::{COOPERATIVE, RANGE};
use crate::simulation::writer::Software;
use crate::simulation::{At, MS, SECOND};

/// The assignors that a client offers, the one it wants first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    Range,
    Cooperative,
    Both,
}

impl Protocols {
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Protocols::Range => &[RANGE],
            Protocols::Cooperative => &[COOPERATIVE],
            Protocols::Both => &[COOPERATIVE, RANGE],
        }
    }
}

/// How it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    Usual,
    /// It pauses some partitions as soon as they are assigned.
    PausesFirst {
        until: Option<At>,
    },
    /// It pauses some in the middle.
    PausesLater {
        after: At,
        time: At,
    },
    Slow,
    /// It reads by other means.
    OnlyCommits,
}

/// `auto.offset.reset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    Earliest,
    Latest,
    None,
}

impl Reset {
    /// What ListOffsets is asked for.
    pub fn timestamp(self) -> Option<i64> {
        match self {
            Reset::Earliest => Some(-2),
            Reset::Latest => Some(-1),
            Reset::None => None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Spec {
    /// The kmend that it goes through.
    pub kmend: usize,
    pub client_id: String,
    /// Of a static member.
    pub instance: Option<String>,
    pub start: At,
    /// JoinGroup and SyncGroup on one connection, the rest on another (franz-go); else all on one.
    pub split: bool,
    pub protocols: Protocols,
    /// In its next life.
    pub next_protocols: Protocols,
    pub software: Software,
    /// Its topic may get partitions: it asks for Metadata at least so often.
    pub grows: Option<At>,
    /// `None`: logs keep all that they have, and it begins at 0 where nothing is committed.
    pub reset: Option<Reset>,
    /// It gives up everything in every round, whatever the group's protocol (Java with both assignors).
    pub stays_eager: bool,
    /// What it held before the group turned cooperative, and is assigned again, it never reads
    /// (franz-go up to 1.16).
    pub faulty: bool,
    pub habit: Habit,
    pub read_every: At,
    pub read_version: i16,
    /// A partition is asked for again only when its handler has caught up (Java).
    pub leaves_out: bool,
    /// The client rejoins while the app goes on with what it has, and commits it (aiokafka).
    pub background: bool,
    /// The first commit error ends the app (a naive loop); else it rejoins.
    pub dies: bool,
    /// It commits before it rejoins, and waits for that (Java).
    pub commits_first: bool,
    pub session: At,
    pub rebalance: At,
    pub beat: At,
    pub commit_every: At,
    pub work_every: At,
    /// Then it only keeps its membership alive.
    pub works_until: At,
    /// After it has died; `None`: never.
    pub restart: Option<At>,
    pub join_version: i16,
    pub commit_version: i16,
    pub fetch_version: i16,
}

impl Spec {
    pub fn random(number: usize, kmends: usize, turn: Turn, faults_end: At, dice: &mut Dice) -> Spec {
        let faulty = turn == Turn::Switches && !dice.one_in(3);
        let habit = match dice.range(0, 14) {
            0 => Habit::PausesFirst { until: None },
            1 => Habit::PausesFirst { until: Some(dice.range(1, 15) * SECOND) },
            2 => Habit::PausesLater { after: dice.range(1, 10) * SECOND, time: dice.range(4, 20) * SECOND },
            3 => Habit::Slow,
            4 => Habit::OnlyCommits,
            _ => Habit::Usual,
        };
        let protocols = if turn == Turn::Cooperative { Protocols::Cooperative } else { Protocols::Range };
        let work_every = dice.range(20, 120) * MS * if habit == Habit::Slow { 10 } else { 1 };
        let shares_name = dice.one_in(4);
        Spec {
            kmend: number % kmends,
            client_id: if shares_name { "app".into() } else { format!("app-{number}") },
            instance: dice.one_in(6).then(|| format!("i-{number}")),
            start: if dice.one_in(3) { dice.range(0, faults_end / 2) } else { dice.range(0, SECOND) },
            split: faulty || dice.one_in(3),
            protocols,
            next_protocols: protocols,
            software: if faulty { Software::FranzGo } else { Software::Other },
            grows: None,
            reset: None,
            stays_eager: turn == Turn::Switches && !faulty && dice.one_in(3),
            faulty,
            habit,
            read_every: dice.range(200, 1000) * MS,
            read_version: dice.pick(&[6, 12, 12, 13]),
            leaves_out: dice.one_in(2),
            background: !faulty && dice.one_in(3),
            dies: !faulty && dice.one_in(4),
            commits_first: dice.one_in(2),
            session: dice.pick(&[2 * SECOND, 3 * SECOND, 4 * SECOND]),
            rebalance: dice.pick(&[1500 * MS, 2 * SECOND, 4 * SECOND]),
            beat: dice.range(200, 500) * MS,
            commit_every: dice.pick(&[60 * MS, 200 * MS, 500 * MS, SECOND]),
            work_every,
            works_until: dice.range(faults_end / 2, faults_end + 10 * SECOND),
            restart: (!dice.one_in(4)).then(|| dice.range(200, 3000) * MS),
            join_version: dice.pick(&[5, 7, 9]),
            commit_version: dice.pick(&[2, 5, 7, 8, 9]),
            fetch_version: dice.pick(&[2, 5, 7, 8, 9]),
        }
    }

    pub fn kind(&self) -> String {
        let said = [
            (self.split, "split"),
            (self.protocols == Protocols::Cooperative, "cooperative"),
            (self.stays_eager, "stays-eager"),
            (self.faulty, "faulty"),
            (self.background, "background"),
            (self.dies, "naive"),
            (self.commits_first, "commits-first"),
            (self.instance.is_some(), "static"),
        ];
        let said = said.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect::<Vec<_>>().join(" ");
        let reset = self.reset.map_or(String::new(), |r| format!(", reset {r:?}"));
        let grows = self.grows.map_or(String::new(), |_| format!(", {:?}", self.software));
        format!("{said}, {:?}, Fetch {} each {}{reset}{grows}", self.habit, self.read_version, ms(self.read_every))
    }
}
