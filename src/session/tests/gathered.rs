//! Fetch requests that a mender wants whole.

use super::kit::*;
use super::watch::Watch;
use crate::mend::FetchTable;
use crate::wire::api::ApiKey;

/// Version 11: partition 2 of `orders` at offset 9, and partition 1 of `old` forgotten.
fn fetch(correlation: i32, replica: i32) -> Vec<u8> {
    let mut body = replica.to_be_bytes().to_vec();
    body.extend([0; 21]);
    body.extend(b"\0\0\0\x01\0\x06orders\0\0\0\x01\0\0\0\x02\0\0\0\0");
    body.extend(9i64.to_be_bytes());
    body.extend([0; 12]);
    body.extend(b"\0\0\0\x01\0\x03old\0\0\0\x01\0\0\0\x01\0\0");
    request(ApiKey::FETCH, 11, correlation, &body)
}

fn positions(table: &FetchTable) -> Vec<(i32, i64)> {
    table.positions().iter().map(|p| (p.partition, p.offset)).collect()
}

#[test]
fn one_that_passes_is_noted_once() {
    in_all_cuts(|cuts| {
        let watch = Watch::new(|p| p.gather = true);
        let mut rig = World::new(watch.mender(), Default::default()).connect(cuts);
        let frame = fetch(1, -1);
        rig.client(&frame);
        assert_eq!(rig.at_broker(), frame, "{:?}", rig.end);
        assert_eq!(watch.heard(), ["fetch 1", "whole orders-2@9", "wants orders-2"]);
        assert_eq!(positions(&rig.core.fetch), [(2, 9)]);
        let answer = response(ApiKey::FETCH, 11, 1, &[0; 14]);
        rig.broker(&answer);
        assert_eq!(rig.at_client(), answer);
    });
}

#[test]
fn one_that_is_answered_leaves_no_trace() {
    in_all_cuts(|cuts| {
        let watch = Watch::new(|p| (p.gather, p.answer) = (true, true));
        let mut rig = World::new(watch.mender(), Default::default()).connect(cuts);
        rig.client(&[fetch(1, -1), fetch(2, -1)].concat());
        assert_eq!(rig.at_client(), [1, 2].map(|n| response(ApiKey::FETCH, 11, n, b"local")).concat());
        assert!(rig.at_broker().is_empty() && positions(&rig.core.fetch).is_empty());
        assert_eq!(watch.heard(), ["fetch 1", "whole orders-2@9", "fetch 2", "whole orders-2@9"]);
        assert!(rig.core.is_idle());
    });
}

/// A broker that follows (rule M4).
#[test]
fn one_of_a_replica_is_not_judged() {
    let watch = Watch::new(|p| (p.gather, p.answer) = (true, true));
    let mut rig = World::new(watch.mender(), Default::default()).connect(Cuts::Bytes);
    let frame = fetch(1, 2);
    rig.client(&frame);
    assert_eq!(rig.at_broker(), frame);
    assert_eq!(watch.heard(), ["fetch 1"]);
}
