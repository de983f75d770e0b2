//! Producers that are never idle: one request is refused, and what is behind it (rule B3).

use std::time::Duration;

use super::rig::*;
use crate::config::model::Nudge;
use crate::config::units::Auto;
use crate::session::tests::kit::{Cuts, World, in_all_cuts};
use crate::session::tests::produce::{batch, produce};
use crate::wire::api::ApiKey;

/// Long enough for a growth to be found and a request to be refused.
const ROUND: Duration = Duration::from_secs(3);
const STEP: Duration = Duration::from_millis(50);

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Done {
    correlation: i32,
    refused: bool,
}

/// A producer with a request in flight at any time.
struct Busy {
    line: Line,
    version: i16,
    /// Answers in the order in which they came.
    done: Vec<Done>,
    sent: Vec<(i32, i32)>,
}

impl Busy {
    fn new(world: &World, cuts: Cuts, version: i16) -> Busy {
        let line = Line::new(world, cuts, JAVA);
        Busy { line, version, done: Vec::new(), sent: Vec::new() }
    }

    fn read(&mut self) {
        for answer in self.line.answers() {
            if answer.api == ApiKey::PRODUCE {
                let errors: Vec<i16> = answer.partitions.iter().map(|(_, error)| *error).collect();
                let refused = errors.contains(&6);
                assert!(errors.iter().all(|e| *e == if refused { 6 } else { 0 }), "{errors:?}");
                self.done.push(Done { correlation: answer.correlation, refused });
            }
        }
    }

    /// One more request; the broker answers all but the newest.
    fn send(&mut self, epoch: i16, sequence: i32) -> i32 {
        let correlation = self.line.produce(self.version, &[(0, epoch, sequence)]);
        self.sent.push((correlation, sequence));
        self.line.pass(STEP);
        self.line.serve_but(1);
        self.read();
        correlation
    }

    /// Until one is refused; what followed it was not sent yet. Its sequence, if any was.
    fn until_refused(&mut self, next: &mut i32, by: Duration) -> Option<i32> {
        for _ in 0..by.as_millis() / STEP.as_millis() {
            let before = self.line.cluster.borrow().produced.len();
            let sequence = *next;
            *next += 10;
            self.send(0, sequence);
            if self.line.cluster.borrow().produced.len() == before {
                return Some(sequence);
            }
        }
        None
    }

    fn finish(&mut self) {
        self.line.serve();
        self.read();
        let order: Vec<i32> = self.done.iter().map(|d| d.correlation).collect();
        let sent: Vec<i32> = self.sent.iter().map(|(c, _)| *c).collect();
        assert_eq!(order, sent, "each is answered, in order");
    }

    fn refused(&self) -> Vec<i32> {
        let refused = |c: &i32| self.done.iter().any(|d| d.correlation == *c && d.refused);
        self.sent.iter().filter(|(c, _)| refused(c)).map(|(_, s)| *s).collect()
    }

    fn produced(&self) -> Vec<i32> {
        self.line.cluster.borrow().produced.clone()
    }
}

#[test]
fn one_is_refused_and_what_follows_until_it_comes_again() {
    in_all_cuts(|cuts| {
        for version in [3, 7, 9, 12, 13] {
            let world = world();
            let mut busy = Busy::new(&world, cuts.clone(), version);
            let mut next = 10;
            assert_eq!(busy.until_refused(&mut next, ROUND), None);
            busy.line.grow(3);
            let first = busy.until_refused(&mut next, ROUND).expect("refused");
            // Pipelined behind it, then all of it again.
            (1..5).for_each(|n| _ = busy.send(0, first + n * 10));
            (0..5).for_each(|n| _ = busy.send(0, first + n * 10));
            busy.line.serve();
            busy.read();
            busy.line.metadata();
            next = first + 50;
            assert_eq!(busy.until_refused(&mut next, Duration::from_secs(12)), None, "version {version}");
            busy.finish();
            let expected: Vec<i32> = (0..5).map(|n| first + n * 10).collect();
            assert_eq!(busy.refused(), expected);
            let all: Vec<i32> = (10..next).step_by(10).collect();
            assert_eq!(busy.produced(), all, "each batch once, in order; nothing refused went upstream");
            assert_eq!((nudges(&world, "reject", "done"), made(&world)), (1.0, 1.0));
            assert_eq!(world.metric("kmend_partitions_added_total", &[("topic", "orders")]), 2.0);
            assert!(!busy.line.closed);
        }
    });
}

#[test]
fn every_partition_of_the_refused_request_is_named() {
    for version in [9, 13] {
        let world = world();
        let mut line = Line::new(&world, Cuts::Whole, JAVA);
        line.grow(2);
        line.metadata();
        line.grow(4);
        for n in 1..80 {
            line.produce(version, &[(0, 0, n * 10), (1, 0, n * 7)]);
            line.pass(STEP);
            line.serve_but(1);
        }
        line.serve();
        let answers = line.answers();
        let refused: Vec<_> = answers.iter().filter(|a| a.partitions.iter().any(|(_, e)| *e != 0)).collect();
        assert!(!refused.is_empty(), "version {version}");
        assert!(refused.iter().all(|a| a.partitions == [(0, 6), (1, 6)]), "{refused:?}");
    }
}

#[test]
fn what_a_broker_or_a_producer_would_lose_is_never_refused() {
    // Of each request: its batches after the growth.
    type Batch = fn(i32) -> Vec<u8>;
    let cases: [(&str, &[Batch]); 4] = [
        ("the first of a producer id", &[|n| batch(100 + i64::from(n), 0, 0, 90)]),
        ("the first of one partition", &[|n| batch(77, 0, n, 90), |n| batch(100 + i64::from(n), 0, 0, 90)]),
        ("one that is not idempotent", &[|n| batch(77, 0, n, 90), |_| batch(-1, -1, -1, 90)]),
        ("an old format", &[|n| batch(77, 0, n, 90), |_| vec![0; 70]]),
    ];
    for version in [9, 13] {
        for (why, batches) in cases {
            let world = world();
            let mut line = Line::new(&world, Cuts::Whole, JAVA);
            line.grow(2);
            line.metadata();
            line.produce(version, &[(0, 0, 1)]);
            line.grow(3);
            for n in 2..160 {
                let correlation = line.next();
                let partitions: Vec<_> = batches.iter().enumerate().map(|(p, b)| (p as i32, Some(b(n)))).collect();
                line.send(&produce(version, correlation, -1, &partitions));
                line.pass(STEP);
                line.serve_but(1);
            }
            line.serve();
            assert!(line.answers().iter().flat_map(|a| &a.partitions).all(|(_, error)| *error == 0), "{why}");
            assert_eq!((made(&world), nudges(&world, "none", "no_occasion")), (0.0, 1.0), "{why}");
        }
    }
}

#[test]
fn a_request_is_judged_by_its_own_batches() {
    for (producer, refused) in [(77, true), (-1, false)] {
        let world = world_with(|c| c.nudge = Auto::Set(Nudge::Reject));
        let mut line = Line::new(&world, Cuts::Whole, JAVA);
        line.grow(2);
        line.metadata();
        let mut sequence = 1;
        line.produce(9, &[(0, 0, sequence)]);
        line.grow(3);
        while world.metric("kmend_partitions_added_total", &[]) < 2.0 {
            sequence += 1;
            line.produce(9, &[(0, 0, sequence)]);
            line.pass_served(STEP);
        }
        // Due by now. So far each batch was of an idempotent producer.
        line.pass_served(Duration::from_millis(1000));
        line.answers();
        let correlation = line.next();
        let partitions = [(0, Some(batch(77, 0, sequence + 1, 90))), (1, Some(batch(producer, 0, 1, 90)))];
        line.send(&produce(9, correlation, -1, &partitions));
        let error = if refused { 6 } else { 0 };
        assert_eq!(line.answer().partitions, [(0, error), (1, error)]);
    }
}

#[test]
fn nothing_where_acks_0_was_seen() {
    let world = world();
    let mut busy = Busy::new(&world, Cuts::Whole, 9);
    let mut next = 10;
    busy.until_refused(&mut next, ROUND);
    let correlation = busy.line.next();
    busy.line.send(&produce(9, correlation, 0, &[(0, Some(batch(77, 0, next, 90)))]));
    // The broker has no answer to it.
    busy.line.forget_newest();
    busy.line.grow(3);
    assert_eq!(busy.until_refused(&mut next, Duration::from_secs(9)), None);
    busy.finish();
    busy.line.pass_served(Duration::from_secs(9));
    assert_eq!((made(&world), busy.line.closed), (0.0, false));
}

#[test]
fn another_epoch_opens() {
    let world = world();
    let mut busy = Busy::new(&world, Cuts::Whole, 9);
    let mut next = 10;
    busy.until_refused(&mut next, ROUND);
    busy.line.grow(3);
    let first = busy.until_refused(&mut next, ROUND).expect("refused");
    busy.send(0, first + 10);
    busy.send(1, 0);
    busy.send(1, 10);
    // And the former epoch's batches are the broker's to judge.
    busy.send(0, first + 10);
    busy.finish();
    assert_eq!(busy.refused(), [first, first + 10]);
    assert_eq!(busy.produced()[busy.produced().len() - 3..], [0, 10, first + 10]);
}

#[test]
fn what_never_comes_again_is_not_waited_for() {
    let world = world();
    let mut busy = Busy::new(&world, Cuts::Whole, 9);
    let mut next = 10;
    busy.until_refused(&mut next, ROUND);
    busy.line.grow(3);
    let first = busy.until_refused(&mut next, ROUND).expect("refused");
    let since = busy.line.rig.now;
    while busy.line.rig.now < since + Duration::from_secs(40) {
        busy.send(0, next);
        next += 10;
    }
    busy.finish();
    let refused = busy.refused();
    assert_eq!(refused[0], first);
    let steps = Duration::from_secs(10).as_millis() / STEP.as_millis();
    assert!((steps as usize - 2..=steps as usize + 2).contains(&refused.len()), "{}", refused.len());
    assert!(busy.produced().ends_with(&[next - 20, next - 10]), "never again");
}

#[test]
fn three_nudges_at_most() {
    let world = world();
    let mut busy = Busy::new(&world, Cuts::Whole, 9);
    let mut next = 10;
    busy.until_refused(&mut next, ROUND);
    busy.line.grow(3);
    busy.line.cluster.borrow_mut().old = Some(1);
    let mut refused = Vec::new();
    for _ in 0..5 {
        if let Some(sequence) = busy.until_refused(&mut next, Duration::from_secs(12)) {
            refused.push((sequence, busy.line.rig.now));
            busy.line.metadata();
            next = sequence;
        }
    }
    busy.line.serve();
    assert_eq!(refused.len(), 3, "{refused:?}");
    let gaps: Vec<Duration> = refused.windows(2).map(|w| w[1].1 - w[0].1).collect();
    assert!(gaps[0] >= Duration::from_secs(5) && gaps[1] > gaps[0], "each time later: {gaps:?}");
    assert_eq!((nudges(&world, "reject", "repeated"), nudges(&world, "reject", "gave_up")), (2.0, 1.0));
    assert_eq!(made(&world), 3.0);
}

#[test]
fn the_pause_before_a_nudge_is_a_part_of_the_interval() {
    let world = world_with(|c| c.nudge = Auto::Set(Nudge::Reject));
    let mut busy = Busy::new(&world, Cuts::Whole, 9);
    let mut next = 10;
    busy.until_refused(&mut next, ROUND);
    busy.line.grow(3);
    while world.metric("kmend_partitions_added_total", &[]) == 0.0 {
        assert_eq!(busy.until_refused(&mut next, STEP), None);
    }
    let found = busy.line.rig.now;
    assert!(busy.until_refused(&mut next, ROUND).is_some());
    // A fifth of it at most, and the next request.
    assert!(busy.line.rig.now - found <= Duration::from_millis(200) + STEP * 3, "{:?}", busy.line.rig.now - found);
}

#[test]
fn partitions_without_a_leader_are_waited_for() {
    let world = world();
    let mut busy = Busy::new(&world, Cuts::Whole, 13);
    let mut next = 10;
    busy.until_refused(&mut next, ROUND);
    busy.line.cluster.borrow_mut().leaders = vec![1, 1, -1];
    assert_eq!(busy.until_refused(&mut next, ROUND * 2), None);
    assert_eq!(world.metric("kmend_partitions_added_total", &[]), 0.0);
    busy.line.cluster.borrow_mut().leaders = vec![1, 1, 1];
    assert!(busy.until_refused(&mut next, ROUND).is_some());
}

#[test]
fn another_topic_of_the_same_name() {
    // With more partitions, and with fewer.
    for (before, after) in [(1, 3), (3, 1)] {
        let world = world();
        let mut busy = Busy::new(&world, Cuts::Whole, 12);
        busy.line.grow(before);
        busy.line.metadata();
        let added = || world.metric("kmend_partitions_added_total", &[]);
        let at_first = added();
        let mut next = 10;
        busy.until_refused(&mut next, ROUND);
        busy.line.cluster.borrow_mut().id = [8; 16];
        busy.line.cluster.borrow_mut().leaders = vec![1; after];
        assert_eq!(busy.until_refused(&mut next, ROUND * 3), None, "the broker knows no sequences there");
        assert_eq!(added(), at_first);
        // The client knows it by now, and it grows.
        busy.line.metadata();
        busy.line.grow(5);
        let refused = busy.until_refused(&mut next, ROUND * 2);
        assert!(refused.is_some(), "{before} to {after}");
        assert_eq!(added() - at_first, (5 - after) as f64);
    }
}

#[test]
fn a_producer_that_pauses_is_closed_between_its_requests() {
    // A poll of kmend's own may shorten the pauses: else a request might be refused first.
    let world = world_with(|c| c.nudge = Auto::Set(Nudge::Disconnect));
    let mut line = Line::new(&world, Cuts::Whole, JAVA);
    for n in 1..200 {
        line.produce(9, &[(0, 0, n)]);
        line.serve();
        line.pass_served(Duration::from_millis(100));
        if n == 20 {
            assert!(!line.closed);
            line.grow(3);
        }
        if line.closed {
            break;
        }
    }
    assert!(line.closed);
    assert!(line.answers().iter().flat_map(|a| &a.partitions).all(|(_, error)| *error == 0));
}

#[test]
fn only_as_configured() {
    let disconnect = world_with(|c| c.nudge = Auto::Set(Nudge::Disconnect));
    let mut busy = Busy::new(&disconnect, Cuts::Whole, 9);
    let mut next = 10;
    busy.until_refused(&mut next, ROUND);
    busy.line.grow(3);
    assert_eq!(busy.until_refused(&mut next, ROUND * 3), None);
    let reject = world_with(|c| c.nudge = Auto::Set(Nudge::Reject));
    let mut line = Line::new(&reject, Cuts::Whole, JAVA);
    line.produce(9, &[(0, 0, 1)]);
    line.grow(3);
    let mut refused = false;
    for n in 2..60 {
        line.produce(9, &[(0, 0, n)]);
        line.serve();
        line.pass_served(Duration::from_millis(100));
        refused |= line.answers().iter().flat_map(|a| &a.partitions).any(|(_, error)| *error == 6);
        if refused {
            break;
        }
    }
    assert!(refused && !line.closed);
}
