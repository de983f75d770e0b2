//! No broker address reaches a client (rule P1).

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::kit::*;
use super::message::{Taste, body};
use crate::session::window::WINDOW;
use crate::wire::api::ApiKey;
use crate::wire::codec::local;
use crate::wire::layout;
use crate::wire::walk::FRONTS;

/// Sends a response of this taste through and compares it with what should come out.
fn rewritten(cuts: Cuts, api: ApiKey, version: i16, taste: Taste, seed: u64) -> usize {
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::plain();
    let mut rig = world.connect(cuts);
    let acks = b"\0\0\x01\0\0\0\x09\x01\0";
    rig.client(&request(api, version, 3, acks));
    assert!(rig.end.is_none(), "{api:?} {version} {:?}", rig.end);
    let twin = body(layout::response(api, version).expect("a layout"), taste, &mut rng);
    let frame = response(api, version, 3, &twin.sent);
    // What follows must not be touched by it.
    rig.client(&request(ApiKey::HEARTBEAT, 0, 4, b"beat"));
    let next = response(ApiKey::HEARTBEAT, 0, 4, &[0, 0]);
    rig.broker(&[frame.clone(), next.clone()].concat());
    assert!(rig.end.is_none(), "{api:?} {version} {:?}", rig.end);
    let want = [response(api, version, 3, &twin.expected), next].concat();
    assert!(rig.at_client() == want, "{api:?} {version} seed {seed}");
    assert_eq!(world.held(), 0);
    frame.len()
}

#[test]
fn addresses_are_rewritten_wherever_they_stand() {
    let cases = [
        (ApiKey::METADATA, 0..=13i16),
        (ApiKey::FIND_COORDINATOR, 0..=6),
        (ApiKey::DESCRIBE_CLUSTER, 0..=2),
        (ApiKey::PRODUCE, 10..=13),
        (ApiKey::FETCH, 16..=18),
        (ApiKey::SHARE_FETCH, 0..=2),
        (ApiKey::SHARE_ACKNOWLEDGE, 0..=2),
    ];
    in_all_cuts(|cuts| {
        for (api, versions) in cases.clone() {
            for version in versions {
                for seed in 0..3 {
                    let size = rewritten(cuts.clone(), api, version, Taste::default(), seed);
                    assert!(size < WINDOW);
                }
            }
        }
    });
}

#[test]
fn a_broker_that_sends_byte_by_byte_costs_no_walk_for_each() {
    let before = FRONTS.get();
    let taste = Taste { nodes: 600, ..Taste::default() };
    let size = rewritten(Cuts::Bytes, ApiKey::METADATA, 9, taste, 5);
    let walks = FRONTS.get() - before;
    assert!(size > WINDOW && walks <= 2 + size / WINDOW, "{walks} walks over {size} bytes");
}

#[test]
fn hundreds_of_brokers_that_fill_more_than_a_window() {
    let taste = Taste { nodes: 900, ..Taste::default() };
    for cuts in [Cuts::Whole, Cuts::random(1), Cuts::random(2)] {
        for version in [0, 1, 8, 9, 12, 13] {
            let size = rewritten(cuts.clone(), ApiKey::METADATA, version, taste, 1);
            assert!(size > WINDOW, "{size}");
        }
        rewritten(cuts.clone(), ApiKey::DESCRIBE_CLUSTER, 1, taste, 1);
        rewritten(cuts.clone(), ApiKey::PRODUCE, 11, taste, 1);
    }
}

/// The same bytes for the same answer, but for the endpoints, which nobody can read any more.
fn hidden(cuts: Cuts, api: ApiKey, version: i16) {
    let taste = Taste { nodes: 5, records: 40_000, endpoints: true };
    let mut seen = 0;
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let twin = body(layout::response(api, version).unwrap(), taste, &mut rng);
        let frame = response(api, version, 3, &twin.sent);
        if frame.len() <= WINDOW || !holds(&frame, b"broker-") {
            continue;
        }
        seen += 1;
        let mut rig = World::plain().connect(cuts.clone());
        rig.client(&request(api, version, 3, &[0; 30]));
        rig.broker(&frame);
        assert!(rig.end.is_none(), "{:?}", rig.end);
        let told = rig.at_client();
        assert_eq!(told.len(), frame.len());
        assert!(!holds(&told, b"broker-") && !holds(&told, b".example"));
        assert!(rig.peak <= WINDOW, "{}", rig.peak);
        // Its layout still holds, so that a client reads it to its end.
        let mut copy = told.clone();
        let walked = crate::wire::walk::whole(
            layout::response(api, version).unwrap(),
            &mut copy,
            9,
            &mut crate::wire::walk::Nobody,
        );
        assert_eq!(walked, Ok(()), "{api:?} {version} {seed}");
        let same = told.iter().zip(&frame).take_while(|(a, b)| a == b).count();
        assert!(same + 400 > frame.len(), "only the end differs");
        if seen == 4 {
            return;
        }
    }
    assert!(seen > 0, "{api:?} {version}");
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|w| w == what)
}

#[test]
fn endpoints_of_streamed_frames_are_hidden() {
    for cuts in [Cuts::Whole, Cuts::Bytes, Cuts::random(1), Cuts::random(2), Cuts::random(3)] {
        for version in 16..=18 {
            hidden(cuts.clone(), ApiKey::FETCH, version);
        }
        for version in 0..=2 {
            hidden(cuts.clone(), ApiKey::SHARE_FETCH, version);
        }
    }
}

#[test]
fn the_directory_learns_the_cluster_and_its_brokers() {
    in_all_cuts(|cuts| {
        let world = World::plain();
        let mut rig = world.connect(cuts);
        rig.client(&request(ApiKey::METADATA, 2, 1, &[0; 4]));
        let body =
            [b"\0\0\0\x01\0\0\0\x07\0\x06secret\0\0\x23\x84\xff\xff".as_slice(), b"\0\x07cluster\0\0\0\x07\0\0\0\0"]
                .concat();
        rig.broker(&response(ApiKey::METADATA, 2, 1, &body));
        assert!(rig.end.is_none(), "{:?}", rig.end);
        let directory = &world.directory;
        assert_eq!(*directory.clusters.lock().unwrap(), ["cluster"]);
        assert_eq!(world.env.shared.cluster.id().as_deref(), Some("cluster"));
        let nodes = directory.nodes.lock().unwrap();
        assert_eq!(*nodes, [(7, "secret".to_owned(), 9092)]);
    });
}

#[test]
fn menders_learn_the_cluster_from_describe_cluster_too() {
    in_all_cuts(|cuts| {
        // Version 0: no error, the id, a controller, no brokers; then one with an error and no id.
        let body = |id: &[u8]| [&[0; 6][..], &[1], &[id.len() as u8 + 1], id, &[0xff; 4], &[1], &[0; 5]].concat();
        let world = World::plain();
        let mut rig = world.connect(cuts);
        for (correlation, id) in [(1, &b""[..]), (2, b"ab"), (3, b"other")] {
            assert_eq!(world.env.shared.cluster.id().is_some(), correlation == 3);
            rig.client(&request(ApiKey::DESCRIBE_CLUSTER, 0, correlation, &[0, 0]));
            let answer = response(ApiKey::DESCRIBE_CLUSTER, 0, correlation, &body(id));
            rig.broker(&answer);
            assert_eq!(rig.at_client(), answer);
        }
        // The first word counts.
        assert_eq!(world.env.shared.cluster.id().as_deref(), Some("ab"));
    });
}

#[test]
fn an_unknown_coordinator_stays_as_it_is() {
    in_all_cuts(|cuts| {
        let mut rig = World::plain().connect(cuts);
        rig.client(&request(ApiKey::FIND_COORDINATOR, 4, 1, b"\0"));
        // COORDINATOR_NOT_AVAILABLE: node -1, no host, port -1; then one that is there.
        let gone = b"\x02g\xff\xff\xff\xff\x01\xff\xff\xff\xff\0\x0f\x00\0";
        let here = |host: &[u8], port: i32| {
            [b"\x02h\0\0\0\x07", &[host.len() as u8 + 1][..], host, &port.to_be_bytes(), b"\0\0\x00\0"].concat()
        };
        let whole = |node: Vec<u8>| {
            let body = [b"\0\0\0\0\x03", &gone[..], &node, &[0]].concat();
            response(ApiKey::FIND_COORDINATOR, 4, 1, &body)
        };
        rig.broker(&whole(here(b"secret", 9092)));
        assert_eq!(rig.at_client(), whole(here(HOST.as_bytes(), i32::from(PORT) + 7)));
    });
}

#[test]
fn only_versions_with_unknown_addresses_are_lowered() {
    in_all_cuts(|cuts| {
        for version in 0..=5i16 {
            let mut rig = World::plain().connect(cuts.clone());
            let named = if version >= 3 { &b"\x01\x01"[..] } else { b"" };
            let since_5 = if version >= 5 { &b"\0\0\0\0\x07"[..] } else { b"" };
            let tags = if version >= 3 { &[0][..] } else { &[] };
            let asks = [named, since_5, tags].concat();
            rig.client(&request(ApiKey::API_VERSIONS, version, 1, &asks));
            let ranges = |lowered: bool| {
                let mut body = vec![0, 0];
                let keys = [0i16, 1, 2, 3, 9, 10, 11, 18, 60, 78, 79, 1000];
                if version >= 3 {
                    body.push(keys.len() as u8 + 1);
                } else {
                    body.extend_from_slice(&(keys.len() as i32).to_be_bytes());
                }
                for key in keys {
                    let newest = ApiKey(key).newest_with_addresses().filter(|_| lowered);
                    for value in [key, 0, newest.unwrap_or(40)] {
                        body.extend_from_slice(&value.to_be_bytes());
                    }
                    body.extend_from_slice(tags);
                }
                body.extend_from_slice(if version >= 1 { &[0; 4] } else { &[] });
                body.extend_from_slice(tags);
                response(ApiKey::API_VERSIONS, version, 1, &body)
            };
            rig.broker(&ranges(false));
            assert_eq!(rig.at_client(), ranges(true), "{version} {:?}", rig.end);
        }
    });
}

#[test]
fn api_versions_of_the_future_are_answered_in_turn() {
    in_all_cuts(|cuts| {
        let mut rig = World::plain().connect(cuts);
        let first = request(ApiKey::LIST_GROUPS, 0, 1, &[]);
        let future = request(ApiKey::API_VERSIONS, 9, 2, &[1, 1, 0, 1, 2, 3]);
        rig.client(&[first.clone(), future].concat());
        assert_eq!((rig.at_broker(), rig.at_client()), (first, vec![]));
        let answer = response(ApiKey::LIST_GROUPS, 0, 1, &[0; 6]);
        rig.broker(&answer);
        let ours = local::api_versions_unsupported(2, 5);
        assert_eq!(rig.at_client(), [answer, ours].concat());
        // An old broker's own words for that pass.
        rig.client(&request(ApiKey::API_VERSIONS, 3, 3, &[1, 1, 0]));
        let theirs = local::api_versions_unsupported(3, 2);
        rig.broker(&theirs);
        assert_eq!(rig.at_client(), theirs);
    });
}
