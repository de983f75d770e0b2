//! Fetching: what it asks for, and the session that it holds on a connection to the leader.

use std::collections::BTreeSet;

use super::*;
use crate::simulation::broker::FETCH_SESSION_ID_NOT_FOUND;
use crate::simulation::reads::{self, Asks, SESSIONS};

/// The connection to the leader.
pub const READS: usize = 2;

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
    busy: bool,
    pub(super) pauses: bool,
}

impl Member {
    /// It goes on with this partition from there.
    pub(super) fn seek(&mut self, partition: i32, to: i64) {
        self.reading.read.insert(partition, to);
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
        let at = |p: &i32, position: &i64| self.reading.read.get(p).copied().unwrap_or(*position);
        let has_room = |p: &i32, position: &i64| !self.spec.leaves_out || at(p, position) < *position + AHEAD;
        let wanted = self.positions.iter().filter(|(p, o)| !self.is_paused(**p) && has_room(p, o));
        wanted.map(|(p, o)| (*p, at(p, o))).collect()
    }

    pub(super) fn read(&mut self, acts: &mut Acts) {
        let slot = self.slots[READS];
        let Some(conn) = slot.conn.filter(|_| slot.ready && !self.reading.busy) else { return };
        if self.phase == Phase::Leaving || (self.stuck && !self.spec.background) {
            return;
        }
        let wanted = self.wanted();
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

    pub(super) fn has_been_read(&mut self, wanted: &BTreeMap<i32, i64>, version: i16, frame: &[u8], body: usize) {
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
        for (partition, count) in parts {
            let Some(from) = wanted.get(&partition).filter(|_| self.positions.contains_key(&partition)) else {
                continue;
            };
            // It may have been told to go elsewhere since.
            if reading.read.get(&partition) == Some(from) {
                reading.read.insert(partition, from + count);
            }
        }
    }

    /// The connection has gone; `what` waited is lost with it.
    pub(super) fn reading_broke(&mut self) {
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
