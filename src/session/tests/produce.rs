//! Produce requests: told as they flow, or held whole and judged.

use std::time::Duration;

use super::kit::*;
use super::watch::Watch;
use crate::session::core::Wait;
use crate::session::end::End;
use crate::session::window::WINDOW;
use crate::wire::api::ApiKey;
use crate::wire::varint;

const ID: [u8; 16] = [7; 16];

/// A record batch of `size` bytes at least, of this producer.
pub fn batch(producer: i64, epoch: i16, sequence: i32, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; 61.max(size)];
    bytes[16] = 2;
    bytes[43..51].copy_from_slice(&producer.to_be_bytes());
    bytes[51..53].copy_from_slice(&epoch.to_be_bytes());
    bytes[53..57].copy_from_slice(&sequence.to_be_bytes());
    bytes
}

type Partition = (i32, Option<Vec<u8>>);

/// A Produce request for topic `orders`.
pub fn produce(version: i16, correlation: i32, acks: i16, partitions: &[Partition]) -> Vec<u8> {
    let compact = version >= 9;
    let mut b = Vec::new();
    let count = |b: &mut Vec<u8>, n: usize| match compact {
        true => varint::write(b, n as u32 + 1),
        false => b.extend((n as i32).to_be_bytes()),
    };
    match version {
        ..3 => {}
        3..9 => b.extend([0xff, 0xff]),
        _ => b.push(0),
    }
    b.extend(acks.to_be_bytes());
    b.extend(30_000i32.to_be_bytes());
    count(&mut b, 1);
    match version {
        13.. => b.extend(ID),
        9.. => b.extend(b"\x07orders"),
        _ => b.extend(b"\0\x06orders"),
    }
    count(&mut b, partitions.len());
    for (partition, records) in partitions {
        b.extend(partition.to_be_bytes());
        match records {
            Some(records) => {
                count(&mut b, records.len());
                b.extend(records);
            }
            None if compact => b.push(0),
            None => b.extend([0xff; 4]),
        }
        b.extend(compact.then_some(0));
    }
    b.extend(compact.then_some([0, 0]).into_iter().flatten());
    request(ApiKey::PRODUCE, version, correlation, &b)
}

fn heartbeat(correlation: i32) -> (Vec<u8>, Vec<u8>) {
    (request(ApiKey::HEARTBEAT, 0, correlation, b"beat"), response(ApiKey::HEARTBEAT, 0, correlation, &[0, 0]))
}

fn two() -> Vec<Partition> {
    vec![(3, Some(batch(77, 2, 500, 90))), (4, None), (5, Some(vec![9; 40])), (6, Some(batch(-1, -1, -1, 70)))]
}

const TOLD: [&str; 4] = ["orders-3 77 2 500", "orders-4", "orders-5", "orders-6 -1 -1 -1"];

#[test]
fn every_partition_that_goes_upstream_is_told_once() {
    in_all_cuts(|cuts| {
        for version in 0..=13 {
            for (gather, acks) in [(false, -1), (true, -1), (false, 0), (true, 0)] {
                let watch = Watch::new(|p| p.gather = gather);
                let world = World::new(watch.mender(), Default::default());
                world.env.shared.catalog.learn("orders", ID, &[1]);
                let mut rig = world.connect(cuts.clone());
                let frame = produce(version, 1, acks, &two());
                rig.client(&frame);
                assert_eq!(rig.at_broker(), frame, "{version} {:?}", rig.end);
                assert_eq!(rig.core.owes_client(), acks != 0);
                let mut heard = vec!["produce 1".to_owned()];
                if gather {
                    heard.push(format!("whole {}", TOLD.join(" ")));
                }
                heard.extend(TOLD.map(str::to_owned));
                assert_eq!(watch.heard(), heard, "{version}");
                assert!(!rig.core.is_mid_request());
            }
        }
    });
}

#[test]
fn a_request_may_arrive_in_any_two_pieces() {
    for version in [3, 9, 13] {
        let frame = produce(version, 1, 1, &two());
        for cut in 0..=frame.len() {
            for (gather, answer) in [(false, false), (true, false), (true, true)] {
                let watch = Watch::new(|p| (p.gather, p.answer) = (gather, answer));
                let mut rig = World::new(watch.mender(), Default::default()).connect(Cuts::Whole);
                rig.client(&frame[..cut]);
                if gather && cut < frame.len() {
                    assert_eq!(rig.at_broker(), b"", "nothing before the verdict");
                }
                rig.client(&frame[cut..]);
                let heard = watch.heard();
                assert_eq!(heard.iter().filter(|h| h.starts_with("produce")).count(), 1, "asked once");
                assert_eq!(heard.len(), 1 + usize::from(gather) + if answer { 0 } else { 4 });
                if answer {
                    assert_eq!(rig.at_client(), response(ApiKey::PRODUCE, version, 1, b"local"));
                    assert!(rig.at_broker().is_empty() && rig.core.is_idle());
                } else if gather {
                    assert_eq!(rig.at_broker(), frame);
                }
                let seqs: Vec<_> = watch.requests().iter().map(|r| (r.seq, r.size, r.acks)).collect();
                assert!(seqs.iter().all(|s| *s == (1, frame.len(), 1)), "{seqs:?}");
            }
        }
    }
}

#[test]
fn answers_given_here_keep_their_turn() {
    in_all_cuts(|cuts| {
        let watch = Watch::new(|p| (p.gather, p.answer) = (true, true));
        let mut rig = World::new(watch.mender(), Default::default()).connect(cuts);
        let (first, first_answer) = heartbeat(1);
        let (last, last_answer) = heartbeat(4);
        let refused = [produce(9, 2, 1, &two()), produce(9, 3, -1, &two())].concat();
        rig.client(&[first.clone(), refused, last.clone()].concat());
        assert_eq!(rig.at_broker(), [first, last].concat());
        assert_eq!(rig.at_client(), b"");
        rig.broker(&first_answer);
        let local = [2, 3].map(|n| response(ApiKey::PRODUCE, 9, n, b"local")).concat();
        assert_eq!(rig.at_client(), [first_answer, local].concat());
        rig.broker(&last_answer);
        assert_eq!(rig.at_client(), last_answer);

        // What is let pass after that is answered by the broker.
        watch.0.lock().unwrap().answer = false;
        let passes = produce(9, 5, 1, &two());
        rig.client(&passes);
        assert_eq!(rig.at_broker(), passes);
        let answer = response(ApiKey::PRODUCE, 9, 5, b"the broker's");
        rig.broker(&answer);
        assert_eq!(rig.at_client(), answer);
    });
}

#[test]
fn whoever_expects_no_answer_gets_none() {
    in_all_cuts(|cuts| {
        let watch = Watch::new(|p| (p.gather, p.answer) = (true, true));
        let mut rig = World::new(watch.mender(), Default::default()).connect(cuts);
        let (beat, answer) = heartbeat(2);
        let requests = [produce(9, 1, 0, &two()), beat].concat();
        rig.client(&requests);
        assert_eq!(rig.at_broker(), requests);
        rig.broker(&answer);
        assert_eq!(rig.at_client(), answer);
        assert!(watch.heard().contains(&TOLD[0].to_owned()));
    });
}

#[test]
fn one_that_is_too_large_to_hold_passes_and_is_counted() {
    in_all_cuts(|cuts| {
        let watch = Watch::new(|p| (p.gather, p.answer) = (true, true));
        let mut limits = limits(64 << 20);
        limits.max_whole_frame = 20_000;
        let world = World::with(watch.mender(), Default::default(), limits, Told::default());
        let mut rig = world.connect(cuts);
        let frame = produce(9, 1, 1, &[(0, Some(batch(7, 0, 9, 30_000)))]);
        rig.client(&frame);
        assert!(rig.at_broker() == frame);
        assert_eq!(watch.heard(), ["produce 1", "orders-0 7 0 9"]);
        assert_eq!(world.metric("kmend_unseen_frames_total", &[("api", "Produce")]), 1.0);
        assert!(rig.peak <= WINDOW, "{}", rig.peak);
    });
}

#[test]
fn it_waits_for_memory_and_gives_it_back() {
    in_all_cuts(|cuts| {
        let watch = Watch::new(|p| p.gather = true);
        let world = World::with(watch.mender(), Default::default(), limits(40_000), Told::default());
        let mut rig = world.connect(cuts);
        let taken = world.env.limits.load().memory.reserve(20_000);
        let frame = produce(9, 1, 1, &[(0, Some(batch(7, 0, 9, 30_000)))]);
        rig.client(&frame);
        assert_eq!((rig.at_broker(), rig.waits[0]), (vec![], Wait::Memory));
        drop(taken);
        rig.later(Duration::from_millis(50));
        assert!(rig.at_broker() == frame, "{:?}", rig.end);
        assert_eq!(watch.heard()[..2], ["produce 1", "whole orders-0 7 0 9"]);
        assert_eq!(world.held(), 0);

        let _taken = world.env.limits.load().memory.reserve(20_000);
        rig.client(&frame);
        rig.later(Duration::from_secs(11));
        assert!(matches!(rig.end, Some(End::OverMemory(_))), "{:?}", rig.end);
    });
}

#[test]
fn one_that_does_not_fit_its_layout_ends_the_connection() {
    in_all_cuts(|cuts| {
        for gather in [false, true] {
            let watch = Watch::new(|p| p.gather = gather);
            let mut rig = World::new(watch.mender(), Default::default()).connect(cuts.clone());
            let mut frame = produce(3, 1, 1, &[(0, Some(batch(1, 1, 1, 70)))]);
            let at = frame.len() - 74;
            frame[at..at + 4].copy_from_slice(&500i32.to_be_bytes());
            rig.client(&frame);
            assert!(matches!(rig.end, Some(End::BadBody { api: "Produce", .. })), "{:?}", rig.end);
        }
    });
}

#[test]
fn a_transactional_id_is_told() {
    let watch = Watch::default();
    let mut rig = World::new(watch.mender(), Default::default()).connect(Cuts::Bytes);
    rig.client(&request(ApiKey::PRODUCE, 3, 1, b"\0\x02tx\xff\xff\0\0\0\x01\0\0\0\0"));
    rig.client(&produce(3, 2, 1, &two()));
    assert_eq!(
        watch.requests().iter().map(|r| (r.transactional, r.acks)).collect::<Vec<_>>(),
        [(true, -1), (false, 1)]
    );
}

#[test]
fn being_alone_is_judged_again_when_all_of_it_is_there() {
    let watch = Watch::new(|p| p.gather = true);
    let mut rig = World::new(watch.mender(), Default::default()).connect(Cuts::Whole);
    let frame = produce(9, 1, 1, &two());
    let alone = |w: &Watch| w.requests().iter().map(|r| r.alone).collect::<Vec<_>>();
    rig.client(&frame);
    assert_eq!(alone(&watch), [true, true]);
    rig.client(&frame);
    assert_eq!(alone(&watch), [false, false], "one is in flight");
    rig.broker(&[1, 1].map(|n| response(ApiKey::PRODUCE, 9, n, b"x")).concat());
    rig.client(&frame[..60]);
    rig.client(&[&frame[60..], &[0]].concat());
    assert_eq!(alone(&watch), [true, false], "a byte has come behind it");
}
