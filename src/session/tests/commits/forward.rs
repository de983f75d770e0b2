//! Only forward: what the broker holds is compared first (rule C4).

use super::bench::*;
use super::line::Line;
use super::says::*;
use crate::session::core::Wait;
use crate::session::tests::kit::{Cuts, in_all_cuts};
use crate::store::journal::Written;
use crate::wire::api::ApiKey;

/// Partition 0 is promised at 20 over 10.
fn promised(bench: &Bench, cuts: Cuts) -> Line {
    let mut line = bench.member(cuts);
    assert_eq!(line.commits(5, ME, &[(0, 20)], 22), [(0, 0)]);
    line
}

/// Its next assignment has it: kmend asks.
fn asking(bench: &Bench, cuts: Cuts) -> Line {
    let mut line = promised(bench, cuts);
    line.stable(6, ME, &[0, 1]);
    line
}

#[test]
fn only_between_the_baseline_and_the_promise_it_is_sent() {
    in_all_cuts(|cuts| {
        for (raw, outcome) in
            [(9, "superseded"), (-1, "superseded"), (20, "replayed"), (21, "superseded"), (10, ""), (19, "")]
        {
            let bench = Bench::plain();
            let mut line = asking(&bench, cuts.clone());
            line.holds(&[(0, raw)]);
            if outcome.is_empty() {
                line.replays(&said(6, ME, &[(0, 20)]), 0);
            }
            let outcome = if outcome.is_empty() { "replayed" } else { outcome };
            assert_eq!((bench.commits(outcome), line.is_idle()), (1.0, true), "{raw}");
            assert!(bench.journal.kept().is_empty());
        }
    });
}

#[test]
fn each_partition_is_compared_for_itself() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.member(cuts);
        assert_eq!(line.commits(5, ME, &[(0, 20), (1, 21)], 22), [(0, 0), (1, 0)]);
        line.stable(6, ME, &[0, 1]);
        line.holds_or(&[(0, 30, 0), (1, 10, 0)]);
        line.replays(&said(6, ME, &[(1, 21)]), 0);
        assert_eq!((bench.commits("replayed"), bench.commits("superseded")), (1.0, 1.0));
    });
}

#[test]
fn without_a_baseline_the_first_raw_value_is_it() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.line(cuts, 1);
        line.stable(5, ME, &[0]);
        assert_eq!(line.commits(5, ME, &[(0, 20)], 27), [(0, 0)]);
        line.stable(6, ME, &[0]);
        line.holds(&[(0, 15)]);
        line.replays(&said(6, ME, &[(0, 20)]), 14);
        line.pass(MS * 2000);
        line.holds(&[(0, 14)]);
        assert!(line.is_idle());
        assert_eq!(bench.commits("superseded"), 1.0);
    });
}

#[test]
fn while_a_commit_of_its_own_is_on_its_way_nothing_is_sent() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = promised(&bench, cuts.clone());
        // On another connection of the same client.
        let mut other = bench.line(cuts, 2);
        other.ask_commit(&said(5, ME, &[(0, 25)]));
        line.stable(6, ME, &[0, 1]);
        line.pass(MS * 1000);
        assert!(line.is_idle());
        other.says(&[(0, 0)]);
        line.run();
        assert!(line.is_idle() && bench.journal.kept().is_empty(), "the newer one has made it void");
        assert_eq!((bench.commits("covered"), bench.commits("replayed")), (1.0, 0.0));
    });
}

#[test]
fn its_own_commit_cancels_what_is_still_being_asked() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = asking(&bench, cuts);
        let ask = line.expect_ours(ApiKey::OFFSET_FETCH);
        // The same connection: the broker reads it before anything that follows.
        line.ask_commit(&said(6, ME, &[(0, 30)]));
        line.answer(&ask, &raw_offsets(&[(0, 10, 0)]));
        line.says(&[(0, 0)]);
        assert_eq!(line.reply().errors, [(0, 0)]);
        line.pass(MS * 2000);
        assert!(line.is_idle() && bench.journal.kept().is_empty());
        assert_eq!((bench.commits("covered"), bench.commits("replayed")), (1.0, 0.0));
    });
}

#[test]
fn another_connections_commit_waits_while_a_replay_is_on_its_way() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = asking(&bench, cuts.clone());
        let ask = line.expect_ours(ApiKey::OFFSET_FETCH);
        let mut other = bench.line(cuts, 2);
        other.ask_commit(&said(6, ME, &[(0, 30)]));
        assert!(other.is_idle() && other.rig.waits[0] == Wait::Held, "the pair is in flight");
        line.answer(&ask, &raw_offsets(&[(0, 10, 0)]));
        other.run();
        assert!(other.is_idle());
        line.replays(&said(6, ME, &[(0, 20)]), 0);
        other.run();
        other.says(&[(0, 0)]);
        assert_eq!(other.reply().errors, [(0, 0)]);
    });
}

#[test]
fn a_commit_does_not_wait_for_ever() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = asking(&bench, cuts.clone());
        line.expect_ours(ApiKey::OFFSET_FETCH);
        let mut other = bench.line(cuts, 2);
        other.ask_commit(&said(6, ME, &[(0, 30)]));
        other.pass(MS * 4999);
        assert!(other.is_idle());
        other.pass(MS);
        other.expect(ApiKey::OFFSET_COMMIT);
    });
}

#[test]
fn a_commit_of_other_partitions_does_not_wait() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = asking(&bench, cuts.clone());
        line.expect_ours(ApiKey::OFFSET_FETCH);
        let mut other = bench.line(cuts, 2);
        assert_eq!(other.commits(6, ME, &[(1, 30)], 0), [(1, 0)]);
    });
}

/// The commit is refused, the journal takes its time, and the member gets its assignment meanwhile.
#[test]
fn a_promise_given_while_sync_group_is_answered_is_sent_as_well() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut joins = bench.member(cuts.clone());
        let mut line = bench.line(cuts, 2);
        bench.journal.answers(Written::NotYet);
        line.ask_commit(&said(5, ME, &[(0, 20), (1, 21)]));
        line.says(&[(0, 27), (1, 27)]);
        joins.stable(6, ME, &[0]);
        assert!(joins.is_idle() && line.is_idle());
        bench.journal.answers(Written::Yes);
        bench.journal.decide(Written::Yes);
        line.run();
        assert_eq!(line.reply().errors, [(0, 0), (1, 0)]);
        line.pass(MS * 500);
        joins.pass(MS * 500);
        let carrier = if line.is_idle() { &mut joins } else { &mut line };
        carrier.holds(&[(0, 10)]);
        carrier.replays(&said(6, ME, &[(0, 20)]), 0);
        assert_eq!((bench.commits("replayed"), bench.commits("superseded")), (1.0, 1.0));
    });
}

/// The refusal comes after the assignment has been decided.
#[test]
fn a_refusal_that_comes_behind_the_assignment_is_decided_at_once() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut joins = bench.member(cuts.clone());
        let mut line = bench.line(cuts, 2);
        line.ask_commit(&said(5, ME, &[(0, 20), (1, 21)]));
        joins.stable(6, ME, &[0]);
        line.says(&[(0, 22), (1, 22)]);
        assert_eq!(line.reply().errors, [(0, 0), (1, 0)]);
        line.pass(MS * 500);
        line.holds(&[(0, 10)]);
        line.replays(&said(6, ME, &[(0, 20)]), 0);
        assert_eq!((bench.commits("replayed"), bench.commits("superseded")), (1.0, 1.0));
    });
}

#[test]
fn nothing_is_sent_behind_a_sync_group_that_is_being_answered() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = promised(&bench, cuts);
        line.stable(6, ME, &[0, 1]);
        line.holds(&[(0, 10)]);
        line.replays(&said(6, ME, &[(0, 20)]), 15);
        line.ask_sync(6, ME);
        line.expect(ApiKey::SYNC_GROUP);
        line.pass(MS * 4000);
        assert!(line.is_idle());
    });
}

#[test]
fn after_the_rebalance_timeout_and_max_age_it_expires() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = promised(&bench, cuts);
        line.pass(REBALANCE + MAX_AGE - MS);
        assert_eq!(bench.journal.offsets(), [(0, 20)]);
        line.pass(MS * 300);
        assert_eq!((bench.journal.offsets(), bench.commits("expired")), (vec![], 1.0));
        line.stable(6, ME, &[0, 1]);
        assert!(line.is_idle());
    });
}

#[test]
fn committing_more_makes_it_no_younger() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = promised(&bench, cuts);
        line.pass(REBALANCE);
        assert_eq!(line.commits(5, ME, &[(0, 30)], 22), [(0, 0)]);
        line.pass(MAX_AGE - MS);
        assert_eq!(bench.journal.offsets(), [(0, 30)]);
        line.pass(MS * 300);
        assert_eq!((bench.journal.offsets(), bench.commits("expired")), (vec![], 1.0));
    });
}

/// What was on its way when its connection broke may be read by the broker yet.
#[test]
fn a_commit_that_was_lost_is_waited_for() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = promised(&bench, cuts.clone());
        let mut other = bench.line(cuts, 2);
        other.ask_commit(&said(5, ME, &[(0, 25)]));
        other.rig.broker_gone();
        line.stable(6, ME, &[0, 1]);
        line.pass(MS * 990);
        assert!(line.is_idle());
        line.pass(MS * 260);
        line.holds(&[(0, 25)]);
        assert!(line.is_idle());
        assert_eq!(bench.commits("superseded"), 1.0);
    });
}

/// It is asked again: a commit of kmend's own that was lost may have come through.
#[test]
fn a_replay_that_was_lost_is_compared_again() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = asking(&bench, cuts.clone());
        line.holds(&[(0, 10)]);
        line.expect_ours(ApiKey::OFFSET_COMMIT);
        line.rig.broker_gone();
        let mut other = bench.line(cuts, 2);
        assert_eq!(other.beat(6, ME, 0), 0);
        other.pass(MS * 990);
        assert!(other.is_idle());
        other.pass(MS * 260);
        other.holds(&[(0, 20)]);
        assert!(other.is_idle());
        assert_eq!((bench.commits("replayed"), bench.journal.offsets()), (1.0, vec![]));
    });
}
