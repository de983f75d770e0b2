//! Rebalances: how a classic group comes from one generation to the next.

use super::group::{FIRST_DELAY, error_for};
use super::*;

impl Group {
    /// Answers a member that asks again in a round that has been decided.
    pub(super) fn tell_round(&mut self, now: At, id: &str, to: ReplyTo, out: &mut Vec<(ReplyTo, Reply)>) {
        let leader = self.leader.clone().unwrap_or_default();
        // Only the leader of a round that still waits for its assignment is told of the others.
        let members = if leader == id && self.state == State::Completing { self.listed() } else { Vec::new() };
        self.renew(id, now);
        let (generation, protocol) = (self.generation, self.protocol.clone());
        out.push((to, Reply::Join { error: 0, generation, leader, member: id.to_owned(), protocol, members }));
    }

    /// Of those that everybody can, the one that most want most.
    pub(super) fn chosen(&self) -> String {
        let can = |m: &group::Member, name: &str| m.protocols.iter().any(|(n, _)| n == name);
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let mut names = member.protocols.iter().map(|(name, _)| name.as_str());
            let vote = names.find(|name| self.members.values().all(|m| can(m, name)));
            *votes.entry(vote.expect("plans leave a common protocol")).or_default() += 1;
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned()).unwrap_or_default()
    }

    fn listed(&self) -> Vec<Joined> {
        self.members.iter().map(|(id, m)| (id.clone(), m.instance.clone(), m.metadata_for(&self.protocol))).collect()
    }

    /// A new round begins.
    pub(super) fn prepare(&mut self, now: At, out: &mut Vec<(ReplyTo, Reply)>) {
        let mut synced = Vec::new();
        for (id, member) in &mut self.members {
            if let Some(to) = member.sync.take() {
                out.push((to, error_for(to, REBALANCE_IN_PROGRESS)));
                synced.push(id.clone());
            }
        }
        for id in synced {
            self.renew(&id, now);
        }
        self.is_first = self.state == State::Empty;
        self.state = State::Preparing;
        self.unsynced.clear();
        self.timer = Some(now + if self.is_first { FIRST_DELAY } else { self.patience() });
        self.news.push(News::Rebalance(self.generation));
        self.try_complete(now, out);
    }

    /// The round ends as soon as everybody has joined.
    pub(super) fn try_complete(&mut self, now: At, out: &mut Vec<(ReplyTo, Reply)>) {
        let everybody = self.members.values().all(|m| m.join.is_some()) && self.promised.is_empty();
        if self.state == State::Preparing && everybody && !self.is_first {
            self.complete(now, out);
        }
    }

    fn complete(&mut self, now: At, out: &mut Vec<(ReplyTo, Reply)>) {
        let late = |m: &group::Member| m.join.is_none() && m.instance.is_none();
        let gone: Vec<_> = self.members.iter().filter(|(_, m)| late(m)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.members.remove(&id);
            self.news.push(News::Expired(id));
        }
        if !self.members.is_empty() && self.members.values().all(|m| m.join.is_none()) {
            // Only static members are left, and none has come: they have their session's time.
            self.timer = Some(now + self.patience());
            return;
        }
        self.generation += 1;
        self.timer = None;
        if self.members.is_empty() {
            return self.become_empty();
        }
        let leads = self.leader.as_ref().is_some_and(|l| self.members.get(l).is_some_and(|m| m.join.is_some()));
        if !leads {
            self.leader = self.members.iter().find(|(_, m)| m.join.is_some()).map(|(id, _)| id.clone());
        }
        let chosen = self.chosen();
        if !self.protocol.is_empty() && self.protocol != chosen {
            self.news.push(News::Switched { cooperative: chosen == wire::COOPERATIVE });
        }
        self.protocol = chosen;
        self.state = State::Completing;
        self.timer = Some(now + self.patience());
        let leader = self.leader.clone().unwrap_or_default();
        let listed = self.listed();
        self.unsynced = self.members.keys().cloned().collect();
        for id in self.unsynced.clone() {
            let Some(to) = self.members.get_mut(&id).and_then(|m| m.join.take()) else {
                continue;
            };
            self.renew(&id, now);
            let members = if id == leader { listed.clone() } else { Vec::new() };
            let (generation, protocol) = (self.generation, self.protocol.clone());
            out.push((to, Reply::Join { error: 0, generation, leader: leader.clone(), member: id, protocol, members }));
        }
    }

    fn become_empty(&mut self) {
        self.state = State::Empty;
        self.leader = None;
        self.timer = None;
        self.save();
        self.news.push(News::Empty);
    }

    pub(super) fn become_stable(&mut self, now: At, out: &mut Vec<(ReplyTo, Reply)>) {
        self.state = State::Stable;
        self.save();
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            if let Some(member) = self.members.get_mut(&id)
                && let Some(to) = member.sync.take()
            {
                out.push((
                    to,
                    Reply::Sync { error: 0, protocol: self.protocol.clone(), assignment: member.assignment.clone() },
                ));
                self.renew(&id, now);
            }
        }
        self.news.push(News::Stable(self.generation));
    }

    pub(super) fn save(&mut self) {
        self.saved = (self.generation, self.members.clone(), self.leader.clone());
    }

    pub(super) fn remove(&mut self, now: At, id: &str, out: &mut Vec<(ReplyTo, Reply)>) {
        if let Some(member) = self.members.remove(id) {
            for to in [member.join, member.sync].into_iter().flatten() {
                out.push((to, error_for(to, UNKNOWN_MEMBER_ID)));
            }
        }
        self.unsynced.retain(|m| m != id);
        if self.leader.as_deref() == Some(id) {
            self.leader = None;
        }
        match self.state {
            State::Preparing => self.try_complete(now, out),
            State::Stable | State::Completing => self.prepare(now, out),
            State::Empty => {}
        }
    }

    pub fn on_time(&mut self, now: At, out: &mut Vec<(ReplyTo, Reply)>) {
        let before = self.promised.len();
        self.promised.retain(|_, until| *until > now);
        let lapsed = self.promised.len() < before;
        let is_over = |m: &group::Member| m.deadline.is_some_and(|at| at <= now);
        let over: Vec<_> = self.members.iter().filter(|(_, m)| is_over(m)).map(|(id, _)| id.clone()).collect();
        for id in over {
            self.news.push(News::Expired(id.clone()));
            self.remove(now, &id, out);
        }
        if lapsed {
            self.try_complete(now, out);
        }
        if self.timer.is_none_or(|at| at > now) {
            return;
        }
        self.timer = None;
        match self.state {
            State::Preparing => self.complete(now, out),
            State::Completing | State::Stable => {
                // Those who have joined and never asked for their assignment (Kafka 2.8).
                for id in std::mem::take(&mut self.unsynced) {
                    self.news.push(News::Expired(id.clone()));
                    self.remove(now, &id, out);
                }
            }
            State::Empty => {}
        }
    }
}
