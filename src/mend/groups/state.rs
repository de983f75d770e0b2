//! What is kept of groups, within bounds.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::rebalance::Watch;
use super::{Assignment, ClientKey, Member, Rebalance, Who};

/// Group and member id.
type Key = (Arc<str>, Arc<str>);

/// Of one group, by member id.
pub(super) type Members = HashMap<Arc<str>, Member>;

/// More than any sidecar has; the oldest are forgotten.
const MAX_MEMBERS: usize = 20_000;
/// Assigned and owned partitions of all members together; what is beyond is not kept.
const MAX_ASSIGNED: usize = 1_000_000;
/// How often one consumer's id is followed.
const MAX_HOPS: usize = 64;

#[derive(Debug)]
struct Link {
    new: Arc<str>,
    client: ClientKey,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) groups: HashMap<Arc<str>, Members>,
    /// In the order in which they were first seen, for forgetting.
    order: VecDeque<Key>,
    /// Partitions in all assignments, and in what members said that they owned.
    assigned: usize,
    /// From an old member id to the one that follows it.
    links: HashMap<Key, Link>,
    link_order: VecDeque<Key>,
    /// How groups rebalance. Of a group without members only while one is on its way to it.
    pub(super) watches: HashMap<Arc<str>, Watch>,
    pub(super) events: VecDeque<Rebalance>,
}

fn weight(assignment: &Assignment) -> usize {
    let by_name = assignment.by_name.values().map(|p| 1 + p.len()).sum::<usize>();
    by_name + assignment.by_id.values().map(|p| 1 + p.len()).sum::<usize>()
}

fn weight_of(member: &Member) -> usize {
    [&member.assignment, &member.owned].into_iter().filter_map(|a| a.as_deref()).map(weight).sum()
}

impl State {
    pub fn get(&self, group: &str, member: &str) -> Option<&Member> {
        self.groups.get(group)?.get(member)
    }

    /// For what is no assignment: that is counted, see [`put`](Self::put).
    pub fn touch(&mut self, group: &str, member: &str) -> Option<&mut Member> {
        self.groups.get_mut(group)?.get_mut(member)
    }

    pub fn of_group(&self, group: &str) -> impl Iterator<Item = (&Arc<str>, &Member)> {
        self.groups.get(group).into_iter().flatten()
    }

    pub fn all(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &Member)> {
        self.groups.iter().flat_map(|(group, members)| members.iter().map(move |(id, m)| (group, id, m)))
    }

    /// The member as it is now, new or known.
    pub fn put(&mut self, who: &Who<'_>, mut member: Member) {
        self.disown(who.group, who.member);
        let Member { assignment, owned, .. } = &mut member;
        for kept in [assignment, owned] {
            let weight = kept.as_deref().map_or(0, weight);
            if self.assigned + weight > MAX_ASSIGNED {
                *kept = None;
            } else {
                self.assigned += weight;
            }
        }
        if let Some(known) = self.touch(who.group, who.member) {
            *known = member;
            return;
        }
        let key: Key = (Arc::from(who.group), Arc::from(who.member));
        self.groups.entry(key.0.clone()).or_default().insert(key.1.clone(), member);
        self.order.push_back(key);
        if self.order.len() > MAX_MEMBERS
            && let Some((group, id)) = self.order.front().cloned()
        {
            self.remove(&group, &id);
            self.tidy(&group);
        }
    }

    /// Drops what the member was assigned, and what it owned before.
    pub fn disown(&mut self, group: &str, member: &str) {
        if let Some(member) = self.touch(group, member) {
            let weight = weight_of(member);
            (member.assignment, member.owned) = (None, None);
            self.assigned = self.assigned.saturating_sub(weight);
        }
    }

    /// Whether others have come in its place is not known yet: see [`tidy`](Self::tidy).
    pub fn remove(&mut self, group: &str, member: &str) {
        self.disown(group, member);
        if let Some(watch) = self.watches.get_mut(group) {
            watch.forget(member);
        }
        let Some(members) = self.groups.get_mut(group) else {
            return;
        };
        if members.remove(member).is_none() {
            return;
        }
        if members.is_empty() {
            self.groups.remove(group);
        }
        self.order.retain(|(g, m)| **g != *group || **m != *member);
    }

    /// Members of this group have gone: what depends on them is over.
    pub fn tidy(&mut self, group: &str) {
        if self.groups.contains_key(group) {
            return self.settle(group);
        }
        if self.watches.get_mut(group).is_some_and(|watch| !watch.empty()) {
            self.watches.remove(group);
        }
    }

    /// Whom a member that joins now follows: the id that its connection showed, or had shown when it
    /// joined before, or the one that its instance id had. Who is followed is a member no more.
    pub fn follow(&mut self, who: &Who<'_>, instance: Option<&str>, shown: Option<Arc<str>>) -> Option<Arc<str>> {
        let mut previous = shown.or_else(|| self.get(who.group, who.member).and_then(|m| m.previous.clone()));
        if let Some(instance) = instance {
            let same = |(id, m): &(&Arc<str>, &Member)| m.instance.as_deref() == Some(instance) && ***id != *who.member;
            let others = self.of_group(who.group).filter(same);
            let others: Vec<_> = others.map(|(id, m)| (id.clone(), m.client == *who.client)).collect();
            // Another client's is fenced as well, but it may be another app's.
            if let ([(old, true)], None) = (&others[..], &previous) {
                previous = Some(old.clone());
            }
            for (old, _) in others {
                self.remove(who.group, &old);
            }
        }
        let old = previous.filter(|old| **old != *who.member)?;
        self.remove(who.group, &old);
        self.link(who, &old);
        Some(old)
    }

    fn link(&mut self, who: &Who<'_>, old: &Arc<str>) {
        let key: Key = (Arc::from(who.group), old.clone());
        let link = Link { new: Arc::from(who.member), client: who.client.clone() };
        if self.links.insert(key.clone(), link).is_some() {
            return;
        }
        self.link_order.push_back(key);
        if self.link_order.len() > MAX_MEMBERS
            && let Some(oldest) = self.link_order.pop_front()
        {
            self.links.remove(&oldest);
        }
    }

    pub fn successor(&self, group: &str, old: &str) -> Option<Arc<str>> {
        let next = |id: &Arc<str>| self.links.get(&(Arc::from(group), id.clone())).map(|link| link.new.clone());
        std::iter::successors(next(&Arc::from(old)), next).take(MAX_HOPS).last()
    }

    pub fn forget_client(&mut self, client: &ClientKey) {
        let State { groups, order, assigned, links, link_order, watches, .. } = self;
        for (group, members) in groups.iter_mut() {
            let mut watch = watches.get_mut(group);
            members.retain(|id, m| {
                let stays = m.client != *client;
                if !stays {
                    *assigned = assigned.saturating_sub(weight_of(m));
                    if let Some(watch) = &mut watch {
                        watch.forget(id);
                    }
                }
                stays
            });
        }
        groups.retain(|_, members| !members.is_empty());
        order.retain(|(group, id)| groups.get(group).is_some_and(|members| members.contains_key(id)));
        links.retain(|_, link| link.client != *client);
        link_order.retain(|key| links.contains_key(key));
        let watched: Vec<Arc<str>> = watches.keys().cloned().collect();
        for group in watched {
            self.tidy(&group);
        }
    }

    /// Members, their assigned partitions, links.
    #[cfg(any(test, fuzzing))]
    pub fn size(&self) -> (usize, usize, usize) {
        let members: usize = self.groups.values().map(HashMap::len).sum();
        assert_eq!((members, self.links.len()), (self.order.len(), self.link_order.len()));
        let assigned: usize = self.all().map(|(_, _, m)| weight_of(m)).sum();
        assert_eq!(assigned, self.assigned);
        (members, assigned, self.links.len())
    }
}
