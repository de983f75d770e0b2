//! The topics that one connection names, each with a number of its own.

use std::collections::HashMap;
use std::sync::Arc;

use super::catalog::{Catalog, TopicId};

/// A topic as the wire names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicKey {
    Name(Arc<str>),
    Id(TopicId),
}

/// A topic of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its number on this connection.
    pub number: u32,
    /// Unknown for an id that no Metadata response has explained yet.
    pub name: Option<Arc<str>>,
    pub id: Option<TopicId>,
}

/// What one connection remembers at most, whatever its client asks for or its broker makes up.
const MAX_TOPICS: usize = 20_000;
/// The longest name of a topic (`Topic.MAX_NAME_LENGTH` of Kafka's): what is longer is none.
const MAX_NAME: usize = 249;
/// About what a topic takes besides its name.
const ENTRY: usize = 160;

#[derive(Debug, Default)]
pub struct Topics {
    topics: Vec<Topic>,
    by_key: HashMap<TopicKey, u32>,
    /// Where the last one was found: requests and responses keep an order.
    near: usize,
    /// Of all names.
    named: usize,
}

impl Topics {
    /// The topic with this name, new or known; `None` where there is no room for another.
    pub fn topic_by_name(&mut self, name: &[u8]) -> Option<Topic> {
        let next = self.near + 1;
        for at in [self.near, next, 0] {
            if let Some(topic) = self.topics.get(at)
                && topic.id.is_none()
                && topic.name.as_deref().is_some_and(|n| n.as_bytes() == name)
            {
                self.near = at;
                return Some(topic.clone());
            }
        }
        if name.len() > MAX_NAME {
            return None;
        }
        let name: Arc<str> = String::from_utf8_lossy(name).into();
        self.intern(TopicKey::Name(name.clone()), Some(name), None)
    }

    pub fn topic_by_id(&mut self, id: TopicId, catalog: &Catalog) -> Option<Topic> {
        let next = self.near + 1;
        for at in [self.near, next, 0] {
            if let Some(topic) = self.topics.get(at)
                && topic.id == Some(id)
                && topic.name.is_some()
            {
                self.near = at;
                return Some(topic.clone());
            }
        }
        let name = catalog.name(&id);
        self.intern(TopicKey::Id(id), name, Some(id))
    }

    fn intern(&mut self, key: TopicKey, name: Option<Arc<str>>, id: Option<TopicId>) -> Option<Topic> {
        if self.topics.len() >= MAX_TOPICS && !self.by_key.contains_key(&key) {
            return None;
        }
        let number = *self.by_key.entry(key).or_insert(self.topics.len() as u32);
        if self.topics.len() as u32 == number {
            self.topics.push(Topic { number, name: None, id });
            self.named += name.as_ref().map_or(0, |n| n.len());
        }
        self.near = number as usize;
        let topic = self.topics.get_mut(number as usize)?;
        topic.name = name.or(topic.name.take());
        Some(topic.clone())
    }

    pub fn get(&self, number: u32) -> Option<&Topic> {
        self.topics.get(number as usize)
    }

    /// About what is held for them.
    pub fn bytes(&self) -> usize {
        self.topics.capacity() * ENTRY + self.named
    }

    /// How many are remembered.
    pub fn known(&self) -> usize {
        self.topics.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_keeps_its_number_and_learns_its_name() {
        let (mut topics, catalog) = (Topics::default(), Catalog::default());
        let a = topics.topic_by_name(b"a").unwrap();
        let unnamed = topics.topic_by_id([7; 16], &catalog).unwrap();
        assert_eq!((a.number, unnamed.number, unnamed.name), (0, 1, None));
        catalog.learn("b", [7; 16], &[1]);
        assert_eq!(topics.topic_by_id([7; 16], &catalog).unwrap().name.as_deref(), Some("b"));
        // By name it is another one: a client that changes over asks anew.
        assert_eq!(topics.topic_by_name(b"b").unwrap().number, 2);
        assert_eq!((topics.get(1).and_then(|t| t.id), topics.known()), (Some([7; 16]), 3));
    }
}
