//! What each kind of answer makes of a member.

use std::time::Duration;

use kafka_protocol::messages::ConsumerGroupHeartbeatResponse;

use super::line::*;
use crate::mend::{GroupKind, Phase};
use crate::session::tests::kit::*;
use crate::session::tests::watch::Watch;
use crate::wire::api::ApiKey;

fn world() -> World {
    World::new(Watch::default().mender(), Default::default())
}

fn names(found: Vec<(std::sync::Arc<str>, crate::mend::ClientKey)>) -> Vec<String> {
    found.into_iter().map(|(id, _)| id.to_string()).collect()
}

#[test]
fn a_member_owns_what_the_broker_gave_it_for_this_generation() {
    in_all_cuts(|cuts| {
        for version in 0..=9 {
            let world = world();
            let mut line = Line::new(&world, cuts.clone());
            let owners = |line: &Line, p| names(line.shared.groups.owners("g", "t", [0; 16], p));
            line.join_static(version, "", "i", "me");
            let member = line.known("me");
            assert_eq!((member.phase, member.assignment, member.kind), (Phase::Joined, None, GroupKind::Classic));
            assert_eq!(member.instance.as_deref(), (version >= 5).then_some("i"));
            assert_eq!(member.session_timeout, Duration::from_secs(10));
            assert_eq!(member.rebalance_timeout, Duration::from_secs(if version >= 1 { 60 } else { 10 }));

            let v = version.min(5);
            line.sync(v, 5, "me", 27, "consumer");
            assert_eq!(line.known("me").phase, Phase::Joined, "an error changes nothing");
            line.rig.later(Duration::from_secs(1));
            line.sync(v, 5, "me", 0, "consumer");
            let member = line.known("me");
            assert_eq!((member.phase, member.seen, member.joined.generation), (Phase::Stable, line.rig.now, 5));
            assert!(!member.joined.is_leader, "as its JoinGroup said");
            assert_eq!([0, 1, 4].map(|p| owners(&line, p).len()), [0, 1, 1]);
            assert_eq!(owners(&line, 1), ["me"]);
            assert!(line.shared.groups.owners("h", "t", [0; 16], 1).is_empty());

            line.ask(ApiKey::JOIN_GROUP, version, &join(version, "me", Some("i")));
            assert_eq!(line.known("me").phase, Phase::Stable, "not before the answer");
            line.answer(&joined(version, 0, 6, "me"));
            let member = line.known("me");
            assert_eq!((member.phase, member.assignment, member.joined.generation), (Phase::Joined, None, 6));
            line.sync(v, 5, "me", 0, "consumer");
            assert_eq!(line.known("me").phase, Phase::Joined, "of a generation that is over");
            assert_eq!(line.shared.groups.members_of("g").len(), 1);
        }
    });
}

#[test]
fn a_sync_alone_makes_a_member_and_only_consumers_bytes_are_read() {
    in_all_cuts(|cuts| {
        for version in 0..=5 {
            let world = world();
            let mut line = Line::new(&world, cuts.clone());
            line.sync(version, 3, "me", 0, "consumer");
            let member = line.known("me");
            assert_eq!((member.phase, member.joined.generation, member.joined.is_leader), (Phase::Stable, 3, true));
            // Before version 5 nothing says that it is a consumer.
            assert_eq!(member.assignment.is_some(), version >= 5, "{version}");
            assert_eq!(&*member.joined.protocol, if version >= 5 { "range" } else { "" });
            line.sync(version, 3, "worker", 0, "connect");
            assert_eq!(line.known("worker").assignment, None);
        }
    });
}

#[test]
fn whoever_is_accepted_is_known_and_no_refusal_changes_anything() {
    in_all_cuts(|cuts| {
        for version in 0..=4 {
            let world = world();
            let mut line = Line::new(&world, cuts.clone());
            for error in [22, 25, 27] {
                line.heartbeat(version, 3, "me", error);
                assert!(line.member("me").is_none());
            }
            line.heartbeat(version, 3, "me", 0);
            let member = line.known("me");
            assert_eq!((member.phase, member.joined.generation, member.assignment), (Phase::Heard, 3, None));

            line.join(4, "me", 0, "me");
            line.sync(4, 5, "me", 0, "consumer");
            line.rig.later(Duration::from_secs(1));
            let before = line.known("me");
            for (generation, error) in [(5, 22), (5, 25), (5, 27), (7, 22)] {
                line.heartbeat(version, generation, "me", error);
                assert_eq!(line.known("me"), before);
            }
            // An old one, late: it lives, and that is all.
            line.heartbeat(version, 4, "me", 0);
            let mut now = before.clone();
            now.seen = line.rig.now;
            assert_eq!(line.known("me"), now);
            line.rig.later(Duration::from_secs(1));
            line.heartbeat(version, 5, "me", 0);
            assert_eq!((line.known("me").seen, line.known("me").phase), (line.rig.now, Phase::Stable));
            // How it came to a newer one nobody saw: what it owns is not known.
            line.heartbeat(version, 7, "me", 0);
            let member = line.known("me");
            assert_eq!((member.phase, member.joined.generation, member.assignment), (Phase::Heard, 7, None));
            assert_eq!(&*member.joined.protocol_type, "consumer");
        }
    });
}

#[test]
fn a_commit_that_is_accepted_shows_its_member() {
    in_all_cuts(|cuts| {
        for version in 2..=10 {
            let world = world();
            let mut line = Line::new(&world, cuts.clone());
            let refused: &[&[i16]] = &[&[22, 22], &[25], &[27], &[82], &[]];
            let commits = [("me", 3, refused), ("", -1, &[&[0]]), ("", 3, &[&[0]]), ("me", -1, &[&[0]])];
            for (member, generation, answers) in commits {
                for errors in answers {
                    line.ask_raw(ApiKey::OFFSET_COMMIT, version, &commit(version, generation, member));
                    line.answer(&committed(errors));
                    assert!(line.shared.groups.members_of("g").is_empty(), "{version} {member} {errors:?}");
                }
            }
            // What is wrong with a partition is not wrong with its member.
            line.ask_raw(ApiKey::OFFSET_COMMIT, version, &commit(version, 3, "me"));
            line.answer(&committed(&[3, 0]));
            let member = line.known("me");
            assert_eq!((member.phase, member.joined.generation), (Phase::Heard, 3));
            assert_eq!(member.instance.as_deref(), (version >= 7).then_some("i"));
            assert_eq!(member.client, line.rig.core.conn().client());
        }
    });
}

#[test]
fn a_member_of_the_new_protocol_is_followed_by_its_heartbeats() {
    in_all_cuts(|cuts| {
        for version in 0..=1 {
            let world = world();
            let mut line = Line::new(&world, cuts.clone());
            let say = |line: &mut Line, epoch, answer: ConsumerGroupHeartbeatResponse| {
                line.ask(ApiKey::CONSUMER_GROUP_HEARTBEAT, version, &consumer(epoch, "me", None));
                line.answer(&answer);
            };
            let owned = |line: &Line| {
                let owns = |p: &i32| names(line.shared.groups.owners("g", "?", TOPIC_ID, *p)) == ["me"];
                (0..4).filter(owns).collect::<Vec<_>>()
            };
            say(&mut line, 0, accepted(0, "me", None).with_error_code(25));
            assert!(line.member("me").is_none());
            say(&mut line, 0, accepted(8, "me", Some(&[0, 2])));
            let member = line.known("me");
            assert_eq!((member.kind, member.phase, member.joined.generation), (GroupKind::Consumer, Phase::Stable, 8));
            assert_eq!(
                (member.rebalance_timeout, &*member.joined.protocol_type),
                (Duration::from_secs(45), "consumer")
            );
            assert_eq!(owned(&line), [0, 2]);
            assert!(line.shared.groups.owners("g", "?", [0; 16], 0).is_empty(), "an unknown id is nobody's");

            line.rig.later(Duration::from_secs(1));
            say(&mut line, 8, accepted(9, "me", None));
            let member = line.known("me");
            assert_eq!((member.joined.generation, member.seen), (9, line.rig.now));
            assert_eq!((owned(&line), member.rebalance_timeout), (vec![0, 2], Duration::from_secs(45)));
            say(&mut line, 9, accepted(0, "me", None).with_error_code(110));
            assert_eq!(line.known("me"), member);
            // A commit with an older epoch is accepted where the partition is still its own; only
            // heartbeats say which epoch it is in.
            for epoch in [8, 11] {
                line.ask_raw(ApiKey::OFFSET_COMMIT, 9, &commit(9, epoch, "me"));
                line.answer(&committed(&[0]));
                assert_eq!(line.known("me"), member);
            }
            say(&mut line, 9, accepted(9, "me", Some(&[])));
            assert_eq!((owned(&line), line.known("me").phase), (vec![], Phase::Stable));
            // Fenced, it begins anew: it has nothing until it is told.
            say(&mut line, 9, accepted(9, "me", Some(&[3])));
            say(&mut line, 0, accepted(10, "me", None));
            assert_eq!((line.known("me").assignment, line.known("me").phase), (None, Phase::Joined));

            line.ask(ApiKey::CONSUMER_GROUP_HEARTBEAT, version, &consumer(-2, "me", None));
            line.answer(&accepted(-2, "me", None));
            assert_eq!(line.known("me").joined.generation, 10, "a static member comes back");
            line.ask(ApiKey::CONSUMER_GROUP_HEARTBEAT, version, &consumer(-1, "me", None));
            assert!(line.member("me").is_none());
            line.answer(&accepted(-1, "me", None));
            assert!(line.member("me").is_none());
        }
    });
}

#[test]
fn the_first_heartbeat_seen_may_not_be_the_first() {
    let world = world();
    let mut line = Line::new(&world, Cuts::Whole);
    // The broker names the member where it was asked without a name, as in version 0.
    line.ask(ApiKey::CONSUMER_GROUP_HEARTBEAT, 0, &consumer(0, "", None));
    line.answer(&accepted(1, "given", Some(&[1])));
    assert_eq!(line.known("given").phase, Phase::Stable);
    line.ask(ApiKey::CONSUMER_GROUP_HEARTBEAT, 1, &consumer(4, "me", None));
    line.answer(&accepted(4, "me", None));
    let member = line.known("me");
    assert_eq!((member.phase, member.assignment, member.kind), (Phase::Heard, None, GroupKind::Consumer));
}
