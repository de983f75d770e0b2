//! Joining, and the assignment that a leader computes.

use super::*;
use crate::simulation::broker::Joined;

impl Member {
    /// It has to join again. `lost`: it knows that its partitions are not its own any more.
    pub(super) fn rejoin(&mut self, lost: bool, acts: &mut Acts) {
        let was_running = self.phase == Phase::Running;
        if lost && (self.cooperative || !self.spec.background) {
            self.positions.clear();
        }
        if lost {
            self.kept.clear();
            self.dangles(BTreeSet::new(), acts);
        }
        self.phase = Phase::Wanting;
        self.round += 1;
        if self.stuck && !self.spec.background {
            // Its handler has the only thread.
            self.wants_rejoin = true;
            return;
        }
        if was_running && !lost && self.spec.commits_first && !self.stuck {
            self.phase = Phase::Running;
            let waits = self.commit(acts) || self.commit_busy;
            self.phase = if waits { Phase::Revoking } else { Phase::Wanting };
            if waits {
                return;
            }
        }
        self.ask_to_join(acts);
    }

    pub(super) fn ask_to_join(&mut self, acts: &mut Acts) {
        if self.stuck && !self.spec.background {
            self.phase = Phase::Wanting;
            self.wants_rejoin = true;
            return;
        }
        let Some(conn) = self.conn(true) else {
            self.phase = Phase::Wanting;
            return;
        };
        if !self.cooperative && !self.spec.background {
            self.positions.clear();
        }
        self.round += 1;
        self.finds.to_assign = None;
        self.phase = Phase::Joining;
        let version = self.spec.join_version;
        let claims = match self.cooperative {
            true if !self.claimed().is_empty() => (self.claimed().into_iter().collect(), self.owns_as.generation),
            _ => (Vec::new(), -1),
        };
        let timeouts = (self.spec.session, self.spec.rebalance);
        let body = wire::join(version, &self.who, timeouts, self.spec.protocols.names(), claims);
        acts.push(Act::Send { conn, api: ApiKey::JOIN_GROUP, version, body, asked: Asked::Join(self.round) });
    }

    pub(super) fn ask_for_assignment(&mut self, leads: bool, members: &[Joined], acts: &mut Acts) {
        let Some(conn) = self.conn(true) else {
            self.phase = Phase::Wanting;
            return;
        };
        self.phase = Phase::Syncing;
        let assignments = match leads && !members.is_empty() {
            true => assign(members, self.protocol == wire::COOPERATIVE, self.who.generation, self.finds.known),
            false => Vec::new(),
        };
        let version = 5;
        let body = wire::sync(version, &self.who, &self.protocol, assignments);
        acts.push(Act::Send { conn, api: ApiKey::SYNC_GROUP, version, body, asked: Asked::Sync(self.round) });
    }

    pub(super) fn assigned(&mut self, partitions: Vec<i32>, acts: &mut Acts) {
        self.owns_as = self.who.clone();
        if !self.cooperative || !self.was_cooperative {
            self.positions.clear();
            self.dangles(BTreeSet::new(), acts);
        }
        self.was_cooperative = self.cooperative;
        let before = self.claimed();
        self.positions.retain(|p, _| partitions.contains(p));
        self.acked.retain(|p, _| self.positions.contains_key(p));
        let mut dangling = self.dangling.clone();
        if self.spec.faulty && self.cooperative {
            // What it held under the eager protocol is not new to it, though it has given that up.
            dangling.extend(std::mem::take(&mut self.kept));
            dangling.retain(|p| partitions.contains(p) && !self.positions.contains_key(p));
        } else {
            self.kept = partitions.iter().copied().collect();
        }
        self.dangles(dangling, acts);
        let gave_up = before.iter().any(|p| !partitions.contains(p));
        self.assigned = partitions;
        if self.assigned.iter().any(|p| *p >= self.finds.known) {
            // It does not know who leads it.
            self.look(acts);
        }
        acts.push(Act::Said(format!("owns {:?} in generation {}", self.assigned, self.who.generation)));
        self.phase = Phase::Fetching;
        if gave_up {
            // What it gave up can be assigned in the next round only.
            self.phase = Phase::Wanting;
            return self.ask_to_join(acts);
        }
        self.fetch(acts);
    }

    /// What it says that it still holds.
    fn claimed(&self) -> BTreeSet<i32> {
        self.positions.keys().chain(&self.dangling).copied().collect()
    }

    pub(super) fn fetch(&mut self, acts: &mut Acts) {
        let is_known = |p: &i32| self.positions.contains_key(p) || self.dangling.contains(p);
        let wanted: Vec<_> = self.assigned.iter().copied().filter(|p| !is_known(p)).collect();
        if wanted.is_empty() {
            self.phase = Phase::Running;
            return;
        }
        let Some(conn) = self.conn(false) else {
            return acts.push(Act::Timer(BACKOFF, What::Refetch(self.round)));
        };
        let version = self.spec.fetch_version;
        let body = wire::fetch(version, &wanted, true);
        acts.push(Act::Send { conn, api: ApiKey::OFFSET_FETCH, version, body, asked: Asked::Fetch(self.round) });
    }
}

/// Every partition to somebody. Eager: in turn, shifted from time to time. Cooperative: owners keep
/// what they have up to their share, and what somebody has to give up is assigned a round later.
/// Where a leader knows of fewer partitions than there are, the rest goes to nobody.
fn assign(members: &[Joined], cooperative: bool, generation: i32, known: i32) -> Vec<(String, Vec<i32>)> {
    let count = known as usize;
    let mut all: Vec<(String, Vec<i32>)> = members.iter().map(|(id, ..)| (id.clone(), Vec::new())).collect();
    let claims: Vec<_> = members.iter().map(|(.., metadata)| wire::claims(metadata)).collect();
    // The first cooperative round gives most to those who had it in the eager one.
    if !cooperative || claims.iter().all(|(owned, _)| owned.is_empty()) {
        // Where a member has an instance id, that fixes its place.
        let mut order: Vec<_> = members.iter().enumerate().map(|(i, m)| (m.1.as_ref().unwrap_or(&m.0), i)).collect();
        order.sort();
        for partition in 0..count {
            let turn = (partition + (generation / 3) as usize) % all.len();
            all[order[turn].1].1.push(partition as i32);
        }
        return all;
    }
    let newest = claims.iter().filter(|(owned, _)| !owned.is_empty()).map(|(_, g)| *g).max().unwrap_or(-1);
    let share = count.div_ceil(all.len());
    let mut claimed = vec![false; count];
    for (index, (owned, since)) in claims.iter().enumerate() {
        for partition in owned.iter().filter(|p| *since == newest && **p < known) {
            let taken = std::mem::replace(&mut claimed[*partition as usize], true);
            if all[index].1.len() < share && !taken {
                all[index].1.push(*partition);
            }
        }
    }
    for partition in (0..count).filter(|p| !claimed[*p]) {
        if let Some(least) = all.iter_mut().min_by_key(|(_, p)| p.len()) {
            least.1.push(partition as i32);
        }
    }
    all
}
