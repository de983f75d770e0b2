//! A new assignment brings what is the member's own to the broker, and drops the rest (rule C3).

use kafka_protocol::messages::HeartbeatResponse;

use super::bench::*;
use super::line::Line;
use super::says::*;
use crate::session::tests::kit::{Cuts, in_all_cuts};
use crate::store::journal::Written;
use crate::wire::api::ApiKey;

/// Partitions 0 and 1 are promised, at 20 and 21.
pub fn promised(bench: &Bench, cuts: Cuts) -> Line {
    let mut line = bench.member(cuts);
    assert_eq!(line.commits(5, ME, &[(0, 20), (1, 21)], 22), [(0, 0), (1, 0)]);
    line.pass(MS * 2000);
    assert!(line.is_idle(), "not before it knows what it owns");
    line
}

#[test]
fn what_it_still_owns_is_asked_for_and_then_committed_as_it_was() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = promised(&bench, cuts);
        line.stable(6, ME, &[0, 1]);
        line.holds(&[(0, 10), (1, 10)]);
        line.replays(&said(6, ME, &[(0, 20), (1, 21)]), 0);
        assert!(line.is_idle() && bench.journal.kept().is_empty());
        assert_eq!(bench.commits("replayed"), 2.0);
        assert!(!line.has_reply(), "it is not the client's");
    });
}

#[test]
fn what_somebody_else_owns_now_is_superseded() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = promised(&bench, cuts.clone());
        line.stable(6, ME, &[1]);
        line.holds(&[(1, 10)]);
        line.replays(&said(6, ME, &[(1, 21)]), 0);
        assert_eq!((bench.commits("replayed"), bench.commits("superseded")), (1.0, 1.0));
        // Of none of them anything is sent.
        let bench = Bench::plain();
        let mut line = promised(&bench, cuts);
        line.stable(6, ME, &[2]);
        line.pass(MS * 2000);
        assert!(line.is_idle() && bench.journal.kept().is_empty());
        assert_eq!(bench.commits("superseded"), 2.0);
    });
}

#[test]
fn a_new_id_of_the_same_consumer_takes_its_promises_over() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = promised(&bench, cuts);
        assert_eq!(line.join(Join { member: ME, ..Join::default() }, 25, -1, ""), 25);
        assert_eq!(line.join(Join::default(), 79, -1, "new"), 79);
        assert_eq!(line.join(Join { member: "new", ..Join::default() }, 0, 1, "new"), 0);
        assert_eq!(line.sync(1, "new", &[0, 1], 0), 0);
        line.holds(&[(0, 10), (1, 10)]);
        line.replays(&said(1, "new", &[(0, 20), (1, 21)]), 0);
        assert_eq!(bench.commits("replayed"), 2.0);
    });
}

/// kmend has not seen it join, and its commits do not tell its instance id: its Heartbeats do.
#[test]
fn a_static_member_takes_over_what_it_was_promised_after_it_was_forgotten() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.line(cuts.clone(), 1);
        let commit = |line: &mut Line, at: i64, error| {
            line.ask(ApiKey::OFFSET_COMMIT, 5, &said(5, ME, &[(0, at)]).request());
            line.says(&[(0, error)]);
            assert_eq!(line.reply().errors, [(0, 0)]);
        };
        commit(&mut line, 10, 0);
        line.ask(ApiKey::HEARTBEAT, 3, &heartbeat(5, ME).with_group_instance_id(Some(text("i"))));
        let asked = line.expect(ApiKey::HEARTBEAT);
        line.answer(&asked, &HeartbeatResponse::default());
        line.reply();
        let old = Join { member: ME, instance: Some("i"), ..Join::default() };
        assert_eq!(line.join(old, 25, -1, ""), 25);
        // The coordinator moves: it goes on elsewhere, and commits in its old name once more.
        let mut next = bench.line(cuts, 2);
        next.rig.at(line.rig.now);
        assert_eq!(next.join(Join { instance: Some("i"), ..Join::default() }, 0, 6, "new"), 0);
        commit(&mut next, 20, 25);
        assert_eq!(next.sync(6, "new", &[0], 0), 0);
        next.holds(&[(0, 10)]);
        let replay = next.expect_ours(ApiKey::OFFSET_COMMIT);
        assert_eq!(Said::of(&replay.read()).at, [(0, 20)]);
    });
}

#[test]
fn another_consumer_takes_nothing_over() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = promised(&bench, cuts.clone());
        let mut other = Line::new(&bench, cuts, 2, "other", "apache-kafka-java");
        other.rig.at(line.rig.now);
        other.stable(6, "them", &[0]);
        other.pass(MS * 2000);
        assert!(other.is_idle());
        assert_eq!((bench.journal.offsets(), bench.commits("superseded")), (vec![(1, 21)], 1.0));
        line.stable(7, ME, &[1]);
        line.holds(&[(1, 10)]);
        line.replays(&said(7, ME, &[(1, 21)]), 0);
    });
}

#[test]
fn a_coordinator_that_moves_is_asked_again() {
    in_all_cuts(|cuts| {
        for error in [14, 15, 16] {
            let bench = Bench::plain();
            let mut line = promised(&bench, cuts.clone());
            line.stable(6, ME, &[0, 1]);
            // Already the question is refused.
            line.holds_or(&[(0, -1, error), (1, -1, error)]);
            assert!(line.is_idle());
            line.pass(MS * 1000);
            line.holds(&[(0, 10), (1, 10)]);
            line.replays(&said(6, ME, &[(0, 20), (1, 21)]), error);
            assert!(line.is_idle() && bench.journal.kept().len() == 2, "{error}");
            line.pass(MS * 2000);
            line.holds(&[(0, 10), (1, 10)]);
            line.replays(&said(6, ME, &[(0, 20), (1, 21)]), 0);
            assert!(bench.journal.kept().is_empty());
        }
    });
}

#[test]
fn a_replay_that_another_rebalance_refuses_waits_for_the_next_assignment() {
    in_all_cuts(|cuts| {
        for error in [22, 25, 27] {
            let bench = Bench::plain();
            let mut line = promised(&bench, cuts.clone());
            line.stable(6, ME, &[0, 1]);
            line.holds(&[(0, 10), (1, 10)]);
            line.replays(&said(6, ME, &[(0, 20), (1, 21)]), error);
            line.pass(MS * 3000);
            assert!(line.is_idle(), "{error}");
            line.stable(7, ME, &[1]);
            line.pass(MS * 1000);
            line.holds(&[(1, 10)]);
            line.replays(&said(7, ME, &[(1, 21)]), 0);
            assert_eq!((bench.commits("replayed"), bench.commits("superseded")), (1.0, 1.0));
        }
    });
}

#[test]
fn errors_that_no_retry_mends_end_a_promise() {
    in_all_cuts(|cuts| {
        for (error, outcome) in [(12, "failed"), (28, "failed"), (30, "failed"), (3, "superseded"), (69, "superseded")]
        {
            let bench = Bench::plain();
            let mut line = promised(&bench, cuts.clone());
            line.stable(6, ME, &[0, 1]);
            line.holds(&[(0, 10), (1, 10)]);
            line.replays(&said(6, ME, &[(0, 20), (1, 21)]), error);
            assert_eq!((bench.commits(outcome), bench.journal.kept().len()), (2.0, 0), "{error}");
            line.pass(MS * 3000);
            assert!(line.is_idle());
        }
    });
}

/// franz-go: JoinGroup and SyncGroup on one connection, everything else on another.
#[test]
fn it_goes_where_the_coordinator_answers_this_member() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = promised(&bench, cuts.clone());
        let mut joins = bench.line(cuts, 2);
        joins.rig.at(line.rig.now);
        joins.stable(6, ME, &[0, 1]);
        assert!(line.is_idle());
        joins.holds(&[(0, 10), (1, 10)]);
        joins.replays(&said(6, ME, &[(0, 20), (1, 21)]), 0);
        line.run();
        assert!(line.is_idle());
    });
}

fn consumer(bench: &Bench, cuts: Cuts) -> Line {
    let mut line = bench.line(cuts, 1);
    line.consumes(0, 5, ME, Some(&[0, 1]));
    let said = said(5, ME, &[(0, 10), (1, 10)]);
    line.ask(ApiKey::OFFSET_COMMIT, 9, &said.request());
    line.says(&[(0, 0), (1, 0)]);
    line.reply();
    line.consumes(5, 6, ME, Some(&[0]));
    line
}

#[test]
fn a_stale_epoch_is_kept_and_sent_with_the_newest_where_it_is_owned() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = consumer(&bench, cuts);
        line.ask(ApiKey::OFFSET_COMMIT, 9, &said(5, ME, &[(0, 20), (1, 21)]).request());
        line.says(&[(0, 113), (1, 113)]);
        assert_eq!(line.reply().errors, [(0, 0), (1, 113)]);
        line.pass(MS * 300);
        line.holds(&[(0, 10)]);
        let asked = line.expect_ours(ApiKey::OFFSET_COMMIT);
        assert_eq!((asked.version, Said::of(&asked.read())), (9, said(6, ME, &[(0, 20)])));
        line.answer(&asked, &committed(TOPIC, &[(0, 0)]));
        assert_eq!(bench.commits("replayed"), 1.0);
    });
}

#[test]
fn consumers_of_kip_848_see_all_other_errors() {
    in_all_cuts(|cuts| {
        for error in [22, 25, 27, 110] {
            let bench = Bench::plain();
            let mut line = consumer(&bench, cuts.clone());
            line.ask(ApiKey::OFFSET_COMMIT, 9, &said(5, ME, &[(0, 20)]).request());
            line.says(&[(0, error)]);
            assert_eq!(line.reply().errors, [(0, error)]);
        }
        // Nor is a newest epoch stale.
        let bench = Bench::plain();
        let mut line = consumer(&bench, cuts.clone());
        line.ask(ApiKey::OFFSET_COMMIT, 9, &said(6, ME, &[(0, 20)]).request());
        line.says(&[(0, 113)]);
        assert_eq!(line.reply().errors, [(0, 113)]);
    });
}

/// After a crash in between it must not go to a member that has lost the partition since.
#[test]
fn the_client_hears_of_its_assignment_when_the_journal_has_it() {
    in_all_cuts(|cuts| {
        for (decided, after) in [(Some(Written::Yes), 0), (Some(Written::No), 0), (None, 500)] {
            let bench = Bench::plain();
            let mut line = promised(&bench, cuts.clone());
            assert_eq!(line.join(Join { member: ME, ..Join::default() }, 0, 6, ME), 0);
            bench.journal.answers(Written::NotYet);
            line.ask_sync(6, ME);
            let asked = line.expect(ApiKey::SYNC_GROUP);
            line.answer(&asked, &synced(0, TOPIC, &[0, 1]));
            if let Some(how) = decided {
                assert!(!line.has_reply());
                bench.journal.decide(how);
                line.run();
            } else {
                line.pass(MS * (after - 1));
                assert!(!line.has_reply());
                line.pass(MS);
            }
            assert_eq!(line.reply().error, 0);
            line.holds(&[(0, 10), (1, 10)]);
            line.replays(&said(6, ME, &[(0, 20), (1, 21)]), 0);
            if decided == Some(Written::Yes) {
                assert!(bench.journal.kept().values().all(|p| p.generation == 6 && p.ready));
            }
        }
    });
}
