//! The live connections of each client, and the groups that it has joined (rule M8).
//!
//! A client is its client id and the address that it comes from. Its connections find each other
//! here, so that one can ask another for what only that one's broker knows.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::mpsc;

use super::conn::Conn;
use super::faults::{self, Fault};
use super::software::{Fingerprint, identify};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientKey {
    pub client_id: Arc<str>,
    pub peer: IpAddr,
}

/// What one connection tells another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Ask your broker where these partitions' logs start. Boxed: each mailbox has places from the start.
    LogStarts(Box<LogStarts>),
    /// What you waited for may have come.
    Wake,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStarts {
    pub topic: Arc<str>,
    pub partitions: Vec<i32>,
    pub asker: u64,
}

#[derive(Debug)]
struct Peer {
    number: u64,
    node: Option<i32>,
    mailbox: mpsc::Sender<Message>,
    /// Its client has gone.
    lingers: bool,
    /// What the client says that it is: name and version.
    software: Option<(String, String)>,
    looks: Fingerprint,
}

/// One client, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientStatus {
    pub client_id: Arc<str>,
    pub address: String,
    /// As it announces itself; else by its requests, where those are like nobody else's.
    pub software: Option<String>,
    pub version: Option<String>,
    pub connections: usize,
    pub faults: Vec<Fault>,
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
        let (software, looks) = (None, Fingerprint::default());
        let peer = Peer { number, node, mailbox: mailbox.clone(), lingers: false, software, looks };
        state.connections.entry(client.clone()).or_default().push(peer);
        state.by_number.insert(number, client);
        gone
    }

    /// What a connection shows of its client's software.
    pub fn describe(&self, conn: &Conn) {
        let state = &mut *self.state();
        let peers = state.by_number.get(&conn.number).and_then(|client| state.connections.get_mut(client));
        if let Some(peer) = peers.and_then(|p| p.iter_mut().find(|p| p.number == conn.number)) {
            peer.looks.see(conn);
            if peer.software != conn.software {
                peer.software.clone_from(&conn.software);
            }
        }
    }

    /// All clients, by id and address, at most `most`; and how many more there are.
    pub fn clients(&self, most: usize) -> (Vec<ClientStatus>, usize) {
        let state = self.state();
        let lives = |peers: &&Vec<Peer>| peers.iter().any(|p| !p.lingers);
        let mut all: Vec<_> = state.connections.iter().filter(|(_, peers)| lives(peers)).collect();
        all.sort_unstable_by_key(|(client, _)| (&*client.client_id, client.peer));
        let omitted = all.len().saturating_sub(most);
        let clients = all.into_iter().take(most).map(|(client, peers)| status(client, peers)).collect();
        (clients, omitted)
    }

    /// The connection's client has gone; the broker's side is still needed.
    pub fn lingers(&self, number: u64) {
        let state = &mut *self.state();
        let peers = state.by_number.get(&number).and_then(|client| state.connections.get_mut(client));
        if let Some(peer) = peers.and_then(|p| p.iter_mut().find(|p| p.number == number)) {
            peer.lingers = true;
        }
        if let Some(peers) = state.by_number.get(&number).and_then(|client| state.connections.get(client)) {
            tell_the_rest(peers, number);
        }
    }

    /// How many connections have `client` at their other end; those that linger do not.
    pub fn live(&self, client: &ClientKey) -> usize {
        self.state().connections.get(client).map_or(0, |peers| peers.iter().filter(|p| !p.lingers).count())
    }

    /// The connections that have `client` at their other end: number, and the broker that each leads to.
    pub fn connections(&self, client: &ClientKey) -> Vec<(u64, Option<i32>)> {
        let state = self.state();
        let peers = state.connections.get(client).map(Vec::as_slice).unwrap_or_default();
        peers.iter().filter(|p| !p.lingers).map(|p| (p.number, p.node)).collect()
    }

    /// Whether `client` has other connections than this one, those that linger included.
    pub fn has_others(&self, client: &ClientKey, number: u64) -> bool {
        self.state().connections.get(client).is_some_and(|p| p.iter().any(|p| p.number != number))
    }

    /// Gives back the client whose last connection it was, if it was.
    pub fn leave(&self, number: u64) -> Option<ClientKey> {
        leave(&mut self.state(), number)
    }

    /// Asks a connection of `client` to `node` for log starts: the next one by number behind `after`. `false`: there is none.
    pub fn ask_log_starts(
        &self,
        client: &ClientKey,
        node: i32,
        asker: u64,
        after: Option<u64>,
        topic: &Arc<str>,
        partitions: &[i32],
    ) -> bool {
        let state = self.state();
        let peers = state.connections.get(client).map(Vec::as_slice).unwrap_or_default();
        let asked = || LogStarts { topic: topic.clone(), partitions: partitions.to_vec(), asker };
        let message = || Message::LogStarts(Box::new(asked()));
        let mut peers: Vec<_> = peers
            .iter()
            .filter(|p| p.node == Some(node) && p.number != asker && Some(p.number) > after && !p.lingers)
            .collect();
        peers.sort_unstable_by_key(|p| p.number);
        peers.iter().any(|p| p.mailbox.try_send(message()).is_ok())
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

fn status(client: &ClientKey, peers: &[Peer]) -> ClientStatus {
    let mut looks = Fingerprint::default();
    peers.iter().for_each(|peer| looks.join(&peer.looks));
    // Some announce themselves on one connection only.
    let announced = peers.iter().find_map(|p| p.software.as_ref());
    let known = identify(announced.map(|(name, _)| name.as_str()), &looks);
    let version = announced.map(|(_, version)| version.clone()).filter(|version| !version.is_empty());
    ClientStatus {
        client_id: client.client_id.clone(),
        address: client.peer.to_string(),
        software: announced.map(|(name, _)| name.clone()).or_else(|| known.map(|s| s.name().to_owned())),
        faults: known.map(|software| faults::known(software, version.as_deref())).unwrap_or_default(),
        version,
        connections: peers.iter().filter(|p| !p.lingers).count(),
    }
}

fn leave(state: &mut State, number: u64) -> Option<ClientKey> {
    let client = state.by_number.remove(&number)?;
    let peers = state.connections.get_mut(&client)?;
    peers.retain(|p| p.number != number);
    if !peers.is_empty() {
        tell_the_rest(peers, number);
        return None;
    }
    // What comes next under this name may be another app.
    state.connections.remove(&client);
    if state.groups.remove(&client).is_some() {
        state.joined.retain(|c| *c != client);
    }
    Some(client)
}

/// Where nobody is at the other end any more, what lingers may want to know.
fn tell_the_rest(peers: &[Peer], number: u64) {
    if peers.iter().all(|p| p.lingers) {
        for peer in peers.iter().filter(|p| p.number != number) {
            let _ = peer.mailbox.try_send(Message::Wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::api::ApiKey;

    #[test]
    fn a_client_is_shown_by_what_any_of_its_connections_says() {
        let peers = Peers::default();
        let (mailbox, _told) = mpsc::channel(4);
        let enter = |number: u64, id: &str, software: Option<(&str, &str)>, used: &[(ApiKey, i16)]| {
            let mut conn = Conn::ready(id, None);
            conn.number = number;
            peers.enter(number, conn.client(), None, &mailbox);
            conn.software = software.map(|(name, version)| (name.to_owned(), version.to_owned()));
            for (api, version) in used {
                conn.note_used(*api, *version);
            }
            peers.describe(&conn);
        };
        enter(1, "b", Some(("kgo", "1.16.1")), &[]);
        enter(2, "b", None, &[]);
        enter(3, "a", None, &[(ApiKey::API_VERSIONS, 2)]);
        enter(4, "a", None, &[(ApiKey::METADATA, 6), (ApiKey::FETCH, 11)]);
        enter(5, "c", None, &[]);
        peers.lingers(5);
        let (clients, omitted) = peers.clients(1);
        assert_eq!((clients.len(), omitted), (1, 1));
        assert_eq!((clients[0].software.as_deref(), clients[0].version.as_deref()), (Some("kafkajs"), None));
        let (clients, _) = peers.clients(10);
        let old = &clients[1];
        assert_eq!(
            (old.software.as_deref(), old.version.as_deref(), old.connections),
            (Some("kgo"), Some("1.16.1"), 2)
        );
        assert!(old.faults.iter().any(|f| f.fixed_in == Some("1.17.0")));
    }

    #[test]
    fn one_that_lingers_is_another_and_not_live() {
        let peers = Peers::default();
        let client = ClientKey { client_id: "app".into(), peer: IpAddr::from([127, 0, 0, 1]) };
        let (mailbox, _told) = mpsc::channel(4);
        for number in [1, 2] {
            peers.enter(number, client.clone(), Some(1), &mailbox);
        }
        peers.lingers(1);
        peers.lingers(2);
        // The one that carries the group may still have to deliver what the client had handled.
        assert!(peers.has_others(&client, 2));
        assert_eq!(peers.live(&client), 0);
        peers.leave(1);
        assert!(!peers.has_others(&client, 2));
    }
}
