//! Fetching: what it asks for, and the session that it holds on a connection to the leader.

use std::collections::BTreeSet;

use super::*;
use crate::simulation::broker::{FETCH_SESSION_ID_NOT_FOUND, NOT_LEADER, OFFSET_OUT_OF_RANGE};
use crate::simulation::reads::{self, Asks, SESSIONS};

/// The connection to the leader.
pub const READS: usize = 2;

/// The version of its ListOffsets.
const LISTS: i16 = 5;

/// What a member dies of.
pub const OUT_OF_RANGE: &str = "its position is out of range";

/// So far ahead of its handler it reads.
const AHEAD: i64 = 20;

#[derive(Debug, Default)]
pub struct Reading {
    session: i32,
    /// Of the next request; 0: all that it wants is listed.
    epoch: i32,
    /// What the session has in it, and the offsets that were last asked for.
    listed: BTreeMap<i32, i64>,
    /// Up to where each partition has been read.
    read: BTreeMap<i32, i64>,
    /// Records that are not there: from an offset to another, in order.
    gaps: BTreeMap<i32, Vec<(i64, i64)>>,
    /// Where it does not know where to go on, with the timestamp to look that up by.
    lost: BTreeMap<i32, i64>,
    looks_up: bool,
    busy: bool,
    pub(super) pauses: bool,
}

impl Reading {
    /// The gap at this position; it is behind it then.
    pub(super) fn gap(&mut self, partition: i32, position: i64) -> Option<(i64, i64)> {
        let gaps = self.gaps.get_mut(&partition)?;
        (gaps.first()?.0 == position).then(|| gaps.remove(0))
    }

    pub(super) fn before_gap(&self, partition: i32) -> Option<i64> {
        self.gaps.get(&partition)?.first().map(|(from, _)| *from)
    }
}

impl Member {
    /// It goes on with this partition from there.
    pub(super) fn seek(&mut self, partition: i32, to: i64) {
        self.reading.read.insert(partition, to);
        self.reading.gaps.remove(&partition);
    }

    /// What it reads, and from where.
    pub fn stands(&mut self) -> BTreeMap<i32, i64> {
        if self.spec.habit == Habit::OnlyCommits { BTreeMap::new() } else { self.wanted() }
    }

    /// Its position is of no use; what happens then is its own to say.
    pub(super) fn goes_by_reset(&mut self, partition: i32) {
        let timestamp = self.spec.reset.and_then(Reset::timestamp);
        self.reading.lost.extend(timestamp.map(|t| (partition, t)));
    }

    /// How far its handler may go.
    pub(super) fn has_read(&self, partition: i32) -> i64 {
        match self.spec.habit {
            Habit::OnlyCommits => i64::MAX,
            _ => self.reading.read.get(&partition).copied().unwrap_or(0),
        }
    }

    fn is_paused(&self, partition: i32) -> bool {
        self.reading.pauses && partition % 2 == 0
    }

    fn wanted(&mut self) -> BTreeMap<i32, i64> {
        let positions = &self.positions;
        self.reading.read.retain(|p, _| positions.contains_key(p));
        self.reading.gaps.retain(|p, _| positions.contains_key(p));
        self.reading.lost.retain(|p, _| positions.contains_key(p));
        let at = |p: &i32, position: &i64| self.reading.read.get(p).copied().unwrap_or(*position);
        let has_room = |p: &i32, position: &i64| !self.spec.leaves_out || at(p, position) < *position + AHEAD;
        let wanted = self
            .positions
            .iter()
            .filter(|(p, o)| !self.is_paused(**p) && !self.reading.lost.contains_key(p) && has_room(p, o));
        wanted.map(|(p, o)| (*p, at(p, o))).collect()
    }

    pub(super) fn read(&mut self, acts: &mut Acts) {
        let slot = self.slots[READS];
        let Some(conn) = slot.conn.filter(|_| slot.ready && !self.reading.busy) else { return };
        if self.phase == Phase::Leaving || (self.stuck && !self.spec.background) {
            return;
        }
        let wanted = self.wanted();
        if !self.reading.lost.is_empty() && !self.reading.looks_up {
            self.reading.looks_up = true;
            let wants: Vec<_> = self.reading.lost.iter().map(|(p, t)| (*p, *t)).collect();
            let body = reads::ask_ends(LISTS, &wants);
            let asked = Asked::Ends(wants);
            acts.push(Act::Send { conn, api: ApiKey::LIST_OFFSETS, version: LISTS, body, asked });
        }
        if wanted.is_empty() {
            return;
        }
        let version = self.spec.read_version;
        let is_full = version < SESSIONS || self.reading.epoch == 0;
        let changed = wanted.iter().filter(|(p, o)| is_full || self.reading.listed.get(p) != Some(o));
        let wants = changed.map(|(p, o)| (*p, *o)).collect();
        let forgets = self.reading.listed.keys().filter(|p| !is_full && !wanted.contains_key(p)).copied().collect();
        let asks = Asks { session: self.reading.session, epoch: self.reading.epoch, wants, forgets };
        let body = reads::ask(version, &asks);
        self.reading.listed = wanted.clone();
        self.reading.busy = true;
        let asked = Asked::Read { wanted };
        acts.push(Act::Send { conn, api: ApiKey::FETCH, version, body, asked });
    }

    pub(super) fn has_been_read(
        &mut self,
        wanted: &BTreeMap<i32, i64>,
        version: i16,
        frame: &[u8],
        body: usize,
        acts: &mut Acts,
    ) {
        let (error, session, parts) = reads::answered(frame, body, version);
        let reading = &mut self.reading;
        reading.busy = false;
        if error != 0 {
            reading.epoch = 0;
            if error == FETCH_SESSION_ID_NOT_FOUND {
                reading.session = 0;
            }
            return;
        }
        (reading.epoch, reading.session) = if session == 0 { (0, 0) } else { (reading.epoch + 1, session) };
        let has_moved = parts.iter().any(|got| got.error == NOT_LEADER);
        for got in parts {
            let partition = got.partition;
            let Some(from) = wanted.get(&partition).filter(|_| self.positions.contains_key(&partition)) else {
                continue;
            };
            // It may have been told to go elsewhere since, or to end.
            if self.is_up() && self.reading.read.get(&partition) == Some(from) {
                self.has_got(*from, got, acts);
            }
        }
        match self.spec.grows {
            Some(_) if has_moved => self.look(acts),
            _ if has_moved => self.follows_the_leader(acts),
            _ => {}
        }
    }

    /// The leader is elsewhere: it is looked up and connected to, and knows no session.
    pub(super) fn follows_the_leader(&mut self, acts: &mut Acts) {
        (self.reading.epoch, self.reading.session) = (0, 0);
        if let Some(conn) = self.slots[READS].conn {
            acts.push(Act::Close(conn));
            self.closed(conn, acts);
        }
    }

    fn has_got(&mut self, from: i64, got: Got, acts: &mut Acts) {
        let partition = got.partition;
        if got.error == OFFSET_OUT_OF_RANGE {
            self.goes_by_reset(partition);
        }
        let dies = got.error == OFFSET_OUT_OF_RANGE && self.spec.reset == Some(Reset::None);
        // Below its position a client drops what it gets.
        let offsets = got.records.iter().flatten().map(|r| r.offset).filter(|o| *o >= from);
        let (first, last) = (offsets.clone().min(), offsets.max());
        acts.push(Act::Got { at: from, got });
        if dies {
            return self.die(OUT_OF_RANGE, acts);
        }
        let (Some(first), Some(last)) = (first, last) else { return };
        if first > from {
            self.reading.gaps.entry(partition).or_default().push((from, first));
        }
        self.reading.read.insert(partition, last + 1);
    }

    pub(super) fn has_looked_up(
        &mut self,
        asked: &[(i32, i64)],
        version: i16,
        frame: &[u8],
        body: usize,
        acts: &mut Acts,
    ) {
        self.reading.looks_up = false;
        let told = reads::ends_told(frame, body, version);
        if told.iter().any(|(_, error, _)| *error == NOT_LEADER) {
            self.follows_the_leader(acts);
        }
        for (partition, error, to) in told {
            let as_asked = asked.iter().any(|(p, t)| *p == partition && self.reading.lost.get(p) == Some(t));
            // Whatever the error is, it asks again.
            if error != 0 || !as_asked {
                continue;
            }
            self.reading.lost.remove(&partition);
            if let Some(position) = self.positions.get_mut(&partition) {
                let from = std::mem::replace(position, to);
                self.seek(partition, to);
                acts.push(Act::Reset { partition, from, to });
            }
        }
    }

    /// The connection has gone; `what` waited is lost with it.
    pub(super) fn reading_broke(&mut self) {
        self.reading.looks_up = false;
        // Without a request under way a client does not notice, and goes on with its session.
        if std::mem::take(&mut self.reading.busy) {
            self.reading.epoch = 0;
        }
    }

    /// What it takes for its own and never reads (franz-go up to 1.16).
    pub(super) fn dangles(&mut self, now: BTreeSet<i32>, acts: &mut Acts) {
        if now != self.dangling {
            self.dangling = now.clone();
            acts.push(Act::Dangles(now));
        }
    }
}
