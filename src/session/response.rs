//! Responses: from the broker to the client.

use std::net::IpAddr;

use super::core::{Core, Wait, around};
use super::end::End;
use super::inflight::{Entry, Kind};
use super::pump::Pump;
use super::scan::{FetchResponseScan, TopicsScan};
use super::window::WINDOW;
use crate::mend::directory::Directory;
use crate::mend::{Asked, FetchRequest, Readers, Treatment, Verdict};
use crate::wire::api::ApiKey;
use crate::wire::codec::entry;
use crate::wire::frame::{self, PREFIX};
use crate::wire::head::{self, HeadError, RESPONSE_FIXED};
use crate::wire::layout::{self, Layout, mark};
use crate::wire::splice::{self, Addresses, NodeAt, RewriteError};
use crate::wire::walk::{self, Mark, Visitor, Walker};

/// Where in the stream of responses the broker is. The front of the queue says whose it is.
#[derive(Debug)]
pub(super) enum ResponseState {
    /// At a frame's start.
    Head,
    /// So many bytes of this frame pass.
    Pass(usize),
    /// So many bytes of this frame are dropped: an answer to kmend itself that nobody waits for.
    Swallow(usize),
    Fetch(Box<(Walker, Option<FetchRequest>, FetchResponseScan)>),
    ShareFetch(Box<Walker>),
    /// The topics of a Metadata response; its brokers have been rewritten.
    Topics(Box<(Walker, TopicsScan)>),
}

/// A response's head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub api: ApiKey,
    pub version: i16,
    pub body: usize,
    pub total: usize,
}

impl Head {
    pub fn name(&self) -> &'static str {
        self.api.name().unwrap_or("unknown")
    }

    pub fn unreadable(&self, why: impl ToString) -> End {
        End::Unreadable { api: self.name(), version: self.version, why: why.to_string() }
    }
}

impl Core {
    /// Moves responses on as far as the bytes in `pump` allow.
    pub fn responses(&mut self, pump: &mut Pump) -> Result<Wait, End> {
        let idle = matches!(self.response, ResponseState::Head) && pump.window.undecided().is_empty();
        if idle && !self.queue.front().is_some_and(Entry::is_local) {
            return Ok(Wait::Bytes);
        }
        loop {
            let wait = match &mut self.response {
                ResponseState::Head => self.response_head(pump)?,
                ResponseState::Pass(left) => {
                    let n = (*left).min(pump.window.undecided().len());
                    pump.window.approve(n);
                    *left -= n;
                    if *left == 0 { self.response_done() } else { Some(Wait::Bytes) }
                }
                ResponseState::Swallow(left) => {
                    let n = (*left).min(pump.window.undecided().len());
                    pump.replace(n, &[]);
                    *left -= n;
                    if *left == 0 {
                        self.response = ResponseState::Head;
                        None
                    } else {
                        Some(Wait::Bytes)
                    }
                }
                ResponseState::Fetch(_) => self.fetched(pump)?,
                ResponseState::ShareFetch(_) => self.share_fetched(pump)?,
                ResponseState::Topics(_) => self.topics(pump)?,
            };
            if let Some(wait) = wait {
                return Ok(wait);
            }
        }
    }

    /// The frame at the front has been dealt with.
    pub(super) fn response_done(&mut self) -> Option<Wait> {
        self.response = ResponseState::Head;
        self.response_hold = None;
        self.turn = self.now;
        if let Some(entry) = self.queue.pop_front()
            && matches!(entry.api, ApiKey::JOIN_GROUP | ApiKey::SYNC_GROUP)
        {
            self.joins = self.joins.saturating_sub(1);
        }
        None
    }

    fn response_head(&mut self, pump: &mut Pump) -> Result<Option<Wait>, End> {
        while self.queue.front().is_some_and(|e| e.is_local()) {
            if !pump.takes_more() {
                // The client reads first.
                return Ok(Some(Wait::Held));
            }
            if let Some(Kind::Local(answer)) = self.queue.pop_front().map(|e| e.kind) {
                self.made_here = self.made_here.saturating_sub(answer.len());
                pump.insert(&answer);
            }
        }
        let bytes = pump.window.undecided();
        let Some(prefix) = bytes.first_chunk::<PREFIX>() else {
            return Ok(Some(Wait::Bytes));
        };
        let raw = self.queue.front().is_some_and(|e| matches!(e.kind, Kind::Raw));
        let size = frame::check_response(*prefix, if raw { 0 } else { 4 }).map_err(End::BadResponse)? as usize;
        let total = PREFIX + size;
        if raw {
            self.response = ResponseState::Pass(total);
            return Ok(None);
        }
        if bytes.len() < RESPONSE_FIXED {
            return Ok(Some(Wait::Bytes));
        }
        let got = head::correlation(bytes).unwrap_or_default();
        let now = self.now;
        if self.queue.front().is_some_and(|e| e.correlation != got) && self.skip_injected(got) {
            return Ok(None);
        }
        let Some(entry) = self.queue.front_mut() else {
            return Err(End::Unexpected { got, expected: None });
        };
        if entry.correlation != got {
            return Err(End::Unexpected { got, expected: Some(entry.correlation) });
        }
        let (api, version) = (entry.api, entry.version);
        let body = match head::response_body(bytes, total, api, version) {
            Ok(body) => body,
            Err(HeadError::Incomplete(n)) if n <= 4 * WINDOW => {
                pump.window.reach(n.next_multiple_of(WINDOW).min(total));
                return Ok(Some(Wait::Bytes));
            }
            Err(_) => {
                return Err(End::Unreadable {
                    api: api.name().unwrap_or("unknown"),
                    version,
                    why: "broken header".into(),
                });
            }
        };
        let head = Head { api, version, body, total };
        let first = entry.answered.is_none();
        entry.answered = Some(entry.answered.unwrap_or(now));
        let (sent, arrived) = (entry.sent, entry.arrived);
        if matches!(entry.kind, Kind::Login) {
            return self.login_response(pump, head);
        }
        let injected = match entry.kind {
            Kind::Injected { mender, token, abandoned, .. } => Some((mender, token, abandoned)),
            _ => None,
        };
        if let Some((mender, token, abandoned)) = injected {
            return self.injected_response(pump, head, mender, token, abandoned);
        }
        if first {
            self.login.answered(api);
            let metrics = self.env.metrics.api(api);
            metrics.upstream_latency.observe(now.saturating_duration_since(sent).as_secs_f64());
            metrics.added_latency.observe(sent.saturating_duration_since(arrived).as_secs_f64());
        }
        self.dispatch_response(pump, head)
    }

    fn dispatch_response(&mut self, pump: &mut Pump, head: Head) -> Result<Option<Wait>, End> {
        let layout = layout::response(head.api, head.version);
        match (head.api, layout) {
            (ApiKey::METADATA, Some(_)) => self.metadata(pump, head),
            (ApiKey::FETCH, Some(layout)) => self.fetch_response(pump, head, layout),
            (ApiKey::SHARE_FETCH, Some(layout)) if head.total > WINDOW => {
                pump.window.approve(head.body);
                self.response = ResponseState::ShareFetch(Box::new(Walker::new(layout, head.body, head.total)));
                Ok(None)
            }
            // Before version 10 a Produce response names no broker.
            (ApiKey::PRODUCE, _) if head.version < 10 => self.pass(head),
            (
                ApiKey::PRODUCE
                | ApiKey::FIND_COORDINATOR
                | ApiKey::DESCRIBE_CLUSTER
                | ApiKey::SHARE_FETCH
                | ApiKey::SHARE_ACKNOWLEDGE,
                Some(layout),
            ) => self.rewritten(pump, head, layout),
            (ApiKey::API_VERSIONS, _) => self.in_place(pump, head, Core::api_versions),
            (ApiKey::SASL_HANDSHAKE, Some(layout)) => self.in_place(pump, head, |core, frame, head| {
                let mut scan = ErrorScan::default();
                if walk::whole(layout, frame, head.body, &mut scan).is_ok() && scan.error == 0 {
                    core.login.handshake_accepted(head.version);
                }
                Ok(())
            }),
            (ApiKey::SASL_AUTHENTICATE, Some(layout)) => self.in_place(pump, head, |core, frame, head| {
                let mut scan = ErrorScan::default();
                if walk::whole(layout, frame, head.body, &mut scan).is_ok() && scan.error == 0 {
                    core.login.authenticated(scan.lifetime, core.now);
                }
                Ok(())
            }),
            (api, Some(_)) if self.interests.response(api) == Treatment::Whole => self.judged(pump, head),
            _ => self.pass(head),
        }
    }

    pub(super) fn pass(&mut self, head: Head) -> Result<Option<Wait>, End> {
        self.response = ResponseState::Pass(head.total);
        Ok(None)
    }

    /// Waits until the frame is here as a whole.
    pub(super) fn gather(&mut self, pump: &mut Pump, head: Head) -> Result<Option<Wait>, End> {
        if let Some(wait) = self.reserve(pump, head.total, head.api)? {
            return Ok(Some(wait));
        }
        Ok((pump.window.undecided().len() < head.total).then_some(Wait::Bytes))
    }

    /// A broker that drops a request of kmend's own is not to cost the client its connection: where
    /// nothing but such requests, and answers made here, stand before the entry that `got` answers,
    /// they are lost. `false`: it is another case.
    fn skip_injected(&mut self, got: i32) -> bool {
        let is_own = |e: &Entry| matches!(e.kind, Kind::Injected { .. });
        let behind = self.queue.iter().take_while(|e| is_own(e) || e.is_local()).count();
        let matches = |e: &Entry| e.correlation == got && matches!(e.kind, Kind::Injected { .. } | Kind::Forwarded);
        let at = self.queue.iter().take(behind + 1).position(matches);
        let Some(at) = at.filter(|_| self.queue.front().is_some_and(is_own)) else {
            return false;
        };
        let (mut kept, mut lost) = (Vec::new(), Vec::new());
        for entry in self.queue.drain(..at) {
            match entry.kind {
                Kind::Injected { mender, token, abandoned, .. } => lost.extend((!abandoned).then_some((mender, token))),
                _ => kept.push(entry),
            }
        }
        for entry in kept.into_iter().rev() {
            self.queue.push_front(entry);
        }
        for (mender, token) in lost {
            self.injected_lost(mender, token);
        }
        true
    }

    fn injected_response(
        &mut self,
        pump: &mut Pump,
        head: Head,
        mender: usize,
        token: u64,
        abandoned: bool,
    ) -> Result<Option<Wait>, End> {
        // What cannot be held, or comes too late, is not worth the client's connection.
        let can_hold = !abandoned
            && head.total <= self.limits.max_whole_frame.max(WINDOW)
            && !matches!(self.reserve(pump, head.total, head.api)?, Some(Wait::Memory));
        if !can_hold {
            self.queue.pop_front();
            if !abandoned {
                self.injected_lost(mender, token);
            }
            self.response = ResponseState::Swallow(head.total);
            return Ok(None);
        }
        if pump.window.undecided().len() < head.total {
            return Ok(Some(Wait::Bytes));
        }
        let frame = pump.window.undecided().get(..head.total).unwrap_or_default();
        // It is out of the queue before the mender acts on it.
        let sent = self.queue.pop_front().map_or(self.now, |e| e.sent);
        let took = self.now.saturating_duration_since(sent.max(self.turn));
        self.turn = self.now;
        self.injected_answer(mender, token, frame, head.body, took);
        pump.replace(head.total, &[]);
        Ok(None)
    }

    /// A whole frame that is read, and perhaps changed in place.
    fn in_place(
        &mut self,
        pump: &mut Pump,
        head: Head,
        look: impl FnOnce(&mut Core, &mut [u8], Head) -> Result<(), End>,
    ) -> Result<Option<Wait>, End> {
        if let Some(wait) = self.gather(pump, head)? {
            return Ok(Some(wait));
        }
        let frame = pump.window.undecided_mut().get_mut(..head.total).unwrap_or_default();
        look(self, frame, head)?;
        pump.window.approve(head.total);
        Ok(self.response_done())
    }

    /// A whole frame that the menders look at.
    fn judged(&mut self, pump: &mut Pump, head: Head) -> Result<Option<Wait>, End> {
        if head.total > self.limits.max_whole_frame {
            self.env.metrics.unseen_frames.with_label_values(&[head.name()]).inc();
            return self.pass(head);
        }
        if let Some(wait) = self.gather(pump, head)? {
            return Ok(Some(wait));
        }
        let seq = self.queue.front().map_or(0, |e| e.seq);
        let asked = Asked { seq, api: head.api, version: head.version };
        let expired = self.response_hold.is_some_and(|until| until <= self.now);
        if expired {
            self.env.metrics.holds_expired.inc();
            let response = head.name();
            tracing::debug!(connection = self.conn.number, response, "a response has waited for a mender in vain");
        }
        let frame = pump.window.undecided_mut().get_mut(..head.total).unwrap_or_default();
        self.group_response(head, frame);
        self.offsets_response(head, frame);
        self.refresh();
        let around = around!(self);
        let verdict = self.chain.verdict(&around, Readers::ALL, |m, cx| m.response(cx, asked, frame, head.body));
        self.apply_effects();
        if let (Verdict::Hold(until), false) = (&verdict, expired) {
            self.response_hold = Some(self.response_hold.map_or(*until, |h| h.min(*until)));
            self.sooner = true;
            return Ok(Some(Wait::Held));
        }
        match verdict {
            Verdict::Answer(answer) => pump.replace(head.total, &answer),
            _ => pump.window.approve(head.total),
        }
        Ok(self.response_done())
    }

    /// A whole frame in which addresses are replaced.
    fn rewritten(&mut self, pump: &mut Pump, head: Head, layout: Layout) -> Result<Option<Wait>, End> {
        if let Some(wait) = self.gather(pump, head)? {
            return Ok(Some(wait));
        }
        let frame = pump.window.undecided_mut().get_mut(..head.total).unwrap_or_default();
        if head.api == ApiKey::DESCRIBE_CLUSTER {
            let mut found = Addresses::new(head.api, head.version);
            if walk::whole(layout, frame, head.body, &mut found).is_ok()
                && let Some(cluster_id) = found.cluster_id.filter(|id| !id.is_empty())
            {
                // Empty beside an error.
                self.learn_cluster(&cluster_id);
            }
        }
        let new = self.rewrite(head, layout, frame)?;
        match new {
            None => pump.window.approve(head.total),
            Some(new) => pump.replace(head.total, &new),
        }
        Ok(self.response_done())
    }

    fn learn_cluster(&self, cluster_id: &str) {
        self.env.directory.learn_cluster(cluster_id);
        self.env.shared.cluster.learn(cluster_id);
    }

    pub(super) fn rewrite(&self, head: Head, layout: Layout, frame: &mut [u8]) -> Result<Option<Vec<u8>>, End> {
        let advertise = |node: &NodeAt| advertise(&*self.env.directory, node, self.local);
        splice::rewrite(head.api, head.version, layout, frame, head.body, advertise).map_err(|e| match e {
            RewriteError::Walk(why) => head.unreadable(why),
            RewriteError::Advertise(end) => end,
        })
    }

    fn metadata(&mut self, pump: &mut Pump, head: Head) -> Result<Option<Wait>, End> {
        let Some((front, back)) = layout::metadata_parts(head.version) else {
            return Err(head.unreadable("no layout"));
        };
        // Not walked over again for each byte that comes: a broker may send it in the smallest pieces.
        if let Some(wait) = self.reserve(pump, self.front, head.api)? {
            return Ok(Some(wait));
        }
        if pump.window.undecided().len() < self.front {
            return Ok(Some(Wait::Bytes));
        }
        let mut found = Addresses::new(head.api, head.version);
        let bytes = pump.window.undecided_mut();
        let at = match walk::front(front, bytes, head.body, head.total, &mut found).map_err(|e| head.unreadable(e))? {
            Ok(at) => at,
            Err(need) => {
                // Grow in steps: the length of this section is not known before its end.
                let need = need.max((bytes.len() + 1).next_multiple_of(WINDOW)).min(head.total);
                self.front = need;
                return Ok(Some(self.reserve(pump, need, head.api)?.unwrap_or(Wait::Bytes)));
            }
        };
        self.front = 0;
        if let Some(cluster_id) = &found.cluster_id {
            self.learn_cluster(cluster_id);
        }
        let splices = found.splices(|node| advertise(&*self.env.directory, node, self.local))?;
        if splices.is_empty() {
            pump.window.approve(at);
        } else {
            let new = splice::apply(pump.window.undecided().get(..at).unwrap_or_default(), head.total, &splices);
            pump.replace(at, &new);
        }
        self.response = if self.interests.response(ApiKey::METADATA) == Treatment::Skip {
            ResponseState::Pass(head.total - at)
        } else {
            ResponseState::Topics(Box::new((Walker::new(back, at, head.total), TopicsScan::default())))
        };
        Ok(None)
    }

    fn topics(&mut self, pump: &mut Pump) -> Result<Option<Wait>, End> {
        let ResponseState::Topics(mut state) = std::mem::replace(&mut self.response, ResponseState::Head) else {
            return Ok(None);
        };
        let (walker, scan) = &mut *state;
        let left = walker.left();
        match walker.step(pump.window.undecided_mut(), &mut scan.visitor(self)) {
            Ok(progress) => {
                self.apply_effects();
                pump.window.approve(progress.consumed);
                let Some(need) = progress.need else {
                    return Ok(self.response_done());
                };
                pump.window.reach(need);
                self.response = ResponseState::Topics(state);
                Ok(Some(Wait::Bytes))
            }
            // The addresses are rewritten; what only the catalog wanted to know may pass unread.
            Err(error) => {
                self.apply_effects();
                tracing::warn!(%error, "the topics of a Metadata response could not be read");
                self.response = ResponseState::Pass(left);
                Ok(None)
            }
        }
    }

    /// Learns the broker's versions, and lowers those that carry addresses in ways unknown here.
    fn api_versions(&mut self, frame: &mut [u8], head: Head) -> Result<(), End> {
        // UNSUPPORTED_VERSION comes in version 0's layout, whatever was asked (KIP-511).
        let error = entry::int16(frame.get(head.body..).unwrap_or_default());
        let version = if error == crate::wire::codec::local::UNSUPPORTED_VERSION { 0 } else { head.version };
        let layout = layout::response(head.api, version).ok_or_else(|| head.unreadable("no layout"))?;
        walk::whole(layout, frame, head.body, &mut Ranges { core: self }).map_err(|e| head.unreadable(e))
    }
}

fn advertise(directory: &dyn Directory, node: &NodeAt, local: IpAddr) -> Result<(String, u16), End> {
    directory.advertise(node.id, &node.host, node.port, local).map_err(|why| End::NoListener { node: node.id, why })
}

struct Ranges<'a> {
    core: &'a mut Core,
}

impl Visitor for Ranges<'_> {
    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        if mark != mark::API_RANGE {
            return;
        }
        let (key, min, max) = entry::api_range(bytes);
        let api = ApiKey(key);
        self.core.conn.learn_version(api, min, max);
        if let Some(newest) = api.newest_with_addresses()
            && max > newest
        {
            entry::set_api_max(bytes, newest);
        }
    }
}

#[derive(Default)]
struct ErrorScan {
    error: i16,
    lifetime: i64,
}

impl Visitor for ErrorScan {
    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        match mark {
            mark::ERROR => self.error = entry::int16(bytes),
            mark::LIFETIME => self.lifetime = entry::int64(bytes),
            _ => {}
        }
    }
}
