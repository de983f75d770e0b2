//! What is known of one client over all its connections (rule M8): the topics it uses, what it has
//! been told of them, and what is being done about those that grew.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::growth::{Growth, Likely, Role};
use super::schedule::Schedule;
use super::software::{Fingerprint, Habits, How};
use crate::mend::catalog::TopicId;
use crate::mend::{ClientKey, Conn};

/// Topics that a client remembers what it was told about.
const MAX_VIEWS: usize = 5000;
/// Growths that are looked after at once.
pub const MAX_GROWTHS: usize = 1000;
/// A topic that has not been asked for so long is not in use any more.
const UNUSED: Duration = Duration::from_secs(60);
/// A connection that has not fetched for so long is not fetching; a long poll is shorter by default.
pub const FETCHING: Duration = Duration::from_secs(3);
/// What is remembered of a client without connections: it may be about to come back.
const GONE: Duration = Duration::from_secs(60);
const MAX_CLIENTS: usize = 10_000;

/// Client id, address, and the software that it announced.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub client: ClientKey,
    software: Option<String>,
}

impl Key {
    pub fn of(conn: &Conn) -> Key {
        Key {
            client: conn.client(),
            software: conn.software.as_ref().map(|(name, version)| format!("{name} {version}")),
        }
    }
}

/// What a client was told of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    pub id: TopicId,
    pub partitions: usize,
}

#[derive(Debug, Default)]
pub struct Use {
    pub produced: Option<Instant>,
    pub fetched: Option<Instant>,
    /// Asked about, with whatever answer.
    pub asked: Option<Instant>,
}

impl Use {
    pub fn is_produced(&self, now: Instant) -> bool {
        self.produced.is_some_and(|at| now.saturating_duration_since(at) < UNUSED)
    }

    pub fn is_current(&self, now: Instant) -> bool {
        [self.produced, self.fetched].into_iter().flatten().any(|at| now.saturating_duration_since(at) < UNUSED)
    }
}

/// One of its connections.
#[derive(Debug, Default)]
pub struct Link {
    pub node: Option<i32>,
    pub produces: HashSet<Arc<str>>,
    pub fetches: HashSet<Arc<str>>,
    /// A Fetch request of any kind.
    pub fetched: Option<Instant>,
    /// Heartbeats pass here.
    pub coordinator: bool,
    /// It could not carry a poll when it was told to.
    pub blocked: bool,
    /// Topics that it may not be told of.
    pub denied: HashSet<Arc<str>>,
}

impl Link {
    /// It carries no records.
    pub fn is_spare(&self, now: Instant) -> bool {
        self.produces.is_empty() && !self.is_fetching(now)
    }

    fn is_fetching(&self, now: Instant) -> bool {
        self.fetched.is_some_and(|at| now.saturating_duration_since(at) < FETCHING)
    }

    /// A member that has lost its partitions does not fetch any more.
    pub fn uses(&self, topic: &str, role: Role, now: Instant) -> bool {
        match role {
            Role::Producer => self.produces.contains(topic),
            Role::Consumer => self.fetches.contains(topic) && self.is_fetching(now),
        }
    }
}

#[derive(Debug)]
pub struct State {
    pub habits: Option<&'static Habits>,
    pub looks: Fingerprint,
    pub uses: HashMap<Arc<str>, Use>,
    pub views: HashMap<Arc<str>, View>,
    pub links: HashMap<u64, Link>,
    pub growths: Vec<Growth>,
    pub schedule: Schedule,
    pub active: Instant,
    /// Topics that its members have subscribed to, by group.
    pub subscribed: HashMap<Arc<str>, Vec<Arc<str>>>,
    /// The broker assigns the partitions of its group (KIP-848).
    pub kip848: bool,
    /// A refused request of its was not sent again.
    pub gives_up: bool,
    left: Instant,
}

/// A client, shared by its connections.
#[derive(Debug)]
pub struct Client {
    pub key: Key,
    /// Changes with what its connections may have to do.
    stamp: AtomicU64,
    state: Mutex<State>,
}

impl Client {
    fn new(key: Key, now: Instant, first_poll: Instant) -> Client {
        let state = State {
            habits: None,
            looks: Fingerprint::default(),
            uses: HashMap::new(),
            views: HashMap::new(),
            links: HashMap::new(),
            growths: Vec::new(),
            schedule: Schedule::new(first_poll),
            active: now,
            subscribed: HashMap::new(),
            kip848: false,
            gives_up: false,
            left: now,
        };
        Client { key, stamp: AtomicU64::new(1), state: Mutex::new(state) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stamp(&self) -> u64 {
        self.stamp.load(Ordering::Acquire)
    }

    pub fn changed(&self) {
        self.stamp.fetch_add(1, Ordering::AcqRel);
    }

    pub fn leave(&self, number: u64, now: Instant) {
        let mut state = self.state();
        state.links.remove(&number);
        state.left = now;
        if state.schedule.is_asking(number) {
            state.schedule.interrupted(now);
        }
    }
}

impl State {
    pub fn link(&mut self, number: u64, node: Option<i32>) -> &mut Link {
        self.links.entry(number).or_insert_with(|| Link { node, ..Link::default() })
    }

    /// The client is told of a topic. What it was told before.
    pub fn told(&mut self, topic: &str, view: View) -> Option<View> {
        if let Some(known) = self.views.get_mut(topic) {
            return Some(std::mem::replace(known, view));
        }
        if self.views.len() < MAX_VIEWS {
            self.views.insert(Arc::from(topic), view);
        }
        None
    }

    pub fn used(&mut self, topic: &Arc<str>, role: Role, now: Instant) {
        let entry = self.uses.entry(topic.clone()).or_default();
        match role {
            Role::Producer => entry.produced = Some(now),
            Role::Consumer => entry.fetched = Some(now),
        }
    }

    /// Drops what is not in use any more.
    pub fn tidy(&mut self, now: Instant) {
        self.uses.retain(|_, u| u.is_current(now));
        for growth in self.growths.iter().filter(|g| g.is_over(now)) {
            // Also where it never showed: it is not begun anew.
            if let Some(view) = self.views.get_mut(&growth.topic) {
                view.partitions = view.partitions.max(growth.to);
            }
        }
        self.growths.retain(|g| !g.is_over(now));
    }

    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.subscribed.values().flatten().any(|t| **t == *topic)
    }

    /// Whose a Metadata answer on one of the connections is: a producer's, a consumer's.
    pub fn roles(&self, number: u64) -> [Likely; 2] {
        let produces = self.uses.values().any(|u| u.produced.is_some());
        let consumes = self.uses.values().any(|u| u.fetched.is_some());
        let link = self.links.get(&number);
        let sends = link.is_some_and(|l| !l.produces.is_empty());
        let reads = link.is_some_and(|l| !l.fetches.is_empty() || l.coordinator);
        match (produces && consumes, sends, reads) {
            (false, ..) | (true, true, true) => [Likely::Yes, Likely::Yes],
            (true, true, false) => [Likely::Yes, Likely::No],
            (true, false, true) => [Likely::No, Likely::Yes],
            (true, false, false) => [Likely::Perhaps, Likely::Perhaps],
        }
    }

    /// How many apps share this client's name for a topic, and a connection of each. One app has one
    /// connection to a broker for its records: so many to one broker are so many apps.
    pub fn apps(&self, topic: &str, role: Role, now: Instant) -> (usize, Vec<u64>) {
        // In order: where two brokers have as many, it is the same one each time.
        let mut by_node: BTreeMap<Option<i32>, Vec<u64>> = BTreeMap::new();
        for (number, link) in self.links.iter().filter(|(_, link)| link.uses(topic, role, now)) {
            by_node.entry(link.node).or_default().push(*number);
        }
        let most = by_node.values().map(Vec::len).max().unwrap_or(0);
        let mut numbers = match most {
            0 => Vec::new(),
            // One app: any of its connections will do.
            1 => by_node.into_values().flatten().collect(),
            _ => by_node.into_values().find(|numbers| numbers.len() == most).unwrap_or_default(),
        };
        numbers.sort_unstable();
        (most, numbers)
    }

    /// Takes the open round of a growth for one connection.
    pub fn take(&mut self, topic: &str, role: Role, conn: u64, how: How, now: Instant) -> bool {
        let patience = self.habits.map_or(Duration::ZERO, |h| h.patience);
        let Some(growth) = self.growths.iter_mut().find(|g| *g.topic == *topic) else {
            return false;
        };
        growth.side_mut(role).take(conn, how, patience, now)
    }
}

/// All clients of the process.
#[derive(Debug, Default)]
pub struct Clients {
    clients: Mutex<HashMap<Key, Arc<Client>>>,
}

impl Clients {
    /// The client of a connection, new or known.
    pub fn enter(&self, key: Key, now: Instant, first_poll: Instant) -> Arc<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return client.clone();
        }
        clients.retain(|_, client| {
            let state = client.state();
            !state.links.is_empty() || now.saturating_duration_since(state.left) < GONE
        });
        let client = Arc::new(Client::new(key.clone(), now, first_poll));
        if clients.len() < MAX_CLIENTS {
            clients.insert(key, client.clone());
        }
        client
    }

    /// A reload: what was begun under other rules is dropped.
    pub fn begin_anew(&self) {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        for client in clients.values() {
            client.state().growths.clear();
            client.changed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Arc<Client> {
        let now = Instant::now();
        Clients::default().enter(Key::of(&Conn::ready("app", Some(1))), now, now)
    }

    #[test]
    fn connections_to_one_broker_are_so_many_apps() {
        let client = client();
        let mut s = client.state();
        let topic: Arc<str> = Arc::from("t");
        for (number, node) in [(1, 1), (2, 2), (3, 3)] {
            s.link(number, Some(node)).produces.insert(topic.clone());
        }
        s.link(9, Some(1));
        let (apps, numbers) = s.apps("t", Role::Producer, Instant::now());
        assert_eq!((apps, numbers), (1, vec![1, 2, 3]));
        s.link(4, Some(2)).produces.insert(topic.clone());
        let (apps, numbers) = s.apps("t", Role::Producer, Instant::now());
        assert_eq!((apps, numbers), (2, vec![2, 4]));
        s.link(5, Some(1)).produces.insert(topic.clone());
        s.link(6, Some(3)).produces.insert(topic.clone());
        let often: HashSet<_> = (0..20).map(|_| s.apps("t", Role::Producer, Instant::now()).1).collect();
        assert_eq!(often, HashSet::from([vec![1, 5]]), "two to each broker: always the same one");
        assert_eq!(s.apps("t", Role::Consumer, Instant::now()), (0, Vec::new()));
    }

    #[test]
    fn a_client_that_comes_back_is_the_same() {
        let (clients, now) = (Clients::default(), Instant::now());
        let key = |id: &str| Key::of(&Conn::ready(id, None));
        let first = clients.enter(key("a"), now, now);
        first.state().link(1, None);
        first.leave(1, now);
        let soon = now + Duration::from_secs(5);
        clients.enter(key("b"), soon, soon);
        assert!(Arc::ptr_eq(&first, &clients.enter(key("a"), soon, soon)));
        let late = now + GONE * 2;
        clients.enter(key("c"), late, late);
        assert!(!Arc::ptr_eq(&first, &clients.enter(key("a"), late, late)));
    }
}
