//! What must hold where kmend tells members to rejoin (rules D2, D3).
//!
//! | rule | |
//! |---|---|
//! | W1 | Nobody is told but who has a partition that it takes for its own and does not read. |
//! | W2 | Only the broker's success is changed, and never while the group rebalances. |
//! | W3 | A kmend tells a member once in a generation. |
//! | W4 | A kmend tells four at once, then one each five seconds. |
//! | W5 | In the end, after enough quiet, everything is read that its member could be told of. |

use std::collections::{BTreeMap, BTreeSet};

use super::broker::ILLEGAL_GENERATION;
use super::check::Life;
use super::plan::ms;
use super::{At, MS, SECOND};

/// A kmend and which of its lives.
pub type Process = (usize, u32);

/// kmend has answered a Heartbeat with [`ILLEGAL_GENERATION`], and the broker has not.
#[derive(Debug, Clone, Copy)]
pub struct Saying {
    pub at: At,
    pub kmend: Process,
    pub life: Life,
    pub generation: i32,
    /// What the broker had said; `None`: nothing. And whether the group was stable then.
    pub instead_of: Option<(i16, bool)>,
    /// The group rebalances.
    pub rebalances_since: Option<At>,
}

/// A sign of a rebalance may take that long from the broker to kmend.
const ON_ITS_WAY: At = 100 * MS;

const AT_ONCE: u64 = 4;
const ONE_EACH: At = 5 * SECOND;

/// Time enough for all that are to be told: how long a partition has to go unread, and the wait for
/// those beyond [`AT_ONCE`].
const QUIET: At = 18 * SECOND;

type Broken = Option<(&'static str, String)>;

#[derive(Debug, Default)]
pub struct Told {
    dangling: BTreeMap<Life, BTreeSet<i32>>,
    /// When the last of them was gone.
    cleared: BTreeMap<Life, At>,
    /// All that ever did.
    dangled: BTreeSet<(Life, i32)>,
    /// The last assignment, and the last under an eager protocol.
    assigned: BTreeMap<Life, At>,
    eager: BTreeMap<Life, At>,
    read: BTreeMap<(Life, i32), At>,
    /// When the last of a client's connections was gone.
    alone: BTreeMap<Life, At>,
    once: BTreeSet<(Process, Life, i32)>,
    times: BTreeMap<Process, Vec<At>>,
}

impl Told {
    pub fn assigned(&mut self, at: At, life: Life, cooperative: bool) {
        self.assigned.insert(life, at);
        if !cooperative {
            self.eager.insert(life, at);
        }
    }

    pub fn alone(&mut self, at: At, life: Life) {
        self.alone.insert(life, at);
    }

    pub fn dangles(&mut self, at: At, life: Life, partitions: BTreeSet<i32>) {
        self.dangled.extend(partitions.iter().map(|p| (life, *p)));
        if partitions.is_empty() {
            self.cleared.insert(life, at);
        }
        self.dangling.insert(life, partitions);
    }

    /// Whether it has dangled before.
    pub fn reads(&mut self, at: At, life: Life, partition: i32) -> bool {
        self.read.insert((life, partition), at);
        self.dangled.remove(&(life, partition))
    }

    pub fn says(&mut self, said: &Saying) -> Broken {
        let Saying { at, kmend, life, generation, .. } = *said;
        let times = self.times.entry(kmend).or_default();
        times.push(at);
        let too_many = times.iter().rev().zip(1u64..).find(|(t, n)| n.saturating_sub(AT_ONCE) * ONE_EACH > at - **t);
        let too_many = too_many.map(|(t, n)| (*t, n));
        let is_first = self.once.insert((kmend, life, generation));
        let dangles = self.dangling.get(&life).is_some_and(|p| !p.is_empty());
        let did = self.cleared.get(&life).is_some_and(|t| at - t < ON_ITS_WAY);
        let who = format!("kmend {} tells member {} to rejoin, generation {generation}", kmend.0, life.0);
        if said.instead_of != Some((0, true)) {
            let what = said.instead_of;
            return Some(("W2", format!("{who}; the broker said (error, group stable) {what:?}")));
        }
        if let Some(since) = said.rebalances_since.filter(|since| at - since > ON_ITS_WAY) {
            return Some(("W2", format!("{who}; the group rebalances since {}", ms(since))));
        }
        if !is_first {
            return Some(("W3", format!("{who}, again")));
        }
        if let Some((since, count)) = too_many {
            return Some(("W4", format!("{who}, as number {count} since {}", ms(since))));
        }
        (!dangles && !did).then(|| ("W1", format!("{who}, which reads all that is its own")))
    }

    /// Whether a kmend that lives since `started` could see what this member leaves unread, and had time
    /// to tell it.
    pub fn is_due(&self, now: At, life: Life, started: At) -> bool {
        let since = |of: &BTreeMap<Life, At>| of.get(&life).copied();
        let quiet = since(&self.assigned).is_some_and(|at| at + QUIET <= now);
        let switch_seen =
            since(&self.eager).is_some_and(|at| at > started && since(&self.alone).is_none_or(|t| t < at));
        let has_read = self.read.iter().any(|((l, _), at)| *l == life && *at > started);
        quiet && switch_seen && has_read
    }

    pub fn has_read(&self, life: Life, partition: i32) -> bool {
        self.read.contains_key(&(life, partition))
    }
}

pub const TOLD: i16 = ILLEGAL_GENERATION;

#[cfg(test)]
mod tests {
    use super::*;

    fn saying(at: At, life: usize, generation: i32) -> Saying {
        let (life, instead_of) = ((life, 0), Some((0, true)));
        Saying { at, kmend: (0, 1), life, generation, instead_of, rebalances_since: None }
    }

    fn dangling() -> Told {
        let mut told = Told::default();
        (0..20).for_each(|member| told.dangles(0, (member, 0), [1].into()));
        told
    }

    #[test]
    fn four_are_told_at_once_and_then_one_each_five_seconds() {
        let times = |all: &[At]| {
            let mut told = dangling();
            let broken = all.iter().enumerate().filter_map(|(n, at)| told.says(&saying(*at, n, 1)));
            broken.map(|b| b.0).collect::<Vec<_>>()
        };
        let s = SECOND;
        assert!(times(&[s, s, s, s, 6 * s, 11 * s, 16 * s]).is_empty());
        assert!(times(&[s, s, s, s, 21 * s, 21 * s, 21 * s, 21 * s]).is_empty());
        assert_eq!(times(&[s, s, s, s, s]), ["W4"]);
        assert_eq!(times(&[s, s, s, s, 6 * s - 1]), ["W4"]);
        assert_eq!(times(&[s, s, s, s, 6 * s, 10 * s]), ["W4"]);
    }

    #[test]
    fn a_saying_breaks_the_rule_that_it_breaks() {
        let rule = |said: Saying| dangling().says(&said).map(|b| b.0);
        let fine = saying(SECOND, 1, 1);
        assert_eq!(rule(fine), None);
        assert_eq!(rule(Saying { instead_of: Some((27, false)), ..fine }), Some("W2"));
        assert_eq!(rule(Saying { instead_of: None, ..fine }), Some("W2"));
        assert_eq!(rule(Saying { rebalances_since: Some(SECOND / 2), ..fine }), Some("W2"));
        assert_eq!(rule(Saying { rebalances_since: Some(SECOND - MS), ..fine }), None);
        assert_eq!(rule(Saying { life: (30, 0), ..fine }), Some("W1"));
        assert_eq!(rule(Saying { life: (1, 1), ..fine }), Some("W1"));
        let mut told = dangling();
        assert_eq!(told.says(&fine).map(|b| b.0), None);
        assert_eq!(told.says(&Saying { generation: 2, ..fine }).map(|b| b.0), None);
        assert_eq!(told.says(&fine).map(|b| b.0), Some("W3"));
    }
}
