//! Logins, and when kmend may speak (rule M3).

use std::time::Duration;

use super::kit::*;
use super::script::{Do, Scripted, WATCHED};
use crate::wire::api::ApiKey;

const NO_ERROR: [u8; 2] = [0, 0];

fn handshake(rig: &mut Rig, version: i16) {
    rig.client(&request(ApiKey::SASL_HANDSHAKE, version, 1, b"\0\x05PLAIN"));
    rig.at_broker();
    let answer = response(ApiKey::SASL_HANDSHAKE, version, 1, &[&NO_ERROR[..], &[0, 0, 0, 0]].concat());
    rig.broker(&answer);
    assert_eq!(rig.at_client(), answer);
}

/// A client's request that makes the scripted mender inject; whether it could.
fn injects(rig: &mut Rig, correlation: i32) -> bool {
    let commit = request(WATCHED, 2, correlation, b"a commit");
    rig.client(&commit);
    let sent = frames(&rig.at_broker());
    for frame in &sent {
        let (api, theirs) =
            (i16::from_be_bytes([frame[4], frame[5]]), i32::from_be_bytes(frame[8..12].try_into().unwrap()));
        rig.broker(&response(ApiKey(api), 2, theirs, &[0; 8]));
    }
    rig.at_client();
    sent.len() == 2
}

#[test]
fn nothing_is_injected_before_anything_was_answered() {
    in_all_cuts(|cuts| {
        let script = Scripted::new(|p| p.on_request = Do::Inject);
        let mut rig = World::new(script.mender(), Default::default()).connect(cuts);
        assert!(!injects(&mut rig, 1));
        assert!(injects(&mut rig, 2));
        assert_eq!(script.heard(), ["refused", "answer 2"]);
    });
}

#[test]
fn nothing_is_injected_from_the_handshake_to_the_next_answer() {
    in_all_cuts(|cuts| {
        let script = Scripted::new(|p| p.on_request = Do::Inject);
        let mut rig = World::new(script.mender(), Default::default()).connect(cuts);
        proven(&mut rig);
        handshake(&mut rig, 1);
        rig.client(&request(ApiKey::SASL_AUTHENTICATE, 1, 2, b"\0\0\0\x05\0a\0b\0"));
        let body = [&NO_ERROR[..], &[0xff, 0xff, 0, 0, 0, 0], &[0; 8]].concat();
        rig.broker(&response(ApiKey::SASL_AUTHENTICATE, 1, 2, &body));
        rig.at_broker();
        rig.at_client();
        assert!(!injects(&mut rig, 3), "its login is not proven yet");
        assert!(injects(&mut rig, 4));
    });
}

#[test]
fn nothing_is_injected_after_the_session_lifetime() {
    in_all_cuts(|cuts| {
        let script = Scripted::new(|p| p.on_request = Do::Inject);
        let mut rig = World::new(script.mender(), Default::default()).connect(cuts);
        handshake(&mut rig, 1);
        rig.client(&request(ApiKey::SASL_AUTHENTICATE, 1, 2, b"\0\0\0\x05\0a\0b\0"));
        let lifetime = 60_000i64.to_be_bytes();
        let body = [&NO_ERROR[..], &[0xff, 0xff, 0, 0, 0, 0], &lifetime].concat();
        rig.broker(&response(ApiKey::SASL_AUTHENTICATE, 1, 2, &body));
        rig.at_broker();
        rig.at_client();
        injects(&mut rig, 3);
        assert!(injects(&mut rig, 4));
        rig.later(Duration::from_secs(61));
        assert!(!injects(&mut rig, 5));
    });
}

/// KIP-368 has no upper bound for a lifetime.
#[test]
fn the_longest_lifetime_is_no_accident() {
    let mut rig = World::plain().connect(Cuts::Whole);
    handshake(&mut rig, 1);
    rig.client(&request(ApiKey::SASL_AUTHENTICATE, 1, 2, b"\0\0\0\x05\0a\0b\0"));
    let body = [&NO_ERROR[..], &[0xff, 0xff, 0, 0, 0, 0], &i64::MAX.to_be_bytes()].concat();
    rig.broker(&response(ApiKey::SASL_AUTHENTICATE, 1, 2, &body));
    assert!(rig.end.is_none());
}

#[test]
fn nothing_is_injected_behind_a_join_or_a_sync() {
    in_all_cuts(|cuts| {
        for api in [ApiKey::JOIN_GROUP, ApiKey::SYNC_GROUP] {
            let script = Scripted::new(|p| p.on_request = Do::Inject);
            let mut rig = World::new(script.mender(), Default::default()).connect(cuts.clone());
            proven(&mut rig);
            rig.client(&request(api, 1, 20, b"a long time"));
            rig.client(&request(WATCHED, 2, 21, b"a commit"));
            assert_eq!(frames(&rig.at_broker()).len(), 2);
            assert_eq!(script.heard(), ["refused"]);
            rig.broker(&response(api, 1, 20, b"done"));
            rig.broker(&response(WATCHED, 2, 21, b"done"));
            assert!(injects(&mut rig, 22));
        }
    });
}

#[test]
fn raw_tokens_after_an_old_handshake_then_frames() {
    let tokens: [&[&[u8]]; 4] = [
        &[b"\0alice\0secret"],
        &[b"n,,n=alice,r=abcdefgh", b"c=biws,r=abcdefghijkl,p=proof"],
        &[b"n,,\x01auth=Bearer abcdefgh\x01\x01", b"\x01"],
        // An AP-REQ in ASN.1, an empty token, and a wrap token that chooses no security layer.
        &[b"\x60\x82\x02\x10\x06\x09\x2a\x86\x48", b"", b"\x05\x04\x04\xff\0\x0c\0\0\0\0\0\0\x01\0\0\0"],
    ];
    in_all_cuts(|cuts| {
        for exchange in tokens {
            let mut rig = World::plain().connect(cuts.clone());
            handshake(&mut rig, 0);
            for token in exchange {
                let (token, answer) = (raw(token), raw(b"v=some answer"));
                rig.client(&token);
                assert_eq!(rig.at_broker(), token);
                rig.broker(&answer);
                assert_eq!(rig.at_client(), answer);
            }
            let list = request(ApiKey::LIST_GROUPS, 0, 5, &[]);
            rig.client(&list);
            assert_eq!(rig.at_broker(), list);
            let answer = response(ApiKey::LIST_GROUPS, 0, 5, &[0; 6]);
            rig.broker(&answer);
            assert_eq!(rig.at_client(), answer);
            assert!(rig.end.is_none() && rig.core.is_idle(), "{:?}", rig.end);
        }
    });
}

#[test]
fn a_refused_old_handshake_is_not_followed_by_tokens() {
    in_all_cuts(|cuts| {
        let mut rig = World::plain().connect(cuts);
        rig.client(&request(ApiKey::SASL_HANDSHAKE, 0, 1, b"\0\x03XYZ"));
        rig.broker(&response(ApiKey::SASL_HANDSHAKE, 0, 1, &[0, 33, 0, 0, 0, 0]));
        rig.client(&raw(b"\0alice\0secret"));
        assert!(rig.end.is_none() || !rig.core.conn().injectable);
        assert!(!rig.core.conn().injectable);
    });
}
