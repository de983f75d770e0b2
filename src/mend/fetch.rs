//! What one connection fetches: partitions and positions, over fetch sessions (KIP-227).

use std::collections::HashMap;
use std::time::Duration;

use super::topics::Topic;

/// A Fetch request's front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchRequest {
    /// Counts the requests of a connection.
    pub seq: u64,
    pub version: i16,
    pub correlation: i32,
    /// A broker that follows, not a client (rule M4).
    pub replica: bool,
    /// How long the broker may wait for records before it answers.
    pub max_wait: Duration,
    /// 1: read_committed.
    pub isolation: i8,
    pub session: i32,
    pub epoch: i32,
}

impl FetchRequest {
    /// It lists every partition that the client wants; else only what has changed.
    pub fn is_full(&self) -> bool {
        self.session == 0 || self.epoch <= 0
    }
}

/// A partition that a Fetch request lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub topic: Topic,
    pub partition: i32,
    pub offset: i64,
}

/// A partition that is being fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub topic: u32,
    pub partition: i32,
    /// The offset that the client asked for last.
    pub offset: i64,
    /// The request that asked.
    pub seq: u64,
    /// From the newest successful response; -1 unknown.
    pub log_start: i64,
    pub high_watermark: i64,
    pub last_stable: i64,
    full: u64,
}

/// What one connection remembers at most, whatever its client asks for.
const MAX_POSITIONS: usize = 200_000;

/// All partitions that a connection fetches.
#[derive(Debug, Default)]
pub struct FetchTable {
    positions: Vec<Position>,
    by_partition: HashMap<(u32, i32), usize>,
    /// Where the last one was found: requests and responses keep an order.
    near: usize,
    /// Counts full requests, to tell what the newest one did not list.
    full: u64,
    /// A request has begun and not ended.
    partial: bool,
}

/// What a position takes in the index.
const INDEXED: usize = 32;

impl FetchTable {
    /// About what is held for them.
    pub fn bytes(&self) -> usize {
        self.positions.capacity() * (size_of::<Position>() + INDEXED)
    }

    /// A request begins.
    pub fn begin(&mut self, request: &FetchRequest) {
        self.partial = true;
        if request.is_full() {
            self.full += 1;
        }
    }

    /// A request asks for a partition.
    pub fn ask(&mut self, request: &FetchRequest, topic: u32, partition: i32, offset: i64) {
        let (seq, full) = (request.seq, self.full);
        if let Some(p) = self.find_mut(topic, partition) {
            (p.offset, p.seq, p.full) = (offset, seq, full);
            return;
        }
        let at = self.positions.len();
        if at >= MAX_POSITIONS {
            return;
        }
        self.by_partition.insert((topic, partition), at);
        self.near = at;
        self.positions.push(Position {
            topic,
            partition,
            offset,
            seq,
            log_start: -1,
            high_watermark: -1,
            last_stable: -1,
            full,
        });
    }

    pub fn forget(&mut self, topic: u32, partition: i32) {
        if let Some(at) = self.by_partition.remove(&(topic, partition)) {
            self.positions.swap_remove(at);
            if let Some(moved) = self.positions.get(at) {
                self.by_partition.insert((moved.topic, moved.partition), at);
            }
        }
    }

    /// A request has been read to its end: a full one drops what it did not list.
    pub fn end(&mut self, request: &FetchRequest) {
        self.partial = false;
        if !request.is_full() || self.positions.iter().all(|p| p.full == self.full) {
            return;
        }
        let full = self.full;
        self.positions.retain(|p| p.full == full);
        self.by_partition = self.positions.iter().enumerate().map(|(at, p)| ((p.topic, p.partition), at)).collect();
    }

    /// A successful response tells a partition's watermarks.
    pub fn learn(&mut self, topic: u32, partition: i32, log_start: Option<i64>, high_watermark: i64, last_stable: i64) {
        if let Some(p) = self.find_mut(topic, partition) {
            p.log_start = log_start.unwrap_or(-1);
            p.high_watermark = high_watermark;
            p.last_stable = last_stable;
        }
    }

    fn find_mut(&mut self, topic: u32, partition: i32) -> Option<&mut Position> {
        let is = |p: &Position| p.topic == topic && p.partition == partition;
        let at = [self.near + 1, self.near, 0]
            .into_iter()
            .find(|at| self.positions.get(*at).is_some_and(is))
            .or_else(|| self.by_partition.get(&(topic, partition)).copied())?;
        self.near = at;
        self.positions.get_mut(at)
    }

    pub fn find(&self, topic: u32, partition: i32) -> Option<&Position> {
        self.by_partition.get(&(topic, partition)).and_then(|at| self.positions.get(*at))
    }

    /// The newest request has not arrived to its end: there may be positions that it does not ask for.
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    pub fn positions(&self) -> &[Position] {
        &self.positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(seq: u64, session: i32, epoch: i32) -> FetchRequest {
        let max_wait = Duration::from_millis(500);
        FetchRequest { seq, version: 12, correlation: 0, replica: false, max_wait, isolation: 0, session, epoch }
    }

    fn offsets(t: &FetchTable) -> Vec<(i32, i64)> {
        let mut all: Vec<_> = t.positions().iter().map(|p| (p.partition, p.offset)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn keeps_what_an_incremental_request_omits_and_drops_what_a_full_one_does() {
        let mut t = FetchTable::default();
        let topic = 0;
        let full = request(1, 0, 0);
        t.begin(&full);
        for p in 0..3 {
            t.ask(&full, topic, p, 10);
        }
        t.end(&full);
        let incremental = request(2, 9, 1);
        t.begin(&incremental);
        t.ask(&incremental, topic, 1, 20);
        t.forget(topic, 0);
        t.end(&incremental);
        assert_eq!(offsets(&t), [(1, 20), (2, 10)]);
        let full = request(3, 0, 0);
        t.begin(&full);
        t.ask(&full, topic, 2, 30);
        t.end(&full);
        assert_eq!(offsets(&t), [(2, 30)]);
        assert_eq!(t.find(topic, 2).map(|p| p.seq), Some(3));
    }
}
