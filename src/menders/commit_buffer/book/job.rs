//! Bringing promises to the broker: ask what it holds, compare, commit (rule C4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Book, Held, Place, SHADOW, State, What};
use crate::mend::ClientKey;
use crate::mend::errands::Version;
use crate::store::journal::{Kind, Promise};
use crate::wire::api::ApiKey;
use crate::wire::codec::commit::{self, Commit, CommitPartition, CommitTopic};
use crate::wire::codec::committed;

/// In whose name a commit is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Empty, with generation -1: a group without members.
    pub member: Arc<str>,
    pub instance: Option<Arc<str>>,
    pub generation: i32,
    /// A KIP-848 group: OffsetCommit 9 or newer.
    pub consumer_protocol: bool,
}

impl Identity {
    /// As Kafka's own tools commit: only a group without members accepts it.
    pub fn nobody() -> Identity {
        Identity { member: Arc::from(""), instance: None, generation: -1, consumer_protocol: false }
    }

    fn is_nobody(&self) -> bool {
        self.generation < 0
    }
}

/// What a carrier can do for a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// Nothing now.
    No,
    As(Identity),
    /// It cannot come true any more.
    Drop(&'static str),
}

/// Promises on their way to the broker, all in one name.
#[derive(Debug)]
pub(super) struct Job {
    group: Arc<str>,
    identity: Identity,
    /// The client's connection that carries it; `None`: one of kmend's own.
    pub(super) conn: Option<u64>,
    items: Vec<Item>,
    step: Step,
    version: i16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Ask,
    Commit,
}

#[derive(Debug)]
struct Item {
    place: Place,
    serial: u64,
    promise: Promise,
}

impl Job {
    /// The commit has not been sent.
    pub(super) fn is_asking(&self) -> bool {
        self.step == Step::Ask
    }

    /// One of kmend's own connections is to send its next request.
    pub(super) fn is_unsent_errand(&self) -> bool {
        self.conn.is_none() && self.version < 0
    }

    pub(super) fn forget(&mut self, place: &Place) {
        // What has been sent is answered for its place all the same.
        if self.is_asking() {
            self.items.retain(|i| i.place != *place);
        }
    }
}

/// A request of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub api: ApiKey,
    pub version: i16,
    pub body: Vec<u8>,
}

/// What comes after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Another request of the same job.
    Next,
    Done,
}

/// Pauses between attempts, doubling.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);
/// Partitions in one request.
const MOST: usize = 1000;

mod code {
    pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    pub const REQUEST_TIMED_OUT: i16 = 7;
    pub const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
    pub const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    pub const NOT_COORDINATOR: i16 = 16;
    pub const ILLEGAL_GENERATION: i16 = 22;
    pub const UNKNOWN_MEMBER_ID: i16 = 25;
    pub const REBALANCE_IN_PROGRESS: i16 = 27;
    pub const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    pub const GROUP_AUTHORIZATION_FAILED: i16 = 30;
    pub const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
    pub const SASL_AUTHENTICATION_FAILED: i16 = 58;
    pub const GROUP_ID_NOT_FOUND: i16 = 69;
    pub const UNKNOWN_TOPIC_ID: i16 = 100;
    pub const STALE_MEMBER_EPOCH: i16 = 113;
}

impl Book {
    /// Begins a job with promises of one group, all in the name that `want` gives the first of
    /// them. `None`: there is nothing to do now.
    pub fn begin(&self, group: &str, conn: Option<u64>, want: impl Fn(&Held) -> Want, now: Instant) -> Option<u64> {
        let mut state = self.state();
        let found = state.groups.get_mut(group)?;
        let (mut identity, mut items, mut dropped) = (None, Vec::new(), Vec::new());
        let mut compare = false;
        for (place, slot) in &mut found.slots {
            if items.len() >= MOST {
                break;
            }
            let shadowed = slot.shadow.is_some_and(|at| now < at);
            let Some(held) = &slot.held else { continue };
            if conn.is_none() && found.carriers.contains_key(&held.promise.member) {
                continue;
            }
            if slot.own > 0 || shadowed || slot.job.is_some() || held.not_before.is_some_and(|at| now < at) {
                continue;
            }
            match want(held) {
                Want::No => continue,
                Want::Drop(why) => dropped.push((place.clone(), why)),
                Want::As(name) if identity.as_ref().is_none_or(|i| *i == name) => {
                    compare |= held.compare || name.is_nobody() || name.generation != held.promise.generation;
                    // Without the topic's id only what is committed says that it has been made anew.
                    compare |= held.promise.topic_id == [0; 16];
                    identity = Some(name);
                    items.push(Item { place: place.clone(), serial: held.serial, promise: held.promise.clone() });
                }
                Want::As(_) => continue,
            }
        }
        state.last += 1;
        let id = state.last;
        if let (Some(identity), Some(found)) = (identity, state.groups.get_mut(group)) {
            for item in &items {
                if let Some(slot) = found.slots.get_mut(&item.place) {
                    slot.job = Some(id);
                }
            }
            let step = if compare { Step::Ask } else { Step::Commit };
            let job = Job { group: group.into(), identity, conn, items, step, version: -1 };
            state.jobs.insert(id, job);
        } else {
            items.clear();
        }
        for (place, why) in dropped {
            self.settle(&mut state, group, &place, What::Superseded(why), now);
        }
        state.jobs.contains_key(&id).then_some(id)
    }

    /// What the job wants to send now. `None`: the broker speaks no version that would do, or
    /// nothing is left of it; the job is over.
    pub fn request(&self, job: u64, version: Version<'_>, now: Instant) -> Option<Request> {
        let mut state = self.state();
        let found = state.jobs.get_mut(&job).filter(|j| !j.items.is_empty());
        let request = found.and_then(|job| match job.step {
            Step::Ask => {
                let version = version(ApiKey::OFFSET_FETCH, committed::VERSIONS)?;
                job.version = version;
                let body = committed::write(version, &job.group, &by_topic(&job.items));
                Some(Request { api: ApiKey::OFFSET_FETCH, version, body })
            }
            Step::Commit => {
                let has_ids = job.items.iter().all(|i| i.promise.topic_id != [0; 16]);
                let by_id = has_ids.then(|| version(ApiKey::OFFSET_COMMIT, commit::VERSIONS_BY_ID)).flatten();
                let oldest = if job.identity.consumer_protocol { 9 } else { commit::VERSIONS.0 };
                let version = by_id.or_else(|| version(ApiKey::OFFSET_COMMIT, (oldest, commit::VERSIONS.1)))?;
                job.version = version;
                Some(Request { api: ApiKey::OFFSET_COMMIT, version, body: job.commit(version) })
            }
        });
        if request.is_none() {
            self.end(&mut state, job, false, now);
        }
        request
    }

    /// The answer to the job's last request. `taken` hears of every promise that the broker took.
    pub fn answered(
        &self,
        job: u64,
        frame: &[u8],
        body: usize,
        now: Instant,
        mut taken: impl FnMut(&str, Option<&ClientKey>, &Place, i64),
    ) -> Progress {
        let mut state = self.state();
        let Some(found) = state.jobs.get(&job) else {
            return Progress::Done;
        };
        let (version, step) = (found.version, found.step);
        let mut frame = frame.to_vec();
        match step {
            Step::Ask => match committed::read(version, &mut frame, body) {
                Some(answer) => self.compared(&mut state, job, &answer, now),
                None => {
                    self.end(&mut state, job, false, now);
                    Progress::Done
                }
            },
            Step::Commit => {
                if let Some(outcomes) = commit::outcomes(version, &mut frame, body) {
                    self.committed(&mut state, job, &outcomes, now, &mut taken);
                }
                self.end(&mut state, job, true, now);
                Progress::Done
            }
        }
    }

    /// A job of one of kmend's own connections that waits for its next request to be sent.
    pub fn next_stranded(&self, group: &str) -> Option<u64> {
        let state = self.state();
        state.jobs.iter().find(|(_, j)| j.is_unsent_errand() && *j.group == *group).map(|(id, _)| *id)
    }

    /// Its request could not be sent.
    pub fn unsent(&self, job: u64, now: Instant) {
        let mut state = self.state();
        self.end(&mut state, job, false, now);
    }

    /// No answer came.
    pub fn lost(&self, job: u64, now: Instant) {
        let mut state = self.state();
        let sent = state.jobs.get(&job).is_some_and(|j| j.step == Step::Commit && j.version >= 0);
        self.end(&mut state, job, sent, now);
    }

    /// What is left of a job waits for another one.
    fn end(&self, state: &mut State, job: u64, uncertain: bool, now: Instant) {
        let Some(Job { group, items, .. }) = state.jobs.remove(&job) else {
            return;
        };
        for Item { place, .. } in &items {
            let Some(slot) = state.slot(&group, place) else { continue };
            if slot.job.take_if(|j| *j == job).is_none() {
                continue;
            }
            if uncertain {
                // It may still be read by the broker.
                slot.shadow = Some(now + SHADOW);
            }
            if let Some(held) = &mut slot.held {
                held.compare |= uncertain;
                held.pause(now);
            }
        }
        state.stir(&group);
    }

    fn compared(&self, state: &mut State, id: u64, answer: &committed::Answer, now: Instant) -> Progress {
        let Some(mut job) = state.jobs.remove(&id) else {
            return Progress::Done;
        };
        let group = job.group.clone();
        let mut over = Vec::new();
        let mut send = Vec::new();
        let mut waiting = Vec::new();
        for item in job.items.drain(..) {
            let raw = answer.partitions.iter().find(|p| *p.topic == *item.place.0 && p.index == item.place.1);
            let raw = raw.filter(|p| p.error == 0 && answer.error == 0).map(|p| p.offset);
            let Some(raw) = raw else {
                waiting.push(item);
                continue;
            };
            state.learn(&group, item.place.clone(), raw);
            let Some(slot) = state.slot(&group, &item.place) else { continue };
            let Some(held) = slot.held.as_mut().filter(|h| h.serial == item.serial) else {
                slot.job = None;
                continue;
            };
            held.promise.baseline = held.promise.baseline.or(Some(raw));
            match compare(held.promise.baseline, raw, held.promise.offset) {
                None => send.push(item),
                Some(what) => {
                    slot.job = None;
                    over.push((item.place, what));
                }
            }
        }
        for (place, what) in over {
            self.settle(state, &group, &place, what, now);
        }
        let goes_on = !send.is_empty();
        if goes_on {
            job.items = send;
            job.step = Step::Commit;
            job.version = -1;
        } else {
            job.items = std::mem::take(&mut waiting);
        }
        state.jobs.insert(id, job);
        if !goes_on {
            self.end(state, id, false, now);
            return Progress::Done;
        }
        // What could not be compared waits for a job of its own.
        for item in waiting {
            let Some(slot) = state.slot(&group, &item.place) else { continue };
            slot.job = None;
            if let Some(held) = &mut slot.held {
                held.pause(now);
            }
        }
        Progress::Next
    }

    fn committed(
        &self,
        state: &mut State,
        id: u64,
        outcomes: &[commit::Outcome],
        now: Instant,
        taken: &mut impl FnMut(&str, Option<&ClientKey>, &Place, i64),
    ) {
        let Some(job) = state.jobs.get(&id) else { return };
        let group = job.group.clone();
        let (identity, conn) = (job.identity.clone(), job.conn);
        let of = |item: &Item| {
            let same = |o: &&commit::Outcome| {
                o.index == item.place.1
                    && (*o.name == *item.place.0 || o.name.is_empty() && o.id == item.promise.topic_id)
            };
            outcomes.iter().find(same).map(|o| o.error)
        };
        let all: Vec<(Place, u64, i64, Option<i16>)> =
            job.items.iter().map(|i| (i.place.clone(), i.serial, i.promise.offset, of(i))).collect();
        for (place, serial, offset, error) in all {
            if error == Some(0) {
                state.learn(&group, place.clone(), offset);
                // Also where something newer has been promised since.
                let held = state.slot(&group, &place).and_then(|s| s.held.as_ref());
                taken(&group, held.and_then(|h| h.client.as_ref()), &place, offset);
            }
            let Some(slot) = state.slot(&group, &place) else { continue };
            slot.job = None;
            let Some(held) = slot.held.as_mut().filter(|h| h.serial == serial) else {
                continue;
            };
            let kind = held.promise.kind;
            let what = match error {
                Some(0) if kind == Kind::Behind => What::Flushed,
                Some(0) => What::Replayed,
                // It is answered, and not taken: whoever owns it next decides.
                Some(code::ILLEGAL_GENERATION | code::REBALANCE_IN_PROGRESS | code::UNKNOWN_MEMBER_ID) => {
                    let same =
                        *held.promise.member == *identity.member && held.promise.generation <= identity.generation;
                    held.wait(same && !identity.is_nobody(), now);
                    continue;
                }
                Some(code::STALE_MEMBER_EPOCH) => {
                    held.compare = true;
                    held.pause(now);
                    continue;
                }
                None
                | Some(
                    code::REQUEST_TIMED_OUT
                    | code::COORDINATOR_LOAD_IN_PROGRESS
                    | code::COORDINATOR_NOT_AVAILABLE
                    | code::NOT_COORDINATOR,
                ) => {
                    held.compare = true;
                    held.pause(now);
                    continue;
                }
                // Somebody else's rights: the client's own may do.
                Some(
                    code::TOPIC_AUTHORIZATION_FAILED
                    | code::GROUP_AUTHORIZATION_FAILED
                    | code::CLUSTER_AUTHORIZATION_FAILED
                    | code::SASL_AUTHENTICATION_FAILED,
                ) if conn.is_none() || identity.is_nobody() => {
                    held.compare = true;
                    held.pause(now);
                    continue;
                }
                Some(code::UNKNOWN_TOPIC_ID | code::UNKNOWN_TOPIC_OR_PARTITION) => {
                    What::Superseded("the topic does not exist any more")
                }
                Some(code::GROUP_ID_NOT_FOUND) => What::Superseded("the group does not exist any more"),
                Some(other) => {
                    if kind == Kind::Behind
                        && let Some(group) = state.groups.get_mut(&group)
                    {
                        group.ended = true;
                    }
                    What::Failed(other)
                }
            };
            self.settle(state, &group, &place, what, now);
        }
    }
}

/// Whether a promise may still be sent (rule C4): `None`, or what it has become.
fn compare(baseline: Option<i64>, raw: i64, offset: i64) -> Option<What> {
    if raw == offset {
        return Some(What::Replayed);
    }
    if raw > offset {
        return Some(What::Superseded("a higher offset has been committed"));
    }
    if baseline.is_some_and(|b| raw < b) {
        return Some(What::Superseded("the offset has been moved back"));
    }
    None
}

/// What C4 says of a raw value at this moment: the promise stands.
pub fn stands(baseline: Option<i64>, raw: i64, offset: i64) -> bool {
    compare(baseline, raw, offset).is_none()
}

impl Held {
    fn pause(&mut self, now: Instant) {
        let pause = (PAUSE * 2u32.saturating_pow(self.attempts.min(8))).min(LONGEST);
        self.attempts += 1;
        self.not_before = Some(now + pause);
    }

    /// Its member's next assignment decides. `asleep`: until then it is not sent.
    fn wait(&mut self, asleep: bool, now: Instant) {
        self.promise.ready &= !asleep;
        self.compare = true;
        self.pause(now);
    }
}

impl Job {
    fn commit(&self, version: i16) -> Vec<u8> {
        let mut topics: Vec<CommitTopic> = Vec::new();
        for Item { place: (topic, index), promise, .. } in &self.items {
            let partition = CommitPartition {
                index: *index,
                offset: promise.offset,
                leader_epoch: promise.leader_epoch,
                metadata: promise.metadata.clone(),
            };
            match topics.iter_mut().find(|t| t.name == *topic) {
                Some(found) => found.partitions.push(partition),
                None => {
                    topics.push(CommitTopic { name: topic.clone(), id: promise.topic_id, partitions: vec![partition] })
                }
            }
        }
        let commit = Commit {
            group: self.group.clone(),
            generation: self.identity.generation,
            member: self.identity.member.clone(),
            instance: self.identity.instance.clone(),
            topics,
        };
        commit::write(version, &commit)
    }
}

fn by_topic(items: &[Item]) -> Vec<(Arc<str>, Vec<i32>)> {
    let mut topics: Vec<(Arc<str>, Vec<i32>)> = Vec::new();
    for Item { place: (topic, index), .. } in items {
        match topics.iter_mut().find(|(name, _)| name == topic) {
            Some((_, partitions)) => partitions.push(*index),
            None => topics.push((topic.clone(), vec![*index])),
        }
    }
    topics
}
