//! The client has gone, the broker's side stays (rules C8, C9).

use std::time::Duration;

use super::kit::*;
use super::produce::produce;
use super::stay::*;
use crate::session::core::Wait;
use crate::wire::api::ApiKey;

const STAY: Duration = Duration::from_secs(5);

fn answer(correlation: i32) -> Vec<u8> {
    response(SENDS, 0, correlation, &[0; 6])
}

/// Stays for the answers of `n` requests.
fn sends(n: u64) -> Stay {
    Stay::new(|p| (p.stay, p.sends) = (Some(STAY), n))
}

fn correlation(frame: &[u8]) -> i32 {
    i32::from_be_bytes(frame[8..12].try_into().unwrap())
}

/// JoinGroup 0 for group `g`, and its answer to member `m`.
fn join() -> Vec<u8> {
    request(ApiKey::JOIN_GROUP, 0, 1, b"\0\x01g\0\0\0\0\0\0\0\x08consumer\0\0\0\0")
}

fn joined() -> Vec<u8> {
    response(ApiKey::JOIN_GROUP, 0, 1, b"\0\0\0\0\0\x05\0\x05range\0\x01n\0\x01m\0\0\0\0")
}

fn start(stay: &Stay, cuts: Cuts) -> (World, Rig) {
    let world = World::new(stay.mender(), Default::default());
    let mut rig = world.connect(cuts);
    proven(&mut rig);
    stay.heard();
    (world, rig)
}

#[test]
fn what_a_mender_sends_is_answered_without_a_client() {
    in_all_cuts(|cuts| {
        let stay = sends(2);
        let (_world, mut rig) = start(&stay, cuts);
        rig.client_gone();
        assert!(rig.is_lingering());
        let sent = frames(&rig.at_broker());
        assert_eq!(sent.len(), 2);
        rig.broker(&answer(correlation(&sent[0])));
        assert!(rig.is_lingering(), "one is still out");
        rig.broker(&answer(correlation(&sent[1])));
        assert_eq!((rig.is_lingering(), rig.at_client().len()), (false, 0));
        assert_eq!(stay.heard(), ["gone, 0 live", "answer 1", "answer 2", "closed"]);
    });
}

#[test]
fn without_a_wish_it_ends_as_ever() {
    let stay = Stay::default();
    let (world, mut rig) = start(&stay, Cuts::Whole);
    let client = rig.core.conn().client();
    world.env.shared.peers.join(&client, "g");
    rig.client_gone();
    assert!(!rig.is_lingering() && rig.at_broker().is_empty());
    assert_eq!(stay.heard(), ["gone, 0 live", "closed"]);
    assert!(!world.env.shared.peers.is_member(&client, "g"));
}

#[test]
fn answers_that_were_owed_are_swallowed_and_seen() {
    in_all_cuts(|cuts| {
        let stay = sends(1);
        let (_world, mut rig) = start(&stay, cuts);
        rig.client(&request(HELD, 2, 7, b"a commit"));
        rig.client(&request(ApiKey::LIST_GROUPS, 0, 8, &[]));
        rig.at_broker();
        // Half an answer is on its way to the client.
        let owed = [response(HELD, 2, 7, b"committed"), response(ApiKey::LIST_GROUPS, 0, 8, &[7; 90_000])].concat();
        rig.broker(&owed[..40_000]);
        rig.at_client();
        rig.client_gone();
        let sent = frames(&rig.at_broker());
        assert_eq!(sent.len(), 1);
        rig.broker(&owed[40_000..]);
        assert!(rig.end.is_none() && rig.is_lingering());
        rig.broker(&answer(correlation(&sent[0])));
        assert_eq!((rig.is_lingering(), rig.at_client().len()), (false, 0));
        assert_eq!(stay.heard(), ["response OffsetCommit", "gone, 0 live", "answer 1", "closed"]);
    });
}

/// What is owed comes first: also a look at it is not lost with the client.
#[test]
fn menders_see_the_answers_that_nobody_reads() {
    let stay = sends(1);
    let (_world, mut rig) = start(&stay, Cuts::Bytes);
    rig.client(&request(HELD, 2, 7, b"a commit"));
    rig.client_gone();
    rig.broker(&response(HELD, 2, 7, b"committed"));
    assert_eq!(stay.heard(), ["gone, 0 live", "response OffsetCommit"]);
    assert!(rig.is_lingering() && rig.at_client().is_empty());
}

#[test]
fn nothing_follows_half_a_frame() {
    let half = |frame: Vec<u8>| frame[..frame.len() - 1].to_vec();
    let halves = [
        ("passes", half(request(ApiKey::LIST_GROUPS, 0, 7, &[0; 40]))),
        ("produce", half(produce(9, 7, 1, &[(0, Some(vec![1; 500]))]))),
    ];
    for (name, bytes) in halves {
        in_all_cuts(|cuts| {
            let stay = sends(1);
            let (_world, mut rig) = start(&stay, cuts);
            rig.client(&bytes);
            assert_eq!(rig.at_broker(), bytes, "{name}: it flows");
            rig.client_gone();
            assert!(!rig.is_lingering() && rig.at_broker().is_empty(), "{name}");
            assert_eq!(stay.heard(), ["closed"], "{name}");
        });
    }
}

/// A request that turns out not to fit its layout when half of it is upstream already.
#[test]
fn nothing_follows_a_frame_that_was_broken_off() {
    let stay = sends(1);
    let (_world, mut rig) = start(&stay, Cuts::Whole);
    let mut bytes = produce(9, 7, 1, &[(0, Some(vec![1; 500]))]);
    let last = bytes.len() - 1;
    // The tags at the end: one of a size that is not there.
    bytes[last] = 0x7f;
    rig.client(&bytes);
    assert!(matches!(rig.end.take(), Some(crate::session::end::End::BadBody { .. })));
    assert!(!rig.at_broker().is_empty() || !rig.core.is_idle());
    rig.client_gone();
    assert!(!rig.is_lingering());
}

#[test]
fn half_a_head_was_not_forwarded() {
    in_all_cuts(|cuts| {
        let stay = sends(1);
        let (_world, mut rig) = start(&stay, cuts);
        rig.client(&request(ApiKey::LIST_GROUPS, 0, 7, &[])[..9]);
        assert!(rig.at_broker().is_empty());
        rig.client_gone();
        let sent = frames(&rig.at_broker());
        assert_eq!(sent.len(), 1, "whole frames, and nothing of the client's");
        rig.broker(&answer(correlation(&sent[0])));
        assert!(!rig.is_lingering());
    });
}

#[test]
fn what_was_held_goes_nowhere_and_what_waited_for_it_goes() {
    let stay = Stay::new(|p| (p.stay, p.hold) = (Some(STAY), true));
    let (_world, mut rig) = start(&stay, Cuts::Whole);
    rig.client(&[request(HELD, 2, 7, b"a commit"), request(ApiKey::LIST_GROUPS, 0, 8, &[])].concat());
    assert_eq!(rig.waits[0], Wait::Held);
    rig.client_gone();
    assert!(rig.is_lingering() && rig.at_broker().is_empty());
    assert_eq!(rig.core.deadline(), None, "nothing is held any more");

    // Half a Produce request is held whole; meanwhile a mender wants something sent.
    let stay = Stay::new(|p| (p.stay, p.gather, p.sends_again) = (Some(STAY), true, 1));
    let (world, mut rig) = start(&stay, Cuts::Whole);
    rig.client(&produce(9, 7, 1, &[(0, Some(vec![1; 500]))])[..300]);
    world.env.shared.peers.wake(1);
    rig.settle();
    assert!(rig.at_broker().is_empty(), "it waits for a boundary");
    rig.client_gone();
    let sent = frames(&rig.at_broker());
    assert_eq!(sent.len(), 1);
    rig.broker(&answer(correlation(&sent[0])));
    assert_eq!(stay.heard(), ["woken", "gone, 0 live", "answer 1"]);
}

#[test]
fn at_the_end_of_its_time_the_rest_is_lost() {
    let stay = sends(2);
    let (_world, mut rig) = start(&stay, Cuts::Whole);
    rig.client_gone();
    let sent = frames(&rig.at_broker());
    rig.broker(&answer(correlation(&sent[0])));
    rig.later(STAY - Duration::from_millis(1));
    assert!(rig.is_lingering());
    rig.later(Duration::from_millis(1));
    assert!(!rig.is_lingering());
    assert_eq!(stay.heard(), ["gone, 0 live", "answer 1", "lost 2", "closed"]);
}

#[test]
fn without_its_broker_the_rest_is_lost() {
    let stay = sends(1);
    let (_world, mut rig) = start(&stay, Cuts::Whole);
    rig.client_gone();
    rig.broker_gone();
    assert_eq!(stay.heard(), ["gone, 0 live", "lost 1", "closed"]);
}

#[test]
fn it_hears_of_times_and_calls() {
    let stay = Stay::new(|p| (p.stay, p.wake, p.sends_again) = (Some(STAY), Some(STAY / 5), 1));
    let (world, mut rig) = start(&stay, Cuts::Whole);
    rig.client_gone();
    rig.later(STAY / 5);
    world.env.shared.peers.wake(1);
    rig.settle();
    let sent = frames(&rig.at_broker());
    rig.broker(&[answer(correlation(&sent[0])), answer(correlation(&sent[1]))].concat());
    assert_eq!(stay.heard(), ["gone, 0 live", "tick", "woken", "answer 1", "answer 2"]);
    assert!(stay.0.lock().unwrap().asked > 4, "asked after everything that happens");
    // It has thought better of it.
    stay.0.lock().unwrap().sends = 1;
    world.env.shared.peers.wake(1);
    stay.0.lock().unwrap().sends_again = 0;
    rig.settle();
    assert!(!rig.is_lingering());
}

/// Rule M3 holds without a client, too.
#[test]
fn nothing_is_sent_behind_a_join() {
    let stay = sends(1);
    let (_world, mut rig) = start(&stay, Cuts::Whole);
    rig.client(&join());
    rig.at_broker();
    rig.client_gone();
    assert!(!rig.is_lingering() && rig.at_broker().is_empty());
    assert_eq!(stay.heard(), ["gone, 0 live", "refused 1", "closed"]);
}

#[test]
fn a_client_is_gone_with_its_last_connection_and_forgotten_with_what_lingers() {
    let stay = Stay::new(|p| p.stay = Some(STAY));
    let (world, mut rig) = start(&stay, Cuts::Whole);
    let mut other = world.connect_to(Cuts::Whole, 2, Some(2));
    proven(&mut other);
    rig.client(&join());
    rig.broker(&joined());
    let client = rig.core.conn().client();
    let (peers, groups) = (&world.env.shared.peers, &world.env.shared.groups);
    assert_eq!(peers.live(&client), 2);
    stay.heard();

    rig.client_gone();
    assert_eq!((peers.live(&client), stay.heard()), (1, vec!["gone, 1 live".to_owned()]));
    assert!(!peers.ask_log_starts(&client, 1, 2, None, &"t".into(), &[0]), "it has no client to serve");
    stay.0.lock().unwrap().stay = None;
    other.client_gone();
    assert!(!other.is_lingering());
    assert_eq!(stay.heard(), ["gone, 0 live", "closed"]);
    rig.settle();
    assert_eq!(stay.heard(), ["woken", "woken"], "it hears that it is alone");
    assert!(peers.is_member(&client, "g") && groups.member("g", "m").is_some());

    rig.later(STAY);
    assert!(!rig.is_lingering() && stay.heard() == ["closed"]);
    assert!(!peers.is_member(&client, "g") && groups.member("g", "m").is_none());
}

#[test]
fn draining_is_told_once() {
    let stay = Stay::default();
    let (_world, mut rig) = start(&stay, Cuts::Whole);
    rig.core.drain();
    rig.core.drain();
    assert_eq!(stay.heard(), ["draining"]);
}
