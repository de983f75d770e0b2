//! Holding, panicking, failing open.

use super::kit::*;
use super::script::{Do, PATIENCE, Scripted, WATCHED};
use crate::session::core::Wait;
use crate::wire::api::ApiKey;

fn fetch(correlation: i32) -> Vec<u8> {
    // Version 4: replica, wait, least, most bytes, isolation, no topics.
    let body = [&[0xff; 4][..], &[0; 12], &[0], &[0; 4]].concat();
    request(ApiKey::FETCH, 4, correlation, &body)
}

#[test]
fn a_panic_is_caught_and_the_connection_lives_on() {
    in_all_cuts(|cuts| {
        for side in 0..3 {
            let script = Scripted::new(|p| match side {
                0 => p.on_request = Do::Panic,
                1 => p.on_response = Do::Panic,
                _ => p.on_fetch = Do::Panic,
            });
            let world = World::new(script.mender(), Default::default());
            let mut rig = world.connect(cuts.clone());
            for n in 0..3 {
                let frames = [request(WATCHED, 2, n, b"a commit"), fetch(100 + n)].concat();
                rig.client(&frames);
                assert_eq!(rig.at_broker(), frames);
                let answers =
                    [response(WATCHED, 2, n, b"an answer"), response(ApiKey::FETCH, 4, 100 + n, &[0; 8])].concat();
                rig.broker(&answers);
                assert_eq!(rig.at_client(), answers);
            }
            assert!(rig.end.is_none());
            assert_eq!(world.metric("kmend_mender_panics_total", &[("mender", "scripted")]), 1.0);
            // Another connection has its own part of the mender.
            script.0.lock().unwrap().on_request = Do::Answer;
            let mut other = world.connect_to(cuts.clone(), 2, None);
            other.client(&request(WATCHED, 2, 1, b"a commit"));
            assert_eq!(other.at_client(), response(WATCHED, 2, 1, b"local"));
        }
    });
}

#[test]
fn a_held_request_goes_on_when_it_is_released() {
    in_all_cuts(|cuts| {
        for fetches in [false, true] {
            let script = Scripted::new(|p| (p.on_request, p.on_fetch) = (Do::Hold, Do::Hold));
            let world = World::new(script.mender(), Default::default());
            let mut rig = world.connect(cuts.clone());
            let frame = if fetches { fetch(1) } else { request(WATCHED, 2, 1, b"a commit") };
            let behind = request(ApiKey::HEARTBEAT, 0, 2, b"behind it");
            rig.client(&[frame.clone(), behind.clone()].concat());
            assert_eq!((rig.at_broker(), rig.waits[0]), (vec![], Wait::Held));
            script.0.lock().unwrap().free = true;
            rig.settle();
            assert_eq!(rig.at_broker(), [frame, behind].concat());
            assert_eq!(world.metric("kmend_holds_expired_total", &[]), 0.0);
        }
    });
}

#[test]
fn a_hold_that_expires_fails_open() {
    in_all_cuts(|cuts| {
        for fetches in [false, true] {
            let script = Scripted::new(|p| (p.on_request, p.on_fetch) = (Do::Hold, Do::Hold));
            let world = World::new(script.mender(), Default::default());
            let mut rig = world.connect(cuts.clone());
            let frame = if fetches { fetch(1) } else { request(WATCHED, 2, 1, b"a commit") };
            rig.client(&frame);
            assert_eq!(rig.core.deadline(), Some(rig.now + PATIENCE));
            rig.later(PATIENCE / 2);
            assert_eq!(rig.at_broker(), b"");
            rig.later(PATIENCE / 2);
            assert_eq!(rig.at_broker(), frame);
            assert_eq!(world.metric("kmend_holds_expired_total", &[]), 1.0);
            // It is not the end of holding.
            rig.client(&frame);
            assert_eq!(rig.at_broker(), b"");
        }
    });
}

#[test]
fn a_held_response_is_released_or_expires() {
    in_all_cuts(|cuts| {
        let script = Scripted::new(|p| p.on_response = Do::Hold);
        let world = World::new(script.mender(), Default::default());
        let mut rig = world.connect(cuts);
        let answer = response(WATCHED, 2, 1, b"an answer");
        rig.client(&request(WATCHED, 2, 1, b"a commit"));
        rig.broker(&answer);
        assert_eq!((rig.at_client(), rig.waits[1]), (vec![], Wait::Held));
        rig.later(PATIENCE);
        assert_eq!(rig.at_client(), answer);
        assert_eq!(world.metric("kmend_holds_expired_total", &[]), 1.0);
        assert_eq!(rig.core.deadline(), None, "nothing is left to wait for");

        rig.client(&request(WATCHED, 2, 1, b"a commit"));
        rig.broker(&answer);
        assert_eq!(rig.at_client(), b"");
        script.0.lock().unwrap().free = true;
        rig.settle();
        assert_eq!(rig.at_client(), answer);
    });
}

#[test]
fn an_answer_of_a_menders_takes_the_place_of_the_brokers() {
    in_all_cuts(|cuts| {
        let script = Scripted::new(|p| p.on_response = Do::Answer);
        let world = World::new(script.mender(), Default::default());
        let mut rig = world.connect(cuts);
        let other = |correlation, body| response(ApiKey::LIST_GROUPS, 0, correlation, body);
        rig.client(&request(ApiKey::LIST_GROUPS, 0, 1, &[]));
        rig.client(&request(WATCHED, 2, 2, b"a commit"));
        rig.client(&request(ApiKey::LIST_GROUPS, 0, 3, &[]));
        // Larger than a window, and what stands around it stays.
        rig.broker(&[other(1, b"first"), response(WATCHED, 2, 2, &[9; 40_000]), other(3, b"last")].concat());
        let expected = [other(1, b"first"), response(WATCHED, 2, 2, b"another answer"), other(3, b"last")].concat();
        assert!(rig.at_client() == expected && rig.core.is_idle());
    });
}
