//! `frame`, `head`, `walk` and `splice`: the readers of `wire`, without a connection around them.

use super::feed::Feed;
use super::shape;
use crate::wire::api::ApiKey;
use crate::wire::frame::{self, FrameError, PREFIX};
use crate::wire::head::{self as heads, HeadError, RESPONSE_FIXED};
use crate::wire::layout::{self, Layout};
use crate::wire::splice::{self, Addresses, NodeAt, RewriteError};
use crate::wire::varint::{self, Uvarint};
use crate::wire::walk::{self, Action, Mark, Nobody, Visitor, WalkError, Walker};

/// Length prefixes, and the numbers that the newer messages are made of.
pub fn frame(data: &[u8]) {
    let mut feed = Feed::new(data);
    let min = *feed.pick(&[0, 4, 8, 10]);
    let max = *feed.pick(&[100 << 20, 1, 64 << 10, i32::MAX as u32]);
    let Some(prefix) = feed.bytes(PREFIX).first_chunk::<PREFIX>() else {
        return;
    };
    let size = i32::from_be_bytes(*prefix);
    match frame::check(*prefix, min, max) {
        Ok(n) => assert!(n >= min && n <= max && i64::from(n) == i64::from(size)),
        Err(FrameError::TooShort(n)) => assert!(n >= 0 && n < min as i32),
        Err(FrameError::Negative(n)) => assert!(n < 0),
        Err(FrameError::TooLong(n, over)) => assert!(n > 0 && n as u32 > max && over == max),
        Err(error @ (FrameError::Tls | FrameError::TlsAlert | FrameError::Http)) => assert!(!error.reason().is_empty()),
    }
    if let Ok(n) = frame::check_response(*prefix, min) {
        assert!(n >= min && i64::from(n) == i64::from(size));
    }
    while !feed.is_empty() {
        let bytes = feed.rest();
        match varint::read(bytes) {
            Uvarint::Value(value, n) => {
                assert!(n <= varint::MAX_LEN && varint::len(value) <= n);
                let mut padded = vec![0; n];
                varint::write_padded(&mut padded, value);
                assert_eq!(varint::read(&padded), Uvarint::Value(value, n));
                feed = Feed::new(&bytes[n..]);
            }
            Uvarint::Incomplete => assert!(bytes.len() < varint::MAX_LEN),
            Uvarint::Invalid => assert!(bytes.len() >= varint::MAX_LEN),
        }
    }
}

/// Headers of requests and responses: the same answer however much has arrived.
pub fn head(data: &[u8]) {
    let mut feed = Feed::new(data);
    let more = usize::from(feed.u16());
    let rest = feed.rest();
    let frame = [&((rest.len() + more) as i32).to_be_bytes()[..], rest].concat();
    let total = frame.len() + more;
    let whole = heads::request(&frame, total);
    match whole {
        Ok(head) => {
            assert!(head.client_id.0 <= head.client_id.1 && head.client_id.1 <= head.body && head.body <= frame.len());
            for cut in [0, PREFIX, head.client_id.1, head.body.saturating_sub(1)] {
                match heads::request(&frame[..cut.min(frame.len())], total) {
                    Ok(other) => assert_eq!(other, head),
                    Err(HeadError::Incomplete(n)) => {
                        assert!(n > cut && n <= head.body, "{n} of {} at {cut}", head.body)
                    }
                    Err(HeadError::Malformed) => panic!("malformed only when it is cut at {cut}"),
                }
            }
        }
        Err(HeadError::Incomplete(n)) => assert!(n > frame.len() && n <= total),
        Err(HeadError::Malformed) => {}
    }
    for (api, version) in [(ApiKey::METADATA, 12), (ApiKey::METADATA, 1), (ApiKey::API_VERSIONS, 4)] {
        match heads::response_body(&frame, total, api, version) {
            Ok(body) => assert!((RESPONSE_FIXED..=total).contains(&body)),
            Err(HeadError::Incomplete(n)) => assert!(n > frame.len() && n <= total),
            Err(HeadError::Malformed) => {}
        }
    }
    assert_eq!(heads::correlation(&frame).is_some(), frame.len() >= RESPONSE_FIXED);
}

/// A message of some layout: the fuzzer's bytes as they are, or shaped after it and then changed in
/// places.
fn message(feed: &mut Feed<'_>) -> (ApiKey, i16, bool, Layout, Vec<u8>) {
    let all = layout::all();
    let (api, version, is_request) = all[usize::from(feed.u16()) % all.len()];
    let layout = if is_request { layout::request(api, version) } else { layout::response(api, version) };
    let layout = layout.expect("it is listed");
    let how = feed.byte();
    if how & 1 == 0 {
        return (api, version, is_request, layout, feed.rest().to_vec());
    }
    let changes: Vec<(u16, u8)> = (0..how >> 6).map(|_| (feed.u16(), feed.byte())).collect();
    let mut body = shape::body(layout, feed);
    for (at, byte) in changes {
        let len = body.len().max(1);
        if let Some(place) = body.get_mut(usize::from(at) % len) {
            *place = byte;
        }
    }
    (api, version, is_request, layout, body)
}

/// What a visitor was shown, to compare one walk with another.
#[derive(Default, PartialEq, Debug)]
struct Seen {
    calls: usize,
    /// Of all that was shown, its place included.
    sum: u64,
    shown: usize,
}

impl Seen {
    fn note(&mut self, mark: Mark, at: usize, bytes: &[u8]) {
        self.calls += 1;
        self.shown += bytes.len();
        for byte in bytes.iter().copied().chain(at.to_be_bytes()).chain([mark.0]) {
            self.sum = self.sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
        }
    }
}

impl Visitor for Seen {
    fn fixed(&mut self, mark: Mark, at: usize, bytes: &mut [u8]) {
        self.note(mark, at, bytes);
    }
    fn string(&mut self, mark: Mark, at: usize, value: Option<&[u8]>) {
        self.note(mark, at, value.unwrap_or(b"null"));
    }
    fn blob(&mut self, mark: Mark, at: usize, len: Option<usize>, length: &mut [u8], peek: &[u8]) {
        self.note(mark, at + len.unwrap_or(usize::MAX / 2), &[length, peek].concat());
    }
    fn array(&mut self, mark: Mark, at: usize, count: Option<usize>) -> Action {
        self.note(mark, at, &count.unwrap_or(usize::MAX).to_be_bytes());
        Action::Keep
    }
    fn element_end(&mut self, mark: Mark) {
        self.note(mark, 0, b"end");
    }
    fn tag(&mut self, mark: Mark, at: usize, tag: u32, content: usize, size: usize) -> Action {
        self.note(mark, at, &[tag as usize, content, size].map(usize::to_be_bytes).concat());
        Action::Keep
    }
}

/// Hides what may be hidden: the session does so with node endpoints, in arrays at a message's end
/// and in tags.
struct Hider {
    arrays: bool,
}

impl Visitor for Hider {
    fn array(&mut self, mark: Mark, _: usize, _: Option<usize>) -> Action {
        if self.arrays && mark == layout::mark::NODES { Action::Hide } else { Action::Keep }
    }
    fn tag(&mut self, _: Mark, _: usize, tag: u32, _: usize, _: usize) -> Action {
        if tag == 0 { Action::Hide } else { Action::Keep }
    }
}

/// The walker, in pieces of any size: it agrees with a walk over the whole, keeps within the frame,
/// asks for no more than there will be, and changes nothing where its visitor changes nothing.
pub fn walk(data: &[u8]) {
    let mut feed = Feed::new(data);
    let cuts = feed.piece();
    let (api, _, _, layout, body) = message(&mut feed);
    let frame = [&[0; 8][..], &body].concat();
    let (mut at_once, mut seen) = (frame.clone(), Seen::default());
    let expected = walk::whole(layout, &mut at_once, 8, &mut seen);
    assert_eq!(at_once, frame);
    // What is shown overlaps nowhere but in peeks.
    assert!(seen.shown <= 3 * frame.len() + 64 * seen.calls);

    let mut pieces = Seen::default();
    assert_eq!(in_pieces(layout, frame.clone(), cuts, &mut pieces), expected.map(|()| frame.clone()));
    if expected.is_ok() {
        assert_eq!(pieces, seen);
    }
    // Hidden parts keep their length, and what is left is a message again.
    let mut hider = Hider { arrays: api == ApiKey::SHARE_FETCH };
    if let Ok(mut hidden) = in_pieces(layout, frame.clone(), cuts, &mut hider) {
        assert_eq!(hidden.len(), frame.len());
        assert_eq!(walk::whole(layout, &mut hidden, 8, &mut Nobody), Ok(()));
    }
}

/// The frame as it has become.
fn in_pieces(
    layout: Layout,
    mut frame: Vec<u8>,
    cuts: &[u8],
    visitor: &mut impl Visitor,
) -> Result<Vec<u8>, WalkError> {
    let end = frame.len();
    let mut walker = Walker::new(layout, 8, end);
    let (mut at, mut given) = (8, 8);
    for turn in 0.. {
        let progress = walker.step(&mut frame[at..given], visitor)?;
        assert!(progress.consumed <= given - at);
        at += progress.consumed;
        assert_eq!(walker.at(), at);
        let Some(need) = progress.need else {
            assert_eq!(at, end);
            return Ok(frame);
        };
        assert!(need > 0 && at + need <= end, "{need} more at {at} of {end}");
        assert!(at + need > given, "it had what it asks for");
        // Some bytes go past the walker, as records do.
        let passing = walker.passing().min(end - given);
        if passing > 0 && given == at && turn % 2 == 1 {
            walker.passed(passing);
            at += passing;
            given = at;
            continue;
        }
        let cut = cuts.get(turn % cuts.len().max(1)).copied().map_or(end, |c| 1 + usize::from(c) * usize::from(c) / 4);
        given = (at + need).max(given + cut.min(end)).min(end);
    }
    unreachable!()
}

const HOST: &str = "kmend.local";

/// Addresses in whole frames: afterwards there is none but ours, and nothing else is another.
pub fn splice(data: &[u8]) {
    let mut feed = Feed::new(data);
    let refuse = feed.byte() == 0xff;
    let (api, version, is_request, layout, body) = message(&mut feed);
    if is_request {
        return;
    }
    let frame = [&(body.len() as u32 + 4).to_be_bytes()[..], &[0, 0, 0, 7], &body].concat();
    let mut before = frame.clone();
    let advertise = |node: &NodeAt| {
        assert!(!node.host.is_empty());
        if refuse { Err(()) } else { Ok((HOST.to_owned(), 19_092)) }
    };
    let new = match splice::rewrite(api, version, layout, &mut before, 8, advertise) {
        Ok(new) => new,
        Err(RewriteError::Walk(_)) => return,
        Err(RewriteError::Advertise(())) => return assert!(refuse),
    };
    assert_eq!(before, frame);
    let mut new = new.unwrap_or(frame.clone());
    assert_eq!(new[..4], (new.len() as u32 - 4).to_be_bytes());
    assert_eq!(new[4..8], frame[4..8]);
    let nodes = |bytes: &mut [u8]| {
        let mut found = Addresses::new(api, version);
        walk::whole(layout, bytes, 8, &mut found).expect("it was read before");
        found.nodes
    };
    let (was, is) = (nodes(&mut before), nodes(&mut new));
    assert_eq!(was.len(), is.len());
    for (was, is) in was.iter().zip(&is) {
        assert_eq!(was.id, is.id);
        match was.host.as_str() {
            "" => assert_eq!((is.host.as_str(), is.port), ("", was.port)),
            _ => assert_eq!((is.host.as_str(), is.port), (HOST, 19_092)),
        }
    }
    // There and back: with the old addresses put in again it is as long as it was (numbers may be
    // written shorter).
    let mut again = new.clone();
    let same = splice::rewrite(api, version, layout, &mut again, 8, |n| Ok::<_, ()>((n.host.clone(), n.port as u16)));
    assert!(same.is_ok_and(|same| same.is_none_or(|same| same.len() <= new.len())));
}
