//! Layouts and walker against kafka-protocol's own decoders: every message, every version, every cut.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey as Theirs, RequestKind, ResponseKind};
use kafka_protocol::protocol::Encodable;
use kmend::wire::api::ApiKey;
use kmend::wire::layout::{self, Layout};
use kmend::wire::varint;
use kmend::wire::walk::{Action, Mark, Nobody, Op, Visitor, WalkError, Walker, fields, whole};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Writes a random body that follows a layout.
fn write(ops: &[Op], out: &mut Vec<u8>, rng: &mut impl Rng, depth: usize) {
    for (op, inside) in fields(ops) {
        match op {
            Op::Fixed { len, .. } => out.extend((0..*len).map(|_| rng.random_range(0..2u8))),
            Op::Str { compact, .. } => {
                let text = "topic-".repeat(rng.random_range(0..3));
                length(out, text.len(), *compact, true);
                out.extend_from_slice(text.as_bytes());
            }
            Op::Blob { compact, .. } => {
                let n = rng.random_range(0..90);
                length(out, n, *compact, false);
                out.extend((0..n).map(|_| rng.random::<u8>()));
            }
            Op::Array { compact, .. } => {
                let n = if depth > 3 { 0 } else { rng.random_range(0..4) };
                length(out, n, *compact, false);
                for _ in 0..n {
                    write(inside, out, rng, depth + 1);
                }
            }
            Op::Nullable { .. } => {
                let there = rng.random();
                out.push(if there { 1 } else { 0xff });
                if there {
                    write(inside, out, rng, depth);
                }
            }
            Op::Tags { .. } => out.push(0),
            Op::End { .. } => {}
        }
    }
}

fn length(out: &mut Vec<u8>, n: usize, compact: bool, narrow: bool) {
    match (compact, narrow) {
        (true, _) => varint::write(out, n as u32 + 1),
        (false, true) => out.extend_from_slice(&(n as i16).to_be_bytes()),
        (false, false) => out.extend_from_slice(&(n as i32).to_be_bytes()),
    }
}

fn layout_of(api: ApiKey, version: i16, request: bool) -> Layout {
    if request { layout::request(api, version) } else { layout::response(api, version) }.unwrap()
}

/// Everything that a visitor can hear, as text.
#[derive(Default)]
struct Heard(Vec<String>);

impl Visitor for Heard {
    fn fixed(&mut self, mark: Mark, at: usize, bytes: &mut [u8]) {
        self.0.push(format!("fixed {} {at} {bytes:?}", mark.0));
    }
    fn string(&mut self, mark: Mark, at: usize, value: Option<&[u8]>) {
        self.0.push(format!("string {} {at} {value:?}", mark.0));
    }
    fn blob(&mut self, mark: Mark, at: usize, len: Option<usize>, length: &mut [u8], peek: &[u8]) {
        self.0.push(format!("blob {} {at} {len:?} {length:?} {peek:?}", mark.0));
    }
    fn array(&mut self, mark: Mark, at: usize, count: Option<usize>) -> Action {
        self.0.push(format!("array {} {at} {count:?}", mark.0));
        Action::Keep
    }
    fn element_end(&mut self, mark: Mark) {
        self.0.push(format!("end {}", mark.0));
    }
    fn tag(&mut self, mark: Mark, at: usize, tag: u32, content: usize, size: usize) -> Action {
        self.0.push(format!("tag {} {at} {tag} {content} {size}", mark.0));
        Action::Keep
    }
}

/// Walks in pieces: each step is given what has not been consumed, and `more` bytes beyond.
fn walk_in_pieces(layout: Layout, frame: &[u8], pieces: &[usize]) -> Result<Vec<String>, WalkError> {
    let mut walker = Walker::new(layout, 0, frame.len());
    let mut heard = Heard::default();
    let (mut from, mut to) = (0, 0);
    for piece in pieces.iter().chain(std::iter::once(&frame.len())) {
        to = (to + piece).min(frame.len());
        let mut bytes = frame[from..to].to_vec();
        let progress = walker.step(&mut bytes, &mut heard)?;
        from += progress.consumed;
        if progress.need.is_none() {
            assert_eq!(from, frame.len());
            return Ok(heard.0);
        }
    }
    Err(WalkError::Short(frame.len()))
}

/// Messages that kafka-protocol 0.18 reads, and in which of its versions: ListOffsets 11 has 10's
/// layout and ApiVersions responses 5 have 4's; for the rest of the newer ones it has none.
fn theirs(api: ApiKey, version: i16, request: bool) -> Option<(Theirs, i16)> {
    let key = Theirs::try_from(api.0).ok()?;
    let version = match (api, version, request) {
        (ApiKey::LIST_OFFSETS, 11, _) => 10,
        (ApiKey::API_VERSIONS, 5, false) => 4,
        (ApiKey::API_VERSIONS, 5, true) | (ApiKey::OFFSET_FETCH | ApiKey::OFFSET_COMMIT, 10, true) => return None,
        (ApiKey::SHARE_FETCH | ApiKey::SHARE_ACKNOWLEDGE, v, _) if v != 1 => return None,
        (ApiKey::PRODUCE, ..3, _) | (ApiKey::OFFSET_FOR_LEADER_EPOCH, ..2, _) => return None,
        (_, v, _) => v,
    };
    Some((key, version))
}

/// Their decoder takes the body to its end and writes the same bytes again.
fn they_agree(key: Theirs, version: i16, request: bool, body: &[u8]) {
    let mut bytes = Bytes::copy_from_slice(body);
    let mut again = bytes::BytesMut::new();
    if request {
        let message =
            RequestKind::decode(key, &mut bytes, version).unwrap_or_else(|e| panic!("{key:?} {version}: {e}"));
        message.encode(&mut again, version).unwrap();
    } else {
        let message =
            ResponseKind::decode(key, &mut bytes, version).unwrap_or_else(|e| panic!("{key:?} {version}: {e}"));
        message.encode(&mut again, version).unwrap();
    }
    assert!(bytes.is_empty(), "{key:?} {version} request={request}: {} bytes left", bytes.len());
    assert_eq!(again.as_ref(), body, "{key:?} {version} request={request}");
}

#[test]
fn every_layout_agrees_with_a_full_decode_and_with_itself_at_every_cut() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut compared = 0;
    for (api, version, request) in layout::all() {
        let layout = layout_of(api, version, request);
        for _ in 0..12 {
            let mut body = Vec::new();
            write(layout, &mut body, &mut rng, 0);
            if let Some((key, v)) = theirs(api, version, request) {
                they_agree(key, v, request, &body);
                compared += 1;
            }
            let at_once = walk_in_pieces(layout, &body, &[body.len()]).unwrap();
            for cut in 0..=body.len() {
                assert_eq!(
                    walk_in_pieces(layout, &body, &[cut]).as_ref(),
                    Ok(&at_once),
                    "{api:?} {version} cut at {cut}"
                );
            }
            assert_eq!(
                walk_in_pieces(layout, &body, &vec![1; body.len()]).as_ref(),
                Ok(&at_once),
                "{api:?} {version} byte by byte"
            );
            // A frame that ends early, or goes on, is refused.
            for short in 0..body.len() {
                let mut front = body[..short].to_vec();
                assert!(whole(layout, &mut front, 0, &mut Nobody).is_err(), "{api:?} {version} {short}");
            }
        }
    }
    assert!(compared > 1000, "{compared}");
}

#[test]
fn what_kafka_protocol_writes_is_read_field_by_field() {
    use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use kafka_protocol::messages::{FetchResponse, TopicName};
    use kafka_protocol::protocol::StrBytes;
    for version in 4..=18 {
        let partition = |i: i32| {
            let p = PartitionData::default()
                .with_partition_index(i)
                .with_error_code(i as i16)
                .with_high_watermark(100 + i64::from(i));
            let p = p.with_last_stable_offset(7).with_records(Some(Bytes::from(vec![9; 3000 * i as usize])));
            if version >= 5 { p.with_log_start_offset(5) } else { p }
        };
        let mut topic = FetchableTopicResponse::default().with_partitions((0..3).map(partition).collect());
        if version >= 13 {
            topic = topic.with_topic_id(uuid::Uuid::from_u128(77));
        } else {
            topic = topic.with_topic(TopicName(StrBytes::from_static_str("orders")));
        }
        let mut body = bytes::BytesMut::new();
        FetchResponse::default().with_responses(vec![topic]).encode(&mut body, version).unwrap();
        let heard = walk_in_pieces(layout::response(ApiKey::FETCH, version).unwrap(), &body, &[1; 10_000]).unwrap();
        let partitions: Vec<_> = heard.iter().filter(|h| h.starts_with("fixed 8 ")).collect();
        assert_eq!(partitions.len(), 3, "{version}");
        let records: Vec<_> =
            heard.iter().filter(|h| h.starts_with("blob 13 ")).map(|h| h.split(' ').nth(3).unwrap()).collect();
        assert_eq!(records, ["Some(0)", "Some(3000)", "Some(6000)"], "{version}");
    }
}

/// What is heard of one mark, as `(offset in the body, value)` of strings and fixed fields.
fn heard_of(api: ApiKey, version: i16, request: bool, mark: Mark, body: &[u8]) -> Vec<String> {
    let heard = walk_in_pieces(layout_of(api, version, request), body, &[1; 2000]).unwrap();
    let value = |h: &String| h.splitn(4, ' ').nth(3).unwrap().to_owned();
    let is_it = |h: &&String| ["fixed", "string"].iter().any(|kind| h.starts_with(&format!("{kind} {} ", mark.0)));
    heard.iter().filter(is_it).map(value).collect()
}

#[test]
fn a_commit_and_what_became_of_it_are_read_field_by_field() {
    use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    use kafka_protocol::messages::offset_fetch_response as answer;
    use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchResponse};
    use kafka_protocol::protocol::StrBytes;
    use layout::mark;
    let text = StrBytes::from_static_str;
    let encoded = |message: &dyn Fn(&mut bytes::BytesMut)| {
        let mut body = bytes::BytesMut::new();
        message(&mut body);
        body
    };
    let note = format!("Some({:?})", b"note");
    for version in 2..=9 {
        let partition = |note| OffsetCommitRequestPartition::default().with_committed_metadata(note);
        let partitions = vec![partition(Some(text("note"))), partition(None)];
        let topic = OffsetCommitRequestTopic::default().with_partitions(partitions);
        let mut message = OffsetCommitRequest::default().with_group_id(GroupId(text("g"))).with_topics(vec![topic]);
        message = message.with_generation_id_or_member_epoch(7).with_member_id(text("m"));
        if version >= 7 {
            message = message.with_group_instance_id(Some(text("i")));
        }
        let body = encoded(&|out| message.encode(out, version).unwrap());
        let of = |mark| heard_of(ApiKey::OFFSET_COMMIT, version, true, mark, &body);
        assert_eq!(of(mark::METADATA), [note.clone(), "None".into()], "{version}");
        assert_eq!(of(mark::GENERATION), ["[0, 0, 0, 7]"]);
        assert_eq!(of(mark::MEMBER), [format!("Some({:?})", b"m")]);
        let instance = of(mark::GROUP_INSTANCE);
        assert_eq!(instance, vec![format!("Some({:?})", b"i"); usize::from(version >= 7)]);
    }
    for version in 1..=10 {
        let mut message = OffsetFetchResponse::default();
        if version >= 8 {
            let partition = answer::OffsetFetchResponsePartitions::default().with_metadata(Some(text("note")));
            let partition = partition.with_error_code(3);
            let topic = answer::OffsetFetchResponseTopics::default().with_partitions(vec![partition]);
            let group = answer::OffsetFetchResponseGroup::default().with_topics(vec![topic]).with_error_code(25);
            message = message.with_groups(vec![group]);
        } else {
            let partition = answer::OffsetFetchResponsePartition::default().with_metadata(Some(text("note")));
            let partition = partition.with_error_code(3);
            let topic = answer::OffsetFetchResponseTopic::default().with_partitions(vec![partition]);
            message = message.with_topics(vec![topic]).with_error_code(if version >= 2 { 25 } else { 0 });
        }
        let body = encoded(&|out| message.encode(out, version).unwrap());
        let of = |mark| heard_of(ApiKey::OFFSET_FETCH, version, false, mark, &body);
        assert_eq!(of(mark::METADATA), std::slice::from_ref(&note), "{version}");
        assert_eq!(of(mark::ERROR), ["[0, 3]"]);
        assert_eq!(of(mark::GROUP_ERROR), vec!["[0, 25]"; usize::from(version >= 2)], "{version}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes from anywhere: the walk ends with a verdict, and what it accepts, a decoder can take
    /// without allocating beyond the frame (an array count is never above the bytes that are left).
    #[test]
    fn hostile_bytes_end_in_a_verdict(bytes in proptest::collection::vec(any::<u8>(), 0..400), pick in any::<proptest::sample::Index>()) {
        let all = layout::all();
        let (api, version, request) = all[pick.index(all.len())];
        let layout = layout_of(api, version, request);
        let at_once = walk_in_pieces(layout, &bytes, &[bytes.len()]);
        let in_bits = walk_in_pieces(layout, &bytes, &vec![1; bytes.len()]);
        prop_assert_eq!(at_once.is_ok(), in_bits.is_ok());
        if let (Ok(_), Some((key, v))) = (at_once, theirs(api, version, request)) {
            let mut bytes = Bytes::from(bytes);
            let _ = if request { RequestKind::decode(key, &mut bytes, v).map(drop) } else { ResponseKind::decode(key, &mut bytes, v).map(drop) };
        }
    }
}

/// The frames that make kafka-protocol abort the process are refused before it sees them.
#[test]
fn counts_that_lie_are_refused() {
    for (api, version, request) in layout::all() {
        let layout = layout_of(api, version, request);
        let compact = api.is_flexible(version);
        // Everything zero up to the first array, then the largest count.
        let mut body = Vec::new();
        for op in layout {
            match op {
                Op::Array { .. } => break,
                Op::Nullable { .. } => {
                    body.push(1);
                    break;
                }
                Op::Fixed { len, .. } => body.resize(body.len() + len, 0),
                Op::Str { .. } => body.extend_from_slice(if compact { &[1] } else { &[0, 0] }),
                Op::Blob { .. } => body.extend_from_slice(if compact { &[1] } else { &[0; 4] }),
                Op::Tags { .. } => body.push(0),
                Op::End { .. } => {}
            }
        }
        if !layout.iter().any(|op| matches!(op, Op::Array { .. } | Op::Nullable { .. })) {
            continue;
        }
        body.extend_from_slice(if compact { &[0xff, 0xff, 0xff, 0xff, 0x07] } else { &[0x7f, 0xff, 0xff, 0xff] });
        body.resize(body.len() + 64, 0);
        assert!(matches!(whole(layout, &mut body, 0, &mut Nobody), Err(WalkError::Length(_))), "{api:?} {version}");
    }
}
