//! Who can carry what: the connection on which the coordinator last answered each member, and the
//! connections that wait.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::{Book, Group, Held, MAX_CARRIERS, Place, Slot, State, job};

impl Book {
    /// The coordinator has answered this member on this connection.
    pub fn carried(&self, group: &str, member: &Arc<str>, conn: u64) {
        let mut state = self.state();
        let State { groups, wakes, .. } = &mut *state;
        // Only groups in which something was committed are worth a place.
        if let Some(group) = groups.get_mut(group) {
            if group.carriers.len() >= MAX_CARRIERS {
                let held =
                    |m: &Arc<str>| group.slots.values().filter_map(|s| s.held.as_ref()).any(|h| h.promise.member == *m);
                let kept: BTreeSet<Arc<str>> = group.carriers.keys().filter(|m| held(m)).cloned().collect();
                group.carriers.retain(|m, _| kept.contains(m));
            }
            let changed = group.carriers.insert(member.clone(), conn) != Some(conn);
            if changed && group.slots.values().any(|s| s.held.as_ref().is_some_and(|h| h.promise.member == *member)) {
                wakes.push(conn);
            }
        }
    }

    /// The groups with promises of members that this connection carries.
    pub fn of_carrier(&self, conn: u64) -> Vec<Arc<str>> {
        let state = self.state();
        if state.promises == 0 {
            return Vec::new();
        }
        let mine = |g: &Group| {
            g.slots.values().filter_map(|s| s.held.as_ref()).any(|h| g.carriers.get(&h.promise.member) == Some(&conn))
        };
        state.groups.iter().filter(|(_, g)| mine(g)).map(|(name, _)| name.clone()).collect()
    }

    pub fn is_carrier(&self, group: &str, member: &str, conn: u64) -> bool {
        self.state().groups.get(group).is_some_and(|g| g.carriers.get(member) == Some(&conn))
    }

    /// The members of a group that this connection carries.
    pub fn carried_members(&self, group: &str, conn: u64) -> Vec<Arc<str>> {
        let mine = |g: &Group| g.carriers.iter().filter(|(_, c)| **c == conn).map(|(m, _)| m.clone()).collect();
        self.state().groups.get(group).map(mine).unwrap_or_default()
    }

    /// How many promises of a group are still to reach the broker in the name of one of these members.
    pub fn pending(&self, group: &str, is_theirs: impl Fn(&Arc<str>) -> bool) -> usize {
        let state = self.state();
        let held = |g: &Group| {
            g.slots.values().filter_map(|s| s.held.as_ref()).filter(|h| is_theirs(&h.promise.member)).count()
        };
        if state.promises == 0 { 0 } else { state.groups.get(group).map_or(0, held) }
    }

    /// They are sent now; whoever carries them is called.
    pub fn hurry(&self, group: &str, is_theirs: impl Fn(&Arc<str>) -> bool) {
        let mut state = self.state();
        let State { groups, wakes, .. } = &mut *state;
        let Some(Group { slots, carriers, .. }) = groups.get_mut(group) else {
            return;
        };
        for held in slots.values_mut().filter_map(|s| s.held.as_mut()).filter(|h| is_theirs(&h.promise.member)) {
            held.hurried = true;
            wakes.extend(carriers.get(&held.promise.member));
        }
    }

    /// A connection has gone.
    pub fn closed(&self, conn: u64) {
        let mut state = self.state();
        for group in state.groups.values_mut() {
            group.carriers.retain(|_, carrier| *carrier != conn);
            group.waiters.remove(&conn);
        }
    }

    /// Groups with promises that no connection carries, given before `then`.
    pub fn stranded(&self, now: Instant, then: Instant) -> Vec<Arc<str>> {
        let state = self.state();
        if state.promises == 0 && state.jobs.is_empty() {
            return Vec::new();
        }
        let begun = |s: &Slot| s.job.and_then(|id| state.jobs.get(&id)).is_some_and(job::Job::is_unsent_errand);
        let stranded = |g: &Group, s: &Slot| {
            let due = |h: &&Held| h.given <= then && h.not_before.is_none_or(|at| at <= now);
            let held = s.held.as_ref().filter(due);
            s.job.is_none() && held.is_some_and(|h| !g.carriers.contains_key(&h.promise.member))
        };
        let some = |g: &Group| g.slots.values().any(|s| stranded(g, s) || begun(s));
        state.groups.iter().filter(|(_, g)| some(g)).map(|(name, _)| name.clone()).collect()
    }

    /// Whether something of a group is on its way, or could be sent by `ready`. `conn` is woken when
    /// that may have changed.
    pub fn is_open(&self, group: &str, conn: u64, ready: impl Fn(&Held) -> bool, now: Instant) -> bool {
        let mut state = self.state();
        let Some(group) = state.groups.get_mut(group) else {
            return false;
        };
        // What pauses between two attempts is not worth a wait.
        let due = |h: &Held| h.not_before.is_none_or(|at| at <= now) && ready(h);
        let open = group.slots.values().any(|s| s.job.is_some() || s.held.as_ref().is_some_and(due));
        if open {
            group.waiters.insert(conn);
        }
        open
    }

    /// Whether another connection has a commit for one of these places on its way.
    pub fn is_busy(&self, group: &str, places: &[Place], conn: u64, now: Instant) -> bool {
        let mut state = self.state();
        let State { groups, jobs, .. } = &mut *state;
        let Some(group) = groups.get_mut(group) else {
            return false;
        };
        let elsewhere = |slot: &Slot| {
            let job = slot.job.and_then(|id| jobs.get(&id));
            slot.held.is_some() && slot.shadow.is_some_and(|at| now < at) || job.is_some_and(|j| j.conn != Some(conn))
        };
        let busy = places.iter().filter_map(|p| group.slots.get(p)).any(elsewhere);
        if busy {
            group.waiters.insert(conn);
        }
        busy
    }
}
