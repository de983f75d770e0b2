//! Which new member id follows which old one on one connection (rule C3):
//! JoinGroup(old) -> 25, JoinGroup("") -> the new id, at once or by way of 79.

use std::sync::Arc;

/// More than any connection has at a time.
const MOST: usize = 64;

#[derive(Debug, Default)]
pub struct Links {
    /// Group and id: the broker has forgotten it and the client has been told.
    waiting: Vec<(Arc<str>, Arc<str>)>,
    /// Group, new id, old id: the broker gave the new one, it has not joined yet.
    named: Vec<(Arc<str>, Arc<str>, Arc<str>)>,
}

impl Links {
    /// A JoinGroup goes upstream: the id that this consumer had before. Whoever asks for an id was
    /// told before that the old one is gone, so what is told from now on is not meant for it.
    pub fn joins(&mut self, group: &str, member: &str) -> Option<Arc<str>> {
        if !member.is_empty() {
            let named = self.named.iter().find(|(g, new, _)| **g == *group && **new == *member);
            return named.map(|(_, _, old)| old.clone());
        }
        let mut of_group = self.waiting.extract_if(.., |(g, _)| **g == *group).map(|(_, old)| old);
        let old = of_group.next();
        // With two of them it may be either's: both stay without.
        let is_ambiguous = of_group.count() > 0;
        old.filter(|_| !is_ambiguous)
    }

    /// The broker does not know this id, or has not given the one that is to follow it.
    pub fn forgotten(&mut self, group: &Arc<str>, member: &Arc<str>) {
        let named = self.named.iter().position(|(g, new, _)| g == group && new == member);
        // Given, but never joined: it has nothing that could be followed.
        let member = named.map_or_else(|| member.clone(), |at| self.named.swap_remove(at).2);
        let waits = (group.clone(), member);
        if self.waiting.contains(&waits) {
            return;
        }
        if self.waiting.len() >= MOST {
            self.waiting.clear();
        }
        self.waiting.push(waits);
    }

    /// The broker gave `new` to the consumer that was `old`.
    pub fn named(&mut self, group: &Arc<str>, new: &Arc<str>, old: &Arc<str>) {
        if self.named.len() >= MOST {
            self.named.clear();
        }
        self.named.push((group.clone(), new.clone(), old.clone()));
    }

    /// It has joined.
    pub fn joined(&mut self, group: &str, member: &str) {
        self.named.retain(|(g, new, _)| **g != *group || **new != *member);
    }
}
