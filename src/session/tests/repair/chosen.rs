//! Modes, policies, exemptions, steering.

use bytes::BytesMut;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::broker::Broker;
use super::rig::{Link, world};
use crate::config::model::{FullTopicRule, Mode, ModeRule, OffsetReset, ResetPolicy, TopicRule};
use crate::session::tests::kit::{World, in_all_cuts, request};
use crate::wire::api::ApiKey;

/// Neither direction is changed: the error comes through and the request goes as it is.
fn untouched(world: &World, link: &mut Link) {
    for _ in 0..3 {
        let answer = link.fetch(0, -1, &[(0, 40)]);
        assert_eq!(answer.of(0).map(|a| a.0), Some(1));
    }
    assert!(link.sent == link.forwarded, "a request was changed or added");
    assert_eq!(link.broker.times_asked(ApiKey::LIST_OFFSETS), 0);
    assert_eq!(world.metric("kmend_offset_resets_total", &[]), 0.0);
}

fn check(topic: &str, set: impl Fn(&mut OffsetReset)) {
    in_all_cuts(|cuts| {
        let world = world(&set);
        let mut broker = Broker::new(&[(0, (100, 200))]);
        broker.topic = topic.into();
        let mut link = Link::new(&world, cuts, 12, broker);
        untouched(&world, &mut link);
    });
}

#[test]
fn observe_changes_no_byte_and_counts_once() {
    check("orders", |c| c.mode = Mode::Observe);
    let world = world(|c| c.mode = Mode::Observe);
    let mut link = Link::new(&world, crate::session::tests::kit::Cuts::Whole, 12, Broker::new(&[(0, (100, 200))]));
    untouched(&world, &mut link);
    assert_eq!(world.metric("kmend_repairs_total", &[("outcome", "observed")]), 1.0);
}

#[test]
fn off_and_passthrough_change_no_byte() {
    check("orders", |c| c.mode = Mode::Off);
    check("orders", |c| c.policy = ResetPolicy::Passthrough);
    check("orders", |c| {
        let rule = TopicRule::Policy(ResetPolicy::Passthrough);
        c.topics.insert("ord*".into(), rule);
    });
    check("orders", |c| {
        let rule = FullTopicRule { mode: Some(Mode::Off), policy: None };
        c.topics.insert("orders".into(), TopicRule::Full(rule));
    });
}

#[test]
fn exempt_topics_and_clients_are_left_alone() {
    check("__consumer_offsets", |_| {});
    check("app-store-changelog", |_| {});
    check("orders", |c| {
        c.clients.insert("app".into(), ModeRule { mode: Mode::Off });
    });
}

/// A careful person who turns `repair` back: from then on no byte is changed, also not for what was begun.
#[test]
fn what_was_begun_ends_when_the_mode_changes() {
    in_all_cuts(|cuts| {
        let world = world(|_| {});
        let mut link = Link::new(&world, cuts, 12, Broker::new(&[(0, (100, 200))]));
        assert_eq!(link.fetch(0, -1, &[(0, 40)]).of(0), Some((0, Some(0))));
        let mut config = crate::config::Config::default();
        config.menders.offset_reset.mode = Mode::Observe;
        let mender = world.env.menders.iter().find(|m| m.name() == "offset_reset").unwrap();
        mender.reload(&config);
        assert_eq!(link.fetch(0, -1, &[(0, 40)]).of(0).map(|a| a.0), Some(1));
        assert_eq!(link.broker.wanted[&0], (40, 2), "as the client sent it");
    });
}

#[test]
fn a_canary_is_mended_where_the_rest_is_observed() {
    in_all_cuts(|cuts| {
        let world = world(|c| {
            c.mode = Mode::Observe;
            c.clients.insert("app".into(), ModeRule { mode: Mode::Repair });
        });
        let mut link = Link::new(&world, cuts, 12, Broker::new(&[(0, (100, 200))]));
        assert_eq!(link.fetch_until_news(0, 40).1, 0);
    });
}

fn list_offsets(timestamp: i64, correlation: i32) -> Vec<u8> {
    let partition =
        ListOffsetsPartition::default().with_partition_index(0).with_current_leader_epoch(-1).with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("orders")))
        .with_partitions(vec![partition]);
    let mut body = BytesMut::new();
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]).encode(&mut body, 7).unwrap();
    request(ApiKey::LIST_OFFSETS, 7, correlation, &body)
}

/// The client's own reset after an error above the log end: once, and only by an explicit policy.
#[test]
fn a_reset_from_above_the_end_is_steered_once_where_a_policy_was_set() {
    in_all_cuts(|cuts| {
        for explicit in [true, false] {
            let world = world(|c| {
                if explicit {
                    let rule = TopicRule::Policy(ResetPolicy::Earliest);
                    c.topics.insert("orders".into(), rule);
                }
            });
            let mut link = Link::new(&world, cuts.clone(), 12, Broker::new(&[(0, (100, 200))]));
            assert_eq!(link.fetch_until_news(0, 500).1, 1);
            // Perhaps on another connection of the same client.
            let mut other = Link::number(&world, cuts.clone(), 12, Broker::new(&[(0, (100, 200))]), 2);
            let asks = list_offsets(-1, 50);
            other.rig.client(&asks);
            let expected = if explicit { list_offsets(-2, 50) } else { asks };
            assert_eq!(other.rig.at_broker(), expected);
            other.rig.client(&list_offsets(-1, 51));
            assert_eq!(other.rig.at_broker(), list_offsets(-1, 51), "only once");
            let steered = world.metric("kmend_repairs_total", &[("outcome", "steered")]);
            assert_eq!(steered, f64::from(u8::from(explicit)));
        }
    });
}
