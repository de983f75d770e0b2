//! Positions below the log start, and what only looks like one.

use std::time::Duration;

use super::broker::{Broker, RECORDS, TOPIC_ID};
use super::rig::{Link, told_versions, world};
use crate::config::model::ResetPolicy;
use crate::session::tests::kit::{Cuts, World, in_all_cuts};
use crate::wire::api::ApiKey;

fn evicted() -> Broker {
    Broker::new(&[(0, (100, 200))])
}

fn resets(world: &World) -> (f64, f64) {
    let topic = [("topic", "orders")];
    (world.metric("kmend_offset_resets_total", &topic), world.metric("kmend_offset_records_skipped_total", &topic))
}

fn outcome(world: &World, outcome: &str) -> f64 {
    world.metric("kmend_repairs_total", &[("outcome", outcome)])
}

#[test]
fn a_client_without_sessions_heals_in_every_version() {
    in_all_cuts(|cuts| {
        for version in 4..=18 {
            let world = world(|_| {});
            world.env.shared.catalog.learn("orders", TOPIC_ID, &[1, 1, 1]);
            let mut link = Link::new(&world, cuts.clone(), version, evicted());
            let healed = link.fetch_until_news(0, 40);
            assert_eq!(healed, (2, 0, Some(RECORDS.len())), "version {version}");
            let (offset, epoch) = link.broker.wanted[&0];
            assert_eq!((offset, epoch), (100, -1), "version {version}");
            assert_eq!(resets(&world), (1.0, 60.0));
            // Its own position moves on, and nothing is done any more.
            link.fetch_until_news(0, 150);
            assert_eq!(link.broker.wanted[&0].0, 150);
            assert_eq!(link.broker.times_asked(ApiKey::LIST_OFFSETS), 1);
            assert_eq!(resets(&world), (1.0, 60.0));
        }
    });
}

#[test]
fn an_incremental_session_is_opened_anew_once() {
    in_all_cuts(|cuts| {
        for version in [7, 11, 12, 13, 18] {
            let world = world(|_| {});
            world.env.shared.catalog.learn("orders", TOPIC_ID, &[1; 3]);
            let broker = Broker::new(&[(0, (10, 200)), (1, (0, 50)), (2, (0, 50))]);
            let mut link = Link::new(&world, cuts.clone(), version, broker);
            let opened = link.fetch(0, 0, &[(0, 40), (1, 50), (2, 50)]);
            assert_eq!((opened.error, opened.session), (0, 1));
            // Retention removes what it is about to read.
            link.broker.logs.insert(0, (100, 200));
            let emptied = link.fetch(1, 1, &[]);
            assert_eq!(emptied.of(0), Some((0, Some(0))), "version {version}");
            let told = link.fetch(1, 2, &[]);
            assert_eq!((told.error, told.partitions.len()), (70, 0));
            assert_eq!(link.broker.closed, [1], "the orphan is closed");
            let full = link.fetch(0, 0, &[(0, 40), (1, 50), (2, 50)]);
            assert_eq!((full.error, full.session), (0, 2));
            assert_eq!(full.of(0), Some((0, Some(RECORDS.len()))));
            assert_eq!(link.broker.wanted[&0], (100, -1));
            assert_eq!(link.broker.wanted[&1].1, if version >= 12 { 2 } else { -1 }, "only where the offset moved");
            let next = link.fetch(2, 1, &[(0, 120)]);
            assert_eq!((next.error, link.broker.wanted[&0].0), (0, 120));
            assert_eq!(link.broker.open_sessions(), 1);
            assert_eq!(resets(&world), (1.0, 60.0));
        }
    });
}

#[test]
fn full_requests_never_get_the_session_error() {
    in_all_cuts(|cuts| {
        for (session, epoch) in [(0, 0), (0, -1), (1, -1), (1, 0)] {
            let world = world(|_| {});
            let mut link = Link::new(&world, cuts.clone(), 12, Broker::new(&[(0, (10, 200))]));
            link.fetch(0, 0, &[(0, 40)]);
            link.broker.logs.insert(0, (100, 200));
            assert_eq!(link.fetch(1, 1, &[]).of(0), Some((0, Some(0))));
            let healed = link.fetch(session, epoch, &[(0, 40)]);
            assert_eq!((healed.error, healed.of(0)), (0, Some((0, Some(RECORDS.len())))), "({session}, {epoch})");
        }
    });
}

#[test]
fn a_pipelined_second_error_is_emptied_too() {
    in_all_cuts(|cuts| {
        let world = world(|_| {});
        let mut link = Link::new(&world, cuts, 12, Broker::new(&[(0, (10, 200))]));
        link.fetch(0, 0, &[(0, 40)]);
        link.broker.logs.insert(0, (100, 200));
        link.send(1, 1, &[]);
        link.send(1, 2, &[]);
        link.serve();
        let answers = link.answers();
        assert_eq!(answers.len(), 2);
        assert!(answers.iter().all(|(_, a)| a.of(0) == Some((0, Some(0)))));
        assert_eq!(link.fetch(1, 3, &[]).error, 70);
        let healed = link.fetch(0, 0, &[(0, 40)]);
        assert_eq!(healed.of(0), Some((0, Some(RECORDS.len()))));
        assert_eq!(resets(&world), (1.0, 60.0));
        assert_eq!(link.broker.times_asked(ApiKey::LIST_OFFSETS), 1);
    });
}

#[test]
fn three_partitions_of_one_session_heal_together() {
    in_all_cuts(|cuts| {
        let world = world(|_| {});
        let logs = [(0, (10, 200)), (1, (10, 200)), (2, (10, 200))];
        let mut link = Link::new(&world, cuts, 12, Broker::new(&logs));
        let positions = [(0, 40), (1, 50), (2, 60)];
        link.fetch(0, 0, &positions);
        for (p, start) in [(0, 100), (1, 110), (2, 120)] {
            link.broker.logs.insert(p, (start, 200));
        }
        let emptied = link.fetch(1, 1, &[]);
        assert!((0..3).all(|p| emptied.of(p) == Some((0, Some(0)))));
        assert_eq!(link.fetch(1, 2, &[]).error, 70);
        let healed = link.fetch(0, 0, &positions);
        assert!((0..3).all(|p| healed.of(p) == Some((0, Some(RECORDS.len())))));
        let wanted: Vec<i64> = link.broker.wanted.values().map(|w| w.0).collect();
        assert_eq!(wanted, [100, 110, 120]);
        assert_eq!(resets(&world), (3.0, 180.0));
        assert_eq!(link.broker.closed, [1]);
    });
}

#[test]
fn a_log_start_that_moves_once_more_is_followed() {
    in_all_cuts(|cuts| {
        let world = world(|_| {});
        let mut link = Link::new(&world, cuts, 12, evicted());
        let emptied = link.fetch(0, -1, &[(0, 40)]);
        assert_eq!(emptied.of(0), Some((0, Some(0))));
        // Between the leader's word and the fetch that follows it.
        link.broker.logs.insert(0, (130, 200));
        let healed = link.fetch_until_news(0, 40);
        assert_eq!(healed.1, 0);
        assert_eq!(link.broker.wanted[&0].0, 130);
        assert_eq!(resets(&world), (1.0, 90.0));
    });
}

#[test]
fn one_that_keeps_moving_is_followed_three_times_then_the_client_gets_the_truth() {
    in_all_cuts(|cuts| {
        let world = world(|_| {});
        let mut broker = evicted();
        broker.runaway = true;
        let mut link = Link::new(&world, cuts, 12, broker);
        let (_, error, _) = link.fetch_until_news(0, 40);
        assert_eq!(error, 1);
        assert_eq!(link.broker.times_asked(ApiKey::LIST_OFFSETS), 4);
        assert_eq!(outcome(&world, "passed_gave_up"), 1.0);
        assert_eq!(resets(&world), (0.0, 0.0));
    });
}

#[test]
fn above_the_end_passes() {
    in_all_cuts(|cuts| {
        let world = world(|_| {});
        let mut link = Link::new(&world, cuts, 12, evicted());
        let (_, error, _) = link.fetch_until_news(0, 500);
        assert_eq!((error, link.broker.wanted[&0].0), (1, 500));
        assert_eq!(outcome(&world, "passed_not_below_start"), 1.0);
        assert_eq!(resets(&world), (0.0, 0.0));
    });
}

#[test]
fn a_follower_is_not_believed() {
    in_all_cuts(|cuts| {
        let world = world(|_| {});
        let mut broker = evicted();
        broker.follows = true;
        let mut link = Link::new(&world, cuts, 12, broker);
        let (_, error, _) = link.fetch_until_news(0, 40);
        assert_eq!((error, link.broker.wanted[&0].0), (1, 40));
        assert_eq!(outcome(&world, "passed_unknown"), 1.0);
    });
}

#[test]
fn an_answer_that_does_not_come_fails_open() {
    in_all_cuts(|cuts| {
        let world = world(|_| {});
        let mut broker = evicted();
        broker.silent.insert(ApiKey::LIST_OFFSETS);
        let mut link = Link::new(&world, cuts, 12, broker);
        assert_eq!(link.fetch(0, -1, &[(0, 40)]).of(0), Some((0, Some(0))));
        let sent = link.send(0, -1, &[(0, 40)]);
        link.serve();
        assert!(link.answers().is_empty(), "held {sent}");
        link.rig.later(Duration::from_secs(1));
        let got = link.rig.at_broker();
        assert!(!got.is_empty(), "the original request goes through");
        let frame = &crate::session::tests::kit::frames(&got)[0];
        let answer = link.broker.answer(frame).unwrap();
        assert_eq!(link.broker.wanted[&0], (40, 2), "as the client sent it");
        // The broker answers in order: the ListOffsets comes first after all, too late to matter.
        assert_eq!(outcome(&world, "passed_unknown"), 1.0);
        drop(answer);
    });
}

#[test]
fn a_topic_id_without_a_name_is_asked_for() {
    in_all_cuts(|cuts| {
        for knows_ids in [true, false] {
            let world = world(|_| {});
            let mut broker = evicted();
            broker.knows_ids = knows_ids;
            let mut link = Link::new(&world, cuts.clone(), 13, broker);
            told_versions(&mut link.rig);
            let (_, error, _) = link.fetch_until_news(0, 40);
            assert_eq!(error, i16::from(!knows_ids));
            assert_eq!(link.broker.times_asked(ApiKey::METADATA), 1);
            assert_eq!(resets(&world).0, f64::from(u8::from(knows_ids)));
        }
    });
}

#[test]
fn latest_goes_to_the_end_and_says_so() {
    in_all_cuts(|cuts| {
        let world = world(|c| c.policy = ResetPolicy::Latest);
        let mut link = Link::new(&world, cuts, 12, evicted());
        for _ in 0..3 {
            let answer = link.fetch(0, -1, &[(0, 40)]);
            assert_eq!(answer.of(0).map(|a| a.0), Some(0));
        }
        assert_eq!(link.broker.wanted[&0].0, 200);
        assert_eq!(resets(&world), (1.0, 160.0));
        let asked: Vec<i64> =
            link.broker.asked.iter().filter(|(a, _)| *a == ApiKey::LIST_OFFSETS).map(|(_, t)| *t).collect();
        assert_eq!(asked, [-2, -1]);
    });
}

#[test]
fn a_client_that_comes_back_is_mended_again_and_counted_once() {
    in_all_cuts(|cuts| {
        let world = world(|_| {});
        for number in 1..4 {
            let mut link = Link::number(&world, cuts.clone(), 12, evicted(), number);
            assert_eq!(link.fetch_until_news(0, 40).1, 0);
            link.rig.core.close();
        }
        assert_eq!(resets(&world), (1.0, 60.0));
        assert_eq!(outcome(&world, "repaired"), 1.0);
        // What is evicted meanwhile is counted from where the last skip ended.
        let mut link = Link::number(&world, Cuts::Whole, 12, Broker::new(&[(0, (150, 200))]), 9);
        link.fetch_until_news(0, 40);
        assert_eq!(resets(&world), (2.0, 110.0));
    });
}
