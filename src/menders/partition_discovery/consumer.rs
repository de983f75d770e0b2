//! Nudging a consumer: a Fetch request is answered here, or a Heartbeat's answer changed (rule B4).

use std::sync::Arc;

use super::conn::{OnConnection, Open};
use super::growth::Role;
use super::poll;
use super::producer::NOT_LEADER_OR_FOLLOWER;
use super::software::How;
use crate::mend::catalog::NO_ID;
use crate::mend::{Asked, Cx, FetchRequest, Verdict, Wanted};
use crate::wire::api::ApiKey;
use crate::wire::codec::ask;
use crate::wire::codec::entry;
use crate::wire::codec::local;
use crate::wire::codec::refuse::{self, FetchEmpty};
use crate::wire::codec::subscription;
use crate::wire::head::RequestHead;
use crate::wire::layout::{self, mark};
use crate::wire::walk::{self, Mark, Visitor};

const REBALANCE_IN_PROGRESS: i16 = 27;
/// Heartbeats whose answers are awaited; a client has one in flight.
const MAX_BEATS: usize = 16;

/// A Heartbeat that is in flight.
#[derive(Debug)]
pub struct Beat {
    seq: u64,
    group: Arc<str>,
    member: Arc<str>,
}

impl OnConnection {
    /// A Fetch request's front.
    pub(super) fn fetch(&mut self, cx: &mut Cx<'_>, request: &FetchRequest) -> Verdict {
        if self.made_up.is_some_and(|id| id == request.session) && !request.is_full() {
            // The session was this mender's own: the broker opens a real one.
            self.made_up = None;
            return Verdict::Answer(not_found(request));
        }
        if !self.open.iter().any(|o| o.is_fetch_due(cx.now)) {
            self.reopening = false;
            return Verdict::Pass;
        }
        if request.is_full() {
            return Verdict::Gather;
        }
        if self.reopening {
            // It was told that its session is gone, and goes on with it.
            return Verdict::Pass;
        }
        self.reopening = true;
        close_session(cx, request);
        Verdict::Answer(not_found(request))
    }

    /// A full Fetch request: one partition of a topic that has grown is led elsewhere, the others
    /// have nothing. The client asks again from the same offsets.
    pub(super) fn refuse_fetch(&mut self, cx: &mut Cx<'_>, request: &FetchRequest, wanted: &[Wanted]) -> Verdict {
        self.reopening = false;
        let client = self.client(cx);
        let mut refused: Vec<usize> = Vec::new();
        {
            let mut state = client.state();
            for open in self.open.iter().filter(|o| o.is_fetch_due(cx.now)) {
                let at = wanted.iter().position(|w| w.topic.name.as_deref() == Some(&*open.topic));
                if let Some(at) = at
                    && state.take(&open.topic, Role::Consumer, cx.conn.number, How::Fetch, cx.now)
                {
                    refused.push(at);
                }
            }
        }
        if refused.is_empty() {
            return Verdict::Pass;
        }
        let entries: Vec<FetchEmpty<'_>> = wanted
            .iter()
            .enumerate()
            .map(|(at, w)| {
                let known = cx.fetch.find(w.topic.number, w.partition).filter(|_| !refused.contains(&at));
                FetchEmpty {
                    name: w.topic.name.as_deref().unwrap_or(""),
                    id: w.topic.id.unwrap_or(NO_ID),
                    partition: w.partition,
                    error: if refused.contains(&at) { NOT_LEADER_OR_FOLLOWER } else { 0 },
                    high_watermark: known.map_or(-1, |p| p.high_watermark),
                    last_stable: known.map_or(-1, |p| p.last_stable),
                    log_start: known.map_or(-1, |p| p.log_start),
                }
            })
            .collect();
        // A client that wants a session and gets none does without from then on (franz-go): it is
        // given one, and its next request is told that it is gone.
        let session = if request.version >= 7 && request.epoch == 0 { self.shared.session() } else { 0 };
        let Some(answer) = refuse::fetch_empty(request.version, request.correlation, session, &entries) else {
            self.give_back(cx, How::Fetch);
            return Verdict::Pass;
        };
        if request.session != 0 {
            close_session(cx, request);
        }
        self.made_up = (session != 0).then_some(session);
        client.changed();
        self.sync(cx);
        self.log(cx, How::Fetch);
        Verdict::Answer(answer)
    }

    /// JoinGroup: what this client subscribes to; and, after a growth was shown to it, that it has helped.
    pub(super) fn joins(&mut self, cx: &mut Cx<'_>, head: &RequestHead, frame: &mut [u8]) {
        let mut join = Join::default();
        let whole = layout::request(head.api, head.version).map(|l| walk::whole(l, frame, head.body, &mut join));
        if !matches!(whole, Some(Ok(()))) || join.protocol_type != "consumer" {
            return;
        }
        let mut topics: Vec<Arc<str>> = join
            .subscriptions
            .iter()
            .filter_map(|(at, len)| frame.get(*at..at + len))
            .flat_map(subscription::topics)
            .map(Arc::from)
            .collect();
        topics.sort_unstable();
        topics.dedup();
        let client = self.client(cx);
        let mut state = client.state();
        for topic in &topics {
            state.used(topic, Role::Consumer, cx.now);
        }
        state.subscribed.insert(Arc::from(join.group.as_str()), topics.clone());
        let mut helped = false;
        for growth in state.growths.iter_mut().filter(|g| topics.contains(&g.topic) && !g.joined) {
            let beaten =
                growth.consumers.round.as_ref().is_some_and(|r| r.taken.iter().any(|(_, h)| *h == How::Heartbeat));
            growth.joined = beaten || growth.consumers.shown > 0;
            helped |= growth.joined;
        }
        drop(state);
        if helped {
            client.changed();
            self.wake(cx, cx.now);
        }
    }

    /// LeaveGroup: what is still a member joins again, and says what it subscribes to.
    pub(super) fn leaves(&mut self, cx: &mut Cx<'_>, head: &RequestHead, frame: &mut [u8]) {
        let mut leave = Join::default();
        let whole = layout::request(head.api, head.version).map(|l| walk::whole(l, frame, head.body, &mut leave));
        if matches!(whole, Some(Ok(()))) {
            self.client(cx).state().subscribed.remove(leave.group.as_str());
        }
    }

    pub(super) fn heartbeat(&mut self, cx: &mut Cx<'_>, asked: Asked, head: &RequestHead, frame: &mut [u8]) {
        let mut beat = Join::default();
        let whole = layout::request(head.api, head.version).map(|l| walk::whole(l, frame, head.body, &mut beat));
        if !matches!(whole, Some(Ok(()))) {
            return;
        }
        self.beats_here = true;
        let client = self.client(cx);
        {
            let mut state = client.state();
            state.link(cx.conn.number, cx.conn.node).coordinator = true;
            // A member without partitions fetches nothing, and still wants to know.
            for topic in state.subscribed.get(beat.group.as_str()).cloned().unwrap_or_default() {
                state.used(&topic, Role::Consumer, cx.now);
            }
        }
        if self.beats.len() >= MAX_BEATS {
            self.beats.pop_front();
        }
        let (group, member) = (Arc::from(beat.group), Arc::from(beat.member));
        self.beats.push_back(Beat { seq: asked.seq, group, member });
    }

    /// The broker has renewed the member's session; the group's leader is asked to rejoin.
    pub(super) fn heartbeat_answer(&mut self, cx: &mut Cx<'_>, asked: Asked, frame: &mut [u8], body: usize) {
        let Some(at) = self.beats.iter().position(|b| b.seq == asked.seq) else {
            return;
        };
        let Some(beat) = self.beats.remove(at) else {
            return;
        };
        self.sync(cx);
        let due = |o: &&Open| o.consume.is_some_and(|(how, due)| how == How::Heartbeat && due <= cx.now);
        if !self.open.iter().any(|o| due(&o)) {
            return;
        }
        let member = cx.shared.groups.member(&beat.group, &beat.member);
        if member.is_some_and(|m| m.has_joined() && !m.joined.is_leader) {
            return;
        }
        let client = self.client(cx);
        let mut answer = BeatAnswer { error: None, code: None };
        let Some(layout) = layout::response(asked.api, asked.version) else {
            return;
        };
        if walk::whole(layout, frame, body, &mut answer).is_err() || answer.error != Some(0) {
            return;
        }
        let mut taken = false;
        {
            let mut state = client.state();
            // A group that joined before this kmend's time.
            let unknown = state.subscribed.is_empty();
            let subscribed = state.subscribed.get(&beat.group).cloned().unwrap_or_default();
            for open in self.open.iter().filter(due) {
                if unknown || subscribed.contains(&open.topic) {
                    taken |= state.take(&open.topic, Role::Consumer, cx.conn.number, How::Heartbeat, cx.now);
                }
            }
        }
        if taken {
            answer.code = Some(REBALANCE_IN_PROGRESS);
            // The same walk found the field a moment ago.
            let _ = walk::whole(layout, frame, body, &mut answer);
            client.changed();
            self.sync(cx);
            self.log(cx, How::Heartbeat);
        }
    }
}

fn not_found(request: &FetchRequest) -> Vec<u8> {
    local::fetch_error(request.version, request.correlation, local::FETCH_SESSION_ID_NOT_FOUND)
}

/// The broker gets its slot back: the client will not use this session again (KIP-227).
fn close_session(cx: &mut Cx<'_>, request: &FetchRequest) {
    let until = cx.now + poll::PATIENCE;
    let body = ask::close_fetch_session(request.version, request.session);
    if !body.is_ok_and(|body| cx.inject(poll::NOBODY, ApiKey::FETCH, request.version, body, until)) {
        tracing::debug!(session = request.session, "a fetch session stays with the broker until it evicts it");
    }
}

/// Group, member and subscriptions of a JoinGroup or Heartbeat request.
#[derive(Default)]
struct Join {
    group: String,
    member: String,
    protocol_type: String,
    /// Where they stand in the frame, and their lengths.
    subscriptions: Vec<(usize, usize)>,
}

impl Visitor for Join {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        let text = || String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        match mark {
            mark::GROUP => self.group = text(),
            mark::MEMBER => self.member = text(),
            mark::PROTOCOL_TYPE => self.protocol_type = text(),
            _ => {}
        }
    }

    fn blob(&mut self, mark: Mark, at: usize, len: Option<usize>, length: &mut [u8], _peek: &[u8]) {
        if mark == mark::SUBSCRIPTION {
            self.subscriptions.push((at + length.len(), len.unwrap_or(0)));
        }
    }
}

struct BeatAnswer {
    error: Option<i16>,
    code: Option<i16>,
}

impl Visitor for BeatAnswer {
    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        if mark == mark::ERROR {
            self.error = Some(entry::int16(bytes));
            if let Some(code) = self.code {
                bytes.copy_from_slice(&code.to_be_bytes());
            }
        }
    }
}
