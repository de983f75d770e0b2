//! Quiet times, wakes, and wishes to close.

use std::sync::Arc;
use std::time::Duration;

use super::kit::*;
use super::produce::produce;
use super::script::{Do, Scripted, WATCHED};
use super::watch::Watch;
use crate::mend::Mender;
use crate::mend::peers::Message;
use crate::wire::api::ApiKey;

const SECOND: Duration = Duration::from_secs(1);

fn answer(correlation: i32) -> Vec<u8> {
    response(ApiKey::PRODUCE, 9, correlation, b"done")
}

#[test]
fn a_request_is_told_how_long_the_quiet_was_that_it_ended() {
    in_all_cuts(|cuts| {
        let watch = Watch::default();
        let mut rig = World::new(watch.mender(), Default::default()).connect(cuts);
        let frame = |n| produce(9, n, 1, &[(0, None)]);
        let quiet = |w: &Watch| w.requests().iter().map(|r| r.quiet).collect::<Vec<_>>();
        rig.settle();
        rig.later(3 * SECOND);
        rig.client(&frame(1));
        assert_eq!(quiet(&watch), [Some(3 * SECOND)]);
        rig.later(SECOND);
        rig.client(&frame(2));
        assert_eq!(quiet(&watch), [None], "one is in flight");
        rig.later(SECOND);
        rig.broker(&[answer(1), answer(2)].concat());
        rig.later(2 * SECOND);
        // The first byte counts, not the rest.
        rig.client(&frame(3)[..1]);
        rig.later(SECOND);
        assert!(rig.core.quiet.is_none());
        rig.client(&[&frame(3)[1..], &frame(4)].concat());
        assert_eq!(quiet(&watch), [Some(2 * SECOND), None]);
    });
}

#[test]
fn what_has_no_answer_ends_a_quiet_time_too() {
    in_all_cuts(|cuts| {
        let watch = Watch::default();
        let mut rig = World::new(watch.mender(), Default::default()).connect(cuts);
        rig.settle();
        for _ in 0..2 {
            rig.later(SECOND);
            rig.client(&produce(9, 1, 0, &[(0, None)]));
        }
        let quiet: Vec<_> = watch.requests().iter().map(|r| r.quiet).collect();
        assert_eq!(quiet, [Some(SECOND), Some(SECOND)]);
        assert_eq!(rig.core.quiet, Some(rig.now));
    });
}

#[test]
fn a_request_of_kmends_own_is_no_quiet_time() {
    let script = Scripted::new(|p| p.on_request = Do::Inject);
    let mut rig = World::new(script.mender(), Default::default()).connect(Cuts::Whole);
    proven(&mut rig);
    assert!(rig.core.quiet.is_some());
    rig.client(&request(WATCHED, 2, 11, b"a commit"));
    rig.broker(&response(ApiKey::LIST_GROUPS, 0, i32::MIN, &[0; 6]));
    assert!(rig.core.quiet.is_none());
    rig.later(SECOND);
    rig.broker(&response(WATCHED, 2, 11, b"its answer"));
    assert_eq!(rig.core.quiet, Some(rig.now));
}

#[test]
fn each_mender_wakes_at_its_own_time() {
    let watches = [2, 3].map(|n| Watch::new(|p| p.wake_after = Some(n * SECOND)));
    let menders: Vec<Arc<dyn Mender>> = watches.iter().flat_map(Watch::mender).collect();
    let mut rig = World::new(menders, Default::default()).connect(Cuts::Whole);
    let ticks = || watches.each_ref().map(|w| w.heard().iter().filter(|h| *h == "tick").count());
    rig.client(&produce(9, 1, 1, &[]));
    rig.later(SECOND);
    // The earlier time stands.
    rig.client(&produce(9, 2, 1, &[]));
    assert_eq!(rig.core.deadline(), Some(rig.now + SECOND));
    rig.later(SECOND);
    assert_eq!(ticks(), [1, 0]);
    rig.later(SECOND);
    assert_eq!(ticks(), [0, 1]);
    assert_eq!(rig.core.deadline(), None);
}

#[test]
fn a_call_from_another_connection_is_heard() {
    let watch = Watch::default();
    let mut rig = World::new(watch.mender(), Default::default()).connect(Cuts::Whole);
    rig.core.on_message(Message::Wake);
    assert_eq!(watch.heard(), ["woken"]);
}

#[test]
fn a_wish_to_close_is_granted_at_rest_and_else_forgotten() {
    in_all_cuts(|cuts| {
        let watch = Watch::new(|p| p.close = true);
        let mut rig = World::new(watch.mender(), Default::default()).connect(cuts);
        rig.settle();
        let since = rig.core.quiet;
        assert!(since.is_some());
        rig.core.on_message(Message::Wake);
        assert!(rig.core.take_close());
        assert!(!rig.core.take_close(), "once");

        // A byte of a request has come.
        rig.client(&produce(9, 1, 1, &[])[..1]);
        rig.core.on_message(Message::Wake);
        assert!(!rig.core.take_close());
        // It is in flight, then answered in half, then answered.
        rig.client(&produce(9, 1, 1, &[])[1..]);
        rig.core.on_message(Message::Wake);
        assert!(!rig.core.take_close());
        rig.broker(&answer(1)[..9]);
        rig.core.on_message(Message::Wake);
        assert!(!rig.core.take_close());
        rig.broker(&answer(1)[9..]);
        assert!(!rig.core.take_close(), "what was refused is not kept");
        rig.core.on_message(Message::Wake);
        assert!(rig.core.take_close());
    });
}

#[test]
fn the_versions_that_the_client_uses_are_known() {
    let mut rig = World::plain().connect(Cuts::Whole);
    for (api, version) in [(ApiKey::PRODUCE, 8), (ApiKey::METADATA, 9), (ApiKey::PRODUCE, 3)] {
        assert_eq!(rig.core.conn().used(ApiKey::HEARTBEAT), None);
        rig.client(&if api == ApiKey::PRODUCE {
            produce(version, 1, 1, &[])
        } else {
            request(api, version, 2, &[0; 9])
        });
    }
    let used = |api| rig.core.conn().used(api);
    assert_eq!((used(ApiKey::PRODUCE), used(ApiKey::METADATA)), (Some(8), Some(9)));
}
