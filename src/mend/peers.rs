//! The live connections of each client, and the groups that it has joined (rule M8).
//!
//! A client is its client id and the address that it comes from. Its connections find each other
//! here, so that one can ask another for what only that one's broker knows.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientKey {
    pub client_id: Arc<str>,
    pub peer: IpAddr,
}

/// What one connection tells another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Ask your broker where these partitions' logs start.
    LogStarts { topic: Arc<str>, partitions: Vec<i32>, asker: u64 },
    /// What you waited for may have come.
    Wake,
}

#[derive(Debug)]
struct Peer {
    number: u64,
    node: Option<i32>,
    mailbox: mpsc::Sender<Message>,
}

#[derive(Debug, Default)]
struct State {
    connections: HashMap<ClientKey, Vec<Peer>>,
    by_number: HashMap<u64, ClientKey>,
    groups: HashMap<ClientKey, HashSet<Arc<str>>>,
    /// Clients in the order of their first join, for forgetting.
    joined: VecDeque<ClientKey>,
}

/// More than any sidecar has; the oldest are forgotten.
const MAX_CLIENTS: usize = 4096;
const MAX_GROUPS: usize = 64;

#[derive(Debug, Default)]
pub struct Peers {
    state: Mutex<State>,
}

impl Peers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has learnt whose it is, or which node it leads to. Gives back the client whose
    /// last connection it was before, if any.
    pub fn enter(
        &self,
        number: u64,
        client: ClientKey,
        node: Option<i32>,
        mailbox: &mpsc::Sender<Message>,
    ) -> Option<ClientKey> {
        let mut state = self.state();
        let gone = leave(&mut state, number);
        state.connections.entry(client.clone()).or_default().push(Peer { number, node, mailbox: mailbox.clone() });
        state.by_number.insert(number, client);
        gone
    }

    /// Gives back the client whose last connection it was, if it was.
    pub fn leave(&self, number: u64) -> Option<ClientKey> {
        leave(&mut self.state(), number)
    }

    /// Asks a connection of `client` to `node` for log starts. `false`: there is none.
    pub fn ask_log_starts(
        &self,
        client: &ClientKey,
        node: i32,
        asker: u64,
        topic: &Arc<str>,
        partitions: &[i32],
    ) -> bool {
        let state = self.state();
        let peers = state.connections.get(client).map(Vec::as_slice).unwrap_or_default();
        let message = || Message::LogStarts { topic: topic.clone(), partitions: partitions.to_vec(), asker };
        peers
            .iter()
            .filter(|p| p.node == Some(node) && p.number != asker)
            .any(|p| p.mailbox.try_send(message()).is_ok())
    }

    /// Wakes a connection; one that has gone or is flooded does not wait any more.
    pub fn wake(&self, number: u64) {
        let state = self.state();
        let client = state.by_number.get(&number);
        let peer = client.and_then(|c| state.connections.get(c)).and_then(|p| p.iter().find(|p| p.number == number));
        if let Some(peer) = peer {
            let _ = peer.mailbox.try_send(Message::Wake);
        }
    }

    /// `client` asked to join `group`.
    pub fn join(&self, client: &ClientKey, group: &str) {
        let mut state = self.state();
        if !state.groups.contains_key(client) {
            state.joined.push_back(client.clone());
            if state.joined.len() > MAX_CLIENTS
                && let Some(oldest) = state.joined.pop_front()
            {
                state.groups.remove(&oldest);
            }
        }
        let groups = state.groups.entry(client.clone()).or_default();
        if groups.len() < MAX_GROUPS {
            groups.insert(Arc::from(group));
        }
    }

    pub fn is_member(&self, client: &ClientKey, group: &str) -> bool {
        self.state().groups.get(client).is_some_and(|g| g.contains(group))
    }

    /// The client's group, where it has joined exactly one.
    pub fn only_group(&self, client: &ClientKey) -> Option<Arc<str>> {
        let state = self.state();
        let mut groups = state.groups.get(client)?.iter();
        match (groups.next(), groups.next()) {
            (Some(group), None) => Some(group.clone()),
            _ => None,
        }
    }
}

fn leave(state: &mut State, number: u64) -> Option<ClientKey> {
    let client = state.by_number.remove(&number)?;
    let peers = state.connections.get_mut(&client)?;
    peers.retain(|p| p.number != number);
    if !peers.is_empty() {
        return None;
    }
    // What comes next under this name may be another app.
    state.connections.remove(&client);
    if state.groups.remove(&client).is_some() {
        state.joined.retain(|c| *c != client);
    }
    Some(client)
}
