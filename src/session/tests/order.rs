//! The queue: answers in the order of the requests, whoever gives them.

use super::kit::*;
use super::script::{Do, PATIENCE, Scripted, WATCHED};
use crate::session::core::Wait;
use crate::session::end::End;
use crate::wire::api::ApiKey;

fn heartbeat(correlation: i32) -> (Vec<u8>, Vec<u8>) {
    (
        request(ApiKey::HEARTBEAT, 4, correlation, b"some heartbeat"),
        response(ApiKey::HEARTBEAT, 4, correlation, &[0, 0, 0, 0, 0, 0, 0]),
    )
}

fn produce(acks: i16, correlation: i32) -> Vec<u8> {
    let body = [&[0xff, 0xff][..], &acks.to_be_bytes(), &[0, 0, 0x75, 0x30, 0, 0, 0, 0]].concat();
    request(ApiKey::PRODUCE, 3, correlation, &body)
}

#[test]
fn pipelining_keeps_order() {
    in_all_cuts(|cuts| {
        let mut rig = World::plain().connect(cuts);
        let all: Vec<_> = (0..50).map(heartbeat).collect();
        let requests: Vec<u8> = all.iter().flat_map(|(r, _)| r.clone()).collect();
        let answers: Vec<u8> = all.iter().flat_map(|(_, a)| a.clone()).collect();
        rig.client(&requests);
        assert_eq!(rig.at_broker(), requests);
        rig.broker(&answers);
        assert_eq!(rig.at_client(), answers);
        assert!(rig.end.is_none() && rig.core.is_idle());
    });
}

#[test]
fn a_local_answer_waits_for_its_turn() {
    in_all_cuts(|cuts| {
        let script = Scripted::new(|p| p.on_request = Do::Answer);
        let mut rig = World::new(script.mender(), Default::default()).connect(cuts);
        let (first, first_answer) = heartbeat(1);
        let (third, third_answer) = heartbeat(3);
        let second = request(WATCHED, 2, 2, b"a commit");
        rig.client(&[first.clone(), second, third.clone()].concat());
        assert_eq!(rig.at_broker(), [first, third].concat());
        assert_eq!(rig.at_client(), b"");
        rig.broker(&first_answer);
        let local = response(WATCHED, 2, 2, b"local");
        assert_eq!(rig.at_client(), [first_answer, local].concat());
        rig.broker(&third_answer);
        assert_eq!(rig.at_client(), third_answer);
    });
}

#[test]
fn a_local_answer_with_nothing_before_it_comes_at_once() {
    in_all_cuts(|cuts| {
        let script = Scripted::new(|p| p.on_request = Do::Answer);
        let mut rig = World::new(script.mender(), Default::default()).connect(cuts);
        rig.client(&request(WATCHED, 2, 7, b"a commit"));
        assert_eq!(rig.at_client(), response(WATCHED, 2, 7, b"local"));
        assert!(rig.core.is_idle());
    });
}

#[test]
fn produce_without_acks_has_no_answer() {
    in_all_cuts(|cuts| {
        let mut rig = World::plain().connect(cuts);
        let (beat, answer) = heartbeat(5);
        let silent = produce(0, 4);
        let requests = [silent.clone(), silent, beat].concat();
        rig.client(&requests);
        assert_eq!(rig.at_broker(), requests);
        rig.broker(&answer);
        assert_eq!(rig.at_client(), answer);
        assert!(rig.end.is_none() && rig.core.is_idle());
    });
}

#[test]
fn acks_that_arrive_in_a_later_fragment_count() {
    for acks in [0, 1, -1] {
        let frame = produce(acks, 4);
        for cut in 0..frame.len() {
            let mut rig = World::plain().connect(Cuts::Whole);
            rig.client(&frame[..cut]);
            rig.client(&frame[cut..]);
            assert_eq!(rig.at_broker(), frame);
            assert_eq!(rig.core.owes_client(), acks != 0, "{acks} cut at {cut}");
            assert!(!rig.core.is_mid_request());
        }
    }
}

/// Brokers before Kafka 4 speak them, and clients that never ask for versions use them.
#[test]
fn produce_requests_of_the_oldest_versions_pass() {
    in_all_cuts(|cuts| {
        for version in 0..3 {
            for acks in [0i16, 1] {
                let mut rig = World::plain().connect(cuts.clone());
                let body = [&acks.to_be_bytes()[..], &[0, 0, 0, 9, 0, 0, 0, 0]].concat();
                let frame = request(ApiKey::PRODUCE, version, 1, &body);
                rig.client(&frame);
                assert_eq!(rig.at_broker(), frame, "{version} {:?}", rig.end);
                assert_eq!(rig.core.owes_client(), acks != 0);
            }
        }
    });
}

#[test]
fn injected_answers_reach_their_mender_and_nobody_else() {
    in_all_cuts(|cuts| {
        let script = Scripted::new(|p| p.on_request = Do::Inject);
        let mut rig = World::new(script.mender(), Default::default()).connect(cuts);
        proven(&mut rig);
        let commit = request(WATCHED, 2, 11, b"a commit");
        rig.client(&commit);
        let sent = frames(&rig.at_broker());
        // What the mender wants to know goes first.
        assert_eq!((sent.len(), &sent[1]), (2, &commit));
        let ours = i32::from_be_bytes(sent[0][8..12].try_into().unwrap());
        assert!(ours < -1, "{ours}");
        let answer = response(WATCHED, 2, 11, b"its answer");
        rig.broker(&[response(ApiKey::LIST_GROUPS, 0, ours, &[0; 6]), answer.clone()].concat());
        assert_eq!(rig.at_client(), answer);
        assert_eq!(script.heard(), ["answer 1"]);
    });
}

#[test]
fn an_answer_that_comes_too_late_is_swallowed() {
    in_all_cuts(|cuts| {
        let script = Scripted::new(|p| p.on_request = Do::Inject);
        let mut rig = World::new(script.mender(), Default::default()).connect(cuts);
        proven(&mut rig);
        rig.client(&request(WATCHED, 2, 11, b"a commit"));
        rig.later(PATIENCE * 2);
        assert_eq!(script.heard(), ["lost 1"]);
        let answer = response(WATCHED, 2, 11, b"its answer");
        let late = response(ApiKey::LIST_GROUPS, 0, i32::MIN, &[0; 6]);
        rig.broker(&[late, answer.clone()].concat());
        assert_eq!(rig.at_client(), answer);
        assert_eq!(script.heard(), ["lost 1"]);
    });
}

/// An answer to kmend itself is never worth the client's connection.
#[test]
fn an_injected_answer_that_cannot_be_held_is_swallowed() {
    in_all_cuts(|cuts| {
        let script = Scripted::new(|p| p.on_request = Do::Inject);
        let mut limits = limits(64 << 20);
        limits.max_whole_frame = 20_000;
        let world = World::with(script.mender(), Default::default(), limits, Told::default());
        let mut rig = world.connect(cuts);
        proven(&mut rig);
        rig.client(&request(WATCHED, 2, 11, b"a commit"));
        let huge = response(ApiKey::LIST_GROUPS, 0, i32::MIN, &[0; 30_000]);
        let answer = response(WATCHED, 2, 11, b"its answer");
        rig.broker(&[huge, answer.clone()].concat());
        assert!(rig.end.is_none(), "{:?}", rig.end);
        assert_eq!(rig.at_client(), answer);
        assert_eq!(script.heard(), ["lost 1"]);
        assert_eq!(world.held(), 0);
    });
}

#[test]
fn an_injected_request_goes_out_while_its_mender_holds() {
    in_all_cuts(|cuts| {
        let script = Scripted::new(|p| p.on_request = Do::InjectAndHold);
        let mut rig = World::new(script.mender(), Default::default()).connect(cuts);
        proven(&mut rig);
        let commit = request(WATCHED, 2, 11, b"a commit");
        rig.client(&commit);
        assert_eq!(frames(&rig.at_broker()).len(), 1, "only kmend's own");
        assert_eq!(rig.waits[0], Wait::Held);
        rig.broker(&response(ApiKey::LIST_GROUPS, 0, i32::MIN, &[0; 6]));
        assert_eq!(rig.at_broker(), commit);
    });
}

/// What kmend asked and a broker drops is not to cost the client its connection.
#[test]
fn an_injected_request_that_is_never_answered_is_lost() {
    in_all_cuts(|cuts| {
        let script = Scripted::new(|p| p.on_request = Do::Inject);
        let mut rig = World::new(script.mender(), Default::default()).connect(cuts);
        proven(&mut rig);
        let commits = [11, 12].map(|n| request(WATCHED, 2, n, b"a commit"));
        rig.client(&commits.concat());
        assert_eq!(frames(&rig.at_broker()).len(), 4);
        // The first of kmend's own is left out, then the second.
        let answers = [11, 12].map(|n| response(WATCHED, 2, n, b"its answer"));
        rig.broker(&answers[0]);
        assert_eq!((rig.at_client(), script.heard()), (answers[0].clone(), vec!["lost 1".to_owned()]));
        rig.broker(&answers[1]);
        assert_eq!((rig.at_client(), script.heard().len()), (answers[1].clone(), 2));
        assert!(rig.end.is_none() && rig.core.is_idle());
    });
}

#[test]
fn an_answer_here_waits_behind_an_injected_request_that_is_lost() {
    let script = Scripted::new(|p| p.on_request = Do::Inject);
    let mut rig = World::new(script.mender(), Default::default()).connect(Cuts::Bytes);
    proven(&mut rig);
    let commits = [11, 12, 13].map(|n| request(WATCHED, 2, n, b"a commit"));
    rig.client(&commits[0]);
    rig.broker(&response(ApiKey::LIST_GROUPS, 0, i32::MIN, &[0; 6]));
    let answers = [11, 13].map(|n| response(WATCHED, 2, n, b"its answer"));
    rig.broker(&answers[0]);
    assert_eq!(rig.at_client(), answers[0]);
    // Injected and forwarded, answered here, injected and forwarded.
    rig.client(&commits[0]);
    script.0.lock().unwrap().on_request = Do::Answer;
    rig.client(&commits[1]);
    script.0.lock().unwrap().on_request = Do::Inject;
    rig.client(&commits[2]);
    let late = response(ApiKey::LIST_GROUPS, 0, i32::MIN + 1, &[0; 6]);
    rig.broker(&[late, answers[0].clone(), answers[1].clone()].concat());
    let local = response(WATCHED, 2, 12, b"local");
    assert_eq!(rig.at_client(), [answers[0].clone(), local, answers[1].clone()].concat(), "{:?}", rig.end);
    assert_eq!(script.heard(), ["answer 1", "answer 2", "lost 3"]);
}

#[test]
fn an_answer_to_nothing_that_was_asked_still_ends_the_connection() {
    let script = Scripted::new(|p| p.on_request = Do::Inject);
    let mut rig = World::new(script.mender(), Default::default()).connect(Cuts::Whole);
    proven(&mut rig);
    rig.client(&request(WATCHED, 2, 11, b"a commit"));
    rig.broker(&response(WATCHED, 2, 12, b"whose?"));
    assert!(matches!(rig.end, Some(End::Unexpected { got: 12, .. })), "{:?}", rig.end);
    assert!(script.heard().is_empty());
}
