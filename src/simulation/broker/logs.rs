//! The logs that members read: Fetch with its sessions (KIP-227), ListOffsets.

use kafka_protocol::messages::{FetchRequest, ListOffsetsRequest};

use super::*;
use crate::simulation::MS;
use crate::simulation::reads::{self, Part, SESSIONS};

pub const NOT_LEADER: i16 = 6;
pub const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
pub const INVALID_FETCH_SESSION_EPOCH: i16 = 71;

/// The node that leads all partitions.
pub const LEADER: i32 = 0;

/// Records in an answer, for each partition.
const MOST: i64 = 20;

/// What is written to it from the beginning of a run on.
#[derive(Debug, Clone, Copy)]
struct Log {
    first: i64,
    /// A record comes each; `None`: nothing is written.
    every: Option<At>,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    wants: BTreeMap<i32, i64>,
    /// The log ends that the client was told.
    told: BTreeMap<i32, i64>,
}

#[derive(Debug)]
pub struct Logs {
    logs: Vec<Log>,
    /// Up to where somebody has read who does not read here.
    beyond: BTreeMap<i32, i64>,
    sessions: BTreeMap<i32, Session>,
    last: i32,
    dice: Dice,
}

impl Logs {
    pub fn new(partitions: i32, mut dice: Dice) -> Logs {
        let log = |_| match dice.one_in(8) {
            true => Log { first: 0, every: None },
            false => Log { first: dice.range(20, 100) as i64, every: Some(dice.range(20, 80) * MS) },
        };
        let logs = (0..partitions).map(log).collect();
        Logs { logs, beyond: BTreeMap::new(), sessions: BTreeMap::new(), last: 0, dice }
    }

    pub fn end(&self, now: At, partition: i32) -> i64 {
        let written =
            self.logs.get(partition as usize).map_or(0, |l| l.first + l.every.map_or(0, |e| (now / e) as i64));
        written.max(self.beyond.get(&partition).copied().unwrap_or(0))
    }

    pub fn has(&mut self, partition: i32, offset: i64) {
        let end = self.beyond.entry(partition).or_default();
        *end = offset.max(*end);
    }

    /// What the session wants after this request, and its id (0: none is kept).
    fn session(&mut self, version: i16, asks: &reads::Asks) -> Result<(i32, BTreeMap<i32, i64>), i16> {
        let listed = asks.wants.iter().copied();
        if version < SESSIONS || asks.epoch < 0 {
            self.sessions.remove(&asks.session);
            return Ok((0, listed.collect()));
        }
        if asks.epoch == 0 {
            self.sessions.remove(&asks.session);
            let wants: BTreeMap<i32, i64> = listed.collect();
            if self.dice.one_in(10) {
                // No room for one more.
                return Ok((0, wants));
            }
            self.last += 1;
            let session = Session { epoch: 0, wants: wants.clone(), told: BTreeMap::new() };
            self.sessions.insert(self.last, session);
            return Ok((self.last, wants));
        }
        if self.dice.one_in(200) {
            self.sessions.remove(&asks.session);
        }
        let session = self.sessions.get_mut(&asks.session).ok_or(FETCH_SESSION_ID_NOT_FOUND)?;
        if asks.epoch != session.epoch + 1 {
            return Err(INVALID_FETCH_SESSION_EPOCH);
        }
        session.epoch += 1;
        session.wants.extend(listed);
        session.wants.retain(|p, _| !asks.forgets.contains(p));
        Ok((asks.session, session.wants.clone()))
    }
}

impl Broker {
    pub(super) fn read(&mut self, now: At, to: ReplyTo, request: &FetchRequest) {
        let asks = reads::asked(request);
        let is_full = to.version < SESSIONS || asks.epoch <= 0;
        let (session, wants) = match self.logs.session(to.version, &asks) {
            Ok(all) => all,
            Err(error) => {
                self.news.push(News::SessionGone);
                return self.out.push((to, Reply::Read { error, session: 0, parts: Vec::new() }));
            }
        };
        let mut parts = Vec::new();
        for (partition, from) in &wants {
            let end = self.logs.end(now, *partition);
            let to = end.min(from + MOST).max(*from);
            let known = self.logs.sessions.get_mut(&session);
            let is_news = known.is_none_or(|s| s.told.insert(*partition, end) != Some(end));
            if is_full || is_news || to > *from {
                parts.push(Part { partition: *partition, from: *from, to, end });
            }
        }
        let (wants, forgotten) = (wants.into_keys().collect(), asks.forgets.len());
        self.news.push(News::Reads { to, wants, is_full, forgotten });
        self.out.push((to, Reply::Read { error: 0, session, parts }));
    }

    pub(super) fn list(&mut self, now: At, node: i32, to: ReplyTo, request: &ListOffsetsRequest) {
        let ends = reads::ends_asked(request).into_iter().map(|(partition, time)| match (node, time) {
            (LEADER, -1) => (partition, 0, self.logs.end(now, partition)),
            (LEADER, _) => (partition, 0, 0),
            _ => (partition, NOT_LEADER, -1),
        });
        let ends = ends.collect();
        self.out.push((to, Reply::Ends(ends)));
    }
}
