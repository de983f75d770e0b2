//! The logs that members read: Fetch with its sessions (KIP-227), ListOffsets.

use kafka_protocol::messages::{FetchRequest, ListOffsetsRequest};

use super::*;
use crate::simulation::MS;
use crate::simulation::reads::{self, Part, Record, SESSIONS};

pub const OFFSET_OUT_OF_RANGE: i16 = 1;
pub const NOT_LEADER: i16 = 6;
pub const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
pub const INVALID_FETCH_SESSION_EPOCH: i16 = 71;

/// Records in an answer, for each partition.
const MOST: i64 = 20;

/// What is written to it from the beginning of a run on, and what it has lost.
#[derive(Debug, Clone)]
struct Log {
    first: i64,
    /// A record comes each; `None`: nothing is written.
    every: Option<At>,
    /// Where it begins: what was before has been removed.
    start: i64,
    /// Records that its end has lost in all.
    cut: i64,
    /// From where on it was written anew after its end was lost, each time.
    epochs: Vec<i64>,
}

impl Log {
    /// The newest that reaches down to this offset.
    fn epoch(&self, offset: i64) -> u8 {
        let newest = self.epochs.iter().rposition(|from| *from <= offset);
        newest.map_or(0, |n| n as u8 + 1)
    }
}

/// What becomes of ListOffsets for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deaf {
    Late(At),
    Error(i16),
    /// The connection ends instead.
    Never,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    wants: BTreeMap<i32, i64>,
    /// Where the logs begin and end, as the client was told.
    told: BTreeMap<i32, (i64, i64)>,
}

#[derive(Debug)]
pub struct Logs {
    logs: Vec<Log>,
    /// Up to where somebody has read who does not read here.
    beyond: BTreeMap<i32, i64>,
    sessions: BTreeMap<i32, Session>,
    last: i32,
    /// The node that leads all partitions.
    pub leader: i32,
    /// Logs lose what they hold: then nobody reads elsewhere.
    pub evicts: bool,
    /// Until then.
    pub deaf: (At, Option<Deaf>),
    dice: Dice,
}

impl Logs {
    pub fn new(partitions: i32, mut dice: Dice) -> Logs {
        let log = |_| {
            let (first, every) = match dice.one_in(8) {
                true => (0, None),
                false => (dice.range(20, 100) as i64, Some(dice.range(20, 80) * MS)),
            };
            Log { first, every, start: 0, cut: 0, epochs: Vec::new() }
        };
        let logs = (0..partitions).map(log).collect();
        let (beyond, sessions) = Default::default();
        Logs { logs, beyond, sessions, last: 0, leader: 0, evicts: false, deaf: (0, None), dice }
    }

    pub fn end(&self, now: At, partition: i32) -> i64 {
        let written = |l: &Log| l.first + l.every.map_or(0, |e| (now / e) as i64) - l.cut;
        let written = self.logs.get(partition as usize).map_or(0, written);
        written.max(self.beyond.get(&partition).copied().unwrap_or(0))
    }

    pub fn start(&self, partition: i32) -> i64 {
        self.logs.get(partition as usize).map_or(0, |l| l.start)
    }

    /// Only producers write: everything begins empty.
    pub fn are_produced(&mut self) {
        self.logs.iter_mut().for_each(|log| (log.first, log.every) = (0, None));
    }

    /// Producers have written up to there.
    pub fn is_written(&mut self, partition: i32, end: i64) {
        let index = partition as usize;
        if index >= self.logs.len() {
            let log = Log { first: 0, every: None, start: 0, cut: 0, epochs: Vec::new() };
            self.logs.resize(index + 1, log);
        }
        self.logs[index].first = end;
    }

    pub fn has(&mut self, partition: i32, offset: i64) {
        if !self.evicts {
            let end = self.beyond.entry(partition).or_default();
            *end = offset.max(*end);
        }
    }

    /// Another node leads; it knows nothing of the sessions of the one before.
    pub fn relocate(&mut self) {
        self.leader = (self.leader + 1) % NODES;
        self.sessions.clear();
    }

    /// Retention, or DeleteRecords: the oldest go, so many percent of all that it has.
    pub fn evict(&mut self, now: At, partition: i32, percent: i64) -> i64 {
        let end = self.end(now, partition);
        let Some(log) = self.logs.get_mut(partition as usize) else { return 0 };
        log.start += (end - log.start) * percent / 100;
        log.start
    }

    /// An unclean election: the newest are gone, others take their offsets.
    pub fn truncate(&mut self, now: At, partition: i32, records: i64) -> i64 {
        let end = self.end(now, partition);
        let Some(log) = self.logs.get_mut(partition as usize) else { return 0 };
        let lost = records.min(end - log.start).max(0);
        log.cut += lost;
        log.epochs.push(end - lost);
        end - lost
    }

    /// Whether the log holds, or has held, this record.
    pub fn held(&self, now: At, record: Record) -> bool {
        let Some(log) = self.logs.get(record.partition as usize) else { return false };
        let since = match record.epoch {
            0 => Some(&0),
            epoch => log.epochs.get(usize::from(epoch) - 1),
        };
        since.is_some_and(|from| *from <= record.offset) && record.offset < self.end(now, record.partition) + log.cut
    }

    /// What a Fetch from there gets, and whether it is told though it has nothing new.
    fn part(&mut self, now: At, session: i32, partition: i32, from: i64) -> (Part, bool) {
        let (start, end) = (self.start(partition), self.end(now, partition));
        if from < start || from > end {
            return (Part::error(partition, OFFSET_OUT_OF_RANGE), true);
        }
        let log = self.logs.get(partition as usize);
        let record = |offset| Record { partition, offset, epoch: log.map_or(0, |l| l.epoch(offset)) };
        let records: Vec<_> = (from..end.min(from + MOST)).map(record).collect();
        let known = self.sessions.get_mut(&session);
        let is_news = known.is_none_or(|s| s.told.insert(partition, (start, end)) != Some((start, end)));
        let is_news = is_news || !records.is_empty();
        (Part { partition, error: 0, records, start, end }, is_news)
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
    pub(super) fn read(&mut self, now: At, node: i32, to: ReplyTo, request: &FetchRequest) {
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
            let (part, is_news) = match node == self.logs.leader {
                true => self.logs.part(now, session, *partition, *from),
                false => (Part::error(*partition, NOT_LEADER), true),
            };
            if part.error == OFFSET_OUT_OF_RANGE {
                self.news.push(News::OutOfRange { to, partition: *partition, at: *from });
            }
            if is_full || is_news {
                parts.push(part);
            }
        }
        let (wants, forgotten) = (wants.into_keys().collect(), asks.forgets.len());
        self.news.push(News::Reads { to, wants, is_full, forgotten });
        self.out.push((to, Reply::Read { error: 0, session, parts }));
    }

    pub(super) fn list(&mut self, now: At, node: i32, to: ReplyTo, request: &ListOffsetsRequest) {
        let (until, deaf) = self.logs.deaf;
        let deaf = deaf.filter(|_| now < until);
        if let Some(deaf) = deaf {
            self.news.push(News::Deaf { to, deaf });
            if deaf == Deaf::Never {
                return;
            }
        }
        let asked = reads::ends_asked(request);
        let ends = asked.iter().map(|(partition, time)| match (node == self.logs.leader, deaf, time) {
            (true, Some(Deaf::Error(error)), _) => (*partition, error, -1),
            (true, _, -1) => (*partition, 0, self.logs.end(now, *partition)),
            (true, ..) => (*partition, 0, self.logs.start(*partition)),
            _ => (*partition, NOT_LEADER, -1),
        });
        let ends: Vec<_> = ends.collect();
        self.news.push(News::Listed { to, asked, ends: ends.clone() });
        self.out.push((to, Reply::Ends(ends)));
    }
}
