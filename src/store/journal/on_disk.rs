//! The journal's thread, its queue and its tickets.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use prometheus::Registry;

use super::core::{Core, Write};
use super::disk::{Disk, FileDisk};
use super::faults::{Metrics, Reason};
use super::tickets::{self, Tickets};
use super::{FILE, Journal, Key, Promise, Record, Ticket, Written};
use crate::config::commit_buffer::Sync as SyncMode;
use crate::store::StoreError;

/// Called with the number of each connection whose write is decided, on the journal's thread.
pub type Wake = Arc<dyn Fn(u64) + Send + Sync>;

/// Most that waits for the disk, in bytes of memory.
const MAX_QUEUED: usize = 16 << 20;

/// The journal in a file of the state folder. Whoever opens it holds the folder's lock.
pub struct OnDisk {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// For the writer: there is work, or the end has come.
    work: Condvar,
    /// For `close`: the writer has ended.
    ended: Condvar,
    /// The number of the next ticket. Changes under `queue`.
    next: AtomicU64,
    tickets: Tickets,
    metrics: Metrics,
}

#[derive(Default)]
struct Queue {
    writes: Vec<Write>,
    waiters: HashSet<u64>,
    weight: usize,
    /// Settled by writes that did not fit in here, with the newest ticket of each. Bounded by the number
    /// of partitions that promises were given for.
    owed: HashMap<Key, u64>,
    is_overflowing: bool,
    is_closing: bool,
    /// Set at the end; whether all was written.
    outcome: Option<bool>,
}

/// About what it takes in memory: all else in a record is short.
fn weight(records: &[Record]) -> usize {
    let one = |record: &Record| match record {
        Record::Promised(p) => 512 + p.metadata.as_ref().map_or(0, |text| text.len()),
        Record::Settled(_) => 512,
    };
    records.iter().map(one).sum()
}

impl OnDisk {
    /// Opens or makes `commits.log` in `dir`, and gives back the promises that are alive, oldest
    /// first. At most `max_bytes` of promises are kept.
    pub fn open(
        dir: &Path,
        max_bytes: u64,
        sync: SyncMode,
        wake: Wake,
        registry: &Registry,
    ) -> Result<(OnDisk, Vec<Promise>), StoreError> {
        let path = dir.join(FILE);
        let disk = FileDisk::open(&path).map_err(|source| StoreError::Io { path: path.clone(), source })?;
        OnDisk::start(Box::new(disk), &path, max_bytes, sync, wake, Metrics::new(registry))
    }

    pub(super) fn start(
        disk: Box<dyn Disk>,
        path: &Path,
        max_bytes: u64,
        sync: SyncMode,
        wake: Wake,
        metrics: Metrics,
    ) -> Result<(OnDisk, Vec<Promise>), StoreError> {
        let (core, promises) = Core::open(disk, path, max_bytes, sync, metrics.clone())?;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
            next: AtomicU64::new(0),
            tickets: Tickets::default(),
            metrics,
        });
        let writer = Writer { shared: shared.clone(), wake };
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(core))
            .map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
        Ok((OnDisk { shared }, promises))
    }

    /// Writes what is queued and ends the thread; later writes get `No`. Says whether everything is on
    /// the disk, synced. A disk that hangs is not waited for beyond the deadline.
    pub fn close(&self, deadline: Duration) -> bool {
        let mut queue = self.shared.lock();
        queue.is_closing = true;
        self.shared.work.notify_one();
        let wait = self.shared.ended.wait_timeout_while(queue, deadline, |q| q.outcome.is_none());
        wait.unwrap_or_else(PoisonError::into_inner).0.outcome.unwrap_or(false)
    }
}

impl Drop for OnDisk {
    /// The thread ends by itself when it has written what is queued.
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.work.notify_one();
    }
}

impl fmt::Debug for OnDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnDisk").field("tickets", &self.shared.next).finish_non_exhaustive()
    }
}

impl Journal for OnDisk {
    fn write(&self, records: Vec<Record>, waiter: Option<u64>) -> Ticket {
        let weight = weight(&records);
        let mut queue = self.shared.lock();
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        if queue.is_closing || queue.weight.saturating_add(weight) > MAX_QUEUED {
            self.shared.refuse(&mut queue, number, records);
            return tickets::refused(number);
        }
        queue.weight += weight;
        queue.waiters.extend(waiter);
        queue.writes.push(Write { ticket: number, records });
        drop(queue);
        self.shared.work.notify_one();
        Ticket(number)
    }

    fn written(&self, ticket: Ticket) -> Written {
        self.shared.tickets.written(ticket)
    }

    fn is_durable(&self) -> bool {
        true
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, queue: &mut Queue, number: u64, records: Vec<Record>) {
        self.metrics.failed(Reason::Queue, 1);
        if !queue.is_closing && !std::mem::replace(&mut queue.is_overflowing, true) {
            tracing::warn!("the journal's disk does not keep up: commits get the broker's own answer");
        }
        for record in records {
            if let Record::Settled(key) = record {
                queue.owed.insert(key, number);
            }
        }
    }
}

/// What a group of writes waits for.
struct Work {
    writes: Vec<Write>,
    waiters: HashSet<u64>,
    owed: HashMap<Key, u64>,
    /// All tickets below are decided when this is done.
    end: u64,
    is_last: bool,
}

struct Writer {
    shared: Arc<Shared>,
    wake: Wake,
}

impl Writer {
    fn run(self, mut core: Core) {
        loop {
            let work = self.take(core.due());
            let verdicts = core.commit(&work.writes, work.owed, Instant::now());
            let tickets = work.writes.iter().map(|write| write.ticket);
            let refused = tickets.zip(verdicts).filter(|(_, fits)| !fits).map(|(ticket, _)| ticket);
            self.shared.tickets.decide(work.end, refused);
            for waiter in work.waiters {
                (self.wake)(waiter);
            }
            if work.is_last {
                let is_all = core.close(Instant::now());
                if !is_all {
                    tracing::warn!(
                        "the journal could not be closed as it should: what was settled may be looked at again"
                    );
                }
                self.shared.lock().outcome = Some(is_all);
                return;
            }
            core.tend(Instant::now());
        }
    }

    /// Everything that is queued. Without any, at the given time nothing.
    fn take(&self, due: Option<Instant>) -> Work {
        let mut queue = self.shared.lock();
        while queue.writes.is_empty() && !queue.is_closing && queue.owed.is_empty() {
            queue = match due.map(|due| due.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => break,
                Some(rest) => self.shared.work.wait_timeout(queue, rest).unwrap_or_else(PoisonError::into_inner).0,
                None => self.shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
        // Said once, not at each round of a disk that is too slow.
        queue.is_overflowing &= queue.weight > MAX_QUEUED / 2;
        queue.weight = 0;
        Work {
            writes: std::mem::take(&mut queue.writes),
            waiters: std::mem::take(&mut queue.waiters),
            owed: std::mem::take(&mut queue.owed),
            end: self.shared.next.load(Ordering::Relaxed),
            is_last: queue.is_closing,
        }
    }
}

impl Drop for Writer {
    /// Also when it panics: who asks is told, and what comes is refused.
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.is_closing = true;
        queue.writes.clear();
        let end = self.shared.next.load(Ordering::Relaxed);
        self.shared.tickets.refuse_open(end);
        queue.outcome.get_or_insert(false);
        self.shared.ended.notify_all();
    }
}
