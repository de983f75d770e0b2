//! How far groups have committed and where clients ask to begin: learnt from the frames that pass
//! whole, as clients send them and the broker answers them (rules D1, D4).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::core::Core;
use super::response::Head;
use crate::mend::Place;
use crate::mend::catalog::TopicId;
use crate::wire::api::ApiKey;
use crate::wire::codec::commit::{self, Commit};
use crate::wire::codec::{committed, entry};
use crate::wire::head::RequestHead;
use crate::wire::layout::{self, mark};
use crate::wire::walk::{self, Mark, Visitor};

/// What a response about offsets is read against.
#[derive(Debug)]
pub enum OffsetsRequest {
    Commit(Commit),
    /// The group that is asked for, where it is one.
    Fetch(Arc<str>),
}

impl Core {
    /// A whole request goes upstream; it is the newest in the queue.
    pub(super) fn offsets_request(&mut self, head: &RequestHead, frame: &mut [u8]) {
        let asked = match head.api {
            ApiKey::OFFSET_COMMIT => commit::read(head.version, frame, head.body).map(OffsetsRequest::Commit),
            ApiKey::OFFSET_FETCH | ApiKey::LIST_OFFSETS | ApiKey::OFFSET_FOR_LEADER_EPOCH => {
                let Some(layout) = layout::request(head.api, head.version) else {
                    return;
                };
                let mut asks = Asks::default();
                if walk::whole(layout, frame, head.body, &mut asks).is_err() {
                    return;
                }
                self.looked_up(&asks);
                (head.api == ApiKey::OFFSET_FETCH).then_some(OffsetsRequest::Fetch(asks.group))
            }
            _ => return,
        };
        if let (Some(asked), Some(entry)) = (asked, self.queue.back_mut()) {
            entry.offsets = Some(Box::new(asked));
        }
    }

    fn looked_up(&self, asks: &Asks) {
        if asks.is_replica {
            return;
        }
        let (client, shared) = (self.conn.client(), &self.env.shared);
        for (topic, partitions) in &asks.topics {
            let Some(name) = topic.name(|id| shared.catalog.name(id)) else { continue };
            for partition in partitions {
                shared.progress.looked_up(&client, &(name.clone(), *partition), self.now);
            }
        }
    }

    /// A whole response has come; no mender has seen it. Of what comes again later nothing is taken.
    pub(super) fn offsets_response(&mut self, head: Head, frame: &mut [u8]) {
        match self.queue.front_mut().and_then(|e| e.offsets.take()).map(|asked| *asked) {
            Some(OffsetsRequest::Commit(commit)) => self.committed(head, &commit, frame),
            Some(OffsetsRequest::Fetch(group)) => self.offsets_told(head, &group, frame),
            None => {}
        }
    }

    fn committed(&self, head: Head, asked: &Commit, frame: &mut [u8]) {
        let Some(outcomes) = commit::outcomes(head.version, frame, head.body) else {
            return;
        };
        let (client, shared) = (self.conn.client(), &self.env.shared);
        let mut taken: HashSet<(&str, TopicId, i32)> = HashSet::new();
        let mut error = 0;
        for outcome in &outcomes {
            match outcome.error {
                0 => {
                    taken.insert((&*outcome.name, outcome.id, outcome.index));
                }
                other if error == 0 => error = other,
                _ => {}
            }
        }
        // The last word on a partition is what the broker keeps.
        let mut offsets: HashMap<Place, i64> = HashMap::new();
        for topic in &asked.topics {
            let name = || if topic.name.is_empty() { shared.catalog.name(&topic.id) } else { Some(topic.name.clone()) };
            let Some(name) = name() else { continue };
            for partition in topic.partitions.iter().filter(|p| taken.contains(&(&*topic.name, topic.id, p.index))) {
                offsets.insert((name.clone(), partition.index), partition.offset);
            }
        }
        for (place, offset) in &offsets {
            shared.progress.committed(&asked.group, &client, place, *offset, self.now);
        }
        if !outcomes.is_empty() && !asked.group.is_empty() {
            // What is wrong with a member, all partitions say: another one's error does not stop it.
            let error = if taken.is_empty() { error } else { 0 };
            shared.progress.commit_ended(&asked.group, &client, error, self.now);
        }
    }

    fn offsets_told(&self, head: Head, asked: &Arc<str>, frame: &mut [u8]) {
        let Some(answer) = committed::read(head.version, frame, head.body) else {
            return;
        };
        let (client, shared) = (self.conn.client(), &self.env.shared);
        for partition in &answer.partitions {
            if partition.error != 0 || answer.failed.contains(&partition.group) {
                continue;
            }
            // Below version 8 there is one, and the answer does not name it.
            let group = if head.version < 8 { asked } else { &partition.group };
            let topic =
                if partition.topic.is_empty() { Named::Id(partition.id) } else { Named::Name(partition.topic.clone()) };
            if let Some(name) = topic.name(|id| shared.catalog.name(id)) {
                shared.progress.committed(group, &client, &(name, partition.index), partition.offset, self.now);
            }
        }
    }
}

#[derive(Debug)]
enum Named {
    Name(Arc<str>),
    Id(TopicId),
}

impl Named {
    fn name(&self, of: impl FnOnce(&TopicId) -> Option<Arc<str>>) -> Option<Arc<str>> {
        match self {
            Named::Name(name) => Some(name.clone()),
            Named::Id(id) => of(id),
        }
    }
}

/// OffsetFetch, ListOffsets, OffsetForLeaderEpoch: for which partitions.
#[derive(Debug, Default)]
struct Asks {
    group: Arc<str>,
    /// A broker that follows.
    is_replica: bool,
    topics: Vec<(Named, Vec<i32>)>,
}

impl Visitor for Asks {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        let text = || -> Arc<str> { String::from_utf8_lossy(value.unwrap_or_default()).into() };
        match mark {
            mark::GROUP => self.group = text(),
            mark::TOPIC => self.topics.push((Named::Name(text()), Vec::new())),
            _ => {}
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        match mark {
            mark::REPLICA => self.is_replica = entry::int32(bytes) >= 0,
            mark::TOPIC_ID => {
                self.topics.push((Named::Id(bytes.first_chunk().copied().unwrap_or_default()), Vec::new()));
            }
            mark::PARTITION => {
                if let Some((_, partitions)) = self.topics.last_mut() {
                    partitions.push(entry::int32(bytes));
                }
            }
            _ => {}
        }
    }
}
