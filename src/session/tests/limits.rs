//! Frames that must be held whole, and the memory that they may take.

use std::time::Duration;

use super::kit::*;
use super::script::{Scripted, WATCHED};
use crate::session::core::Wait;
use crate::session::end::End;
use crate::session::window::WINDOW;
use crate::wire::api::ApiKey;

fn world(memory: u64, whole: usize, script: &Scripted) -> World {
    let mut limits = limits(memory);
    limits.max_whole_frame = whole;
    World::with(script.mender(), Default::default(), limits, Told::default())
}

#[test]
fn a_request_over_max_whole_frame_passes_unseen() {
    in_all_cuts(|cuts| {
        let script = Scripted::default();
        let world = world(64 << 20, 20_000, &script);
        let mut rig = world.connect(cuts);
        let seen = request(WATCHED, 2, 1, &[0; 19_000]);
        let unseen = request(WATCHED, 2, 2, &[0; 21_000]);
        rig.client(&[seen.clone(), unseen.clone()].concat());
        assert_eq!(rig.at_broker(), [seen, unseen].concat());
        let answers = [response(WATCHED, 2, 1, &[0; 21_000]), response(WATCHED, 2, 2, &[0; 10])].concat();
        rig.broker(&answers);
        assert_eq!(rig.at_client(), answers);
        assert_eq!(script.0.lock().unwrap().calls, 2);
        assert_eq!(world.metric("kmend_unseen_frames_total", &[("api", "OffsetCommit")]), 2.0);
        assert_eq!(world.held(), 0);
    });
}

#[test]
fn an_answer_with_addresses_over_max_whole_frame_ends_with_a_named_error() {
    in_all_cuts(|cuts| {
        let script = Scripted::default();
        let world = world(64 << 20, 20_000, &script);
        let mut rig = world.connect(cuts);
        rig.client(&request(ApiKey::DESCRIBE_CLUSTER, 0, 1, &[0, 0]));
        rig.broker(&response(ApiKey::DESCRIBE_CLUSTER, 0, 1, &[0; 21_000]));
        assert!(matches!(rig.end, Some(End::OverWhole { api: "DescribeCluster", limit: 20_000, .. })), "{:?}", rig.end);
    });
}

#[test]
fn without_memory_it_waits_then_ends() {
    in_all_cuts(|cuts| {
        let script = Scripted::default();
        let world = world(30_000, 4 << 20, &script);
        let other = world.env.limits.load().memory.reserve(10_000).expect("free");
        let mut rig = world.connect(cuts);
        let frame = request(WATCHED, 2, 1, &[0; 25_000]);
        rig.client(&frame);
        assert_eq!(rig.waits[0], Wait::Memory);
        assert!(rig.core.deadline().is_some(), "it asks again by itself");
        rig.later(Duration::from_secs(9));
        assert!(rig.end.is_none());
        drop(other);
        rig.settle();
        assert_eq!(rig.at_broker(), frame);
        assert_eq!(world.held(), 0);

        let _other = world.env.limits.load().memory.reserve(10_000).expect("free");
        rig.client(&frame);
        rig.later(Duration::from_secs(5));
        assert!(rig.end.is_none(), "{:?}", rig.end);
        rig.later(Duration::from_secs(6));
        assert!(matches!(rig.end, Some(End::OverMemory(_))), "{:?}", rig.end);
    });
}

#[test]
fn what_was_reserved_is_given_back_with_the_connection() {
    let script = Scripted::default();
    let world = world(64 << 20, 4 << 20, &script);
    let mut rig = world.connect(Cuts::Whole);
    let frame = request(WATCHED, 2, 1, &[0; 1 << 20]);
    // It grows with what comes, not with what was declared.
    rig.client(&frame[..WINDOW]);
    assert_eq!(world.held(), 2 * WINDOW as u64);
    rig.client(&frame[WINDOW..600_000]);
    assert_eq!(world.held(), 1 << 20);
    drop(rig);
    assert_eq!(world.held(), 0);
}

/// Requests without a break must not keep a window large for ever.
#[test]
fn a_window_shrinks_again_under_a_stream_of_requests() {
    let script = Scripted::default();
    let world = world(64 << 20, 4 << 20, &script);
    let mut rig = world.connect(Cuts::Whole);
    rig.client(&request(WATCHED, 2, 1, &[0; 100_000]));
    rig.broker(&response(WATCHED, 2, 1, &[0; 4]));
    assert_eq!((world.held(), rig.end.is_none()), (0, true));
}

/// What is begun and not finished is counted, however little it is.
#[test]
fn half_a_head_holds_a_window() {
    let world = World::plain();
    let mut rig = world.connect(Cuts::Whole);
    let frame = request(ApiKey::LIST_GROUPS, 0, 1, &[]);
    rig.client(&frame[..6]);
    assert_eq!(world.held(), WINDOW as u64);
    rig.client(&frame[6..]);
    rig.broker(&response(ApiKey::LIST_GROUPS, 0, 1, &[0; 6])[..5]);
    assert_eq!(world.held(), WINDOW as u64);
    rig.broker(&response(ApiKey::LIST_GROUPS, 0, 1, &[0; 6])[5..]);
    assert_eq!(world.held(), 0);
}

/// What a commit said is remembered until its answer comes: that is counted.
#[test]
fn what_an_answer_is_read_against_is_counted() {
    let script = Scripted::default();
    let world = world(64 << 20, 4 << 20, &script);
    let mut rig = world.connect(Cuts::Whole);
    // Of a group g, generation 1, member m; partition 0 of topic t.
    let commit = b"\0\x01g\0\0\0\x01\0\x01m\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x05\0\0";
    let commit = request(WATCHED, 2, 1, commit);
    rig.client(&commit);
    assert_eq!(rig.at_broker(), commit);
    assert!(world.held() >= commit.len() as u64, "{}", world.held());
    rig.broker(&response(WATCHED, 2, 1, &[0; 4]));
    assert_eq!(world.held(), 0);
}
