//! Asking for the partition counts (rule B1).

use std::time::Duration;

use super::cluster::TOPIC;
use super::rig::*;
use crate::session::tests::kit::{Cuts, in_all_cuts, request};
use crate::wire::api::ApiKey;

const S: Duration = Duration::from_secs(1);

/// A producer that sends a request each 100 ms and waits for its answer.
fn produces(line: &mut Line, sequence: &mut i32, by: Duration) {
    for _ in 0..by.as_millis() / 100 {
        *sequence += 1;
        line.produce(9, &[(0, 0, *sequence)]);
        line.serve();
        line.pass_served(MS * 100);
    }
}

#[test]
fn topics_in_use_are_asked_for_by_name() {
    in_all_cuts(|cuts| {
        let world = world();
        let mut line = Line::new(&world, cuts, JAVA);
        line.pass_served(S * 3);
        assert_eq!(line.polls(), 0, "nothing is in use");
        let mut sequence = 0;
        produces(&mut line, &mut sequence, S * 10);
        let polls = line.cluster.borrow().polls.clone();
        assert!((7..=11).contains(&polls.len()), "{}", polls.len());
        assert!(polls.iter().all(|p| p.topics == [TOPIC] && p.version == 12), "{polls:?}");
        assert_eq!(world.metric("kmend_metadata_polls_total", &[("outcome", "answered")]), polls.len() as f64);
        // Idle.
        line.pass_served(S * 3);
        let before = line.polls();
        line.pass_served(S * 30);
        assert_eq!(line.polls(), before, "nothing is asked on behalf of an idle client");
        produces(&mut line, &mut sequence, S * 3);
        assert!(line.polls() > before);
        assert_eq!(made(&world), 0.0);
    });
}

#[test]
fn a_client_that_asks_for_no_versions_is_asked_in_the_oldest() {
    let world = world();
    let mut line = Line::bare(&world, Cuts::Whole, 1, Default::default());
    line.metadata();
    produces(&mut line, &mut 0, S * 3);
    assert!(line.polls() > 0 && line.cluster.borrow().polls.iter().all(|p| p.version == 4));
}

#[test]
fn one_poll_at_a_time_for_all_connections() {
    let world = world();
    let mut line = Line::new(&world, Cuts::Whole, JAVA);
    let mut other = line.another(&world, 2, JAVA);
    let mut sequence = 0;
    // The broker takes requests and answers none.
    for _ in 0..90 {
        sequence += 1;
        for l in [&mut line, &mut other] {
            l.produce(9, &[(0, 0, sequence)]);
            l.pass(MS * 100);
        }
    }
    assert_eq!(line.polls(), 1, "{:?}", line.cluster.borrow().polls);
    // Nothing more until the deadline; answers go to the client in order.
    line.serve();
    other.serve();
    for l in [&mut line, &mut other] {
        let answers: Vec<i32> = l.answers().iter().map(|a| a.correlation).collect();
        assert!(answers.is_sorted() && answers.len() == 90);
    }
}

#[test]
fn a_spare_connection_asks() {
    let world = world();
    let mut line = Line::new(&world, Cuts::Whole, JAVA);
    let mut spare = line.another(&world, 2, JAVA);
    for sequence in 1..100 {
        line.produce(9, &[(0, 0, sequence)]);
        for l in [&mut line, &mut spare] {
            l.serve();
            l.pass_served(MS * 60);
        }
    }
    let polls = line.cluster.borrow().polls.clone();
    assert!(polls.len() >= 4 && polls.iter().all(|p| p.connection == 2), "{polls:?}");
}

#[test]
fn errors_make_it_seldom() {
    let world = world();
    let mut line = Line::new(&world, Cuts::Whole, JAVA);
    line.cluster.borrow_mut().error = 5;
    let mut sequence = 0;
    produces(&mut line, &mut sequence, S * 62);
    // After 0 to 1 s, and after gaps of 2, 4, 8, 16, 32 s.
    let polls = line.polls();
    assert!((5..=6).contains(&polls), "{polls}");
    assert_eq!(world.metric("kmend_metadata_polls_total", &[("outcome", "failed")]), polls as f64);
    assert_eq!(made(&world), 0.0);
}

#[test]
fn a_deleted_topic_is_left_alone() {
    let world = world();
    let mut line = Line::new(&world, Cuts::Whole, JAVA);
    let mut sequence = 0;
    produces(&mut line, &mut sequence, S * 2);
    line.cluster.borrow_mut().error = 3;
    let before = line.polls();
    produces(&mut line, &mut sequence, S * 10);
    assert!(line.polls() > before, "it may be made again");
    assert_eq!(made(&world), 0.0);
    assert!(!line.closed);
    assert_eq!(world.metric("kmend_partitions_added_total", &[]), 0.0);
}

#[test]
fn nothing_within_a_login_or_behind_a_join() {
    for login in [true, false] {
        let world = world();
        let mut line = Line::new(&world, Cuts::Whole, JAVA);
        line.produce(9, &[(0, 0, 1)]);
        line.serve();
        if login {
            line.ask(ApiKey::SASL_HANDSHAKE, 1, b"\0\x05PLAIN");
        } else {
            line.join();
        }
        line.pass(S * 2 - MS * 100);
        assert_eq!(line.polls(), 0, "{login}");
        if login {
            line.serve();
            line.pass(MS * 50);
            assert_eq!(line.polls(), 0, "the login is not over");
        }
        line.serve();
        line.rig.at_client();
        let frame = request(ApiKey::LIST_GROUPS, 0, 900, &[]);
        line.send(&frame);
        line.serve();
        produces(&mut line, &mut 1, S * 2);
        assert!(line.polls() > 0);
    }
}
