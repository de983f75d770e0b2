//! What must hold where logs lose what they hold (rules A1 to A8).
//!
//! | rule | |
//! |---|---|
//! | E1 | What a consumer is led past is gone: a gap in what it reads ends at the log start or before. |
//! | E2 | Where offset_reset mends, nobody hears that a position below the log start is out of range. |
//! | E3 | Who stands above the log end hears so from the broker, soon. |
//! | E4 | Nobody is left where there is nothing to read. |
//! | E5 | Who looks up where a log begins or ends is told what it asked for; where a policy is set, who stood above the log end is led by that, once. |
//! | E6 | Records are those of the log, each once and in order. |
//!
//! That a committed offset is lifted no further than to the log start is rule I2.

use std::collections::BTreeMap;

use super::broker::{Logs, OFFSET_OUT_OF_RANGE};
use super::check::Life;
use super::plan::ms;
use super::reads::{Got, Record};
use super::{At, MS, SECOND};

type Broken = Option<(&'static str, String)>;

/// Partition, error and offset.
type Ends = Vec<(i32, i16, i64)>;

/// A ListOffsets as the broker sees it, and its answer.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Partition and timestamp.
    pub asked: &'a [(i32, i64)],
    pub ends: &'a Ends,
}

/// Exception to E2: so long after the leader could not tell, or had told that the position is not below
/// the start, the broker's own error passes (rule M2).
const PASSES: At = 7 * SECOND;

/// Exception to E2: a log start that moves more often than this in so short a time (rule A5).
const MOVES: usize = 3;
const IN_A_ROW: At = 10 * SECOND;

/// Empty answers in a row. One in place of the error, one for a request that was on its way, two for a
/// fetch session that is opened anew.
const FEW: u32 = 4;

/// A ListOffsets that comes so long after the error is the client's answer to it.
const AT_ONCE: At = 5 * SECOND + 100 * MS;

#[derive(Debug, Default)]
pub struct Evicted {
    /// When each log lost its beginning.
    moved: BTreeMap<i32, Vec<At>>,
    /// By connection: when its leader last failed to tell what it was asked.
    excused: BTreeMap<u64, At>,
    /// By connection: the log start when the broker last said out of range.
    said: BTreeMap<(u64, i32), i64>,
    /// Positions that were found above the end.
    above: BTreeMap<(u64, i32, i64), At>,
    /// Empty answers in a row to a position that is out of range.
    silent: BTreeMap<(Life, i32), (i64, u32)>,
    /// Clients that have heard that they are above the end, behind which kmend.
    heard: BTreeMap<(usize, String, i32), At>,
    listed: BTreeMap<(u64, i32), Ends>,
}

/// Who was answered, and where.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    pub life: Life,
    pub conn: u64,
    pub kmend: usize,
    pub client: &'a str,
}

/// What is asked of the menders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// offset_reset mends.
    pub mends: bool,
    /// The timestamp of the policy that is set for the topic.
    pub steers: Option<i64>,
}

impl Evicted {
    pub fn evicted(&mut self, at: At, partition: i32) {
        self.moved.entry(partition).or_default().push(at);
        self.silent.retain(|(_, p), _| *p != partition);
    }

    /// The leader at the end of this connection did not tell, or not in time.
    pub fn excuse(&mut self, until: At, conn: u64) {
        let at = self.excused.entry(conn).or_default();
        *at = until.max(*at);
    }

    /// The broker says that there is nothing at this position.
    pub fn out_of_range(&mut self, conn: u64, partition: i32, start: i64) {
        self.said.insert((conn, partition), start);
    }

    /// A member is answered from a position of its own. Gives back what is broken, and what occurred.
    pub fn got(
        &mut self,
        now: At,
        who: Asker<'_>,
        at: i64,
        got: &Got,
        logs: &Logs,
        wanted: Wanted,
    ) -> (Broken, Option<&'static str>) {
        let partition = got.partition;
        let member = who.life.0;
        if got.error == OFFSET_OUT_OF_RANGE {
            self.silent.remove(&(who.life, partition));
            return self.heard(now, who, partition, at, wanted);
        }
        let mut next = at;
        for record in &got.records {
            match record {
                Some(Record { partition: p, offset, .. }) if *p == partition && *offset >= next => {
                    if *offset > next && next > at {
                        return (broken("E6", member, partition, &format!("a hole from {next} to {offset}")), None);
                    }
                    next = offset + 1;
                }
                other => return (broken("E6", member, partition, &format!("{other:?} where {next} is due")), None),
            }
        }
        if let Some(invented) = got.records.iter().flatten().find(|r| !logs.held(now, **r)) {
            return (broken("E6", member, partition, &format!("{invented:?}, which no log has held")), None);
        }
        let (start, end) = (logs.start(partition), logs.end(now, partition));
        let first = got.records.iter().flatten().map(|r| r.offset).next();
        if let Some(first) = first.filter(|first| *first > at) {
            let what = format!("goes from {at} to {first}, and the log begins at {start}");
            return (broken("E1", member, partition, &what).filter(|_| first > start), Some("gaps that were crossed"));
        }
        let is_out = at > end || (at < start && start < end);
        if !is_out || first.is_some() {
            self.silent.remove(&(who.life, partition));
            return (None, None);
        }
        let (position, times) = self.silent.entry((who.life, partition)).or_insert((at, 0));
        (*position, *times) = (at, if *position == at { *times + 1 } else { 1 });
        let rule = if at > end { "E3" } else { "E4" };
        // A log start that moves is chased anew each time.
        let most = if at > end { FEW } else { FEW * (MOVES as u32 + 1) };
        let what = format!("is told nothing at {at}, again and again; the log goes from {start} to {end}");
        (broken(rule, member, partition, &what).filter(|_| *times > most), None)
    }

    fn heard(
        &mut self,
        now: At,
        who: Asker<'_>,
        partition: i32,
        at: i64,
        wanted: Wanted,
    ) -> (Broken, Option<&'static str>) {
        // `None`: another request of this position found it out of range, or nobody did.
        let start = self.said.get(&(who.conn, partition)).copied();
        if start.is_none_or(|start| at >= start) {
            self.above.insert((who.conn, partition, at), now);
            self.heard.insert((who.kmend, who.client.to_owned(), partition), now);
            return (None, Some("members that hear that they are above the end"));
        }
        let lately = |since: Option<&At>| since.is_some_and(|since| since + PASSES > now);
        let moves = self.moved.get(&partition).map_or(0, |m| m.iter().filter(|t| **t + IN_A_ROW > now).count());
        let excused =
            lately(self.excused.get(&who.conn)) || lately(self.above.get(&(who.conn, partition, at))) || moves > MOVES;
        let what = format!("hears that {at} is out of range; the log begins at {start:?}");
        let found = broken("E2", who.life.0, partition, &what).filter(|_| wanted.mends && !excused);
        (found, Some("members that hear of an eviction"))
    }

    /// The broker is asked by ListOffsets; `meant`: what the member had asked on that connection.
    pub fn lists(
        &mut self,
        now: At,
        who: Asker<'_>,
        correlation: i32,
        meant: &[(i32, i64)],
        seen: Listed<'_>,
        wanted: Wanted,
    ) -> (Broken, Option<&'static str>) {
        let Listed { asked, ends } = seen;
        self.listed.insert((who.conn, correlation), ends.clone());
        let mut steered = None;
        for (partition, time) in asked {
            let Some((_, own)) = meant.iter().find(|(p, t)| p == partition && t != time) else { continue };
            let heard = self.heard.remove(&(who.kmend, who.client.to_owned(), *partition));
            let was_above = heard.is_some_and(|at| at + AT_ONCE > now);
            if wanted.steers != Some(*time) || !was_above {
                let what = format!("asks for {own} and is given {time}; heard that it is above the end: {heard:?}");
                return (broken("E5", who.life.0, *partition, &what), None);
            }
            steered = Some("resets that were steered");
        }
        (None, steered)
    }

    /// A member reads what its ListOffsets is answered.
    pub fn is_told(&mut self, member: usize, conn: u64, correlation: i32, told: &[(i32, i16, i64)]) -> Broken {
        let by_broker = self.listed.remove(&(conn, correlation))?;
        let what = format!("is told {told:?}, and the broker said {by_broker:?}");
        broken("E5", member, -1, &what).filter(|_| by_broker != told)
    }
}

fn broken(rule: &'static str, member: usize, partition: i32, what: &str) -> Broken {
    Some((rule, format!("member {member}, partition {partition}: {what}")))
}

/// In the end: where a member stands and the log is not.
pub fn is_left(logs: &Logs, now: At, partition: i32, at: i64) -> Option<String> {
    let (start, end) = (logs.start(partition), logs.end(now, partition));
    let is_out = at > end || (at < start && start < end);
    is_out.then(|| format!("stands at {at} of partition {partition} at {}, which goes from {start} to {end}", ms(now)))
}
