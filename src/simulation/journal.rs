//! A journal in virtual time: a write becomes durable after a while, in order, or not at all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use super::dice::Dice;
use super::{At, MS};
use crate::store::journal::{Journal, Key, Promise, Record, Ticket, Written};

#[derive(Debug)]
struct Pending {
    ticket: u64,
    records: Vec<Record>,
    waiter: Option<u64>,
    due: At,
    fails: bool,
}

#[derive(Debug)]
struct State {
    now: At,
    dice: Dice,
    next: u64,
    pending: VecDeque<Pending>,
    failed: Vec<u64>,
    kept: BTreeMap<Key, Promise>,
    broken_until: At,
    lost: usize,
}

#[derive(Debug)]
pub struct ModelJournal(Mutex<State>);

impl ModelJournal {
    pub fn new(kept: BTreeMap<Key, Promise>, now: At, dice: Dice) -> ModelJournal {
        let (pending, failed) = (VecDeque::new(), Vec::new());
        ModelJournal(Mutex::new(State { now, dice, next: 0, pending, failed, kept, broken_until: 0, lost: 0 }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("not poisoned")
    }

    /// It is this late now.
    pub fn at(&self, now: At) {
        self.state().now = now;
    }

    pub fn break_until(&self, until: At) {
        self.state().broken_until = until;
    }

    /// When the next write is decided.
    pub fn due(&self) -> Option<At> {
        self.state().pending.front().map(|p| p.due)
    }

    /// Decides what is due; gives back the connections that wait for it.
    pub fn settle(&self, now: At) -> Vec<u64> {
        let mut state = self.state();
        let mut woken = Vec::new();
        while state.pending.front().is_some_and(|p| p.due <= now) {
            let Some(write) = state.pending.pop_front() else { break };
            woken.extend(write.waiter);
            if write.fails {
                state.failed.push(write.ticket);
            } else {
                keep(&mut state.kept, write.records);
            }
        }
        woken
    }

    /// Writes that were lost in a crash, or refused by the disk.
    pub fn lost(&self) -> (usize, usize) {
        let state = self.state();
        (state.lost, state.failed.len())
    }

    /// What is found after a crash: all that was durable, and of the rest a beginning, by chance.
    pub fn after_crash(&self) -> BTreeMap<Key, Promise> {
        let mut state = self.state();
        let mut kept = state.kept.clone();
        while let Some(write) = state.pending.pop_front() {
            if write.fails || state.dice.one_in(2) {
                state.lost += 1 + state.pending.len();
                state.pending.clear();
                break;
            }
            keep(&mut kept, write.records);
        }
        kept
    }
}

fn keep(kept: &mut BTreeMap<Key, Promise>, records: Vec<Record>) {
    for record in records {
        match record {
            Record::Promised(promise) => _ = kept.insert(promise.key.clone(), promise),
            Record::Settled(key) => _ = kept.remove(&key),
        }
    }
}

impl Journal for ModelJournal {
    fn write(&self, records: Vec<Record>, waiter: Option<u64>) -> Ticket {
        let mut state = self.state();
        let takes = if state.dice.one_in(10) { 60 * MS } else { 3 * MS };
        let after = state.pending.back().map_or(0, |p| p.due);
        let due = (state.now + state.dice.range(0, takes)).max(after);
        let fails = state.now < state.broken_until;
        let ticket = state.next;
        state.next += 1;
        state.pending.push_back(Pending { ticket, records, waiter, due, fails });
        Ticket(ticket)
    }

    fn written(&self, ticket: Ticket) -> Written {
        let state = self.state();
        if state.failed.contains(&ticket.0) {
            return Written::No;
        }
        let waits = state.pending.iter().any(|p| p.ticket == ticket.0);
        if waits { Written::NotYet } else { Written::Yes }
    }

    fn is_durable(&self) -> bool {
        true
    }
}
