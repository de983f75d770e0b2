//! What a client that dies without a commit has provably handled (rule C8b).
//!
//! The software below fetches a partition again only when the records before have been given to
//! the app, and the app asks for more only when it has handled what it was given before. So when a
//! new position is fetched from, everything before the *last position but one* has been handled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::book::{Decided, Offer, Place};
use super::commits::journal_key;
use super::conn::OnConnection;
use super::rules;
use crate::config::model::Mode;
use crate::mend::catalog::NO_ID;
use crate::mend::software::{Fingerprint, Software, identify};
use crate::mend::{ClientKey, Conn, Cx, GroupKind, Member, Phase};
use crate::store::journal::{Kind, Promise, now_ms};

/// How long a client's other connections may take to go with this one.
pub(super) const TOGETHER: Duration = Duration::from_millis(400);
/// Clients and their partitions; of what is beyond nothing is known.
const MAX_CLIENTS: usize = 1000;
const MAX_PLACES: usize = 10_000;

/// How to read the fetch positions of a software; measured in `docs/commits_runs.md`.
fn is_safe(software: Option<Software>, kind: GroupKind) -> bool {
    // Java's KIP-848 consumer fetches from a thread of its own; librdkafka and sarama run ahead of
    // the app by as much as their queues hold; franz-go passes a transaction's marker by itself, while
    // the app still handles what was before it.
    let polls = matches!(software, Some(Software::Java | Software::Aiokafka | Software::KafkaPython));
    polls && kind == GroupKind::Classic
}

#[derive(Debug, Clone, Copy)]
struct Track {
    last: i64,
    /// The position before it.
    handled: Option<i64>,
    conn: u64,
}

#[derive(Debug, Default)]
struct Client {
    name: Option<String>,
    looks: Fingerprint,
    tracks: HashMap<Place, Track>,
}

/// The fetch positions of each client.
#[derive(Debug, Default)]
pub struct Positions {
    clients: Mutex<HashMap<ClientKey, Client>>,
}

impl Positions {
    fn clients(&self) -> MutexGuard<'_, HashMap<ClientKey, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn fetched(&self, conn: &Conn, topic: &Arc<str>, partition: i32, offset: i64) {
        let mut clients = self.clients();
        let key = conn.client();
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(&key) {
            return;
        }
        let client = clients.entry(key).or_default();
        client.name = conn.software.as_ref().map(|(name, _)| name.clone()).or(client.name.take());
        client.looks.see(conn);
        let full = client.tracks.len() >= MAX_PLACES;
        let conn = conn.number;
        let fresh = Track { last: offset, handled: None, conn };
        match client.tracks.get_mut(&(topic.clone(), partition)) {
            // The leader has moved, or somebody else reads under the same name.
            Some(track) if track.conn != conn => *track = fresh,
            Some(track) if offset > track.last => *track = Track { handled: Some(track.last), ..fresh },
            // The app went back: what it has handled since is not known.
            Some(track) if offset < track.last => *track = fresh,
            Some(_) => {}
            None if full => {}
            None => {
                client.tracks.insert((topic.clone(), partition), fresh);
            }
        }
    }

    /// What another of the client's connections tells of its software.
    pub fn looked(&self, conn: &Conn) {
        let mut clients = self.clients();
        if clients.len() < MAX_CLIENTS || clients.contains_key(&conn.client()) {
            clients.entry(conn.client()).or_default().looks.see(conn);
        }
    }

    /// A member has a new assignment: positions of before say nothing of it.
    pub fn restart(&self, client: &ClientKey) {
        if let Some(client) = self.clients().get_mut(client) {
            client.tracks.clear();
        }
    }

    fn take(&self, client: &ClientKey) -> Option<Client> {
        self.clients().remove(client)
    }

    pub fn forget(&self, client: &ClientKey) {
        self.clients().remove(client);
    }
}

impl OnConnection {
    /// The client's last connection has gone: its handled records are promised in its name.
    pub(super) fn deliver(&mut self, cx: &Cx<'_>) {
        let key = cx.conn.client();
        let Some(client) = self.shared.positions.take(&key) else {
            return;
        };
        let rules = self.shared.rules.load_full();
        let software = identify(client.name.as_deref(), &client.looks);
        let members = cx.shared.groups.of_client(&key);
        tracing::debug!(client_id = %key.client_id, ?software, looks = ?client.looks, partitions = client.tracks.len(),
            members = members.len(), "a client has gone");
        let mut by_group: HashMap<Arc<str>, Vec<Offer>> = HashMap::new();
        for (place, track) in client.tracks {
            let Some(offset) = track.handled else { continue };
            let id = cx.shared.catalog.id(&place.0).unwrap_or(NO_ID);
            let owns = |m: &Member| m.assignment.as_ref().is_some_and(|a| a.owns(&place.0, id, place.1));
            let mut owners = members.iter().filter(|(_, _, m)| owns(m));
            // Of two consumers under one name nobody can say whose position it was.
            let (Some((group, id_of, member)), None) = (owners.next(), owners.next()) else { continue };
            let alone = cx.shared.groups.owners(group, &place.0, id, place.1).len() == 1;
            let vouched = self.shared.book.is_vouched(group);
            let known = rules.unmeasured || is_safe(software, member.kind);
            if !alone || !known || member.phase != Phase::Stable || !rules::is_consumer(member, vouched) {
                continue;
            }
            let mode = rules.modes.mode(&place.0, &key.client_id, Some(group));
            // Whoever never commits keeps its offsets elsewhere.
            let committed = self.shared.book.last(group, &place).filter(|_| self.shared.book.commits(group));
            if mode != Mode::Repair || committed.is_none_or(|c| c >= offset) {
                continue;
            }
            let promise = Promise {
                key: journal_key(cx, group, &place),
                kind: Kind::Behind,
                topic_id: id,
                member: id_of.clone(),
                instance: member.instance.clone(),
                generation: member.joined.generation,
                ready: true,
                consumer_protocol: member.kind == GroupKind::Consumer,
                client_id: key.client_id.clone(),
                offset,
                leader_epoch: -1,
                metadata: None,
                baseline: None,
                time_ms: now_ms(),
            };
            let until = Some(cx.now + rules.age(member));
            let offer = Offer { promise, client: key.clone(), until, compare: true, delivered: true };
            by_group.entry(group.clone()).or_default().push(offer);
        }
        for (group, offers) in by_group {
            for offer in &offers {
                self.shared.book.carried(&group, &offer.promise.member, cx.conn.number);
            }
            self.delivering.extend(self.shared.book.propose(offers, cx.conn.number, cx.now));
        }
    }

    /// Looks what the journal says of what was delivered.
    pub(super) fn decide_delivered(&mut self, cx: &Cx<'_>) {
        let book = &self.shared.book;
        self.delivering.retain(|proposal| book.decide(*proposal, cx.now) == Decided::NotYet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_position_but_one_is_handled() {
        let positions = Positions::default();
        let conn = Conn::ready("app", Some(1));
        let topic: Arc<str> = "t".into();
        let handled = || positions.clients().get(&conn.client()).and_then(|c| c.tracks[&(topic.clone(), 0)].handled);
        for (offset, expected) in
            [(5, None), (5, None), (9, Some(5)), (9, Some(5)), (20, Some(9)), (3, None), (4, Some(3))]
        {
            positions.fetched(&conn, &topic, 0, offset);
            assert_eq!(handled(), expected, "{offset}");
        }
        positions.restart(&conn.client());
        assert!(positions.take(&conn.client()).is_some_and(|c| c.tracks.is_empty()));
    }

    #[test]
    fn only_software_that_polls_is_safe() {
        let classic = |s| is_safe(Some(s), GroupKind::Classic);
        assert!(classic(Software::Java) && classic(Software::Aiokafka));
        assert!(
            !classic(Software::FranzGo)
                && !classic(Software::Librdkafka)
                && !classic(Software::Sarama)
                && !classic(Software::Kafkajs)
        );
        assert!(!is_safe(None, GroupKind::Classic) && !is_safe(Some(Software::Java), GroupKind::Consumer));
    }
}
