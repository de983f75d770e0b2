//! Consumers whose group is told to rejoin: the answer to a Heartbeat is changed (rule B4).

use std::time::Duration;

use super::rig::*;
use crate::session::tests::kit::{Cuts, World, in_all_cuts};

const STEP: Duration = Duration::from_millis(500);
const REBALANCE: i16 = 27;

fn joined(world: &World, cuts: Cuts, leads: bool) -> Line {
    let mut line = Line::new(world, cuts, LIBRDKAFKA);
    line.cluster.borrow_mut().leads = leads;
    rejoin(&mut line);
    line
}

fn rejoin(line: &mut Line) {
    line.join();
    line.serve();
    line.answers();
}

/// The answers to so many Heartbeats.
fn beats(line: &mut Line, count: usize) -> Vec<i16> {
    let before = line.cluster.borrow().beats;
    let answers = (0..count).map(|_| {
        line.pass_served(STEP);
        line.beat()
    });
    let answers = answers.collect();
    assert_eq!(line.cluster.borrow().beats, before + count, "the broker has renewed the session each time");
    answers
}

#[test]
fn the_leader_is_told_to_rejoin_once() {
    in_all_cuts(|cuts| {
        let world = world();
        let mut line = joined(&world, cuts, true);
        for (grows, partitions) in [(1, 3), (2, 5)] {
            assert_eq!(beats(&mut line, 10), [0; 10]);
            line.grow(partitions);
            let mut before = 0;
            while line.beat() != REBALANCE {
                before += 1;
                assert!(before < 20);
                line.pass_served(STEP);
            }
            line.metadata();
            rejoin(&mut line);
            assert_eq!(beats(&mut line, 30), [0; 30]);
            assert_eq!((nudges(&world, "heartbeat", "done"), made(&world)), (f64::from(grows), f64::from(grows)));
        }
    });
}

#[test]
fn an_error_of_the_broker_stays() {
    for error in [16, 22, 25, 27] {
        let world = world();
        let mut line = joined(&world, Cuts::Whole, true);
        line.cluster.borrow_mut().beat_error = error;
        line.grow(3);
        assert_eq!(beats(&mut line, 20), [error; 20]);
        assert_eq!(made(&world), 0.0);
        line.cluster.borrow_mut().beat_error = 0;
        assert_eq!(beats(&mut line, 1), [REBALANCE]);
    }
}

#[test]
fn one_that_does_not_lead_is_told_nothing() {
    let world = world();
    let mut line = joined(&world, Cuts::Whole, false);
    line.grow(3);
    assert_eq!(beats(&mut line, 40), [0; 40]);
    assert_eq!(world.metric("kmend_partitions_added_total", &[]), 2.0);
    assert_eq!(made(&world), 0.0);
}

#[test]
fn only_in_the_group_that_it_leads() {
    let world = world();
    let mut line = joined(&world, Cuts::Whole, true);
    line.cluster.borrow_mut().leads = false;
    line.join_group("h");
    line.serve();
    line.answers();
    line.grow(3);
    for _ in 0..20 {
        line.pass_served(STEP);
        assert_eq!(line.beat_in("h"), 0);
    }
    assert_eq!(line.beat(), REBALANCE);
}

#[test]
fn three_times_at_most() {
    let world = world();
    let mut line = joined(&world, Cuts::Whole, true);
    line.grow(3);
    let told = beats(&mut line, 100).into_iter().filter(|error| *error == REBALANCE).count();
    assert_eq!(told, 3);
    assert_eq!((nudges(&world, "heartbeat", "repeated"), nudges(&world, "heartbeat", "gave_up")), (2.0, 1.0));
}

#[test]
fn of_a_member_that_joined_before_kmends_time_nothing_is_held_against_it() {
    let world = world();
    let mut line = Line::new(&world, Cuts::Whole, LIBRDKAFKA);
    line.metadata();
    let mut told = Vec::new();
    for at in 0..30 {
        line.fetch(11, 0, -1, &[0]);
        line.serve();
        line.answers();
        told.extend(beats(&mut line, 1));
        if at == 5 {
            // The broker accepts it: so much is known of it, and no more.
            assert_eq!(world.env.shared.groups.members_of("g").len(), 1);
            line.grow(3);
        }
    }
    assert!(told.contains(&REBALANCE), "{told:?}");
}
