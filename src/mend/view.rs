//! What is known of groups, for people and machines: the status page, the health path, the metrics.
//!
//! Put together when somebody asks, so that nothing in it outlives what it is made of.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::findings::{Finding, Reason};
use super::groups::{Assignment, GroupKind, Member, Phase};
use super::peers::ClientKey;
use super::progress::{Committed, Place, Read};
use super::{Catalog, Shared};

/// Partitions that are listed at most; members beyond have only their counts.
const MAX_ROWS: usize = 100_000;

/// A client that fetches sends a Fetch request more often than this (its longest wait is 500 ms by
/// default), unless its app is busy.
const FETCHED: Duration = Duration::from_secs(10);

/// A partition that the client's newest Fetch requests left out for so long is fetched no more,
/// however slow the app is.
const LEFT_OUT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Status {
    /// Sorted by name.
    pub groups: Vec<GroupStatus>,
    /// Partitions that are not listed, because there are too many.
    pub partitions_omitted: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupStatus {
    pub group: Arc<str>,
    /// The assignor; empty where it is not known.
    pub protocol: Arc<str>,
    /// `classic`, `consumer` (KIP-848) or `none`: it only commits.
    pub kind: &'static str,
    /// Those behind this kmend, sorted by id; who has none comes first.
    pub members: Vec<MemberStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberStatus {
    /// `None`: a client that commits without membership, or that has several members here of which
    /// nobody can tell which one reads what.
    pub member: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub address: String,
    /// The id of a static member.
    pub instance: Option<Arc<str>>,
    /// Or the KIP-848 epoch; -1 without membership.
    pub generation: i32,
    /// `joined`, `stable`, `heard` (it joined before kmend saw it) or `none`.
    pub phase: &'static str,
    /// `None`: the assignment is not known, and `partitions` are those that the client reads.
    pub assigned: Option<usize>,
    pub unfetched: usize,
    pub paused: usize,
    /// Sorted by topic and number.
    pub partitions: Vec<PartitionStatus>,
    pub stalled: Option<StalledStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    /// An id (KIP-848) whose name is not known yet is shown as a UUID.
    pub topic: Arc<str>,
    pub partition: i32,
    /// The offset that was fetched last.
    pub position: Option<i64>,
    pub committed: Option<i64>,
    /// The high watermark, as the newest answer showed it.
    pub end: Option<i64>,
    /// `end` - `committed`, never negative.
    pub lag: Option<i64>,
    pub state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Fetched,
    Paused,
    /// Not fetched just now: the app is busy, or has only begun.
    Waiting,
    /// Nobody consumes it (rule D1).
    Unfetched,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StalledStatus {
    pub reason: String,
    pub for_seconds: u64,
    pub lag: i64,
}

/// All groups behind this kmend.
pub fn status(shared: &Shared, now: Instant) -> Status {
    let mut groups: BTreeMap<Arc<str>, Vec<(Arc<str>, Member)>> = BTreeMap::new();
    let mut of_client: HashMap<ClientKey, HashSet<Arc<str>>> = HashMap::new();
    for (group, id, member) in shared.groups.all() {
        of_client.entry(member.client.clone()).or_default().insert(group.clone());
        groups.entry(group).or_default().push((id, member));
    }
    for group in shared.progress.groups() {
        groups.entry(group).or_default();
    }
    let mut findings: HashMap<Arc<str>, HashMap<Arc<str>, Finding>> = HashMap::new();
    for (group, member, finding) in shared.findings.all() {
        findings.entry(group).or_default().insert(member, finding);
    }
    let mut view = View { shared, now, of_client, reads: HashMap::new(), room: MAX_ROWS, omitted: 0 };
    let mut seen = Vec::new();
    for (group, mut members) in groups {
        members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let of_group = findings.remove(&group).unwrap_or_default();
        seen.extend(view.group(group, &members, &of_group));
    }
    Status { groups: seen, partitions_omitted: view.omitted }
}

struct View<'a> {
    shared: &'a Shared,
    now: Instant,
    of_client: HashMap<ClientKey, HashSet<Arc<str>>>,
    reads: HashMap<ClientKey, Arc<HashMap<Place, Read>>>,
    room: usize,
    omitted: usize,
}

/// A group's commits by partition.
type Commits = HashMap<Place, Committed>;
type ByMember = HashMap<Arc<str>, BTreeSet<Place>>;
type ByClient = Vec<(ClientKey, BTreeSet<Place>)>;

impl View<'_> {
    fn group(
        &mut self,
        group: Arc<str>,
        members: &[(Arc<str>, Member)],
        findings: &HashMap<Arc<str>, Finding>,
    ) -> Option<GroupStatus> {
        let commits: Commits = self.shared.progress.committed_by(&group).into_iter().collect();
        let Some((_, first)) = members.first() else {
            let members = self.without_membership(&commits);
            let protocol = Arc::default();
            return (!members.is_empty()).then_some(GroupStatus { group, protocol, kind: "none", members });
        };
        let kind = match first.kind {
            GroupKind::Classic => "classic",
            GroupKind::Consumer => "consumer",
        };
        let protocol = members.iter().map(|(_, m)| &m.joined.protocol).find(|p| !p.is_empty());
        let (mut guessed, shared_by) = self.guess(&group, members, &commits);
        let mut all = Vec::new();
        for (client, places) in shared_by {
            all.push(self.member(None, &client, places, &commits, None));
        }
        for (id, member) in members {
            let known = member.assignment.as_deref();
            let places = match known {
                Some(assignment) => places_of(assignment, &self.shared.catalog),
                None => guessed.remove(id).unwrap_or_default(),
            };
            let assigned = known.map(|_| places.len());
            let mut status = self.member(Some(id.clone()), &member.client, places, &commits, findings.get(id));
            status.assigned = assigned;
            // What was found of it may be older than its last sign of life: nobody looks without one.
            status.stalled = status.stalled.filter(|_| member.is_alive(self.now));
            status.instance = member.instance.clone();
            status.generation = member.joined.generation;
            status.phase = match member.phase {
                Phase::Joined => "joined",
                Phase::Stable => "stable",
                Phase::Heard => "heard",
            };
            all.push(status);
        }
        Some(GroupStatus { protocol: protocol.cloned().unwrap_or_default(), group, kind, members: all })
    }

    /// What members read whose assignment was not seen: what their client fetches and their group
    /// commits, where the client is in no other group. By member; by client where it has several.
    fn guess(&mut self, group: &Arc<str>, members: &[(Arc<str>, Member)], commits: &Commits) -> (ByMember, ByClient) {
        let mut unknown: HashMap<&ClientKey, Vec<&Arc<str>>> = HashMap::new();
        for (id, member) in members.iter().filter(|(_, m)| m.phase == Phase::Heard && m.assignment.is_none()) {
            unknown.entry(&member.client).or_default().push(id);
        }
        let (mut guessed, mut shared_by) = (HashMap::new(), Vec::new());
        if unknown.is_empty() {
            return (guessed, shared_by);
        }
        let known = members.iter().filter_map(|(_, m)| m.assignment.as_deref());
        let owned: HashSet<Place> = known.flat_map(|a| places_of(a, &self.shared.catalog)).collect();
        for (client, ids) in unknown {
            let groups = self.of_client.get(client);
            if groups.is_none_or(|g| g.len() != 1 || !g.contains(group)) {
                continue;
            }
            let reads = self.current(client);
            let places: BTreeSet<Place> =
                reads.into_iter().filter(|place| commits.contains_key(place) && !owned.contains(place)).collect();
            match ids[..] {
                [id] => drop(guessed.insert(id.clone(), places)),
                _ if places.is_empty() => {}
                _ => shared_by.push((client.clone(), places)),
            }
        }
        shared_by.sort_unstable_by(|a, b| order(&a.0).cmp(&order(&b.0)));
        (guessed, shared_by)
    }

    /// Consumers that choose their partitions themselves and only commit.
    fn without_membership(&mut self, commits: &Commits) -> Vec<MemberStatus> {
        let mut by_client: HashMap<ClientKey, BTreeSet<Place>> = HashMap::new();
        for (place, committed) in commits {
            by_client.entry(committed.client.clone()).or_default().insert(place.clone());
        }
        // What a member reads now it reads for its group, also what it read for another one before.
        by_client.retain(|client, _| !self.of_client.contains_key(client));
        let mut by_client: Vec<_> = by_client.into_iter().collect();
        by_client.sort_unstable_by(|a, b| order(&a.0).cmp(&order(&b.0)));
        let mut all = Vec::new();
        for (client, mut places) in by_client {
            let current = self.current(&client);
            places.retain(|place| current.contains(place));
            if !places.is_empty() {
                all.push(self.member(None, &client, places, commits, None));
            }
        }
        all
    }

    fn reads(&mut self, client: &ClientKey) -> Arc<HashMap<Place, Read>> {
        if let Some(known) = self.reads.get(client) {
            return known.clone();
        }
        let reads = Arc::new(self.shared.progress.reads_of(client));
        self.reads.insert(client.clone(), reads.clone());
        reads
    }

    /// The partitions that a client has in its fetch sessions, as far as its newest requests tell.
    fn current(&mut self, client: &ClientKey) -> HashSet<Place> {
        let newest = self.shared.progress.fetched_at(client).unwrap_or(self.now);
        let reads = self.reads(client);
        let is_current = |read: &Read| newest.saturating_duration_since(read.asked) < LEFT_OUT;
        reads.iter().filter(|(_, read)| is_current(read)).map(|(place, _)| place.clone()).collect()
    }

    fn member(
        &mut self,
        member: Option<Arc<str>>,
        client: &ClientKey,
        places: BTreeSet<Place>,
        commits: &Commits,
        finding: Option<&Finding>,
    ) -> MemberStatus {
        let reads = self.reads(client);
        let unfetched: HashSet<&Place> = finding.iter().flat_map(|f| &f.unfetched).map(|u| &u.place).collect();
        let paused: HashSet<&Place> = finding.iter().flat_map(|f| &f.paused).collect();
        let mut status = MemberStatus {
            member,
            client_id: client.client_id.clone(),
            address: client.peer.to_string(),
            instance: None,
            generation: -1,
            phase: "none",
            assigned: None,
            unfetched: 0,
            paused: 0,
            partitions: Vec::new(),
            stalled: finding.and_then(|f| f.stalled.as_ref()).map(|stalled| StalledStatus {
                reason: said(stalled.reason),
                for_seconds: self.now.saturating_duration_since(stalled.since).as_secs(),
                lag: stalled.lag,
            }),
        };
        for place in places {
            let read = reads.get(&place);
            let state = if unfetched.contains(&place) {
                status.unfetched += 1;
                State::Unfetched
            } else if paused.contains(&place) {
                status.paused += 1;
                State::Paused
            } else if read.is_some_and(|r| self.now.saturating_duration_since(r.asked) <= FETCHED) {
                State::Fetched
            } else {
                State::Waiting
            };
            if self.room == 0 {
                self.omitted += 1;
                continue;
            }
            self.room -= 1;
            let known = |offset: i64| (offset >= 0).then_some(offset);
            let committed = commits.get(&place).and_then(|c| known(c.offset));
            let end = read.and_then(|r| known(r.high_watermark));
            let position = read.and_then(|r| known(r.position));
            let lag = end.zip(committed).map(|(end, committed)| end.saturating_sub(committed).max(0));
            let (topic, partition) = place;
            status.partitions.push(PartitionStatus { topic, partition, position, committed, end, lag, state });
        }
        status
    }
}

fn order(client: &ClientKey) -> (&str, std::net::IpAddr) {
    (&client.client_id, client.peer)
}

fn places_of(assignment: &Assignment, catalog: &Catalog) -> BTreeSet<Place> {
    let mut places = BTreeSet::new();
    for (topic, partitions) in &assignment.by_name {
        places.extend(partitions.iter().map(|p| (topic.clone(), *p)));
    }
    for (id, partitions) in &assignment.by_id {
        let topic = catalog.name(id).unwrap_or_else(|| uuid::Uuid::from_bytes(*id).to_string().into());
        places.extend(partitions.iter().map(|p| (topic.clone(), *p)));
    }
    places
}

fn said(reason: Reason) -> String {
    match reason {
        Reason::CommitRefused(code) => format!("its last commit was refused: {}", error(code)),
        Reason::FetchRefused(code) => format!("its last Fetch was refused: {}", error(code)),
        Reason::Quiet => "it neither fetches nor commits".to_owned(),
    }
}

/// The errors that commits and fetches end with, by Kafka's names.
fn error(code: i16) -> String {
    let name = match code {
        1 => "OFFSET_OUT_OF_RANGE",
        3 => "UNKNOWN_TOPIC_OR_PARTITION",
        6 => "NOT_LEADER_OR_FOLLOWER",
        14 => "COORDINATOR_LOAD_IN_PROGRESS",
        15 => "COORDINATOR_NOT_AVAILABLE",
        16 => "NOT_COORDINATOR",
        22 => "ILLEGAL_GENERATION",
        25 => "UNKNOWN_MEMBER_ID",
        27 => "REBALANCE_IN_PROGRESS",
        28 => "INVALID_COMMIT_OFFSET_SIZE",
        29 => "TOPIC_AUTHORIZATION_FAILED",
        30 => "GROUP_AUTHORIZATION_FAILED",
        70 => "FETCH_SESSION_ID_NOT_FOUND",
        71 => "INVALID_FETCH_SESSION_EPOCH",
        74 => "FENCED_LEADER_EPOCH",
        75 => "UNKNOWN_LEADER_EPOCH",
        82 => "FENCED_INSTANCE_ID",
        100 => "UNKNOWN_TOPIC_ID",
        113 => "STALE_MEMBER_EPOCH",
        _ => return format!("error {code}"),
    };
    format!("error {code} ({name})")
}

#[cfg(test)]
mod tests;
