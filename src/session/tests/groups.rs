//! Members of groups and the topics of Metadata responses, as the session learns them.

mod feed;
mod fuzz;
mod line;
mod links;
mod offsets;
mod once;
mod rounds;

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{GroupId, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest};

use super::kit::*;
use super::watch::Watch;
use crate::mend::Joined;
use crate::wire::api::ApiKey;
use line::{encoded, text};

fn asks(version: i16, kind: &str) -> Vec<u8> {
    let message = JoinGroupRequest::default().with_group_id(GroupId(text("g"))).with_protocol_type(text(kind));
    request(ApiKey::JOIN_GROUP, version, 1, &encoded(&message, version))
}

fn answers(version: i16, error: i16, leader: &str) -> Vec<u8> {
    let other = |id: &str| JoinGroupResponseMember::default().with_member_id(text(id));
    let mut message = JoinGroupResponse::default()
        .with_error_code(error)
        .with_generation_id(5)
        .with_protocol_name(Some(text("range")))
        .with_leader(text(leader))
        .with_member_id(text("me"));
    if leader == "me" {
        message = message.with_members(vec![other("me"), other("them")]);
    }
    response(ApiKey::JOIN_GROUP, version, 1, &encoded(&message, version))
}

fn leaves(version: i16) -> Vec<u8> {
    let message = LeaveGroupRequest::default().with_group_id(GroupId(text("g")));
    let message = match version {
        ..3 => message.with_member_id(text("me")),
        _ => message.with_members(vec![MemberIdentity::default().with_member_id(text("me"))]),
    };
    request(ApiKey::LEAVE_GROUP, version, 2, &encoded(&message, version))
}

#[test]
fn members_are_known_from_join_to_leave() {
    in_all_cuts(|cuts| {
        for version in 0..=9 {
            for (leader, kind) in [("me", "consumer"), ("them", "connect")] {
                let world = World::new(Watch::default().mender(), Default::default());
                let mut rig = world.connect(cuts.clone());
                let shared = world.env.shared.clone();
                rig.client(&asks(version, kind));
                assert!(!rig.at_broker().is_empty(), "{:?}", rig.end);
                let client = rig.core.conn().client();
                assert_eq!(shared.peers.is_member(&client, "g"), kind == "consumer");
                assert!(shared.groups.of_client(&client).is_empty(), "not before the answer");
                let answer = answers(version, 0, leader);
                rig.broker(&answer);
                assert_eq!(rig.at_client(), answer, "{:?}", rig.end);
                let joined = Joined {
                    generation: 5,
                    is_leader: leader == "me",
                    protocol_type: kind.into(),
                    protocol: "range".into(),
                };
                let member = shared.groups.member("g", "me").expect("a member");
                assert_eq!((member.client, member.joined), (client, joined), "{version}");
                rig.client(&leaves(version.min(5)));
                assert!(shared.groups.member("g", "me").is_none());
            }
        }
    });
}

#[test]
fn a_refusal_makes_no_member_and_the_last_connection_takes_its_members_along() {
    let world = World::new(Watch::default().mender(), Default::default());
    let (mut a, mut b) = (world.connect(Cuts::Whole), world.connect_to(Cuts::Whole, 2, None));
    a.client(&asks(7, "consumer"));
    a.broker(&answers(7, 79, "me"));
    assert!(world.env.shared.groups.member("g", "me").is_none());
    b.client(&asks(7, "consumer"));
    b.broker(&answers(7, 0, "me"));
    b.core.close();
    assert!(world.env.shared.groups.member("g", "me").is_some(), "another connection is there");
    a.core.close();
    assert!(world.env.shared.groups.member("g", "me").is_none());
}

/// A Metadata response, version 1: topic `a` as it is, then so many topics with an error.
fn described(errors: usize) -> Vec<u8> {
    let mut body = vec![0; 8]; // no brokers, no controller
    body.extend((errors as i32 + 1).to_be_bytes());
    body.extend(b"\0\0\0\x01a\0\0\0\0\x02");
    for (partition, leader) in [(1i32, 8i32), (0, 7)] {
        body.extend([0, 0]);
        body.extend([partition, leader].map(i32::to_be_bytes).concat());
        body.extend([0; 8]);
    }
    for _ in 0..errors {
        body.extend(b"\0\x03\0\x01b\0\0\0\0\0");
    }
    response(ApiKey::METADATA, 1, 3, &body)
}

#[test]
fn every_topic_of_a_metadata_response_is_told_once_it_is_known() {
    in_all_cuts(|cuts| {
        for errors in [1, 1500] {
            let watch = Watch::default();
            let mut rig = World::new(watch.mender(), Default::default()).connect(cuts.clone());
            rig.client(&request(ApiKey::METADATA, 1, 3, &[0xff; 4]));
            let answer = described(errors);
            rig.broker(&answer);
            assert!(rig.at_client() == answer, "{:?}", rig.end);
            let heard = watch.heard();
            // A listing teaches the catalog nothing.
            let known = if errors > 1000 { "None" } else { "Some(7)" };
            assert_eq!((heard.len(), &heard[0]), (errors + 1, &format!("topic a 0 [7, 8] {known}")));
            assert_eq!(heard[1], "topic b 3 [] None");
        }
    });
}
