//! Requests: from the client to the broker.

use std::time::{Duration, Instant};

use super::core::{Core, Wait, around};
use super::end::End;
use super::gather::{Gathered, Gathering};
use super::inflight::{Entry, Kind};
use super::produce::ProduceState;
use super::pump::Pump;
use super::sasl;
use super::scan::FetchRequestScan;
use super::window::WINDOW;
use crate::mend::{Asked, FetchRequest, Readers, Treatment, Verdict};
use crate::wire::api::ApiKey;
use crate::wire::codec::{entry, local};
use crate::wire::frame::{self, PREFIX};
use crate::wire::head::{self, HeadError, RequestHead};
use crate::wire::layout::{self, Layout, mark};
use crate::wire::walk::{self, Mark, Visitor, WalkError, Walker};

/// Where in the stream of requests the client is.
///
/// ```text
///   Head --nobody looks--> Pass --------------------.
///    ^ \--Produce, Fetch--> Produce | Fetch ---------|--> Head
///    |  | \--a mender wants all of it--> Gather -----+--> Produce | Fetch | Swallow
///    |  \--answered here--> Swallow -----------------'
///    '--held whole, in one step
/// ```
#[derive(Debug)]
pub(super) enum RequestState {
    /// At a frame's start.
    Head,
    /// So many bytes of this frame pass.
    Pass(usize),
    /// So many bytes of this frame are dropped: it has been answered here.
    Swallow(usize),
    /// A Produce or Fetch request is being held whole; nothing of it has been let go.
    Gather(Box<Gathering>),
    Produce(Box<ProduceState>),
    Fetch(Box<FetchState>),
}

/// Where the walk over a Fetch request is.
type FetchState = (Walker, FetchRequest, FetchRequestScan);

/// No client sends a header as long as that.
const LONG_HEAD: usize = 4096;

/// What is kept of a request until its answer comes is larger than its bytes: at most about so much.
const KEPT: usize = 3;

impl Core {
    /// Moves requests on as far as the bytes in `pump` allow.
    pub fn requests(&mut self, pump: &mut Pump) -> Result<Wait, End> {
        let idle = matches!(self.request, RequestState::Head) && pump.window.undecided().is_empty();
        if idle && !self.has_injects() && self.renewal.is_none() {
            return Ok(Wait::Bytes);
        }
        let before = self.queue.len();
        let wait = self.move_requests(pump);
        if self.queue.len() > before {
            // One look at the clock for all of them.
            let now = Instant::now();
            let new = self.queue.iter_mut().skip(before).filter(|entry| matches!(entry.kind, Kind::Forwarded));
            new.for_each(|entry| entry.sent = now);
        }
        wait
    }

    fn move_requests(&mut self, pump: &mut Pump) -> Result<Wait, End> {
        loop {
            let wait = match &mut self.request {
                RequestState::Head => self.request_head(pump)?,
                RequestState::Pass(left) => {
                    let n = (*left).min(pump.window.undecided().len());
                    pump.window.approve(n);
                    *left -= n;
                    if *left == 0 { self.request_done() } else { Some(Wait::Bytes) }
                }
                RequestState::Swallow(left) => {
                    let n = (*left).min(pump.window.undecided().len());
                    pump.insert(&[]);
                    pump.window.discard(n);
                    *left -= n;
                    if *left == 0 { self.request_done() } else { Some(Wait::Bytes) }
                }
                RequestState::Gather(_) => self.gathering(pump)?,
                RequestState::Produce(_) => self.produce(pump)?,
                RequestState::Fetch(_) => self.fetch(pump)?,
            };
            if let Some(wait) = wait {
                return Ok(wait);
            }
        }
    }

    fn request_done(&mut self) -> Option<Wait> {
        self.request = RequestState::Head;
        None
    }

    fn request_head(&mut self, pump: &mut Pump) -> Result<Option<Wait>, End> {
        let wanted = self.has_injects() || pump.window.undecided().len() >= PREFIX;
        if self.renews(pump, wanted) {
            return Ok(Some(Wait::Held));
        }
        if self.has_injects() {
            self.send_injects(pump);
        }
        let bytes = pump.window.undecided();
        if !bytes.is_empty() {
            self.bytes_came();
        }
        let Some(prefix) = bytes.first_chunk::<PREFIX>() else {
            return Ok(Some(Wait::Bytes));
        };
        if self.is_full() {
            return Ok(Some(Wait::Held));
        }
        let raw = self.login.is_raw();
        let max = self.limits.max_frame;
        let size = frame::check(*prefix, if raw { 0 } else { 10 }, max).map_err(End::BadRequest)? as usize;
        let total = PREFIX + size;
        if raw {
            if bytes.len() < total.min(8) {
                return Ok(Some(Wait::Bytes));
            }
            if !sasl::looks_like_request(bytes, size) {
                let seq = self.next_seq();
                self.queue.push_back(Entry::new(Kind::Raw, ApiKey::SASL_AUTHENTICATE, 0, 0, seq, self.now));
                self.request = RequestState::Pass(total);
                return Ok(None);
            }
        }
        if bytes.len() < self.head_wait {
            return Ok(Some(Wait::Bytes));
        }
        let head = match head::request(bytes, total) {
            Ok(head) => head,
            Err(HeadError::Incomplete(n)) => {
                // A header is at most a client id (32 KiB) and a few tags.
                if n > 4 * WINDOW {
                    return Err(End::BadHead(HeadError::Malformed));
                }
                // Not byte by byte: a long header is read anew each time.
                self.head_wait = if bytes.len() > LONG_HEAD { (bytes.len() * 5 / 4).min(total) } else { 0 };
                pump.window.reach(n.next_multiple_of(WINDOW).min(total));
                return Ok(Some(Wait::Bytes));
            }
            Err(e) => return Err(End::BadHead(e)),
        };
        self.head_wait = 0;
        let client_id = bytes.get(head.client_id.0..head.client_id.1).unwrap_or_default();
        if self.conn.client_id.as_bytes() != client_id || self.heads == 0 {
            let client_id = client_id.to_vec();
            self.learn_client(&client_id);
        }
        self.heads += 1;
        if self.conn.note_used(head.api, head.version) {
            self.env.shared.peers.describe(&self.conn);
        }
        if let Some(newest) = head.api.newest_with_addresses()
            && head.version > newest
        {
            return Err(End::TooNew { api: head.api.name().unwrap_or("unknown"), version: head.version });
        }
        self.dispatch(pump, head, total)
    }

    fn dispatch(&mut self, pump: &mut Pump, head: RequestHead, total: usize) -> Result<Option<Wait>, End> {
        match head.api {
            ApiKey::API_VERSIONS if layout::request(head.api, head.version).is_none() => {
                // A version from the future: the client is told which ones there are (KIP-511).
                let newest = (0..).take_while(|v| layout::request(head.api, *v).is_some()).last().unwrap_or(0);
                let answer = local::api_versions_unsupported(head.correlation, newest);
                Ok(self.answer(head, total, answer))
            }
            ApiKey::API_VERSIONS => self.whole(pump, head, total, |core, frame| {
                let layout = layout::request(head.api, head.version).unwrap_or_default();
                let mut software = Software::default();
                if walk::whole(layout, frame, head.body, &mut software).is_ok() && !software.name.is_empty() {
                    core.learn_software(software);
                }
                Verdict::Pass
            }),
            ApiKey::SASL_HANDSHAKE | ApiKey::SASL_AUTHENTICATE if self.renewal.is_some() => {
                match self.client_login(&head) {
                    Some(answer) => Ok(self.answer(head, total, answer)),
                    None => {
                        self.forwarded(head, None);
                        self.request = RequestState::Pass(total);
                        Ok(None)
                    }
                }
            }
            ApiKey::PRODUCE => self.produce_head(pump, head, total),
            ApiKey::FETCH if self.interests.request(head.api) != Treatment::Skip => self.fetch_head(pump, head, total),
            _ if self.interests.request(head.api) == Treatment::Whole
                && layout::request(head.api, head.version).is_some() =>
            {
                self.whole(pump, head, total, |core, frame| {
                    let asked = Asked { seq: core.seq + 1, api: head.api, version: head.version };
                    core.refresh();
                    let around = around!(core);
                    let verdict = core.chain.verdict(&around, Readers::ALL, |m, cx| m.request(cx, asked, &head, frame));
                    core.apply_effects();
                    verdict
                })
            }
            _ => {
                self.forwarded(head, None);
                self.request = RequestState::Pass(total);
                Ok(None)
            }
        }
    }

    /// Lets the header go, so that the walk starts at the body.
    pub(super) fn approve_head(&mut self, pump: &mut Pump, head: RequestHead, total: usize) -> Result<(), End> {
        if head.body > total {
            return Err(End::BadHead(HeadError::Malformed));
        }
        pump.window.approve(head.body);
        Ok(())
    }

    /// Notes a request that goes upstream and will be answered.
    pub(super) fn forwarded(&mut self, head: RequestHead, fetch: Option<FetchRequest>) {
        let seq = self.next_seq();
        self.env.metrics.request(head.api, head.version);
        self.login.request(head.api);
        if matches!(head.api, ApiKey::JOIN_GROUP | ApiKey::SYNC_GROUP) {
            self.joins += 1;
        }
        let mut entry = Entry::new(Kind::Forwarded, head.api, head.version, head.correlation, seq, self.now);
        entry.fetch = fetch;
        self.queue.push_back(entry);
        self.hold = None;
        self.hold_spent = false;
    }

    /// Answers a request here, in its turn.
    pub(super) fn answer(&mut self, head: RequestHead, total: usize, answer: Vec<u8>) -> Option<Wait> {
        let seq = self.next_seq();
        self.env.metrics.request(head.api, head.version);
        self.made_here += answer.len();
        self.queue.push_back(Entry::new(Kind::Local(answer), head.api, head.version, head.correlation, seq, self.now));
        self.hold = None;
        self.hold_spent = false;
        self.request = RequestState::Swallow(total);
        None
    }

    /// A request that is looked at as a whole. One that is too large passes unseen.
    fn whole(
        &mut self,
        pump: &mut Pump,
        head: RequestHead,
        total: usize,
        look: impl FnOnce(&mut Core, &mut [u8]) -> Verdict,
    ) -> Result<Option<Wait>, End> {
        if total > self.limits.max_whole_frame {
            self.unseen(head.api);
            self.forwarded(head, None);
            self.request = RequestState::Pass(total);
            return Ok(None);
        }
        if let Some(wait) = self.reserve(pump, total, head.api)? {
            return Ok(Some(wait));
        }
        let Some(frame) = pump.window.undecided_mut().get_mut(..total) else {
            return Ok(Some(Wait::Bytes));
        };
        match self.judge(head.api, look, frame) {
            Verdict::Pass | Verdict::Gather => {
                // What the menders want to know goes first, so that it is known when the answer comes.
                self.send_injects(pump);
                self.forwarded(head, None);
                if let Some(frame) = pump.window.undecided_mut().get_mut(..total) {
                    self.group_request(&head, frame);
                    self.offsets_request(&head, frame);
                }
                if let Some(entry) = self.queue.back_mut().filter(|e| e.group.is_some() || e.offsets.is_some()) {
                    entry.kept = KEPT * total;
                }
                pump.window.approve(total);
                Ok(None)
            }
            Verdict::Answer(answer) => Ok(self.answer(head, total, answer)),
            Verdict::Hold(until) => Ok(Some(self.held(pump, until))),
        }
    }

    /// A frame that is too large passes without a look.
    pub(super) fn unseen(&self, api: ApiKey) {
        self.env.metrics.unseen_frames.with_label_values(&[api.name().unwrap_or("unknown")]).inc();
    }

    fn judge(&mut self, api: ApiKey, look: impl FnOnce(&mut Core, &mut [u8]) -> Verdict, frame: &mut [u8]) -> Verdict {
        if self.hold_is_over(api) { Verdict::Pass } else { look(self, frame) }
    }

    fn held(&mut self, pump: &mut Pump, until: Instant) -> Wait {
        // What it waits for may be the answer to a request that is still to be sent.
        self.send_injects(pump);
        self.hold = Some(self.hold.map_or(until, |h| h.min(until)));
        self.sooner = true;
        Wait::Held
    }

    /// Whether the front request has waited long enough; counted and told once.
    fn hold_is_over(&mut self, api: ApiKey) -> bool {
        if !self.hold_spent && self.hold.is_some_and(|until| until <= self.now) {
            self.hold_spent = true;
            self.hold = None;
            self.env.metrics.holds_expired.inc();
            let request = api.name().unwrap_or("unknown");
            tracing::debug!(connection = self.conn.number, request, "a request has waited for a mender in vain");
            self.call_all(|m, cx| m.hold_expired(cx));
        }
        self.hold_spent
    }

    fn fetch_head(&mut self, pump: &mut Pump, head: RequestHead, total: usize) -> Result<Option<Wait>, End> {
        let Some(layout) = layout::request(head.api, head.version) else {
            self.forwarded(head, None);
            self.request = RequestState::Pass(total);
            return Ok(None);
        };
        // Everything before the topics has a fixed size: 25 bytes at most.
        let front = (head.body + 25).min(total);
        pump.window.reach(front);
        if pump.window.undecided().len() < front {
            return Ok(Some(Wait::Bytes));
        }
        let request = fetch_front(&head, pump.window.undecided(), self.seq + 1);
        if !self.hold_is_over(ApiKey::FETCH) {
            self.refresh();
            let around = around!(self);
            let verdict = self.chain.verdict(&around, Readers::ALL, |m, cx| m.fetch_request(cx, &request));
            self.apply_effects();
            match verdict {
                Verdict::Pass => {}
                Verdict::Gather => return Ok(self.gather_request(head, total, Gathered::Fetch(request))),
                Verdict::Answer(answer) => return Ok(self.answer(head, total, answer)),
                Verdict::Hold(until) => return Ok(Some(self.held(pump, until))),
            }
        }
        self.fetch_on(pump, head, total, layout, request)
    }

    /// Lets a Fetch request flow upstream.
    pub(super) fn fetch_on(
        &mut self,
        pump: &mut Pump,
        head: RequestHead,
        total: usize,
        layout: Layout,
        request: FetchRequest,
    ) -> Result<Option<Wait>, End> {
        self.send_injects(pump);
        self.forwarded(head, Some(request));
        self.approve_head(pump, head, total)?;
        self.fetch.begin(&request);
        let mut state = (Walker::new(layout, head.body, total), request, FetchRequestScan::default());
        let done = self.fetch_step(pump, &mut state);
        if !matches!(done, Ok(None)) {
            self.request = RequestState::Fetch(Box::new(state));
        }
        done
    }

    fn fetch(&mut self, pump: &mut Pump) -> Result<Option<Wait>, End> {
        let RequestState::Fetch(mut state) = std::mem::replace(&mut self.request, RequestState::Head) else {
            return Ok(None);
        };
        let done = self.fetch_step(pump, &mut state);
        if !matches!(done, Ok(None)) {
            self.request = RequestState::Fetch(state);
        }
        done
    }

    /// As far as the bytes allow. `Ok(None)`: it is done, or the rest passes.
    fn fetch_step(&mut self, pump: &mut Pump, state: &mut FetchState) -> Result<Option<Wait>, End> {
        let (walker, request, scan) = state;
        let (from, bytes) = (walker.at(), pump.window.undecided_mut());
        let progress = match walker.step(bytes, &mut scan.visitor(self, request)) {
            Ok(progress) => progress,
            // A broker does not mind bytes behind a request.
            Err(WalkError::Trailing(at)) => {
                self.fetch.end(request);
                pump.window.approve(at - from);
                self.request = RequestState::Pass(walker.left());
                return Ok(None);
            }
            // Upstream it stays in the middle of a frame.
            Err(why) => return Err(bad("Fetch")(why)),
        };
        self.apply_effects();
        pump.window.approve(progress.consumed);
        match progress.need {
            Some(need) => {
                pump.window.reach(need);
                Ok(Some(Wait::Bytes))
            }
            None => {
                self.fetch.end(request);
                // What only the request's last tags tell: it comes from a broker that follows.
                if request.replica
                    && let Some(entry) = self.queue.iter_mut().rev().find(|e| e.seq == request.seq)
                {
                    entry.fetch = Some(*request);
                }
                Ok(None)
            }
        }
    }

    fn learn_software(&mut self, software: Software) {
        let pair = (software.name, software.version);
        if self.conn.software.as_ref() == Some(&pair) {
            return;
        }
        if let Some(before) = self.software.take() {
            before.dec();
        }
        let gauge = self.env.metrics.software(&pair.0, &pair.1);
        gauge.inc();
        self.software = Some(gauge);
        self.conn.software = Some(pair);
        self.env.shared.peers.describe(&self.conn);
    }
}

pub(super) fn bad(api: &'static str) -> impl Fn(WalkError) -> End {
    move |why| End::BadBody { api, why }
}

/// Reads what stands before the topics of a Fetch request (`FetchRequest.json`: the replica id until version 14).
fn fetch_front(head: &RequestHead, bytes: &[u8], seq: u64) -> FetchRequest {
    let body = bytes.get(head.body..).unwrap_or_default();
    let (replica, max_wait, isolation, session) = if head.version <= 14 {
        (entry::int32(body) >= 0, body.get(4..), body.get(16), body.get(17..25))
    } else {
        (false, Some(body), body.get(12), body.get(13..21))
    };
    let max_wait = max_wait.map_or(0, entry::int32);
    let (session, epoch) = if head.version >= 7 { session.map_or((0, -1), entry::fetch_session) } else { (0, -1) };
    FetchRequest {
        seq,
        version: head.version,
        correlation: head.correlation,
        replica,
        max_wait: Duration::from_millis(max_wait.max(0) as u64),
        isolation: isolation.map_or(0, |b| *b as i8),
        session,
        epoch,
    }
}

#[derive(Default)]
struct Software {
    name: String,
    version: String,
}

impl Visitor for Software {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        let text = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        match mark {
            mark::SOFTWARE_NAME => self.name = text,
            mark::SOFTWARE_VERSION => self.version = text,
            _ => {}
        }
    }
}
