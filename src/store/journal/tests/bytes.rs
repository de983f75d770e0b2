//! The format: what was written once is read for ever, and damage stays where it is.

use std::path::Path;

use proptest::prelude::*;

use super::super::codec::{self, Scan};
use super::*;
use crate::store::StoreError;

/// A file of payload version 1. It never changes: later versions of kmend read it.
const VERSION_1: &[u8] = include_bytes!("version1.journal");

fn full() -> Promise {
    Promise {
        key: Key {
            cluster: "4L6g3nShT-eMCtK".into(),
            group: "bill\"ing\n".into(),
            topic: "ord\u{e9}rs".into(),
            partition: 3,
        },
        kind: Kind::Behind,
        topic_id: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255],
        member: "app-1-5f0c".into(),
        instance: Some("pod-0".into()),
        generation: 7,
        ready: true,
        consumer_protocol: true,
        client_id: "app-1".into(),
        offset: 62_129_856,
        leader_epoch: 4,
        metadata: Some("\u{1e}kmj\0 of the app".into()),
        baseline: Some(-1),
        time_ms: 1_795_226_400_000,
    }
}

fn file(writes: &[Vec<Record>]) -> Vec<u8> {
    let mut out = codec::beginning();
    for records in writes {
        codec::frame(records, &mut out).unwrap();
    }
    out
}

fn scan(bytes: &[u8]) -> Scan {
    codec::scan(bytes, Path::new("commits.log")).unwrap()
}

fn offsets(scan: &Scan) -> Vec<(i32, i64)> {
    let mut all: Vec<_> = scan.live.values().map(|l| (l.promise.key.partition, l.promise.offset)).collect();
    all.sort_unstable();
    all
}

#[test]
fn version_1_is_read() {
    let scan = scan(VERSION_1);
    assert_eq!((scan.records, scan.torn, scan.corrupt), (4, 0, (0, 0)));
    assert_eq!(scan.live.len(), 2);
    assert_eq!(scan.live[&full().key].promise, full());
    assert_eq!(scan.live[&key(0)].promise, promise(0, 5));
    // And still written like this: an older kmend can go on with it.
    let writes = [vec![promised(0, 5), promised(1, 6)], vec![Record::Promised(full())], vec![settled(1)]];
    assert_eq!(file(&writes), VERSION_1);
}

#[test]
fn fields_to_come_are_passed_over() {
    let json = br#"[{"promised":{"cluster":"c","group":"billing","topic":"orders","partition":0,"kind":"buffered",
        "member":"app-1","generation":3,"client_id":"app","offset":5,"leader_epoch":-1,"time_ms":5,"colour":["red"]}}]"#;
    let scan = scan(&[codec::beginning(), framed(1, json)].concat());
    assert_eq!(scan.live[&key(0)].promise, promise(0, 5));
}

fn framed(version: u8, json: &[u8]) -> Vec<u8> {
    let payload = [&[version], json].concat();
    let length = (payload.len() as u32).to_le_bytes();
    let crc = crc32c::crc32c(&[&length, &payload[..]].concat()).to_le_bytes();
    [b"\x1ekmj", &length[..], &crc, &payload].concat()
}

#[test]
fn a_newer_version_is_refused_not_skipped() {
    let bytes = [file(&[vec![promised(0, 5)]]), framed(2, b"?")].concat();
    let error = codec::scan(&bytes, Path::new("commits.log")).unwrap_err();
    assert!(matches!(error, StoreError::TooNew { found: 2, known: 1, .. }), "{error}");
    let mut bytes = file(&[]);
    bytes[7] = 9;
    assert!(matches!(codec::scan(&bytes, Path::new("")), Err(StoreError::TooNew { found: 9, .. })));
    bytes[6] = 1;
    assert!(matches!(codec::scan(&bytes, Path::new("")), Err(StoreError::Foreign { .. })));
}

#[test]
fn a_sound_frame_that_makes_no_sense_is_passed_over() {
    let bytes = [
        file(&[vec![promised(0, 5)]]),
        framed(1, b"{}"),
        framed(0, b"[]"),
        file(&[vec![promised(1, 6)]])[8..].to_vec(),
    ];
    let scan = scan(&bytes.concat());
    assert_eq!(offsets(&scan), [(0, 5), (1, 6)]);
    assert_eq!(scan.corrupt, (2, 12 + 3 + 12 + 3));
}

#[test]
fn any_damaged_byte_costs_one_frame() {
    let writes: Vec<Vec<Record>> = (0..3).map(|p| vec![promised(p, 5), promised(p + 10, 5)]).collect();
    let bytes = file(&writes);
    let ends: Vec<usize> = (0..=3).map(|n| file(&writes[..n]).len()).collect();
    for at in 8..bytes.len() {
        for change in [0xff, 0x01, 0x80] {
            let mut bytes = bytes.clone();
            bytes[at] ^= change;
            let scan = scan(&bytes);
            let hit = ends.iter().position(|end| at < *end).unwrap() - 1;
            let kept: Vec<_> =
                [0, 1, 2, 10, 11, 12].into_iter().filter(|p| p % 10 != hit as i32).map(|p| (p, 5)).collect();
            assert_eq!(offsets(&scan), kept, "{at}");
            let size = (ends[hit + 1] - ends[hit]) as u64;
            let is_last = hit == 2;
            assert_eq!(scan.corrupt, if is_last { (0, 0) } else { (1, size) }, "{at}");
            assert_eq!(scan.torn, if is_last { size } else { 0 }, "{at}");
        }
    }
}

#[test]
fn every_cut_leaves_whole_writes() {
    let writes = [vec![promised(0, 5), promised(1, 5)], vec![settled(0), promised(2, 5)]];
    let bytes = file(&writes);
    let ends = [8, file(&writes[..1]).len(), bytes.len()];
    for cut in 0..=bytes.len() {
        let scan = scan(&bytes[..cut]);
        let whole = ends.iter().rposition(|end| *end <= cut);
        let expected: &[(i32, i64)] = match whole {
            Some(1) => &[(0, 5), (1, 5)],
            Some(2) => &[(1, 5), (2, 5)],
            _ => &[],
        };
        assert_eq!(offsets(&scan), expected, "{cut}");
        assert_eq!(scan.sound as usize, whole.map_or(0, |i| ends[i]), "{cut}");
        assert_eq!((scan.sound + scan.torn) as usize, cut);
    }
}

/// A client that knows the format puts a frame into its commit's metadata.
#[test]
fn what_a_client_writes_is_never_a_frame() {
    let inner = String::from_utf8_lossy(&file(&[vec![promised(9, 999)]])[8..]).into_owned();
    let mut evil = promise(0, 5);
    evil.metadata = Some(inner.into());
    let bytes = file(&[vec![promised(1, 5)], vec![Record::Promised(evil)], vec![promised(2, 5)]]);
    let marks = bytes.windows(4).filter(|w| *w == b"\x1ekmj").count();
    assert_eq!(marks, 3);
    let mut damaged = bytes.clone();
    let start = file(&[vec![promised(1, 5)]]).len();
    damaged[start] = 0;
    assert_eq!(offsets(&scan(&damaged)), [(1, 5), (2, 5)]);
}

#[test]
fn what_is_too_large_leaves_nothing() {
    let mut huge = promise(0, 5);
    huge.metadata = Some("x".repeat(17 << 20).into());
    let mut out = vec![1];
    assert!(codec::frame(&[Record::Promised(huge)], &mut out).is_none());
    assert_eq!(out, [1]);
}

#[test]
fn sizes_are_those_of_a_file_with_one_record_a_frame() {
    let records = [promised(0, 5), settled(3), Record::Promised(full())];
    let mut out = Vec::new();
    let sizes = codec::frame(&records, &mut out).unwrap();
    for (record, size) in records.into_iter().zip(sizes) {
        assert_eq!(file(&[vec![record]]).len() as u64, 8 + size);
    }
}

fn text() -> impl Strategy<Value = std::sync::Arc<str>> {
    any::<String>().prop_map(Into::into)
}

prop_compose! {
    fn any_promise()(
        names in (text(), text(), text(), any::<i32>()),
        who in (text(), prop::option::of(text()), any::<i32>(), any::<bool>(), any::<bool>(), text()),
        what in (any::<i64>(), any::<i32>(), prop::option::of(text()), prop::option::of(any::<i64>())),
        rest in (any::<bool>(), any::<[u8; 16]>(), any::<u64>()),
    ) -> Promise {
        let (cluster, group, topic, partition) = names;
        let (member, instance, generation, ready, consumer_protocol, client_id) = who;
        let (offset, leader_epoch, metadata, baseline) = what;
        let (is_behind, topic_id, time_ms) = rest;
        Promise {
            key: Key { cluster, group, topic, partition },
            kind: if is_behind { Kind::Behind } else { Kind::Buffered },
            topic_id, member, instance, generation, ready, consumer_protocol, client_id,
            offset, leader_epoch, metadata, baseline, time_ms,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(promise in any_promise()) {
        let bytes = file(&[vec![Record::Promised(promise.clone())]]);
        let scan = scan(&bytes);
        prop_assert_eq!(&scan.live[&promise.key].promise, &promise);
        prop_assert_eq!(scan.live[&promise.key].size, bytes.len() as u64 - 8);
        prop_assert_eq!(scan.corrupt, (0, 0));
    }

    #[test]
    fn any_bytes_can_be_read(noise in prop::collection::vec(prop_oneof![Just(0x1e), Just(b'k'), Just(b'm'), Just(b'j'), any::<u8>()], 0..300)) {
        let bytes = [file(&[vec![promised(0, 5)]]), noise, file(&[vec![promised(1, 6)]])[8..].to_vec()].concat();
        prop_assert_eq!(offsets(&scan(&bytes)), [(0, 5), (1, 6)]);
    }
}
