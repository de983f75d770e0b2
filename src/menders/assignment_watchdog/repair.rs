//! Who is told to rejoin, when, and whether it helped (rules D2, D3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use super::held::{Told, Tracked};
use super::metrics::Outcome;
use super::watch::{Case, Court, State, listed, owns};
use crate::config::assignment_watchdog::WatchdogScope;
use crate::config::model::Mode;
use crate::mend::{GroupKind, Member, Place, Unfetched};

/// So often in a row a member is told without effect.
const MOST: u8 = 3;
/// Longest hold of a JoinGroup that waits for the other members that are to be told: a heartbeat
/// interval at the clients' defaults (3 s), a look at each member, and a little.
const WAVE: Duration = Duration::from_millis(4500);
/// And no more than this part of the session timeout: nothing renews the session meanwhile.
const OF_SESSION: u32 = 4;
/// Longest wait for what was promised in a member's name.
const FLUSH: Duration = Duration::from_secs(10);

/// What became of having told a member.
pub fn outcome(court: &Court<'_, '_>, case: &Case<'_>, tracked: &mut Tracked, unfetched: &[Unfetched]) {
    let Some(told) = tracked.told.as_ref().filter(|told| told.returned) else {
        return;
    };
    let known = |place: &Place| tracked.held.get(place).is_none_or(|held| held.known);
    if told.places.iter().all(known) {
        // What it was given instead it may have fetched all the time.
        let has_some = told.places.iter().any(|place| tracked.held.contains_key(place));
        tracked.fruitless = if has_some { 0 } else { tracked.fruitless + 1 };
        tracked.told = None;
        court.metrics.repair(Outcome::Healed);
        tracing::info!(group = %case.group, member = %case.id, client_id = %case.member.client.client_id,
            "a member that was told to rejoin fetches all that it is assigned");
    } else if !unfetched.is_empty() {
        tracked.told = None;
        tracked.fruitless += 1;
    }
}

/// Decides whether a member is to be told.
pub fn plan(court: &Court<'_, '_>, case: &Case<'_>, tracked: &mut Tracked, unfetched: &[Unfetched]) {
    let in_scope = case.switched || court.rules.scope(case.group) == WatchdogScope::Any;
    let once = tracked.told_generation != Some(case.member.joined.generation);
    if unfetched.is_empty() || !in_scope || case.member.kind != GroupKind::Classic {
        tracked.due = None;
        return;
    }
    if tracked.told.is_some() {
        return;
    }
    if !once || tracked.fruitless >= MOST {
        tracked.due = None;
        if !std::mem::replace(&mut tracked.said.gave_up, true) {
            court.metrics.repair(Outcome::GaveUp);
            tracing::warn!(group = %case.group, member = %case.id, client_id = %case.member.client.client_id,
                partitions = listed(unfetched.iter().map(|u| &u.place)),
                "a member was told to rejoin and still does not fetch what it was assigned");
        }
        return;
    }
    let of_client = court.cx.shared.groups.of_client(&case.member.client);
    // An older generation's is no member any more, or is about to join again.
    let is_live =
        |group: &Arc<str>, m: &Member| group != case.group || m.joined.generation >= case.member.joined.generation;
    let owners =
        |u: &Unfetched| of_client.iter().filter(|(group, _, m)| is_live(group, m) && owns(m, court, &u.place)).count();
    let is_plain = |u: &&Unfetched| owners(u) <= 1;
    let plain: Vec<&Unfetched> = unfetched.iter().filter(is_plain).collect();
    if plain.is_empty() {
        tracked.due = None;
        if !std::mem::replace(&mut tracked.said.ambiguous, true) {
            court.metrics.repair(Outcome::Ambiguous);
        }
        return;
    }
    if plain.iter().any(|u| court.mode(case, &u.place.0) == Mode::Repair) {
        if tracked.due.is_none() {
            tracked.due = Some(court.cx.now);
            court.cx.shared.promises.hurry(case.group, case.id, &court.cx.shared.peers);
        }
        return;
    }
    tracked.due = None;
    if !std::mem::replace(&mut tracked.said.observed, true) {
        court.metrics.repair(Outcome::Observed);
        tracing::info!(group = %case.group, member = %case.id, client_id = %case.member.client.client_id,
            partitions = listed(unfetched.iter().map(|u| &u.place)), observed = true,
            "in mode `repair` a member would be told to rejoin: it does not fetch what it was assigned");
    }
}

impl State {
    /// The broker has answered a member's Heartbeat with success: whether the member is told that
    /// its generation is over.
    pub fn tells(&mut self, court: &Court<'_, '_>, group: &Arc<str>, id: &Arc<str>, generation: i32) -> bool {
        let (shared, now) = (court.cx.shared, court.cx.now);
        let key = (group.clone(), id.clone());
        let Some(tracked) = self.members.get_mut(&key).filter(|t| t.due.is_some() && t.generation == generation) else {
            return false;
        };
        if shared.groups.is_rebalancing(group) {
            return false;
        }
        // What waits for its next assignment is sent after that, and not before.
        let is_patient = tracked.due.is_some_and(|due| now < due + FLUSH);
        if is_patient && shared.promises.pending(group, id) > 0 {
            shared.promises.hurry(group, id, &shared.peers);
            return false;
        }
        // It may have begun since it was looked at.
        tracked.learn(&shared.progress);
        if tracked.held.values().all(|held| held.known) {
            tracked.due = None;
            return false;
        }
        if !self.buckets.entry(group.clone()).or_insert_with(|| Bucket::new(now)).take(now) {
            if !std::mem::replace(&mut tracked.said.throttled, true) {
                court.metrics.repair(Outcome::Throttled);
            }
            return false;
        }
        let unknown = tracked.held.iter().filter(|(_, h)| !h.known);
        let mut places: Vec<Place> = unknown.map(|(place, _)| place.clone()).collect();
        places.sort_unstable();
        tracing::info!(group = %group, member = %id, client_id = %tracked.client.client_id, generation,
            partitions = listed(places.iter()),
            "a member is told to rejoin: it does not fetch what it was assigned");
        tracked.told = Some(Told { at: now, places, returned: false });
        tracked.told_generation = Some(generation);
        tracked.due = None;
        shared.groups.repaired(group, id);
        court.metrics.repair(Outcome::Told);
        for conn in self.waiting.remove(group).unwrap_or_default() {
            shared.peers.wake(conn);
        }
        true
    }

    /// A member that was told joins again: until when it waits for the others that are to be told,
    /// so that there is one rebalance for all of them.
    pub fn waits(
        &mut self,
        group: &Arc<str>,
        id: &Arc<str>,
        conn: u64,
        session: Duration,
        now: Instant,
    ) -> Option<Instant> {
        let told = self.members.get(&(group.clone(), id.clone()))?.told.as_ref().filter(|told| !told.returned)?;
        let wave = if session.is_zero() { WAVE } else { WAVE.min(session / OF_SESSION) };
        let until = told.at + wave;
        let is_next = |t: &Tracked| t.due.is_some() || (t.suspected && t.told_generation != Some(t.generation));
        let others = self.members.iter().any(|((g, m), t)| g == group && m != id && is_next(t));
        let has_token = self.buckets.get_mut(group).is_none_or(|bucket| bucket.has(now));
        if now >= until || !others || !has_token {
            return None;
        }
        self.waiting.entry(group.clone()).or_default().insert(conn);
        Some(until)
    }
}
