//! What ends a connection, and why it is said to.

use super::kit::*;
use crate::session::end::{End, Side};
use crate::wire::api::ApiKey;
use crate::wire::frame::FrameError;

fn end_of(cuts: Cuts, client: &[u8], broker: &[u8]) -> Option<End> {
    let mut rig = World::plain().connect(cuts);
    rig.client(client);
    rig.broker(broker);
    rig.end
}

fn list() -> Vec<u8> {
    request(ApiKey::LIST_GROUPS, 0, 5, &[])
}

#[test]
fn other_protocols_are_named() {
    in_all_cuts(|cuts| {
        let end = end_of(cuts.clone(), b"GET / HTTP/1.1\r\n\r\n", b"");
        assert!(matches!(end, Some(End::BadRequest(FrameError::Http))), "{end:?}");
        let end = end_of(cuts.clone(), b"\x16\x03\x01\x02\x00\x01\x00\x01", b"");
        assert!(matches!(end, Some(End::BadRequest(FrameError::Tls))), "{end:?}");
        // A broker's TLS listener that is spoken to in plain text answers with an alert.
        let end = end_of(cuts.clone(), &list(), b"\x15\x03\x03\x00\x02\x02\x50");
        assert!(matches!(end, Some(End::BadResponse(FrameError::TlsAlert))), "{end:?}");
        let end = end_of(cuts, &list(), b"HTTP/1.1 400 Bad Request\r\n\r\n");
        assert!(matches!(end, Some(End::BadResponse(FrameError::Http))), "{end:?}");
    });
}

#[test]
fn lengths_that_cannot_be() {
    in_all_cuts(|cuts| {
        for (length, want) in [
            (-1i32, "negative_length"),
            (0, "too_short"),
            (9, "too_short"),
            (200 << 20, "over_max_frame"),
            (i32::MIN, "negative_length"),
        ] {
            let bytes = [&length.to_be_bytes()[..], &[0; 20]].concat();
            let end = end_of(cuts.clone(), &bytes, b"").expect("an end");
            assert_eq!((end.side(), end.cause()), (Side::Client, want), "{length}");
        }
        for (length, want) in [(-1i32, "negative_length"), (0, "too_short")] {
            let bytes = [&length.to_be_bytes()[..], &[0; 20]].concat();
            let end = end_of(cuts.clone(), &list(), &bytes).expect("an end");
            assert_eq!((end.side(), end.cause()), (Side::Upstream, want), "{length}");
        }
    });
}

#[test]
fn answers_that_nobody_asked_for() {
    in_all_cuts(|cuts| {
        let answer = response(ApiKey::LIST_GROUPS, 0, 6, &[0; 6]);
        let end = end_of(cuts.clone(), &list(), &answer);
        assert!(matches!(end, Some(End::Unexpected { got: 6, expected: Some(5) })), "{end:?}");
        let end = end_of(cuts.clone(), b"", &answer);
        assert!(matches!(end, Some(End::Unexpected { got: 6, expected: None })), "{end:?}");
        // Two answers to one request.
        let right = response(ApiKey::LIST_GROUPS, 0, 5, &[0; 6]);
        let end = end_of(cuts, &list(), &[right.clone(), right].concat());
        assert!(matches!(end, Some(End::Unexpected { .. })), "{end:?}");
    });
}

#[test]
fn broken_heads_and_bodies() {
    in_all_cuts(|cuts| {
        // A client id that is longer than its frame.
        let bytes = raw(&[0, 3, 0, 1, 0, 0, 0, 7, 0x7f, 0xff, b'm']);
        let end = end_of(cuts.clone(), &bytes, b"").expect("an end");
        assert_eq!((end.side(), end.cause()), (Side::Client, "bad_header"));
        // A Produce request that ends before its acks.
        let bytes = request(ApiKey::PRODUCE, 9, 1, &[0]);
        let end = end_of(cuts, &bytes, b"").expect("an end");
        assert_eq!((end.side(), end.cause()), (Side::Client, "bad_body"));
    });
}

#[test]
fn addresses_of_the_future_are_refused() {
    in_all_cuts(|cuts| {
        for api in (0..96).map(ApiKey) {
            let Some(newest) = api.newest_with_addresses() else {
                continue;
            };
            let end = end_of(cuts.clone(), &request(api, newest + 1, 1, &[0; 40]), b"");
            assert!(matches!(end, Some(End::TooNew { version, .. }) if version == newest + 1), "{api:?} {end:?}");
        }
    });
}

#[test]
fn an_answer_with_addresses_that_cannot_be_read_never_passes() {
    in_all_cuts(|cuts| {
        for (api, version) in [
            (ApiKey::METADATA, 12),
            (ApiKey::FIND_COORDINATOR, 4),
            (ApiKey::DESCRIBE_CLUSTER, 0),
            (ApiKey::SHARE_ACKNOWLEDGE, 1),
            (ApiKey::FETCH, 16),
        ] {
            let mut rig = World::plain().connect(cuts.clone());
            rig.client(&request(api, version, 1, &[0; 60]));
            // Every count in it claims the largest number there is.
            rig.broker(&response(api, version, 1, &[0xff; 200]));
            assert!(matches!(rig.end, Some(End::Unreadable { .. })), "{api:?} {:?}", rig.end);
            assert_eq!(rig.at_client(), b"", "{api:?}");
        }
    });
}

#[test]
fn a_broker_without_a_listener_is_not_told_of() {
    in_all_cuts(|cuts| {
        let directory = Told { refuse: true, ..Told::default() };
        let world = World::with(Vec::new(), Default::default(), limits(64 << 20), directory);
        let mut rig = world.connect(cuts);
        rig.client(&request(ApiKey::FIND_COORDINATOR, 0, 1, b"\0\x01g"));
        let body = b"\0\0\0\0\0\x07\0\x06secret\0\0\x23\x84";
        rig.broker(&response(ApiKey::FIND_COORDINATOR, 0, 1, body));
        assert!(matches!(rig.end, Some(End::NoListener { node: 7, .. })), "{:?}", rig.end);
        assert_eq!(rig.at_client(), b"");
    });
}

/// A broker that names the tag of its node endpoints in a longer way, or twice, leaks nothing.
#[test]
fn endpoints_in_unusual_dress_do_not_leak() {
    let node = b"\x02\0\0\0\x07\x07secret\0\0\x23\x84\x01\0";
    let tag = |number: &[u8]| [number, &[node.len() as u8][..], node].concat();
    let sections = [[&[1][..], &tag(&[0x80, 0])].concat(), [&[2][..], &tag(&[0]), &tag(&[0])].concat()];
    in_all_cuts(|cuts| {
        for section in &sections {
            for (api, version, front) in [
                (ApiKey::PRODUCE, 10, &[1, 0, 0, 0, 0][..]),
                (ApiKey::FETCH, 16, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..]),
            ] {
                let mut rig = World::plain().connect(cuts.clone());
                let acks = b"\0\0\x01\0\0\0\x09\x01\0";
                rig.client(&request(api, version, 1, acks));
                rig.broker(&response(api, version, 1, &[front, section].concat()));
                let told = rig.at_client();
                assert!(!told.windows(6).any(|w| w == b"secret"), "{api:?} {:?}", rig.end);
            }
        }
    });
}
