//! `codec`: every reader of whole messages, and every writer over what was read.

use std::sync::Arc;

use super::feed::Feed;
use super::shape;
use crate::wire::api::ApiKey;
use crate::wire::codec::entry::{self, AskedOffset, CommittedOffset, FetchPartition, FetchedPartition, ListedOffset};
use crate::wire::codec::{ask, assignment, commit, committed, coordinator, local, member, refuse, subscription};
use crate::wire::frame::PREFIX;
use crate::wire::layout;
use crate::wire::walk::{self, Nobody};

const BODY: usize = 8;

pub fn codec(data: &[u8]) {
    let mut feed = Feed::new(data);
    let (which, version) = (feed.byte(), i16::from(feed.byte() % 20) - 1);
    let shaped = feed.byte() & 1 == 1;
    let api = [
        ApiKey::JOIN_GROUP,
        ApiKey::SYNC_GROUP,
        ApiKey::HEARTBEAT,
        ApiKey::LEAVE_GROUP,
        ApiKey::CONSUMER_GROUP_HEARTBEAT,
        ApiKey::OFFSET_COMMIT,
        ApiKey::OFFSET_FETCH,
        ApiKey::LIST_OFFSETS,
        ApiKey::METADATA,
        ApiKey::FIND_COORDINATOR,
    ][usize::from(which / 4) % 10];
    let is_request = which & 1 == 0;
    let layout = if is_request { layout::request(api, version) } else { layout::response(api, version) };
    let body = match layout.filter(|_| shaped) {
        Some(layout) => shape::body(layout, &mut feed),
        None => feed.rest().to_vec(),
    };
    let mut frame = [&[0; BODY][..], &body].concat();
    let fits = layout.is_some_and(|l| walk::whole(l, &mut frame.clone(), BODY, &mut Nobody).is_ok());
    if is_request {
        requests(api, version, &mut frame, fits)
    } else {
        responses(api, version, &mut frame, fits)
    }
    told(&body);
    entries(version, &body);
}

fn requests(api: ApiKey, version: i16, frame: &mut [u8], fits: bool) {
    let before = frame.to_vec();
    match api {
        ApiKey::OFFSET_COMMIT => {
            let read = commit::read(version, frame, BODY);
            assert!(fits || read.is_none());
            if let Some(read) = read {
                commit_again(version, &read);
            }
        }
        ApiKey::OFFSET_FETCH => assert_eq!(committed::groups(version, frame, BODY).is_some(), fits),
        _ => {
            let who = member::read(api, version, frame, BODY);
            assert_eq!(who.is_some(), fits);
            let shortest = frame.len() - BODY;
            assert!(who.is_none_or(|who| who.members().count() <= shortest));
        }
    }
    assert_eq!(frame, before);
}

/// What was read is written, read again, and the same; so is the answer to it.
fn commit_again(version: i16, read: &commit::Commit) {
    let mut written = [&[0; BODY][..], &commit::write(version, read)].concat();
    assert_eq!(commit::read(version, &mut written, BODY).as_ref(), Some(read));
    let mut answer = commit::accepted(version, 7, read);
    assert_eq!(answer[..PREFIX], (answer.len() as u32 - 4).to_be_bytes());
    let body = crate::wire::head::response_body(&answer, answer.len(), ApiKey::OFFSET_COMMIT, version).expect("a head");
    let said = commit::outcomes(version, &mut answer, body).expect("an answer as brokers write it");
    assert_eq!(said.len(), read.topics.iter().map(|t| t.partitions.len()).sum::<usize>());
    assert!(said.iter().all(|o| o.error == 0));
}

fn responses(api: ApiKey, version: i16, frame: &mut [u8], fits: bool) {
    let before = frame.to_vec();
    match api {
        ApiKey::OFFSET_COMMIT => {
            assert_eq!(commit::outcomes(version, frame, BODY).is_some(), fits);
            commit::each(version, frame, BODY, |_, _, _, _| 27);
            let said = commit::outcomes(version, frame, BODY).unwrap_or_default();
            assert!(said.iter().all(|o| !fits || o.error == 27));
            return assert_eq!(frame.len(), before.len());
        }
        ApiKey::OFFSET_FETCH => {
            let answer = committed::read(version, frame, BODY);
            assert_eq!(answer.is_some(), fits);
            let Some(answer) = answer else { return };
            let to: Vec<Option<i64>> = answer.partitions.iter().map(|p| (p.index % 2 == 0).then_some(42)).collect();
            committed::moved(version, frame, BODY, &to);
            let moved = committed::read(version, frame, BODY).expect("only offsets have changed");
            for (was, is) in answer.partitions.iter().zip(&moved.partitions) {
                assert_eq!(is.offset, if was.index % 2 == 0 { 42 } else { was.offset });
            }
            return;
        }
        ApiKey::LIST_OFFSETS => assert!(fits || ask::listed_offsets(version, frame, BODY).is_err()),
        ApiKey::METADATA => {
            assert!(fits || ask::topic_name(version, frame, BODY).is_err());
            assert!(fits || ask::described(version, frame, BODY).is_err());
        }
        ApiKey::FIND_COORDINATOR => assert!(fits || coordinator::found(version, frame, BODY).is_err()),
        _ => {
            let changed = member::error(api, version, frame, BODY, |error| error);
            assert_eq!(changed.is_some(), fits);
        }
    }
    if fits {
        // kafka-protocol behind its guard: whatever it says, it says so.
        _ = ask::listed_offsets(version, frame, BODY).map(|all| assert!(all.len() <= frame.len()));
        _ = ask::described(version, frame, BODY).map(|all| assert!(all.len() <= frame.len()));
        _ = ask::topic_name(version, frame, BODY);
        _ = coordinator::found(version, frame, BODY).map(|c| c.needs_login());
    }
    assert_eq!(frame, before);
}

/// What members and assignors tell each other.
fn told(bytes: &[u8]) {
    let weigh = |all: &[(&str, Vec<i32>)]| all.iter().map(|(t, p)| t.len() + 6 + 4 * p.len()).sum::<usize>();
    assert!(subscription::topics(bytes).iter().map(|t| t.len() + 2).sum::<usize>() <= bytes.len());
    if let Some(owned) = subscription::owned(bytes, 100) {
        assert!(weigh(&owned) <= bytes.len() && owned.iter().map(|(_, p)| 1 + p.len()).sum::<usize>() <= 100);
    }
    if let Some(all) = assignment::partitions(bytes) {
        assert!(weigh(&all) <= bytes.len());
    }
}

/// Entries of any length: what does not fit reads as nothing, and is not written.
fn entries(version: i16, bytes: &[u8]) {
    let mut bytes = bytes[..bytes.len().min(64)].to_vec();
    let len = bytes.len();
    let mut fetch = FetchPartition::new(&mut bytes, version);
    let index = fetch.index();
    fetch.set_offset(77);
    assert_eq!(fetch.index(), index);
    assert!(len < 64 || fetch.offset() == 77);
    let mut fetched = FetchedPartition::new(&mut bytes);
    _ = (fetched.index(), fetched.error(), fetched.high_watermark(), fetched.last_stable_offset(), fetched.log_start());
    fetched.clear_error(1, 2, 3);
    assert!(len < 6 || fetched.error() == 0);
    let mut asked = AskedOffset::new(&mut bytes);
    _ = (asked.index(), asked.timestamp());
    asked.set_timestamp(-2);
    let mut committed = CommittedOffset::new(&mut bytes);
    _ = (committed.index(), committed.offset());
    committed.set_offset(5);
    _ = ListedOffset::read(&bytes);
    _ = (entry::committed(&bytes), entry::metadata_partition(&bytes), entry::fetch_session(&bytes));
    _ = (entry::fetch_top(&bytes), entry::api_range(&bytes));
    entry::set_api_max(&mut bytes, 3);
    assert_eq!(bytes.len(), len);
    written(version, &bytes);
}

/// Requests and answers of kmend's own, about names that a client chose.
fn written(version: i16, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let number = entry::int32(bytes);
    _ = ask::list_offsets(version, &text, &[number, 0], ask::EARLIEST, 1);
    _ = ask::metadata(version, &[&text]).map(|body| assert!(body.len() > text.len()));
    _ = coordinator::find(version, &text);
    let name: Arc<str> = text.as_ref().into();
    // Version 10 would want topic ids; kmend never asks in it.
    if (1..=9).contains(&version) {
        let mut asked = [&[0; BODY][..], &committed::write(version, &text, &[(name, vec![number])])].concat();
        assert_eq!(committed::groups(version, &mut asked, BODY).map(|g| g.len()), Some(1));
    }
    let refused = [refuse::Refused { name: &text, id: [7; 16], partition: number }];
    let answer = refuse::produce_refused(version, 7, &refused, 3);
    read_as(ApiKey::PRODUCE, version, answer);
    let empty = refuse::FetchEmpty {
        name: &text,
        id: [7; 16],
        partition: number,
        error: 1,
        high_watermark: 5,
        last_stable: 5,
        log_start: 0,
    };
    read_as(ApiKey::FETCH, version, refuse::fetch_empty(version, 7, number, &[empty, empty]));
    if version >= 7 && layout::response(ApiKey::FETCH, version).is_some() {
        read_as(ApiKey::FETCH, version, Some(local::fetch_error(version, 7, 1)));
    }
}

fn read_as(api: ApiKey, version: i16, answer: Option<Vec<u8>>) {
    let Some(mut answer) = answer else { return };
    assert_eq!(answer[..PREFIX], (answer.len() as u32 - 4).to_be_bytes());
    let body = crate::wire::head::response_body(&answer, answer.len(), api, version).expect("a head");
    let layout = layout::response(api, version).expect("it was written after one");
    assert_eq!(walk::whole(layout, &mut answer, body, &mut Nobody), Ok(()), "{api:?} {version}");
}
