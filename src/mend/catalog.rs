//! Topics as the passing Metadata responses describe them: names, ids, leaders.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub type TopicId = [u8; 16];

/// The id that stands for none.
pub const NO_ID: TopicId = [0; 16];

/// Enough for the topics that a sidecar's clients use; a cluster's whole list is not kept.
const MAX_TOPICS: usize = 20_000;
const MAX_PARTITIONS: usize = 200_000;

#[derive(Debug, Clone)]
struct Known {
    id: TopicId,
    leaders: Arc<[i32]>,
}

#[derive(Debug, Default)]
struct State {
    by_name: HashMap<Arc<str>, Known>,
    by_id: HashMap<TopicId, Arc<str>>,
    partitions: usize,
}

/// A topic as one Metadata response describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataTopic<'a> {
    pub name: &'a str,
    /// [`NO_ID`] below version 10.
    pub id: TopicId,
    pub error: i16,
    /// `leaders[p]` is the leader of partition `p`, -1 for none.
    pub leaders: &'a [i32],
}

/// What has been learnt, for the whole process. The newest answer wins.
#[derive(Debug, Default)]
pub struct Catalog {
    state: RwLock<State>,
}

/// What learning a topic changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learnt {
    Same,
    New,
    Changed,
    /// The name has another id than before: deleted and created again.
    Recreated,
}

impl Catalog {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// `leaders[p]` is the leader of partition `p`, -1 for none.
    pub fn learn(&self, name: &str, id: TopicId, leaders: &[i32]) -> Learnt {
        if let Some(known) = self.read().by_name.get(name)
            && (known.id == id || id == NO_ID)
            && *known.leaders == *leaders
        {
            return Learnt::Same;
        }
        let mut state = self.write();
        let before = state.by_name.get(name).cloned();
        let had = before.as_ref().map_or(0, |b| b.leaders.len());
        let fits = state.partitions - had + leaders.len() <= MAX_PARTITIONS;
        if before.is_none() && !(fits && state.by_name.len() < MAX_TOPICS) {
            return Learnt::Same;
        }
        // A known topic that has grown beyond all measure stays known, without its leaders.
        let leaders = if fits { leaders } else { &[] };
        let key: Arc<str> = state.by_name.get_key_value(name).map_or_else(|| Arc::from(name), |(k, _)| k.clone());
        let id = if id == NO_ID { before.as_ref().map_or(NO_ID, |b| b.id) } else { id };
        state.partitions = state.partitions - had + leaders.len();
        state.by_name.insert(key.clone(), Known { id, leaders: leaders.into() });
        if id != NO_ID {
            state.by_id.insert(id, key);
        }
        match before {
            None => Learnt::New,
            Some(b) if b.id != NO_ID && b.id != id => {
                state.by_id.remove(&b.id);
                Learnt::Recreated
            }
            Some(_) => Learnt::Changed,
        }
    }

    /// Learns an id's name, without leaders.
    pub fn learn_name(&self, name: &str, id: TopicId) {
        let mut state = self.write();
        if state.by_id.len() < MAX_TOPICS {
            state.by_id.insert(id, Arc::from(name));
        }
    }

    pub fn name(&self, id: &TopicId) -> Option<Arc<str>> {
        self.read().by_id.get(id).cloned()
    }

    pub fn id(&self, name: &str) -> Option<TopicId> {
        self.read().by_name.get(name).map(|k| k.id).filter(|id| *id != NO_ID)
    }

    pub fn leader(&self, name: &str, partition: i32) -> Option<i32> {
        let partition = usize::try_from(partition).ok()?;
        self.read().by_name.get(name)?.leaders.get(partition).copied().filter(|l| *l >= 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_bounded_for_known_topics_too() {
        let c = Catalog::default();
        let many = vec![1; MAX_PARTITIONS / 2];
        for name in ["a", "b", "c", "d"] {
            c.learn(name, [name.as_bytes()[0]; 16], &[1]);
        }
        for name in ["a", "b", "c", "d"] {
            c.learn(name, [name.as_bytes()[0]; 16], &many);
        }
        assert!(c.read().partitions <= MAX_PARTITIONS);
        assert_eq!((c.leader("a", 5), c.leader("b", 5)), (Some(1), None));
        assert!(c.id("b").is_some());
    }

    #[test]
    fn tells_a_recreated_topic() {
        let c = Catalog::default();
        assert_eq!(c.learn("t", [1; 16], &[1, 2]), Learnt::New);
        assert_eq!(c.learn("t", [1; 16], &[1, 2]), Learnt::Same);
        assert_eq!(c.learn("t", NO_ID, &[1, 2]), Learnt::Same);
        assert_eq!(c.learn("t", [1; 16], &[2, 2]), Learnt::Changed);
        assert_eq!((c.leader("t", 0), c.leader("t", 2), c.id("t")), (Some(2), None, Some([1; 16])));
        assert_eq!(c.learn("t", [3; 16], &[2]), Learnt::Recreated);
        assert_eq!((c.name(&[1; 16]), c.name(&[3; 16]).as_deref()), (None, Some("t")));
    }
}
