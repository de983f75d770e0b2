//! What members own when they join, and how rebalances are seen to go on.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::*;

use super::line::*;
use crate::mend::{Cause, Rebalance};
use crate::session::tests::kit::*;
use crate::session::tests::watch::Watch;
use crate::wire::api::ApiKey;

fn world() -> World {
    World::new(Watch::default().mender(), Default::default())
}

fn subscription(version: i16, owned: &[i32]) -> Bytes {
    let mut message = ConsumerProtocolSubscription::default().with_topics(vec![text("t")]);
    if version >= 1 {
        let topic = TopicPartition::default().with_topic(TopicName(text("t"))).with_partitions(owned.to_vec());
        message = message.with_owned_partitions(vec![topic]);
    }
    [&version.to_be_bytes()[..], &encoded(&message, version)].concat().into()
}

fn joining(version: i16, kind: &str, protocols: &[(&str, Bytes)]) -> JoinGroupRequest {
    let protocol = |(name, bytes): &(&str, Bytes)| {
        JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(bytes.clone())
    };
    let protocols = protocols.iter().map(protocol).collect();
    join(version, "me", None).with_protocol_type(text(kind)).with_protocols(protocols)
}

fn chosen(version: i16, protocol: &str) -> JoinGroupResponse {
    joined(version, 0, 5, "me").with_protocol_name(Some(text(protocol)))
}

fn owned(line: &Line) -> Option<Vec<i32>> {
    line.known("me").owned.map(|owned| owned.by_name.get("t").cloned().unwrap_or_default())
}

#[test]
fn a_member_owns_what_it_told_the_assignor_that_was_chosen() {
    in_all_cuts(|cuts| {
        for version in 0..=9 {
            let mut line = Line::new(&world(), cuts.clone());
            let protocols = [
                ("range", subscription(0, &[])),
                ("cooperative-sticky", subscription(3, &[1, 4])),
                ("other", subscription(1, &[7])),
                ("broken", Bytes::from_static(b"\0\x01\x7f\xff\xff\xff")),
            ];
            for (protocol, expected) in [
                ("cooperative-sticky", Some(vec![1, 4])),
                ("range", None),
                ("other", Some(vec![7])),
                ("broken", None),
                ("?", None),
            ] {
                line.ask(ApiKey::JOIN_GROUP, version, &joining(version, "consumer", &protocols));
                line.answer(&chosen(version, protocol));
                assert_eq!(owned(&line), expected, "{version} {protocol}");
            }
            // It stays so for as long as the generation does.
            line.ask(ApiKey::JOIN_GROUP, version, &joining(version, "consumer", &protocols));
            line.answer(&chosen(version, "other"));
            line.sync(version.min(5), 5, "me", 0, "consumer");
            assert_eq!((owned(&line), line.known("me").since), (Some(vec![7]), line.rig.now));
            // Others have bytes of their own there.
            line.ask(ApiKey::JOIN_GROUP, version, &joining(version, "connect", &protocols));
            let answer = chosen(version, "other");
            line.answer(&if version >= 7 { answer.with_protocol_type(Some(text("connect"))) } else { answer });
            assert_eq!(owned(&line), None);
        }
    });
}

#[test]
fn what_is_owned_is_bounded() {
    let mut line = Line::new(&world(), Cuts::Whole);
    let most: Vec<i32> = (0..99_999).collect();
    let protocols = [("a", subscription(1, &most)), ("b", subscription(1, &[1]))];
    for (protocol, has) in [("a", true), ("b", false)] {
        line.ask(ApiKey::JOIN_GROUP, 5, &joining(5, "consumer", &protocols));
        line.answer(&chosen(5, protocol));
        assert_eq!(owned(&line).is_some(), has);
    }
}

fn ended(line: &Line) -> Vec<(Cause, Duration)> {
    line.shared.groups.take_rebalances().into_iter().map(|Rebalance { cause, took, .. }| (cause, took)).collect()
}

#[test]
fn a_rebalance_is_seen_from_the_first_request_to_the_last_answer() {
    in_all_cuts(|cuts| {
        for version in 0..=5 {
            let mut line = Line::new(&world(), cuts.clone());
            let second = Duration::from_secs(1);
            let is_on = |line: &Line| line.shared.groups.is_rebalancing("g");
            line.ask(ApiKey::JOIN_GROUP, version, &join(version, "", None));
            assert!(is_on(&line));
            line.rig.later(second);
            line.answer(&joined(version, 0, 5, "me"));
            assert!(is_on(&line));
            line.ask(ApiKey::SYNC_GROUP, version, &sync(version, 5, "me", "consumer"));
            line.rig.later(second);
            assert_eq!(ended(&line), []);
            line.answer(&synced(version, 0, "consumer"));
            assert_eq!((ended(&line), is_on(&line)), (vec![(Cause::Join, 2 * second)], false));

            let beat = version.min(4);
            for (error, cause) in [(22, Cause::Expiry), (25, Cause::Expiry), (27, Cause::Elsewhere)] {
                let generation = line.known("me").joined.generation;
                line.heartbeat(beat, generation, "me", error);
                assert_eq!(is_on(&line), error == 27);
                line.ask(ApiKey::JOIN_GROUP, version, &join(version, "me", None));
                line.answer(&joined(version, 0, generation + 1, "me"));
                line.sync(version, generation + 1, "me", 0, "consumer");
                assert_eq!((ended(&line), is_on(&line)), (vec![(cause, Duration::ZERO)], false), "{error}");
            }
            // A commit tells of it as well, and so does a SyncGroup.
            for api in [ApiKey::OFFSET_COMMIT, ApiKey::SYNC_GROUP] {
                let generation = line.known("me").joined.generation;
                if api == ApiKey::OFFSET_COMMIT {
                    line.ask_raw(api, 8, &commit(8, generation, "me"));
                    line.answer(&committed(&[22]));
                } else {
                    line.sync(version, generation, "me", 22, "consumer");
                }
                line.ask(ApiKey::JOIN_GROUP, version, &join(version, "me", None));
                line.answer(&joined(version, 0, generation + 1, "me"));
                line.sync(version, generation + 1, "me", 0, "consumer");
                assert_eq!(ended(&line), [(Cause::Expiry, Duration::ZERO)], "{api:?}");
            }
        }
    });
}

#[test]
fn what_is_asked_ends_with_its_connection() {
    for api in [ApiKey::JOIN_GROUP, ApiKey::SYNC_GROUP] {
        let world = world();
        let (mut line, mut other) = (Line::new(&world, Cuts::Whole), Line::numbered(&world, Cuts::Whole, 2));
        other.join(5, "me", 0, "me");
        other.sync(5, 5, "me", 0, "consumer");
        let groups = &world.env.shared.groups;
        match api {
            ApiKey::JOIN_GROUP => line.ask(api, 5, &join(5, "", None)),
            _ => line.ask(api, 5, &sync(5, 5, "me", "consumer")),
        }
        assert!(groups.is_rebalancing("g"));
        line.rig.broker_gone();
        assert!(!groups.is_rebalancing("g"), "{api:?}");
    }
}

#[test]
fn who_leaves_begins_one_for_the_others() {
    let world = world();
    let mut line = Line::new(&world, Cuts::Whole);
    for member in ["a", "b"] {
        line.ask(ApiKey::JOIN_GROUP, 5, &join(5, "", None));
        line.answer(&joined(5, 0, 5, member));
    }
    line.sync(5, 5, "a", 0, "consumer");
    line.sync(5, 5, "b", 0, "consumer");
    assert_eq!(ended(&line), [(Cause::Join, Duration::ZERO)]);
    let leave = LeaveGroupRequest::default().with_group_id(group()).with_member_id(text("b"));
    line.ask(ApiKey::LEAVE_GROUP, 1, &leave);
    line.answer(&LeaveGroupResponse::default());
    line.rig.later(Duration::from_secs(3));
    line.heartbeat(3, 5, "a", 27);
    line.ask(ApiKey::JOIN_GROUP, 5, &join(5, "a", None));
    line.answer(&joined(5, 0, 6, "a"));
    line.sync(5, 6, "a", 0, "consumer");
    assert_eq!(ended(&line), [(Cause::Leave, Duration::from_secs(3))]);
}
