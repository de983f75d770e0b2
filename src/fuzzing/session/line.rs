//! One connection, and what must be true of all that comes out of it.

use std::collections::VecDeque;
use std::time::Instant;

use crate::fuzzing::feed::Feed;
use crate::fuzzing::shape;
use crate::session::kit::{HOST, Rig};
use crate::session::sasl;
use crate::session::window::WINDOW;
use crate::wire::api::ApiKey;
use crate::wire::codec::entry;
use crate::wire::head::{self, HeadError};
use crate::wire::layout::{self, mark};
use crate::wire::splice::Addresses;
use crate::wire::walk::{self, Mark, Nobody, Visitor};

/// A frame around bytes.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

/// kmend counts up from the lowest correlation id.
const OURS: i32 = i32::MIN + 1_000_000;

/// A request that is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    api: ApiKey,
    version: i16,
    correlation: i32,
}

/// Bytes that are cut into frames as they come.
#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    /// What is no frame ends it.
    is_broken: bool,
}

impl Frames {
    fn add(&mut self, bytes: &[u8]) {
        if !self.is_broken {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let prefix = self.bytes.first_chunk::<4>()?;
        let Ok(size) = usize::try_from(i32::from_be_bytes(*prefix)) else {
            self.is_broken = true;
            self.bytes.clear();
            return None;
        };
        let total = 4 + size;
        (self.bytes.len() >= total).then(|| self.bytes.drain(..total).collect())
    }
}

pub struct Line {
    pub rig: Rig,
    /// What the client sent and has got, what the broker has got and said.
    sent: Frames,
    got: Frames,
    received: Frames,
    said: Frames,
    /// What the client waits for, and what the broker has to answer (`None`: a token without a header).
    waits: VecDeque<Asked>,
    owes: VecDeque<Option<Asked>>,
    /// The request of which only a beginning was sent has its answer already.
    is_early: bool,
    /// SaslHandshake 0: from then on frames may have no header, and answers are not told apart.
    is_raw: bool,
    /// The client has used correlation ids as kmend's own.
    is_strange: bool,
    /// All that passes is to come out as it went in.
    is_transparent: bool,
    /// Then: what is still to come out, upwards, and the frames for the client.
    mirror: VecDeque<u8>,
    answers: VecDeque<Vec<u8>>,
    is_closed: bool,
}

impl Line {
    pub fn new(rig: Rig, is_transparent: bool) -> Line {
        Line {
            rig,
            sent: Frames::default(),
            got: Frames::default(),
            received: Frames::default(),
            said: Frames::default(),
            waits: VecDeque::new(),
            owes: VecDeque::new(),
            is_early: false,
            is_raw: false,
            is_strange: false,
            is_transparent,
            mirror: VecDeque::new(),
            answers: VecDeque::new(),
            is_closed: false,
        }
    }

    pub fn has_ended(&self) -> bool {
        self.is_closed || self.rig.end.is_some() || self.rig.lingers == Some(None)
    }

    /// Menders may be told to mend from now on.
    pub fn may_change(&mut self) {
        self.is_transparent = false;
    }

    pub fn client(&mut self, bytes: &[u8]) {
        if self.has_ended() || self.rig.is_lingering() {
            return;
        }
        self.sent.add(bytes);
        while let Some(frame) = self.sent.next() {
            self.client_sent(&frame);
        }
        if self.is_transparent {
            self.mirror.extend(bytes);
        }
        self.rig.client(bytes);
        self.look();
    }

    fn client_sent(&mut self, frame: &[u8]) {
        let Ok(head) = head::request(frame, frame.len()) else {
            return;
        };
        self.is_strange |= head.correlation < OURS;
        self.is_raw |= (head.api, head.version) == (ApiKey::SASL_HANDSHAKE, 0);
        if head.api == ApiKey::API_VERSIONS && layout::request(head.api, head.version).is_none() {
            // Answered by kmend itself.
            self.is_transparent = false;
        }
        if is_answered(frame) && !std::mem::take(&mut self.is_early) {
            self.waits.push_back(Asked { api: head.api, version: head.version, correlation: head.correlation });
        }
    }

    pub fn broker(&mut self, bytes: &[u8]) {
        if self.has_ended() {
            return;
        }
        self.said.add(bytes);
        while let Some(frame) = self.said.next() {
            self.owes.pop_front();
            if self.is_transparent {
                self.answers.push_back(frame);
            }
        }
        self.rig.broker(bytes);
        self.look();
    }

    /// Answers the oldest request after its layout, if there is one.
    pub fn answer(&mut self, feed: &mut Feed<'_>) {
        let Some(Some(asked)) = self.owes.front().copied() else {
            if let Some(None) = self.owes.front() {
                self.broker(&framed(feed.rest()));
            }
            return;
        };
        let body = match layout::response(asked.api, asked.version) {
            Some(layout) => shape::body(layout, feed),
            None => feed.rest().to_vec(),
        };
        let tags = if asked.api.response_header_has_tags(asked.version) { &[0][..] } else { &[] };
        self.answer_with(&[tags, &body].concat());
    }

    pub fn answer_with(&mut self, rest: &[u8]) {
        let Some(asked) = self.owes.front() else { return };
        let correlation = asked.map_or(Vec::new(), |asked| asked.correlation.to_be_bytes().to_vec());
        self.broker(&framed(&[&correlation, rest].concat()));
    }

    pub fn client_gone(&mut self) {
        if !self.has_ended() && !self.rig.is_lingering() {
            self.rig.client_gone();
            self.look();
        }
    }

    pub fn broker_gone(&mut self) {
        if !self.has_ended() {
            self.rig.broker_gone();
            self.is_closed = true;
        }
    }

    pub fn at(&mut self, now: Instant) {
        if !self.has_ended() {
            self.rig.at(now);
            self.look();
        }
    }

    pub fn due(&self) -> Option<Instant> {
        (!self.has_ended()).then(|| self.rig.core.deadline().into_iter().chain(self.rig.lingers.flatten()).min())?
    }

    pub fn has_mail(&self) -> bool {
        !self.has_ended() && self.rig.has_mail()
    }

    /// As the driver does it, however the connection has come to its end.
    pub fn close(&mut self) {
        if self.is_closed || self.rig.lingers == Some(None) {
            return;
        }
        self.is_closed = true;
        self.rig.core.begin(self.rig.now);
        if self.rig.is_lingering() {
            self.rig.core.linger_over();
        }
        self.rig.core.close();
    }

    /// What has come out since the last look.
    fn look(&mut self) {
        let (up, down) = (self.rig.at_broker(), self.rig.at_client());
        if self.is_transparent {
            let given: Vec<u8> = self.mirror.drain(..up.len().min(self.mirror.len())).collect();
            assert!(given == up, "the broker gets something else than the client sent");
        }
        self.received.add(&up);
        while let Some(frame) = self.received.next() {
            self.broker_got(&frame);
        }
        assert!(!self.received.is_broken, "the broker gets something that is no frame");
        self.got.add(&down);
        while let Some(frame) = self.got.next() {
            self.client_got(frame);
        }
        assert!(!self.got.is_broken, "the client gets something that is no frame");
        assert!(!self.rig.is_lingering() || down.is_empty(), "a client that has gone gets something");
    }

    fn broker_got(&mut self, frame: &[u8]) {
        let size = frame.len() - 4;
        if self.is_raw && !sasl::looks_like_request(frame, size) {
            return self.owes.push_back(None);
        }
        let head = head::request(frame, frame.len()).expect("nothing else is let through");
        if head.correlation < OURS
            && !self.is_strange
            && let Some(layout) = layout::request(head.api, head.version)
        {
            let fits = walk::whole(layout, &mut frame.to_vec(), head.body, &mut Nobody);
            assert!(fits.is_ok(), "kmend's own {head:?} does not fit its layout: {fits:?}");
        }
        if is_answered(frame) {
            self.owes.push_back(Some(Asked { api: head.api, version: head.version, correlation: head.correlation }));
        }
    }

    fn client_got(&mut self, mut frame: Vec<u8>) {
        let asked = self.waits.pop_front().or_else(|| self.early());
        if self.is_transparent {
            let said = self.answers.pop_front().expect("nobody else speaks");
            let is_rewritten = asked.is_none_or(|a| a.api.newest_with_addresses().is_some());
            if is_rewritten || asked.is_some_and(|a| a.api == ApiKey::API_VERSIONS) {
                assert_eq!(said.get(4..8), frame.get(4..8));
            } else {
                assert!(said == frame, "the client gets something else than the broker said");
            }
        }
        if self.is_raw {
            return;
        }
        let got = head::correlation(&frame);
        assert_eq!(got, asked.map(|a| a.correlation), "answers keep their order");
        if let Some(asked) = asked {
            hides_brokers(asked, &mut frame);
        }
    }

    /// The request of which only a beginning was sent: its head is enough to be answered.
    fn early(&mut self) -> Option<Asked> {
        let bytes = self.sent.bytes.get(4..12).filter(|_| !self.is_early)?;
        self.is_early = true;
        let (api, version) = (ApiKey(entry::int16(bytes)), entry::int16(&bytes[2..]));
        Some(Asked { api, version, correlation: entry::int32(&bytes[4..]) })
    }

    pub fn check(&mut self, whole: usize) {
        let peak = self.rig.peak;
        // A header and a text field may need four windows.
        assert!(peak <= whole.max(4 * WINDOW) + WINDOW, "a window of {peak} bytes, {whole} may be held whole");
        if !self.has_ended() && self.rig.core.take_close() {
            self.close();
        }
    }
}

/// Rule P1.
fn hides_brokers(asked: Asked, frame: &mut [u8]) {
    let Asked { api, version, .. } = asked;
    let layout = match api {
        // What stands behind the brokers may be anything.
        ApiKey::METADATA => layout::metadata_parts(version).map(|(front, _)| front),
        _ => layout::response(api, version),
    };
    let (Some(layout), Ok(body)) = (layout, head::response_body(frame, frame.len(), api, version)) else {
        return assert!(api.newest_with_addresses().is_none_or(|newest| version < newest), "{asked:?} is not read");
    };
    let mut found = Addresses::new(api, version);
    let end = frame.len();
    if walk::front(layout, frame, body, end, &mut found).is_ok() {
        for node in found.nodes {
            assert!(node.host.is_empty() || node.host == HOST, "{asked:?} tells {}", node.host);
        }
    }
}

/// Produce with `acks=0` is not.
fn is_answered(frame: &[u8]) -> bool {
    struct Acks(i16);
    impl Visitor for Acks {
        fn fixed(&mut self, mark: Mark, _: usize, bytes: &mut [u8]) {
            if mark == mark::ACKS {
                self.0 = entry::int16(bytes);
            }
        }
    }
    match head::request(frame, frame.len()) {
        Ok(head) if head.api == ApiKey::PRODUCE => {
            let mut acks = Acks(1);
            let Some(layout) = layout::request(head.api, head.version) else { return true };
            _ = walk::front(layout, &mut frame.to_vec(), head.body, frame.len(), &mut acks);
            acks.0 != 0
        }
        Ok(_) | Err(HeadError::Incomplete(_)) => true,
        Err(HeadError::Malformed) => false,
    }
}
