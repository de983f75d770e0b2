//! What happens in a run: who takes part, and what goes wrong when. Made from a seed; a plan can be
//! made smaller and run again.

use super::broker::Deaf;
use super::dice::Dice;
use super::member::{Habit, Reset, Spec};
use super::writer;
use super::{At, MS, SECOND};

pub const PARTITIONS: i32 = 6;
/// A topic that grows has no more.
pub const MOST_PARTITIONS: i32 = 16;

/// How a group's partitions are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Eager,
    Cooperative,
    /// Eager, until everybody has come back with both assignors.
    Switches,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The app is gone at once: its connections break, or (`silent`) nothing more is heard of them.
    Kill {
        member: usize,
        silent: bool,
    },
    /// It commits, leaves the group and ends; `back` after so long.
    Leave {
        member: usize,
        back: Option<At>,
    },
    /// The whole process stands still, with a commit in hand.
    Freeze {
        member: usize,
        time: At,
    },
    /// The handler does not come back; the client's own thread goes on.
    Stick {
        member: usize,
        time: At,
    },
    /// It goes back on purpose and commits that.
    Rewind {
        member: usize,
    },
    /// A connection breaks, on the client's side of kmend or on the broker's.
    Cut {
        member: usize,
        slot: usize,
        upstream: bool,
    },
    /// The broker does not get to a connection's requests.
    Stall {
        member: usize,
        slot: usize,
        time: At,
    },
    /// A kmend ends without warning; it is back after so long.
    Crash {
        kmend: usize,
        down: At,
    },
    /// The same, at the next such moment and a little later.
    Doom {
        kmend: usize,
        moment: Moment,
        after: At,
        down: At,
    },
    /// The coordinator moves: nobody is it, then it loads.
    Move {
        away: At,
        loading: At,
    },
    /// An operator sets the committed offsets, in percent of what they are.
    Reset {
        percent: i64,
    },
    /// The journal's disk is full.
    Disk {
        kmend: usize,
        time: At,
    },
    /// It leaves, and comes back with the cooperative assignor before the eager one.
    Upgrade {
        member: usize,
    },
    /// Everybody leaves; they are back one after another.
    Exodus {
        back: At,
    },
    /// The oldest records go (retention, DeleteRecords), so many percent of them.
    Evict {
        partition: i32,
        percent: i64,
    },
    /// The newest records go (an unclean election).
    Truncate {
        partition: i32,
        records: i64,
    },
    /// Another node leads all partitions; its logs end some records before.
    Lead {
        behind: i64,
    },
    /// ListOffsets is not answered as it should be.
    Deaf {
        deaf: Deaf,
        time: At,
    },
    /// As `Cut`, `Stall` and `Kill`, of a producer.
    CutWriter {
        writer: usize,
        slot: usize,
        upstream: bool,
    },
    StallWriter {
        writer: usize,
        slot: usize,
        time: At,
    },
    KillWriter {
        writer: usize,
    },
    /// The topic gets partitions, which have no leader for a while; a node hears of it so much later.
    Grow {
        by: i32,
        leaderless: At,
        late: At,
    },
    /// It is deleted, and made again after so long.
    Remake {
        away: At,
        partitions: i32,
        late: At,
    },
}

/// When a kmend is in the middle of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The journal has been asked to keep something.
    Writing,
    /// It has kept it; the client is being told.
    Written,
    /// Something of kmend's own is on its way to the broker.
    Sending,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub kmends: usize,
    /// A member that was left out by shrinking is `None`, so that the others keep their numbers.
    pub members: Vec<Option<Spec>>,
    pub faults: Vec<(At, Fault)>,
    pub faults_end: At,
    pub end: At,
    /// Every packet takes 1 ms, whole.
    pub calm: bool,
    /// Logs lose what they hold.
    pub evicts: bool,
    /// The topic may get partitions; producers write to it, and nobody else.
    pub grows: bool,
    /// What it has at the beginning.
    pub partitions: i32,
    pub writers: Vec<Option<writer::Spec>>,
}

impl Plan {
    pub fn new(seed: u64) -> Plan {
        let mut dice = Dice::new(seed, 1);
        let turn = dice.pick(&[Turn::Eager, Turn::Cooperative, Turn::Switches, Turn::Switches]);
        let faults = dice.range(0, 24);
        Plan::of(seed, turn, faults, dice)
    }

    /// Of a group that goes from an eager to a cooperative assignor, mostly undisturbed.
    pub fn switching(seed: u64) -> Plan {
        let mut dice = Dice::new(seed, 1);
        let faults = dice.range(0, 8);
        Plan::of(seed, Turn::Switches, faults, dice)
    }

    /// The same with many members behind one kmend, all with the fault.
    pub fn dangling(seed: u64) -> Plan {
        let mut dice = Dice::new(seed, 1);
        let count = 7;
        let faults_end = 15 * SECOND;
        let member = |number| {
            let spec = Spec::random(number, 1, Turn::Switches, faults_end, &mut dice);
            Some(Spec { faulty: true, habit: Habit::Usual, start: 0, background: false, dies: false, ..spec })
        };
        let members = (0..count).map(member).collect();
        let faults = upgrades(count, 3 * SECOND, &mut dice);
        Plan { members, faults, ..Plan::bare(seed, 1, faults_end) }
    }

    /// Logs lose what they hold, at the beginning and sometimes at the end.
    pub fn evicting(seed: u64) -> Plan {
        let mut dice = Dice::new(seed, 1);
        let turn = dice.pick(&[Turn::Eager, Turn::Cooperative, Turn::Switches]);
        let faults = dice.range(0, 10);
        let mut plan = Plan::of(seed, turn, faults, dice);
        let mut dice = Dice::new(seed, 7);
        plan.evicts = true;
        for spec in plan.members.iter_mut().flatten() {
            spec.reset = Some(dice.pick(&[Reset::Earliest, Reset::Latest, Reset::None]));
            if spec.habit == Habit::OnlyCommits {
                spec.habit = Habit::Usual;
            }
        }
        let count = dice.range(2, 12);
        plan.faults.extend((0..count).map(|_| (dice.range(0, plan.faults_end), loss(&mut dice))));
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    pub(super) fn of(seed: u64, turn: Turn, faults: u64, mut dice: Dice) -> Plan {
        let faults_end = dice.range(8, 14) * SECOND;
        let count = dice.range(1, 6) as usize;
        // One for each, or one for all.
        let kmends = if dice.one_in(2) { count } else { dice.range(1, 3) as usize };
        let members = (0..count).map(|n| Some(Spec::random(n, kmends, turn, faults_end, &mut dice))).collect();
        let mut faults: Vec<_> =
            (0..faults).map(|_| (dice.range(SECOND, faults_end), fault(count, kmends, &mut dice))).collect();
        if turn == Turn::Switches {
            faults.extend(upgrades(count, dice.range(3 * SECOND, faults_end / 2 + SECOND), &mut dice));
        }
        faults.sort_by_key(|(at, _)| *at);
        Plan { members, faults, ..Plan::bare(seed, kmends, faults_end) }
    }

    fn bare(seed: u64, kmends: usize, faults_end: At) -> Plan {
        Plan {
            seed,
            kmends,
            members: Vec::new(),
            faults: Vec::new(),
            faults_end,
            end: faults_end + 30 * SECOND,
            calm: false,
            evicts: false,
            grows: false,
            partitions: PARTITIONS,
            writers: Vec::new(),
        }
    }

    pub fn tell(&self) -> String {
        let mut out = format!("seed {}: {} kmend(s), faults until {}\n", self.seed, self.kmends, ms(self.faults_end));
        for (number, spec) in self.members.iter().enumerate() {
            if let Some(s) = spec {
                out += &format!(
                    "  member {number} ({}, {}) behind kmend {}: session {}, rebalance {}, commits every {}\n",
                    s.client_id,
                    s.kind(),
                    s.kmend,
                    ms(s.session),
                    ms(s.rebalance),
                    ms(s.commit_every)
                );
            }
        }
        for (number, spec) in self.writers.iter().enumerate() {
            if let Some(s) = spec {
                out += &format!("  writer {number} ({}) behind kmend {}: {}\n", s.client_id, s.kmend, s.kind());
            }
        }
        for (at, fault) in &self.faults {
            out += &format!("  at {}: {fault:?}\n", ms(*at));
        }
        out
    }
}

pub fn ms(at: At) -> String {
    format!("{}.{:03} s", at / SECOND, at % SECOND / MS)
}

/// One member after the other.
fn upgrades(count: usize, mut at: At, dice: &mut Dice) -> Vec<(At, Fault)> {
    let gap = dice.pick(&[20 * MS, 1000 * MS, 1600 * MS]);
    let each = |member| {
        at += dice.range(gap / 2, gap);
        (at, Fault::Upgrade { member })
    };
    (0..count).map(each).collect()
}

fn loss(dice: &mut Dice) -> Fault {
    let partition = dice.range(0, PARTITIONS as u64) as i32;
    match dice.range(0, 11) {
        0..7 => Fault::Evict { partition, percent: dice.pick(&[20, 50, 80, 100]) },
        7..9 => Fault::Truncate { partition, records: dice.range(1, 60) as i64 },
        9 => {
            let how = [Deaf::Late(1500 * MS), Deaf::Late(200 * MS), Deaf::Error(5), Deaf::Error(78), Deaf::Never];
            Fault::Deaf { deaf: dice.pick(&how), time: dice.range(500, 4000) * MS }
        }
        _ => Fault::Lead { behind: dice.pick(&[0, 0, 10]) },
    }
}

fn fault(count: usize, kmends: usize, dice: &mut Dice) -> Fault {
    let member = dice.range(0, count as u64) as usize;
    let kmend = dice.range(0, kmends as u64) as usize;
    let slot = dice.range(0, 3) as usize;
    match dice.range(0, 29) {
        0..2 => Fault::Kill { member, silent: dice.one_in(2) },
        2..5 => Fault::Leave { member, back: (!dice.one_in(4)).then(|| dice.range(100, 4000) * MS) },
        5..8 => Fault::Freeze { member, time: dice.range(200, 6000) * MS },
        8..12 => Fault::Stick { member, time: dice.range(200, 6000) * MS },
        12..14 => Fault::Rewind { member },
        14..17 => Fault::Cut { member, slot, upstream: dice.one_in(2) },
        17..19 => Fault::Stall { member, slot, time: dice.range(20, 4000) * MS },
        19..22 => Fault::Crash { kmend, down: dice.range(10, 3000) * MS },
        22 => Fault::Move { away: dice.range(20, 1500) * MS, loading: dice.range(0, 600) * MS },
        23 => Fault::Reset { percent: dice.pick(&[0, 50, 100, 150]) },
        24 => Fault::Disk { kmend, time: dice.range(100, 4000) * MS },
        25..28 => Fault::Doom {
            kmend,
            moment: dice.pick(&[Moment::Writing, Moment::Written, Moment::Sending]),
            after: dice.range(0, 3 * MS),
            down: dice.range(10, 3000) * MS,
        },
        _ => Fault::Exodus { back: dice.range(500, 5000) * MS },
    }
}
