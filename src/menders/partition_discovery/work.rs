//! What is decided for a client from time to time, on whichever of its connections is awake.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::client::{Client, MAX_GROWTHS, State, View};
use super::growth::{Growth, NO_FETCH, Outcome, Role, Round};
use super::software::{self, Habits, How};
use super::watch::Sight;
use crate::config::model::Mode;
use crate::mend::catalog::NO_ID;
use crate::mend::{Cx, groups::Member};

/// Clients are nudged within this part of the interval, by chance, a second at most.
const SPREAD: f64 = 0.2;
const SPREAD_MOST: Duration = Duration::from_secs(1);

/// The client's classic group members, as far as this kmend sees them.
struct Membership {
    members: Vec<(Arc<str>, Member)>,
    joined: bool,
}

impl Membership {
    /// Another member leads each group that reads the topic: it, or the kmend before it, sees to it.
    fn is_led_elsewhere(&self, state: &State, topic: &Arc<str>) -> bool {
        let reads = |group| state.subscribed.get(group).is_none_or(|topics| topics.contains(topic));
        let mut leads =
            self.members.iter().filter(|(group, _)| reads(group)).map(|(_, m)| m.joined.is_leader).peekable();
        leads.peek().is_some() && leads.all(|leads| !leads)
    }

    /// A Streams app assigns tasks, not partitions: its own way of rejoining is left to it (rule M5).
    fn is_streams(&self) -> bool {
        self.members.iter().any(|(_, m)| &*m.joined.protocol == "stream" || &*m.joined.protocol_type != "consumer")
    }
}

impl Shared {
    /// Finds what has grown, and moves on what is being done about it. Returns the connections that
    /// have something to do, and when to look again.
    pub(super) fn work(&self, cx: &Cx<'_>, client: &Client) -> (Vec<u64>, Option<Instant>) {
        let now = cx.now;
        // Of others too little is known.
        let members = cx.shared.groups.of_client(&client.key.client).into_iter();
        let members: Vec<_> = members.filter(|(_, _, m)| m.has_joined()).map(|(group, _, m)| (group, m)).collect();
        let mut state = client.state();
        state.looks.see(cx.conn);
        let name = cx.conn.software.as_ref().map(|(name, _)| name.as_str());
        if state.habits.is_none() {
            state.habits = software::habits(name, &state.looks);
        }
        let membership = Membership {
            joined: !members.is_empty() || !state.subscribed.is_empty() || state.links.values().any(|l| l.coordinator),
            members,
        };
        state.tidy(now);
        let group = cx.shared.peers.only_group(&client.key.client);
        let mut stirred = self.find_grown(client, &mut state, group.as_deref(), now);
        let mut growths = std::mem::take(&mut state.growths);
        let mut wake = Vec::new();
        let mut next: Option<Instant> = None;
        for growth in &mut growths {
            stirred |= self.producers(&state, growth, &mut wake, now);
            stirred |= self.consumers(&state, growth, &membership, &mut wake, now);
            let deadlines = [growth.producers.deadline(growth.due), growth.consumers.deadline(growth.due)];
            next = deadlines.into_iter().flatten().chain(next).min();
        }
        state.growths = growths;
        drop(state);
        if stirred {
            client.changed();
        }
        (wake, next)
    }

    fn find_grown(&self, client: &Client, state: &mut State, group: Option<&str>, now: Instant) -> bool {
        let mut found = false;
        let topics: Vec<Arc<str>> = state.uses.keys().cloned().collect();
        for topic in topics {
            let Some(sight) = self.watch.sight(&topic) else {
                continue;
            };
            // A client that uses a topic has been told of it: before this kmend's time, perhaps.
            let seen = View { id: sight.id, partitions: sight.partitions };
            let view = *state.views.entry(topic.clone()).or_insert(seen);
            if sight.partitions < view.partitions && is_another(&sight, &view) {
                state.views.insert(topic.clone(), seen);
                state.growths.retain(|g| g.topic != topic);
                found = true;
                continue;
            }
            // A growth of the topic of that name that is no more: nobody will ever be shown so many.
            let before = state.growths.len();
            state.growths.retain(|g| g.topic != topic || g.to <= sight.partitions);
            found |= state.growths.len() < before;
            if sight.partitions <= view.partitions
                || state.growths.iter().any(|g| g.topic == topic && g.to >= sight.partitions)
            {
                continue;
            }
            let mode = self.rules.load().modes.mode(&topic, &client.key.client.client_id, group);
            if mode == Mode::Off {
                continue;
            }
            found = true;
            state.growths.retain(|g| g.topic != topic);
            if state.growths.len() < MAX_GROWTHS {
                let mut growth = Growth::new(topic, view.partitions, sight.partitions, sight.since, now);
                growth.recreated = is_another(&sight, &view);
                self.plan(client, state.habits, &mut growth, mode);
                state.growths.push(growth);
            }
        }
        found
    }

    /// A client does not know of a growth: whether it is nudged, and not before when.
    fn plan(&self, client: &Client, habits: Option<&Habits>, growth: &mut Growth, mode: Mode) {
        let spread = self.rules.load().interval.mul_f64(SPREAD).min(SPREAD_MOST);
        growth.due = growth.opened + spread.mul_f64(self.chance());
        if habits.is_some_and(Habits::rejoins_by_heartbeat) {
            // Heartbeats come at their own times, seconds apart.
            growth.consumers.due = Some(growth.opened);
        }
        let outcome = match (mode, habits) {
            (Mode::Observe, _) => Some(Outcome::Observed),
            (_, None) => Some(Outcome::Unknown),
            _ => None,
        };
        if let Some(outcome) = outcome {
            tracing::info!(client_id = %client.key.client.client_id, topic = %growth.topic, from = growth.from,
                to = growth.to, outcome = outcome.label(), observed = mode == Mode::Observe,
                "a client does not know of new partitions, and is left alone");
            self.metrics.nudge(None, outcome);
            growth.producers.outcome = Some(outcome);
            growth.consumers.outcome = Some(outcome);
        }
    }

    /// A client has learnt of a growth by itself. Software that is nudged by its Heartbeat may know,
    /// and still not rejoin its group: librdkafka does not after it has looked for one leader only.
    pub(super) fn learnt(&self, client: &Client, topic: &str, from: usize, to: usize, now: Instant) {
        let mut state = client.state();
        let beats = state.habits.is_some_and(Habits::rejoins_by_heartbeat);
        let known = state.growths.iter().any(|g| *g.topic == *topic);
        if !beats || known || !state.is_subscribed(topic) || state.growths.len() >= MAX_GROWTHS {
            return;
        }
        let mut growth = Growth::new(Arc::from(topic), from, to, now, now);
        growth.due = now + super::conn::REJOINS;
        growth.shown = true;
        growth.producers.outcome = Some(Outcome::Found);
        growth.consumers.shown = 1;
        state.growths.push(growth);
        drop(state);
        client.changed();
    }

    /// Whether something changed.
    fn producers(&self, state: &State, growth: &mut Growth, wake: &mut Vec<u64>, now: Instant) -> bool {
        if growth.producers.is_settled() || !growth.is_due(Role::Producer, now) {
            return false;
        }
        if let Some(round) = &growth.producers.round {
            if growth.producers.shown_since(round) >= round.need {
                let outcome = if round.taken.is_empty() { Outcome::Found } else { Outcome::Done };
                self.settle(growth, Role::Producer, outcome, now);
                return true;
            }
            let overdue = round.check.is_some_and(|at| at <= now);
            if overdue {
                return self.again(growth, Role::Producer, now);
            }
            let renewed = renew(state, growth, Role::Producer, wake, now);
            return self.no_occasion(growth, Role::Producer, now) || renewed;
        }
        let produced = state.uses.get(&growth.topic).is_some_and(|u| u.is_produced(now));
        if !produced {
            growth.producers.outcome = Some(Outcome::Elsewhere);
            return true;
        }
        let (need, eligible) = state.apps(&growth.topic, Role::Producer, now);
        if growth.producers.shown >= need.max(1) {
            self.settle(growth, Role::Producer, Outcome::Found, now);
            return true;
        }
        if need == 0 {
            return false;
        }
        wake.extend(
            eligible.iter().copied().chain(state.links.iter().filter(|(_, l)| l.is_spare(now)).map(|(n, _)| *n)),
        );
        growth.producers.round = Some(round(None, need, eligible, growth.producers.shown, now));
        true
    }

    fn consumers(
        &self,
        state: &State,
        growth: &mut Growth,
        membership: &Membership,
        wake: &mut Vec<u64>,
        now: Instant,
    ) -> bool {
        if growth.consumers.is_settled() || !growth.is_due(Role::Consumer, now) {
            return false;
        }
        if let Some(round) = &growth.consumers.round {
            let seen = growth.consumers.shown_since(round) >= round.need;
            let helped = if membership.joined { growth.joined && growth.consumers.shown > 0 } else { seen };
            if helped {
                let outcome = if round.taken.is_empty() { Outcome::Found } else { Outcome::Done };
                self.settle(growth, Role::Consumer, outcome, now);
                return true;
            }
            let overdue = round.check.is_some_and(|at| at <= now);
            if overdue {
                return self.again(growth, Role::Consumer, now);
            }
            let unused = round.taken.is_empty() && round.due + NO_FETCH <= now;
            if round.how == Some(How::Fetch) && unused && growth.consumers.skipped == 0 {
                growth.consumers.round = None;
                growth.consumers.skipped += 1;
                return true;
            }
            let renewed = round.how == Some(How::Fetch) && renew(state, growth, Role::Consumer, wake, now);
            return self.no_occasion(growth, Role::Consumer, now) || renewed;
        }
        if growth.joined && growth.consumers.shown > 0 {
            self.settle(growth, Role::Consumer, Outcome::Found, now);
            return true;
        }
        let fetched = state.uses.get(&growth.topic).is_some_and(|u| u.fetched.is_some());
        let concerned = fetched || state.is_subscribed(&growth.topic);
        if !concerned
            || membership.is_led_elsewhere(state, &growth.topic)
            || (state.kip848 && membership.members.is_empty())
        {
            growth.consumers.outcome = Some(Outcome::Elsewhere);
            return true;
        }
        let (apps, links) = state.apps(&growth.topic, Role::Consumer, now);
        let spare: Vec<u64> = state.links.iter().filter(|(_, l)| l.is_spare(now)).map(|(n, _)| *n).collect();
        let ways = state.habits.map(|h| h.consumer).unwrap_or_default().iter().filter(|how| match how {
            How::Fetch => apps > 0,
            How::Heartbeat => membership.joined && !membership.is_streams(),
            How::Close => !spare.is_empty(),
            How::Reject => false,
        });
        let ways: Vec<How> = ways.copied().collect();
        let turn = usize::from(growth.consumers.rounds + growth.consumers.skipped);
        let Some(how) = ways.get(turn % ways.len().max(1)).copied() else {
            self.settle(growth, Role::Consumer, Outcome::NoOccasion, now);
            return true;
        };
        let (need, eligible) = if how == How::Fetch { (apps, links) } else { (1, spare) };
        wake.extend(eligible.iter().copied());
        growth.consumers.round = Some(round(Some(how), need, eligible, growth.consumers.shown, now));
        true
    }

    /// The round did not help.
    fn again(&self, growth: &mut Growth, role: Role, now: Instant) -> bool {
        let side = growth.side_mut(role);
        let taken = side.round.as_ref().map(|r| r.taken.clone()).unwrap_or_default();
        let next = side.next_round(now);
        let outcome = if next.is_some() { Outcome::Repeated } else { Outcome::GaveUp };
        for (_, how) in taken {
            self.metrics.nudge(Some(how), outcome);
        }
        if next.is_none() {
            side.outcome = Some(Outcome::GaveUp);
            tracing::warn!(topic = %growth.topic, from = growth.from, to = growth.to, ?role,
                "a client still does not know of new partitions after it was made to look three times");
        }
        true
    }

    /// There was no moment for a nudge for a while: said once, and still looked for.
    fn no_occasion(&self, growth: &mut Growth, role: Role, now: Instant) -> bool {
        let side = growth.side_mut(role);
        let waits =
            side.round.as_ref().is_some_and(|r| r.taken.is_empty() && r.due + super::growth::NO_OCCASION <= now);
        if waits && !side.told {
            side.told = true;
            self.metrics.nudge(None, Outcome::NoOccasion);
            tracing::info!(topic = %growth.topic, from = growth.from, to = growth.to, ?role,
                "a client does not know of new partitions, and is never idle; it will find them by itself");
            return true;
        }
        false
    }

    fn settle(&self, growth: &mut Growth, role: Role, outcome: Outcome, now: Instant) {
        let side = growth.side_mut(role);
        side.outcome = Some(outcome);
        let taken = side.round.as_ref().map(|r| r.taken.clone()).unwrap_or_default();
        if taken.is_empty() {
            self.metrics.nudge(None, outcome);
        }
        for (_, how) in taken {
            self.metrics.nudge(Some(how), outcome);
        }
        if outcome == Outcome::Done {
            let seconds = now.saturating_duration_since(growth.seen).as_secs_f64();
            tracing::info!(topic = %growth.topic, from = growth.from, to = growth.to, ?role, seconds,
                "a client knows of the new partitions");
        }
    }
}

/// Connections come and go before one of them is used.
fn renew(state: &State, growth: &mut Growth, role: Role, wake: &mut Vec<u64>, now: Instant) -> bool {
    let (need, eligible) = state.apps(&growth.topic, role, now);
    let side = growth.side_mut(role);
    let Some(round) = side.round.as_mut().filter(|r| r.taken.is_empty() && need > 0 && r.eligible != eligible) else {
        return false;
    };
    wake.extend(eligible.iter().copied());
    (round.need, round.eligible) = (need, eligible);
    true
}

fn round(how: Option<How>, need: usize, eligible: Vec<u64>, shown_before: usize, now: Instant) -> Round {
    Round { how, due: now, need, eligible, taken: Vec::new(), check: None, shown_before }
}

/// Deleted and made again, as far as ids tell.
fn is_another(sight: &Sight, view: &View) -> bool {
    sight.id != view.id && (sight.id == NO_ID || view.id != NO_ID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::mend::Conn;
    use crate::menders::partition_discovery::PartitionDiscovery;
    use crate::menders::partition_discovery::client::Key;

    const OLD: [u8; 16] = [1; 16];
    const NEW: [u8; 16] = [2; 16];

    /// A client that knows four partitions of the six that there were; whether it is told ids.
    fn grown(has_ids: bool) -> (Arc<Shared>, Arc<Client>, Arc<str>, Instant) {
        let (registry, now, topic) = (prometheus::Registry::new(), Instant::now(), Arc::from("orders"));
        let repairs = crate::menders::repairs(&registry);
        let shared = PartitionDiscovery::new(&Config::default(), &registry, &repairs, Arc::default()).shared;
        let client = shared.clients.enter(Key::of(&Conn::ready("app", Some(1))), now, now);
        shared.see("orders", OLD, &[0; 6], now);
        client.state().used(&topic, Role::Producer, now);
        client.state().told("orders", View { id: if has_ids { OLD } else { NO_ID }, partitions: 4 });
        assert!(shared.find_grown(&client, &mut client.state(), None, now));
        assert_eq!(client.state().growths.len(), 1);
        (shared, client, topic, now)
    }

    /// Found by the simulation: it was nudged for partitions that are no more.
    #[test]
    fn a_growth_of_a_topic_that_was_made_anew_is_dropped() {
        for has_ids in [false, true] {
            let (shared, client, topic, now) = grown(has_ids);
            client.state().told("orders", View { id: if has_ids { NEW } else { NO_ID }, partitions: 4 });
            shared.see("orders", NEW, &[0; 4], now);
            assert!(shared.find_grown(&client, &mut client.state(), None, now), "its connections look again");
            assert!(client.state().growths.iter().all(|g| g.topic != topic));
            assert!(!shared.find_grown(&client, &mut client.state(), None, now));
        }
    }

    #[test]
    fn an_older_answer_drops_no_growth() {
        let (shared, client, _, now) = grown(true);
        shared.see("orders", OLD, &[0; 4], now);
        assert!(!shared.find_grown(&client, &mut client.state(), None, now));
        assert_eq!(client.state().growths.len(), 1);
    }
}
