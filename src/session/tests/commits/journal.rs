//! A journal whose tickets the test decides.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use crate::mend::Shared;
use crate::store::journal::{Journal, Key, Promise, Record, Ticket, Written};

#[derive(Debug)]
struct Write {
    records: Vec<Record>,
    waiter: Option<u64>,
    written: Written,
}

#[derive(Debug)]
pub struct Script {
    /// What becomes of the next writes at once.
    at_once: Mutex<Written>,
    writes: Mutex<Vec<Write>>,
    shared: OnceLock<Arc<Shared>>,
    durable: bool,
}

impl Script {
    pub fn new(durable: bool) -> Arc<Script> {
        Arc::new(Script {
            at_once: Mutex::new(Written::Yes),
            writes: Mutex::default(),
            shared: OnceLock::new(),
            durable,
        })
    }

    /// Whose connections it wakes.
    pub fn wakes(&self, shared: &Arc<Shared>) {
        self.shared.get_or_init(|| shared.clone());
    }

    /// So are writes answered from now on.
    pub fn answers(&self, written: Written) {
        *self.at_once.lock().unwrap() = written;
    }

    /// Decides what is open, and wakes whoever waits.
    pub fn decide(&self, how: Written) {
        let mut waiters = Vec::new();
        for write in self.writes.lock().unwrap().iter_mut().filter(|w| w.written == Written::NotYet) {
            write.written = how;
            waiters.extend(write.waiter);
        }
        for waiter in waiters {
            self.shared.get().expect("the world is known").peers.wake(waiter);
        }
    }

    pub fn is_open(&self) -> bool {
        self.writes.lock().unwrap().iter().any(|w| w.written == Written::NotYet)
    }

    /// How many writes there were.
    pub fn writes(&self) -> usize {
        self.writes.lock().unwrap().len()
    }

    /// What a start would find.
    pub fn kept(&self) -> BTreeMap<Key, Promise> {
        let mut kept = BTreeMap::new();
        for write in self.writes.lock().unwrap().iter().filter(|w| w.written == Written::Yes) {
            for record in &write.records {
                match record {
                    Record::Promised(promise) => _ = kept.insert(promise.key.clone(), promise.clone()),
                    Record::Settled(key) => _ = kept.remove(key),
                }
            }
        }
        kept
    }

    /// Partition and offset of what a start would find.
    pub fn offsets(&self) -> Vec<(i32, i64)> {
        self.kept().into_values().map(|p| (p.key.partition, p.offset)).collect()
    }
}

impl Journal for Script {
    fn write(&self, records: Vec<Record>, waiter: Option<u64>) -> Ticket {
        let mut writes = self.writes.lock().unwrap();
        writes.push(Write { records, waiter, written: *self.at_once.lock().unwrap() });
        Ticket(writes.len() as u64 - 1)
    }

    fn written(&self, ticket: Ticket) -> Written {
        self.writes.lock().unwrap()[ticket.0 as usize].written
    }

    fn is_durable(&self) -> bool {
        self.durable
    }
}
