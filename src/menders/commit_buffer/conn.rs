//! One connection: which request goes to which rule.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Shared;
use super::beat::Beat;
use super::commits::{Sent, Through};
use super::rejoin::Sync;
use super::whose::QUESTION;
use crate::mend::{Asked, ConnMender, Cx, FetchRequest, Injected, MetadataTopic, Topic, Verdict};
use crate::wire::api::ApiKey;
use crate::wire::codec::commit::Commit;
use crate::wire::codec::entry::FetchPartition;
use crate::wire::codec::member::Who;
use crate::wire::head::RequestHead;

/// Longest hold of a request that waits for a flush (rule C2).
pub(super) const FLUSH: Duration = Duration::from_millis(1500);
/// Longest hold of a commit that waits for another one of the same partition.
pub(super) const TURN: Duration = Duration::from_secs(5);
/// Longest wait for the journal.
pub(super) const JOURNAL: Duration = Duration::from_millis(500);
/// Deadline of a request of kmend's own.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// While something is promised, what may be sent is looked for so often.
pub(super) const LOOK: Duration = Duration::from_millis(250);
/// More requests than are ever in flight on one connection.
const MOST: usize = 4096;

pub struct OnConnection {
    pub(super) shared: Arc<Shared>,
    /// What the answers to these requests are read against, by [`Asked::seq`].
    pub(super) sent: HashMap<u64, Sent>,
    pub(super) beats: HashMap<u64, Beat>,
    pub(super) syncs: HashMap<u64, Sync>,
    pub(super) fetches: HashMap<u64, Vec<Arc<str>>>,
    /// The request at the front that is being held.
    pub(super) holding: Option<Holding>,
    /// Write-behind: in whose name, and with which text, the broker has taken a commit here.
    pub(super) through: HashMap<(Arc<str>, Arc<str>), Through>,
    /// When a member was first told of a rebalance in place of an error.
    pub(super) soft: HashMap<(Arc<str>, Arc<str>), Instant>,
    /// Requests of jobs that are on their way here.
    pub(super) jobs: HashSet<u64>,
    /// What a dead client had handled, on its way into the journal.
    pub(super) delivering: Vec<u64>,
    pub(super) delivered: bool,
    /// The client has gone: until when its promises are flushed here.
    pub(super) lingering: Option<Instant>,
    /// When the broker was asked for its cluster.
    pub(super) asked_whose: Option<Instant>,
}

/// A request that waits.
pub(super) struct Holding {
    pub seq: u64,
    pub since: Instant,
    /// What is to be noted of it when it goes upstream.
    pub note: Option<Note>,
    /// It is a commit that the journal is to keep.
    pub proposal: Option<u64>,
}

pub(super) enum Note {
    Commit(i16, Commit),
    Fetch(Vec<Arc<str>>),
    Member(ApiKey, Who),
}

impl Note {
    pub fn commit(self) -> Option<Commit> {
        match self {
            Note::Commit(_, commit) => Some(commit),
            _ => None,
        }
    }
}

impl OnConnection {
    pub fn new(shared: Arc<Shared>) -> OnConnection {
        OnConnection {
            shared,
            sent: HashMap::new(),
            beats: HashMap::new(),
            syncs: HashMap::new(),
            fetches: HashMap::new(),
            holding: None,
            through: HashMap::new(),
            soft: HashMap::new(),
            jobs: HashSet::new(),
            delivering: Vec::new(),
            delivered: false,
            lingering: None,
            asked_whose: None,
        }
    }

    /// Another mender may have answered a request after it was seen here: then no answer comes.
    fn prune(&mut self, seq: u64) {
        if self.beats.len() + self.syncs.len() + self.fetches.len() + self.soft.len() > MOST {
            let recent = seq.saturating_sub(MOST as u64);
            self.beats.retain(|s, _| *s > recent);
            self.syncs.retain(|s, _| *s > recent);
            self.fetches.retain(|s, _| *s > recent);
            self.soft.clear();
        }
    }

    /// Since when this request has been held.
    pub(super) fn held_since(&mut self, cx: &Cx<'_>, seq: u64) -> &mut Holding {
        let fresh = || Holding { seq, since: cx.now, note: None, proposal: None };
        let holding = self.holding.get_or_insert_with(fresh);
        if holding.seq != seq {
            *holding = fresh();
        }
        holding
    }
}

impl ConnMender for OnConnection {
    fn request(&mut self, cx: &mut Cx<'_>, asked: Asked, head: &RequestHead, frame: &mut [u8]) -> Verdict {
        self.prune(asked.seq);
        let verdict = match asked.api {
            ApiKey::OFFSET_COMMIT => self.commit_asked(cx, asked, head, frame),
            ApiKey::OFFSET_FETCH => self.fetch_asked(cx, asked, head, frame),
            ApiKey::HEARTBEAT => self.beat_asked(cx, asked, head, frame),
            ApiKey::JOIN_GROUP | ApiKey::SYNC_GROUP | ApiKey::LEAVE_GROUP | ApiKey::CONSUMER_GROUP_HEARTBEAT => {
                self.member_asked(cx, asked, head, frame)
            }
            _ => Verdict::Pass,
        };
        if !matches!(verdict, Verdict::Hold(_)) {
            self.holding = None;
        }
        self.shared.tell(&cx.shared.peers);
        verdict
    }

    fn fetch_request_partition(
        &mut self,
        cx: &mut Cx<'_>,
        request: &FetchRequest,
        topic: &Topic,
        partition: &mut FetchPartition<'_>,
    ) {
        if !self.shared.tracks.load(Ordering::Relaxed) {
            return;
        }
        if let (Some(name), false) = (&topic.name, request.replica) {
            self.shared.positions.fetched(cx.conn, name, partition.index(), partition.offset());
        }
    }

    fn metadata_topic(&mut self, cx: &mut Cx<'_>, _: &MetadataTopic<'_>) {
        if self.shared.tracks.load(Ordering::Relaxed) {
            self.shared.positions.looked(cx.conn);
        }
    }

    fn hold_expired(&mut self, cx: &mut Cx<'_>) {
        let Some(Holding { seq, note, proposal, .. }) = self.holding.take() else {
            return;
        };
        if let Some(proposal) = proposal {
            self.shared.book.withdraw(proposal);
            self.shared.metrics.repair("passed_journal_late");
        }
        // It goes upstream now, and is answered as any other.
        match note {
            Some(Note::Commit(version, commit)) => self.note_sent(cx, seq, version, commit),
            Some(Note::Fetch(groups)) => {
                self.fetches.insert(seq, groups);
            }
            Some(Note::Member(api, who)) => self.note_member(cx, seq, api, who),
            None => {}
        }
        self.shared.tell(&cx.shared.peers);
    }

    fn response(&mut self, cx: &mut Cx<'_>, asked: Asked, frame: &mut [u8], body: usize) -> Verdict {
        let verdict = match asked.api {
            ApiKey::OFFSET_COMMIT => self.commit_answered(cx, asked, frame, body),
            ApiKey::OFFSET_FETCH => self.fetch_answered(cx, asked, frame, body),
            ApiKey::HEARTBEAT => self.beat_answered(cx, asked, frame, body),
            ApiKey::SYNC_GROUP | ApiKey::CONSUMER_GROUP_HEARTBEAT => self.sync_answered(cx, asked, frame, body),
            _ => Verdict::Pass,
        };
        self.shared.tell(&cx.shared.peers);
        verdict
    }

    fn injected(&mut self, cx: &mut Cx<'_>, token: u64, outcome: Injected<'_>) {
        match token {
            QUESTION => self.whose_answered(cx, outcome),
            job => self.job_answered(cx, job, outcome),
        }
        self.shared.tell(&cx.shared.peers);
    }

    fn woken(&mut self, cx: &mut Cx<'_>) {
        self.look(cx);
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        self.look(cx);
    }

    fn draining(&mut self, cx: &mut Cx<'_>) {
        self.flush_mine(cx);
    }

    fn lingers(&mut self, cx: &mut Cx<'_>) -> Option<Instant> {
        self.linger(cx)
    }

    fn closed(&mut self, cx: &mut Cx<'_>) {
        if let Some(proposal) = self.holding.take().and_then(|h| h.proposal) {
            self.shared.book.withdraw(proposal);
        }
        for (_, sent) in std::mem::take(&mut self.sent) {
            self.forget_sent(cx, sent);
        }
        for job in std::mem::take(&mut self.jobs) {
            self.shared.book.lost(job, cx.now);
        }
        for proposal in std::mem::take(&mut self.delivering) {
            self.shared.book.withdraw(proposal);
        }
        let client = cx.conn.client();
        if !cx.shared.peers.has_others(&client, cx.conn.number) {
            self.shared.positions.forget(&client);
        }
        self.shared.book.closed(cx.conn.number);
        self.shared.tell(&cx.shared.peers);
    }
}
