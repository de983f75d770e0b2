//! A heartbeat's error is shown as a rebalance, to the newest of a member and not for ever (rule C1b).

use super::bench::*;
use super::says::*;
use crate::session::tests::kit::in_all_cuts;
use crate::wire::api::ApiKey;

#[test]
fn a_members_heartbeat_says_rebalance_in_place_of_22_and_25() {
    in_all_cuts(|cuts| {
        for error in [22, 25] {
            let bench = Bench::plain();
            let mut line = bench.member(cuts.clone());
            assert_eq!(line.beat(5, ME, error), 27);
            assert_eq!(line.beat(5, ME, error), 27, "until it joins");
            assert_eq!(bench.world.metric("kmend_heartbeats_softened_total", &[]), 2.0);
        }
    });
}

#[test]
fn other_errors_of_a_heartbeat_pass() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.member(cuts);
        for error in [14, 15, 16, 27, 30, 82, 110] {
            assert_eq!(line.beat(5, ME, error), error);
        }
        assert!(line.answered == line.got);
    });
}

#[test]
fn an_older_generation_or_id_is_told_the_truth() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.member(cuts);
        line.stable(6, ME, &[0, 1]);
        for error in [22, 25] {
            assert_eq!(line.beat(5, ME, error), error, "an old generation");
            assert_eq!(line.beat(7, ME, error), error, "one that was never given");
            assert_eq!(line.beat(6, "somebody", error), error, "never seen");
        }
        assert_eq!(line.beat(6, ME, 22), 27);
        // The broker gives the same consumer a new id.
        assert_eq!(line.join(Join { member: ME, ..Join::default() }, 25, -1, ""), 25);
        assert_eq!(line.join(Join::default(), 0, 7, "new"), 0);
        assert_eq!(line.beat(6, ME, 25), 25);
        assert_eq!(line.beat(7, "new", 22), 27);
    });
}

#[test]
fn after_the_rebalance_timeout_comes_the_truth_and_a_join_begins_anew() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.member(cuts);
        assert_eq!(line.beat(5, ME, 25), 27);
        line.pass(REBALANCE - MS);
        assert_eq!(line.beat(5, ME, 25), 27);
        line.pass(MS);
        assert_eq!(line.beat(5, ME, 25), 25);
        // It joins and is told so until the next timeout; here the same generation is good again.
        line.stable(6, ME, &[0, 1]);
        assert_eq!(line.beat(6, ME, 22), 27);
        // Where the broker takes one, the time begins anew too.
        line.pass(REBALANCE);
        assert_eq!(line.beat(6, ME, 0), 0);
        assert_eq!(line.beat(6, ME, 22), 27);
    });
}

#[test]
fn joins_syncs_and_leaves_are_answered_with_the_truth() {
    in_all_cuts(|cuts| {
        for error in [22, 25, 27, 82] {
            let bench = Bench::plain();
            let mut line = bench.member(cuts.clone());
            assert_eq!(line.join(Join { member: ME, ..Join::default() }, error, -1, ME), error);
            assert_eq!(line.sync(5, ME, &[], error), error);
            line.ask_leave(ME);
            let asked = line.expect(ApiKey::LEAVE_GROUP);
            line.answer(&asked, &kafka_protocol::messages::LeaveGroupResponse::default().with_error_code(error));
            assert_eq!(line.reply().error, error);
            assert!(line.answered == line.got && line.sent == line.arrived);
        }
    });
}
