//! Plans in which topics get partitions, and producers write to them.

use super::broker::Deaf;
use super::dice::Dice;
use super::member::Habit;
use super::plan::{Fault, Plan, Turn};
use super::writer::{Software, Spec};
use super::{At, MS, SECOND};

/// So long after the last fault a topic still grows.
const LATE: At = 5 * SECOND;

impl Plan {
    pub fn growing(seed: u64) -> Plan {
        let mut dice = Dice::new(seed, 1);
        let turn = dice.pick(&[Turn::Eager, Turn::Cooperative]);
        let faults = dice.range(0, 6);
        Plan::of(seed, turn, faults, dice).with_writers()
    }

    /// The same, and logs lose their beginning.
    pub fn growing_evicting(seed: u64) -> Plan {
        let mut plan = Plan::evicting(seed);
        let keeps = |fault: &Fault| !matches!(fault, Fault::Truncate { .. } | Fault::Upgrade { .. });
        plan.faults.retain(|(_, fault)| keeps(fault));
        for (_, fault) in &mut plan.faults {
            match fault {
                Fault::Lead { behind } => *behind = 0,
                // Polls wait behind it too.
                Fault::Deaf { deaf: deaf @ Deaf::Late(_), .. } => *deaf = Deaf::Error(5),
                _ => {}
            }
        }
        for spec in plan.members.iter_mut().flatten() {
            (spec.faulty, spec.stays_eager) = (false, false);
        }
        plan.with_writers()
    }

    /// A topic that is deleted and made again, with producers only.
    pub fn remade(seed: u64) -> Plan {
        let mut plan = Plan::growing(seed);
        plan.members.iter_mut().for_each(|member| *member = None);
        let mut dice = Dice::new(seed, 9);
        for _ in 0..dice.range(1, 3) {
            let (away, partitions) = (dice.range(10, 3000) * MS, dice.range(1, 7) as i32);
            let late = if dice.one_in(2) { dice.range(0, 1000) * MS } else { 0 };
            let at = dice.range(2 * SECOND, plan.faults_end + LATE);
            plan.faults.push((at, Fault::Remake { away, partitions, late }));
        }
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    fn with_writers(mut self) -> Plan {
        let mut dice = Dice::new(self.seed, 8);
        let (kmends, faults_end) = (self.kmends, self.faults_end);
        self.grows = true;
        self.partitions = dice.range(1, 4) as i32;
        for spec in self.members.iter_mut().flatten() {
            spec.software = Software::random(&mut dice);
            spec.grows = Some(dice.pick(&[25 * SECOND, 300 * SECOND, 300 * SECOND]));
            // Who does not fetch cannot be made to look by a Fetch.
            spec.leaves_out = false;
            if spec.habit == Habit::OnlyCommits {
                spec.habit = Habit::Usual;
            }
        }
        let writers = dice.range(1, 4) as usize;
        self.writers = (0..writers).map(|n| Some(Spec::random(n, kmends, faults_end, &mut dice))).collect();
        for _ in 0..dice.range(1, 4) {
            let leaderless = if dice.one_in(2) { dice.range(0, 2500) * MS } else { 0 };
            let late = if dice.one_in(2) { dice.range(0, 1500) * MS } else { 0 };
            let by = dice.range(1, 4) as i32;
            let at = dice.range(2 * SECOND, faults_end + LATE);
            self.faults.push((at, Fault::Grow { by, leaderless, late }));
        }
        for _ in 0..dice.range(0, 6) {
            let writer = dice.range(0, writers as u64) as usize;
            let slot = dice.range(0, 2) as usize;
            let fault = match dice.range(0, 8) {
                0..4 => Fault::CutWriter { writer, slot, upstream: dice.one_in(2) },
                4..6 => Fault::StallWriter { writer, slot, time: dice.range(20, 1500) * MS },
                6 => Fault::KillWriter { writer },
                _ => Fault::Lead { behind: 0 },
            };
            self.faults.push((dice.range(SECOND, faults_end), fault));
        }
        self.faults.sort_by_key(|(at, _)| *at);
        self
    }
}
