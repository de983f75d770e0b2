//! Consumers that fetch: one Fetch is answered here (rule B4).

use std::time::Duration;

use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, GroupId};

use super::cluster::{TOPIC, encode, text};
use super::rig::*;
use crate::session::tests::kit::{Cuts, World, in_all_cuts};
use crate::wire::api::ApiKey;

const STEP: Duration = Duration::from_millis(100);
/// Rounds in which a growth is found and a nudge made.
const ROUND: usize = 40;
const NOT_FOUND: i16 = 70;

struct Consumer {
    line: Line,
    version: i16,
    session: i32,
    epoch: i32,
}

impl Consumer {
    /// It knows of two partitions and fetches both; there may be a session.
    fn new(world: &World, cuts: Cuts, version: i16, software: &str, session: bool) -> Consumer {
        let mut line = Line::new(world, cuts, software);
        line.grow(2);
        line.metadata();
        let mut consumer = Consumer { line, version, session: 0, epoch: -1 };
        if session {
            let answer = consumer.full(0, 0);
            (consumer.session, consumer.epoch) = (answer.session, 1);
            assert_eq!(answer.partitions, [(0, 0), (1, 0)]);
        }
        consumer
    }

    fn full(&mut self, session: i32, epoch: i32) -> Answer {
        self.line.fetch(self.version, session, epoch, &[0, 1]);
        self.line.answer()
    }

    fn fetch(&mut self) -> Answer {
        if self.session == 0 {
            return self.full(0, -1);
        }
        let answer = {
            self.line.fetch(self.version, self.session, self.epoch, &[]);
            self.line.answer()
        };
        self.epoch += 1;
        answer
    }

    /// Until an answer has an error; the number of requests that the broker did not get is 1 then.
    fn until_error(&mut self, rounds: usize) -> Option<Answer> {
        for _ in 0..rounds {
            let before = self.fetches();
            let answer = self.fetch();
            let errors = answer.error != 0 || answer.partitions.iter().any(|(_, error)| *error != 0);
            assert_eq!(self.fetches() - before, usize::from(!errors), "answered by the broker or here");
            if errors {
                return Some(answer);
            }
            self.line.pass_served(STEP);
        }
        None
    }

    fn fetches(&self) -> usize {
        self.line.cluster.borrow().fetched.len()
    }
}

#[test]
fn a_session_is_opened_anew_around_the_refusal() {
    in_all_cuts(|cuts| {
        for version in [7, 11, 12, 13, 17] {
            let world = world();
            let mut c = Consumer::new(&world, cuts.clone(), version, KGO, true);
            assert_eq!(c.until_error(ROUND / 2), None);
            c.line.grow(4);
            let told = c.until_error(ROUND).expect("told");
            assert_eq!((told.error, told.session, told.partitions.len()), (NOT_FOUND, 0, 0), "version {version}");
            assert_eq!(c.line.cluster.borrow().closed, [1], "the orphan is closed");
            let before = c.fetches();
            let refused = c.full(0, 0);
            assert_eq!((refused.error, &refused.partitions[..]), (0, &[(0, 6), (1, 0)][..]), "version {version}");
            assert_ne!(refused.session, 0, "else it would do without from then on");
            c.line.fetch(version, refused.session, 1, &[]);
            let told = c.line.answer();
            assert_eq!((told.error, told.session), (NOT_FOUND, 0));
            assert_eq!(c.fetches(), before, "nothing of it went upstream");
            let opened = c.full(0, 0);
            assert_eq!((opened.error, opened.session, opened.partitions), (0, 2, vec![(0, 0), (1, 0)]));
            assert_eq!(c.fetches(), before + 1);
            c.line.metadata();
            (c.session, c.epoch) = (2, 1);
            assert_eq!(c.until_error(ROUND * 3), None, "once");
            assert_eq!((nudges(&world, "fetch", "done"), made(&world)), (1.0, 1.0));
            assert_eq!(c.line.cluster.borrow().closed, [1]);
        }
    });
}

#[test]
fn a_client_without_a_session_is_given_none() {
    in_all_cuts(|cuts| {
        for version in [4, 6, 7, 11, 13] {
            let world = world();
            let mut c = Consumer::new(&world, cuts.clone(), version, JAVA, false);
            assert_eq!(c.until_error(5), None);
            c.line.grow(4);
            let refused = c.until_error(ROUND).expect("refused");
            assert_eq!((refused.error, refused.session), (0, 0), "version {version}");
            assert_eq!(refused.partitions, [(0, 6), (1, 0)]);
            c.line.metadata();
            assert_eq!(c.until_error(ROUND * 2), None);
            assert!(c.line.cluster.borrow().closed.is_empty());
            assert_eq!((nudges(&world, "fetch", "done"), made(&world)), (1.0, 1.0));
        }
    });
}

#[test]
fn a_client_that_does_not_look_is_nudged_three_times() {
    let world = world();
    let mut c = Consumer::new(&world, Cuts::Whole, 12, KGO, false);
    c.line.grow(4);
    let refused = (0..6).filter(|_| c.until_error(ROUND * 4).is_some()).count();
    assert_eq!(refused, 3);
    assert_eq!((nudges(&world, "fetch", "repeated"), nudges(&world, "fetch", "gave_up")), (2.0, 1.0));
}

#[test]
fn the_leader_of_a_group_is_done_when_it_has_joined_again() {
    let world = world();
    let mut c = Consumer::new(&world, Cuts::Whole, 12, JAVA, false);
    c.line.join();
    c.line.serve();
    c.line.answers();
    c.line.grow(4);
    assert!(c.until_error(ROUND).is_some());
    c.line.metadata();
    assert_eq!(c.until_error(10), None);
    assert_eq!(nudges(&world, "fetch", "done"), 0.0, "it has not joined yet");
    c.line.join();
    c.line.serve();
    c.line.answers();
    assert_eq!(c.until_error(ROUND * 2), None);
    assert_eq!((nudges(&world, "fetch", "done"), made(&world)), (1.0, 1.0));
}

#[test]
fn followers_and_members_of_new_groups_are_left_alone() {
    for follower in [true, false] {
        for software in [JAVA, KGO] {
            let world = world();
            let mut c = Consumer::new(&world, Cuts::Whole, 12, software, true);
            if follower {
                c.line.cluster.borrow_mut().leads = false;
                c.line.join();
            } else {
                let message = ConsumerGroupHeartbeatRequest::default()
                    .with_group_id(GroupId(text("g")))
                    .with_member_id(text("me"))
                    .with_subscribed_topic_names(Some(vec![kafka_protocol::messages::TopicName(text(TOPIC))]));
                c.line.ask(ApiKey::CONSUMER_GROUP_HEARTBEAT, 0, &encode(&message, 0));
            }
            c.line.serve();
            c.line.answers();
            c.line.grow(4);
            assert_eq!(c.until_error(ROUND * 2), None, "{software} {follower}");
            assert_eq!(world.metric("kmend_partitions_added_total", &[]), 3.0);
            assert!(made(&world) == 0.0 && c.line.cluster.borrow().closed.is_empty() && !c.line.closed);
        }
    }
}

#[test]
fn unknown_software_is_left_alone() {
    let world = world();
    let mut c = Consumer::new(&world, Cuts::Whole, 12, "something-else", true);
    c.line.grow(4);
    assert_eq!(c.until_error(ROUND * 2), None);
    assert_eq!((nudges(&world, "none", "unknown_software"), made(&world)), (1.0, 0.0));
}
