//! Which mode applies to a topic, a client and a group (rules M4, M5, M6).

use std::collections::BTreeMap;

use super::pattern::Patterns;
use crate::config::model::{Mode, ModeRule};

/// A mender's mode, and the patterns that set another one.
#[derive(Debug)]
pub struct Modes {
    mode: Mode,
    topics: Patterns<Mode>,
    groups: Patterns<Mode>,
    clients: Patterns<Mode>,
    off: bool,
}

fn patterns(rules: &BTreeMap<String, ModeRule>) -> Patterns<Mode> {
    Patterns::new(&rules.iter().map(|(pattern, rule)| (pattern.clone(), rule.mode)).collect())
}

impl Modes {
    pub fn new(
        mode: Mode,
        topics: &BTreeMap<String, ModeRule>,
        groups: &BTreeMap<String, ModeRule>,
        clients: &BTreeMap<String, ModeRule>,
    ) -> Modes {
        let rules = topics.values().chain(groups.values()).chain(clients.values());
        let off = rules.map(|rule| rule.mode).chain([mode]).all(|mode| mode == Mode::Off);
        Modes { mode, topics: patterns(topics), groups: patterns(groups), clients: patterns(clients), off }
    }

    /// Nothing is looked at at all.
    pub fn is_off(&self) -> bool {
        self.off
    }

    /// The most specific mode wins: the client's, then the group's, then the topic's, then the mender's.
    pub fn mode(&self, topic: &str, client_id: &str, group: Option<&str>) -> Mode {
        if is_exempt(topic, client_id) {
            return Mode::Off;
        }
        let of_client = self.clients.find(client_id);
        let of_group = || group.and_then(|g| self.groups.find(g));
        *of_client.or_else(of_group).or_else(|| self.topics.find(topic)).unwrap_or(&self.mode)
    }
}

/// Internal topics, and what Kafka Streams must see for itself: it wipes its state on an error.
pub fn is_exempt(topic: &str, client_id: &str) -> bool {
    topic.starts_with("__")
        || topic.ends_with("-changelog")
        || client_id.ends_with("-restore-consumer")
        || client_id.ends_with("-global-consumer")
}
