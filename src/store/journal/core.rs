//! The journal without its thread: what is written, what is alive, what to do when the disk fails.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::codec::{self, Live, Scan};
use super::disk::Disk;
use super::faults::{Metrics, Reason, Teller};
use super::{Key, Promise, Record};
use crate::config::commit_buffer::Sync;
use crate::store::StoreError;

/// How long a broken disk is left alone.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// Smaller files are not worth a compaction.
const SMALL: u64 = 4 << 20;

/// One write, in the order of the tickets.
#[derive(Debug)]
pub(super) struct Write {
    pub ticket: u64,
    pub records: Vec<Record>,
}

/// What the file is like behind the last sound frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    None,
    /// Something was left there that must be cut.
    Tail,
    /// Not known: the file has to be written anew.
    Whole,
}

pub(super) struct Core {
    disk: Box<dyn Disk>,
    max_bytes: u64,
    sync: Sync,
    metrics: Metrics,
    teller: Teller,
    live: HashMap<Key, Live>,
    live_bytes: u64,
    file_bytes: u64,
    damage: Damage,
    /// Something is promised, or was written, that no sync has followed. What opening writes is no such: whatever of it
    /// gets lost, the next opening writes again.
    is_unsynced: bool,
    /// Settled, and not yet said on the disk, with the ticket of that.
    owed: HashMap<Key, u64>,
    broken: Option<Broken>,
    compact_again: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Broken {
    reason: Reason,
    again: Instant,
}

/// What a group of writes changes, until it is on the disk.
#[derive(Default)]
struct Staged {
    bytes: Vec<u8>,
    /// `None`: settled. With the ticket.
    newest: HashMap<Key, (u64, Option<Live>)>,
    live_bytes: u64,
    verdicts: Vec<bool>,
}

impl Core {
    /// Opens the journal. A torn tail is cut, a missing beginning written.
    pub(super) fn open(
        mut disk: Box<dyn Disk>,
        path: &Path,
        max_bytes: u64,
        sync: Sync,
        metrics: Metrics,
    ) -> Result<(Core, Vec<Promise>), StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        let scan = codec::scan(&disk.read().map_err(io)?, path)?;
        if scan.torn > 0 {
            tracing::warn!(
                bytes = scan.torn,
                "the end of the journal was torn and is cut: nobody was told that it is kept"
            );
        }
        if scan.corrupt.0 > 0 {
            tracing::error!(
                parts = scan.corrupt.0,
                bytes = scan.corrupt.1,
                "parts of the journal are damaged and are passed over: what was promised there is lost, what was settled there is asked of the broker again"
            );
        }
        if scan.sound == 0 {
            disk.replace(&codec::beginning()).map_err(io)?;
        } else if scan.torn > 0 {
            disk.cut(scan.sound).map_err(io)?;
        }
        if sync == Sync::Always {
            disk.sync().map_err(io)?;
        }
        let Scan { live, sound, .. } = scan;
        let mut promises: Vec<Promise> = live.values().map(|l| l.promise.clone()).collect();
        promises.sort_by(|a, b| (a.time_ms, &a.key).cmp(&(b.time_ms, &b.key)));
        let core = Core {
            disk,
            max_bytes,
            sync,
            metrics,
            teller: Teller::default(),
            live_bytes: live.values().map(|l| l.size).sum(),
            live,
            file_bytes: sound.max(codec::beginning().len() as u64),
            damage: Damage::None,
            is_unsynced: sync != Sync::Always && !promises.is_empty(),
            owed: HashMap::new(),
            broken: None,
            compact_again: None,
        };
        core.metrics.bytes.set(core.file_bytes as i64);
        Ok((core, promises))
    }

    /// Appends the writes, and the settled keys of others that could not be queued. Says of each write
    /// whether it is in the journal. All writes of lower tickets came before.
    pub(super) fn commit(&mut self, writes: &[Write], owed: HashMap<Key, u64>, now: Instant) -> Vec<bool> {
        for (key, ticket) in owed {
            self.owe(key, ticket);
        }
        if let Some(Broken { reason, again }) = self.broken
            && now < again
        {
            self.metrics.failed(reason, writes.len());
            return self.refuse(writes);
        }
        match self.mend_file().and_then(|()| self.append(writes)) {
            Ok(verdicts) => verdicts,
            Err(error) => {
                let reason = Reason::of(&error);
                // Without a write it was an attempt of our own.
                self.metrics.failed(reason, writes.len().max(1));
                self.teller.broken(&error);
                self.broken = Some(Broken { reason, again: now + PAUSE });
                self.refuse(writes)
            }
        }
    }

    /// What is to be done by itself: again what failed, and compaction.
    pub(super) fn tend(&mut self, now: Instant) {
        if self.broken.is_some_and(|b| now >= b.again) && self.has_debts() {
            self.commit(&[], HashMap::new(), now);
        }
        if self.broken.is_none() && self.is_mostly_dead() && self.compact_again.is_none_or(|again| now >= again) {
            let result = self.rewrite();
            if let Err(error) = &result {
                self.metrics.failed(Reason::of(error), 1);
            }
            self.teller.compaction(&result);
            self.compact_again = result.is_err().then_some(now + PAUSE);
        }
    }

    /// When `tend` has something to do; `None`: only after the next write.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.broken {
            Some(broken) => self.has_debts().then_some(broken.again),
            None => self.compact_again,
        }
    }

    /// Without debts only the next write shows whether the disk works again.
    fn has_debts(&self) -> bool {
        self.damage != Damage::None || !self.owed.is_empty()
    }

    fn works(&mut self) {
        self.broken = None;
        self.teller.works();
    }

    /// The last thing: nothing is left that only the memory knows. Where nothing was written the disk is not asked: it
    /// may be busy with others, and whoever ends kmend waits.
    pub(super) fn close(&mut self, now: Instant) -> bool {
        // A last attempt, whatever the pause.
        self.broken = None;
        self.commit(&[], HashMap::new(), now);
        self.broken.is_none() && self.owed.is_empty() && (!self.is_unsynced || self.sync_now().is_ok())
    }

    fn sync_now(&mut self) -> io::Result<()> {
        self.disk.sync()?;
        self.is_unsynced = false;
        Ok(())
    }

    fn owe(&mut self, key: Key, ticket: u64) {
        let newest = self.owed.entry(key).or_insert(ticket);
        *newest = (*newest).max(ticket);
    }

    fn refuse(&mut self, writes: &[Write]) -> Vec<bool> {
        for write in writes {
            self.owe_settled(write);
        }
        vec![false; writes.len()]
    }

    fn owe_settled(&mut self, write: &Write) {
        for record in &write.records {
            if let Record::Settled(key) = record {
                self.owe(key.clone(), write.ticket);
            }
        }
    }

    fn append(&mut self, writes: &[Write]) -> io::Result<Vec<bool>> {
        let mut staged = Staged { live_bytes: self.live_bytes, ..Staged::default() };
        for write in writes {
            let fits = self.stage(&mut staged, write);
            staged.verdicts.push(fits);
        }
        // Keys that were refused a moment ago are still owed: they do not fit, but the disk works.
        for (write, fits) in writes.iter().zip(&staged.verdicts) {
            if !fits {
                self.owe_settled(write);
            }
        }
        self.stage_owed(&mut staged);
        if !staged.bytes.is_empty() {
            self.put(&staged.bytes)?;
        }
        self.file_bytes += staged.bytes.len() as u64;
        self.metrics.bytes.set(self.file_bytes as i64);
        self.live_bytes = staged.live_bytes;
        for (key, (_, live)) in staged.newest {
            match live {
                Some(live) => self.live.insert(key, live),
                None => self.live.remove(&key),
            };
        }
        // Said now, or promised anew since, or of a key that is not alive.
        self.owed.clear();
        self.teller.live(self.live_bytes, self.max_bytes);
        let refused = staged.verdicts.iter().filter(|fits| !**fits).count();
        if refused > 0 {
            self.metrics.failed(Reason::Limit, refused);
            self.teller.limit(self.max_bytes);
        }
        Ok(staged.verdicts)
    }

    /// Whether there is room for it.
    fn stage(&self, staged: &mut Staged, write: &Write) -> bool {
        let start = staged.bytes.len();
        let Some(sizes) = codec::frame(&write.records, &mut staged.bytes) else { return false };
        let mut changes: HashMap<&Key, Option<Live>> = HashMap::new();
        for (record, size) in write.records.iter().zip(sizes) {
            match record {
                Record::Promised(p) => changes.insert(&p.key, Some(Live { promise: p.clone(), size })),
                Record::Settled(key) => changes.insert(key, None),
            };
        }
        let size_now = |key: &Key| match staged.newest.get(key) {
            Some((_, live)) => live.as_ref().map_or(0, |l| l.size),
            None => self.live.get(key).map_or(0, |l| l.size),
        };
        let gone: u64 = changes.keys().map(|key| size_now(key)).sum();
        let come: u64 = changes.values().flatten().map(|l| l.size).sum();
        let live_bytes = (staged.live_bytes + come).saturating_sub(gone);
        if live_bytes > self.max_bytes && come > gone {
            staged.bytes.truncate(start);
            return false;
        }
        staged.live_bytes = live_bytes;
        for (key, live) in changes {
            staged.newest.insert(key.clone(), (write.ticket, live));
        }
        true
    }

    /// One frame more for what is owed, where a newer promise has not made it void.
    fn stage_owed(&self, staged: &mut Staged) {
        let mut records = Vec::new();
        for (key, ticket) in &self.owed {
            let size = match staged.newest.get(key) {
                Some((newer, _)) if newer > ticket => continue,
                Some((_, live)) => live.as_ref().map(|l| l.size),
                None => self.live.get(key).map(|l| l.size),
            };
            if let Some(size) = size {
                staged.live_bytes = staged.live_bytes.saturating_sub(size);
                staged.newest.insert(key.clone(), (*ticket, None));
                records.push(Record::Settled(key.clone()));
            }
        }
        // In parts: one frame has a limit.
        for part in records.chunks(1000) {
            codec::frame(part, &mut staged.bytes);
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.disk.append(bytes) {
            // What was removed does not come back by cutting.
            let is_gone = Reason::of(&error) == Reason::Gone;
            self.damage = if is_gone { Damage::Whole } else { Damage::Tail };
            self.cut_tail();
            return Err(error);
        }
        self.is_unsynced = true;
        if self.sync == Sync::Always
            && let Err(error) = self.sync_now()
        {
            // Bytes may be lost that a later sync does not tell of.
            self.damage = Damage::Whole;
            self.cut_tail();
            return Err(error);
        }
        self.works();
        Ok(())
    }

    fn cut_tail(&mut self) {
        if self.disk.cut(self.file_bytes).is_ok() && self.damage == Damage::Tail {
            self.damage = Damage::None;
        }
    }

    fn mend_file(&mut self) -> io::Result<()> {
        match self.damage {
            Damage::None => Ok(()),
            Damage::Tail => {
                self.disk.cut(self.file_bytes)?;
                self.damage = Damage::None;
                Ok(())
            }
            Damage::Whole => {
                self.rewrite()?;
                if self.sync == Sync::Always {
                    self.sync_now()?;
                }
                self.damage = Damage::None;
                self.works();
                Ok(())
            }
        }
    }

    fn is_mostly_dead(&self) -> bool {
        self.file_bytes > SMALL.min(self.max_bytes) && self.file_bytes > self.live_bytes.saturating_mul(2)
    }

    /// A new file with what is alive.
    fn rewrite(&mut self) -> io::Result<()> {
        let mut bytes = codec::beginning();
        for (key, live) in &self.live {
            if !self.owed.contains_key(key) {
                codec::frame(&[Record::Promised(live.promise.clone())], &mut bytes);
            }
        }
        self.disk.replace(&bytes)?;
        self.is_unsynced = true;
        for key in std::mem::take(&mut self.owed).into_keys() {
            if let Some(live) = self.live.remove(&key) {
                self.live_bytes = self.live_bytes.saturating_sub(live.size);
            }
        }
        self.file_bytes = bytes.len() as u64;
        self.metrics.bytes.set(self.file_bytes as i64);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        self.damage == Damage::None
    }

    #[cfg(test)]
    pub(super) fn owes(&self) -> usize {
        self.owed.len()
    }

    #[cfg(test)]
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }
}
