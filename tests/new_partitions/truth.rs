//! What an app says against what the log holds.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{Admin, Client};

/// A topic as it is, read past kmend: per partition offset and record number.
pub struct Truth(Vec<Vec<(i64, u64)>>);

fn number(value: &str) -> u64 {
    value.strip_prefix('r').and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no record of an app: {value}"))
}

impl Truth {
    pub fn read(admin: &Admin, topic: &str, partitions: i32) -> Truth {
        let of = |p| admin.values(topic, p).into_iter().map(|(offset, value)| (offset, number(&value))).collect();
        Truth((0..partitions).map(of).collect())
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// How many partitions hold something.
    pub fn used(&self) -> usize {
        self.0.iter().filter(|p| !p.is_empty()).count()
    }

    /// What is wrong with it, for a producer that has sent each number once, in order: numbers that are
    /// there twice, that are out of order within a partition, and answers that do not fit what is there.
    pub fn faults(&self, app: &Client, topic: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
        for (p, records) in self.0.iter().enumerate() {
            for pair in records.windows(2).filter(|pair| pair[1].1 <= pair[0].1) {
                faults.push(format!("partition {p}: r{} before r{}", pair[0].1, pair[1].1));
            }
            records.iter().for_each(|(_, n)| *seen.entry(*n).or_default() += 1);
        }
        faults.extend(seen.iter().filter(|(_, times)| **times > 1).map(|(n, times)| format!("r{n}: {times} times")));
        faults.extend(self.lost(app, topic));
        faults.truncate(20);
        faults
    }

    /// Records that the app was told were sent and that are not there, or elsewhere.
    pub fn lost(&self, app: &Client, topic: &str) -> Vec<String> {
        let there: Vec<BTreeMap<i64, u64>> = self.0.iter().map(|p| p.iter().copied().collect()).collect();
        let numbers: Vec<BTreeSet<u64>> = self.0.iter().map(|p| p.iter().map(|r| r.1).collect()).collect();
        let sent = app.sent(topic);
        assert!(!sent.is_empty(), "{} has sent nothing\n{}", app.name, app.story());
        let is_there = |(partition, offset, value): &(i32, i64, String)| {
            let (p, n) = (usize::try_from(*partition), number(value));
            match p {
                // No answer, no place: acks=0.
                Ok(p) if *offset < 0 => numbers.get(p).is_some_and(|all| all.contains(&n)),
                Ok(p) => there.get(p).and_then(|all| all.get(offset)) == Some(&n),
                Err(_) => numbers.iter().any(|all| all.contains(&n)),
            }
        };
        let lost = sent.iter().filter(|s| !is_there(s));
        lost.map(|(p, o, v)| format!("{v} was acknowledged at {o} of partition {p} and is not there")).collect()
    }
}
