//! The memory that all connections hold together, and what each of them holds.
//!
//! What is held from one wake-up to the next is counted, at the end of the work: a connection through
//! which bytes flow on at once costs nothing here. What is read while somebody works on it is one window.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::mend::peers::Message;

/// What a connection takes besides its buffers: its task, its sockets' entries, its places in tables
/// (docs/measurements.md).
pub const CONNECTION: usize = 10 << 10;

/// What TLS takes on one side of a connection: rustls' state, and a record in each direction.
pub const TLS_SIDE: usize = 40 << 10;

/// That bytes move is told so often: whoever is cut for standing still has stood for longer.
const FRESH: Duration = Duration::from_millis(50);

/// Limits of a session, resolved from the configuration.
#[derive(Debug, Clone)]
pub struct Limits {
    pub max_frame: u32,
    pub max_whole_frame: usize,
    pub handshake_timeout: Duration,
    pub idle_timeout: Duration,
    pub progress_timeout: Duration,
    pub memory: Arc<Budget>,
}

/// Bytes held by connections, against `limits.memory`.
#[derive(Debug)]
pub struct Budget {
    limit: AtomicU64,
    held: AtomicU64,
    overloaded: AtomicBool,
    denied: AtomicBool,
    epoch: Instant,
    meters: Mutex<HashMap<u64, Arc<Meter>>>,
}

impl Budget {
    pub fn new(limit: u64) -> Arc<Budget> {
        Arc::new(Budget {
            limit: AtomicU64::new(limit),
            held: AtomicU64::new(0),
            overloaded: AtomicBool::new(false),
            denied: AtomicBool::new(false),
            epoch: Instant::now(),
            meters: Mutex::default(),
        })
    }

    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// From now on; what is held stays.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Above this nobody new is let in: what is there needs the rest to go on.
    pub fn high(&self) -> u64 {
        self.limit() / 100 * 92
    }

    /// Below this an overload is over.
    pub fn low(&self) -> u64 {
        self.limit() / 100 * 80
    }

    /// What is held whole takes no more than that: small requests flow beside it.
    fn for_whole(&self) -> u64 {
        self.limit() / 100 * 95
    }

    /// Whether there was no room for something that must be held whole since the last call.
    pub fn take_denied(&self) -> bool {
        self.denied.swap(false, Ordering::Relaxed)
    }

    /// Whether anything may be buffered at all.
    pub fn has_room(&self) -> bool {
        self.held() < self.limit()
    }

    /// `None`: that much is not free now.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        self.take(bytes as u64, self.limit()).then(|| Reservation { budget: self.clone(), bytes: bytes as u64 })
    }

    /// For a connection that is new, or a part of it. `None`: memory is short.
    pub fn admit(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let fits = !self.is_overloaded() && self.take(bytes as u64, self.high());
        fits.then(|| Reservation { budget: self.clone(), bytes: bytes as u64 })
    }

    pub fn is_overloaded(&self) -> bool {
        self.overloaded.load(Ordering::Relaxed)
    }

    /// Whether it was.
    pub fn set_overloaded(&self, is: bool) -> bool {
        self.overloaded.swap(is, Ordering::Relaxed)
    }

    /// A connection whose buffers are counted from now on.
    pub fn enter(self: &Arc<Self>, number: u64, mailbox: mpsc::Sender<Message>) -> Member {
        let now = Instant::now();
        let meter = Arc::new(Meter {
            held: AtomicU64::new(0),
            tables: AtomicU64::new(0),
            moved: AtomicU64::new(self.since(now)),
            cut: AtomicBool::new(false),
            mailbox,
        });
        self.meters().insert(number, meter.clone());
        Member { budget: self.clone(), stale: now, number, meter }
    }

    /// What each connection holds.
    pub fn readings(&self, now: Instant) -> Vec<Reading> {
        let now = self.since(now);
        let each = |m: &Arc<Meter>| Reading {
            held: m.held.load(Ordering::Relaxed),
            tables: m.tables.load(Ordering::Relaxed),
            still: Duration::from_millis(now.saturating_sub(m.moved.load(Ordering::Relaxed))),
            meter: m.clone(),
        };
        self.meters().values().map(each).collect()
    }

    fn take(&self, bytes: u64, most: u64) -> bool {
        let fits = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= most);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn since(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_millis() as u64
    }

    fn meters(&self) -> MutexGuard<'_, HashMap<u64, Arc<Meter>>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

/// What one direction of a connection has taken of the budget.
#[derive(Debug, Default)]
pub struct Account {
    /// `None`: it is not counted.
    budget: Option<Arc<Budget>>,
    taken: u64,
}

impl Account {
    pub fn new(budget: Arc<Budget>) -> Account {
        Account { budget: Some(budget), taken: 0 }
    }

    pub fn taken(&self) -> u64 {
        self.taken
    }

    pub fn has_room(&self) -> bool {
        self.budget.as_ref().is_none_or(|b| b.has_room())
    }

    /// Makes sure, before they are filled, that `bytes` in all are taken. `false`: there is no room.
    pub fn reserve(&mut self, bytes: usize) -> bool {
        let Some(budget) = &self.budget else {
            return true;
        };
        let more = (bytes as u64).saturating_sub(self.taken);
        let fits = more == 0 || budget.take(more, budget.for_whole());
        match fits {
            true => self.taken += more,
            false => budget.denied.store(true, Ordering::Relaxed),
        }
        fits
    }

    /// Takes what is held now, be there room or not, and gives the rest back.
    pub fn settle(&mut self, bytes: usize) {
        let (Some(budget), bytes) = (&self.budget, bytes as u64) else {
            return;
        };
        if bytes > self.taken {
            budget.held.fetch_add(bytes - self.taken, Ordering::Relaxed);
        } else if bytes < self.taken {
            budget.give(self.taken - bytes);
        }
        self.taken = bytes;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.settle(0);
    }
}

/// What a connection holds in buffers and in tables, and for how long not a byte of it has moved.
#[derive(Debug)]
pub struct Reading {
    pub held: u64,
    pub tables: u64,
    pub still: Duration,
    pub meter: Arc<Meter>,
}

/// What others see of a connection's memory.
#[derive(Debug)]
pub struct Meter {
    /// In buffers.
    held: AtomicU64,
    /// In tables of what it asks for.
    tables: AtomicU64,
    /// Milliseconds after the budget's beginning.
    moved: AtomicU64,
    cut: AtomicBool,
    mailbox: mpsc::Sender<Message>,
}

impl Meter {
    /// Ends the connection.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        // A full mailbox wakes it as well.
        let _ = self.mailbox.try_send(Message::Wake);
    }
}

/// A connection in the budget's table, until it is dropped.
#[derive(Debug)]
pub struct Member {
    budget: Arc<Budget>,
    /// When to tell again that bytes move.
    stale: Instant,
    number: u64,
    meter: Arc<Meter>,
}

impl Member {
    /// Tells what is held in buffers and in tables, and when a byte moved last.
    pub fn note(&mut self, held: u64, tables: u64, moved: Instant) {
        self.meter.held.store(held, Ordering::Relaxed);
        self.meter.tables.store(tables, Ordering::Relaxed);
        if moved >= self.stale {
            self.meter.moved.store(self.budget.since(moved), Ordering::Relaxed);
            self.stale = moved + FRESH;
        }
    }

    pub fn is_cut(&self) -> bool {
        self.meter.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.budget.meters().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_it_took() {
        let budget = Budget::new(100);
        let a = budget.reserve(60).unwrap();
        assert!(budget.reserve(50).is_none());
        drop(a);
        assert!(budget.reserve(100).is_some());
    }

    #[test]
    fn the_last_of_it_is_not_for_newcomers() {
        let budget = Budget::new(1000);
        let _first = budget.admit(900).unwrap();
        assert!(budget.admit(50).is_none());
        assert!(budget.reserve(50).is_some());
        budget.set_limit(10_000);
        drop(budget.admit(5_000).unwrap());
        budget.set_overloaded(true);
        assert!(budget.admit(1).is_none());
        budget.set_overloaded(false);
        assert!(budget.admit(1).is_some());
    }

    #[test]
    fn an_account_follows_what_is_held() {
        let budget = Budget::new(100);
        let mut account = Account::new(budget.clone());
        assert!(account.reserve(70) && account.reserve(40));
        assert!(!budget.take_denied() && !account.reserve(96) && budget.take_denied());
        assert_eq!((budget.held(), account.taken()), (70, 70));
        account.settle(30);
        assert_eq!(budget.held(), 30);
        // What is there already is counted, too.
        account.settle(200);
        assert!(!budget.has_room() && !account.has_room());
        drop(account);
        assert_eq!(budget.held(), 0);
        assert!(Account::default().reserve(usize::MAX));
    }
}
