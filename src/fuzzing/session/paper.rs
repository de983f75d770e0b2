//! A journal that decides when the script says so, and as it says.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::store::journal::{Journal, Key, Kind, Promise, Record, Ticket, Written};

#[derive(Debug, Default)]
pub struct Paper(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Nothing is decided by itself.
    waits: bool,
    open: Vec<(u64, Option<u64>)>,
    refused: HashMap<u64, ()>,
}

impl Paper {
    /// Decides all that is open; those who wait for it.
    pub fn decide(&self, how: u8) -> Vec<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.waits = how & 2 != 0;
        let open = std::mem::take(&mut state.open);
        if how & 1 != 0 {
            state.refused.extend(open.iter().map(|(ticket, _)| (*ticket, ())));
        }
        open.into_iter().filter_map(|(_, waiter)| waiter).collect()
    }
}

impl Journal for Paper {
    fn write(&self, _: Vec<Record>, waiter: Option<u64>) -> Ticket {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.next += 1;
        let ticket = state.next;
        if state.waits {
            state.open.push((ticket, waiter));
        }
        Ticket(ticket)
    }

    fn written(&self, ticket: Ticket) -> Written {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.open.iter().any(|(open, _)| *open == ticket.0) {
            return Written::NotYet;
        }
        if state.refused.contains_key(&ticket.0) { Written::No } else { Written::Yes }
    }

    fn is_durable(&self) -> bool {
        true
    }
}

/// What an earlier run has left.
pub fn restored(n: u8) -> Vec<Promise> {
    let promise = |i: u8| Promise {
        key: Key {
            cluster: if i & 4 == 0 { "cluster-1" } else { "" }.into(),
            group: if i & 2 == 0 { "billing" } else { "audit" }.into(),
            topic: "orders".into(),
            partition: i32::from(i & 3),
        },
        kind: if i & 1 == 0 { Kind::Buffered } else { Kind::Behind },
        topic_id: [0; 16],
        member: if i & 8 == 0 { "m-1" } else { "" }.into(),
        instance: (i & 1 == 1).then(|| "i-1".into()),
        generation: i32::from(i) - 1,
        ready: i & 1 == 0,
        consumer_protocol: i == 3,
        client_id: "app".into(),
        offset: i64::from(i) * 50,
        leader_epoch: -1,
        metadata: None,
        baseline: (i & 1 == 0).then_some(0),
        time_ms: u64::from(i),
    };
    (0..n % 8).map(promise).collect()
}
