//! What a rebalance refuses is in the journal before the client is told that it is done (rule C1).

use super::bench::*;
use super::line::Line;
use super::says::*;
use crate::config::commit_buffer::{CommitGroupRule, UnknownMember};
use crate::config::model::{Mode, ModeRule};
use crate::session::tests::kit::*;
use crate::store::journal::{Kind, Written};
use crate::wire::api::ApiKey;

#[test]
fn a_refused_commit_is_in_the_journal_first_and_then_a_success() {
    in_all_cuts(|cuts| {
        for error in [22, 25, 27] {
            let bench = Bench::plain();
            let mut line = bench.member(cuts.clone());
            bench.journal.answers(Written::NotYet);
            line.ask_commit(&said(5, ME, &[(0, 20)]));
            line.says(&[(0, error)]);
            assert!(bench.journal.is_open() && !line.has_reply(), "{error}");
            bench.journal.decide(Written::Yes);
            line.run();
            assert_eq!(line.reply().errors, [(0, 0)]);
            let kept: Vec<_> = bench.journal.kept().into_values().collect();
            let expected = crate::store::journal::Promise { ready: false, ..promise(0, 20) };
            assert_eq!(kept.len(), 1);
            assert_eq!(kept[0], crate::store::journal::Promise { time_ms: kept[0].time_ms, ..expected });
            assert_eq!((kept[0].kind, bench.commits("buffered")), (Kind::Buffered, 1.0));
            assert_eq!(line.sent, line.arrived);
        }
    });
}

#[test]
fn where_the_journal_refuses_the_client_gets_the_brokers_answer() {
    in_all_cuts(|cuts| {
        for error in [22, 25, 27] {
            let bench = Bench::plain();
            let mut line = bench.member(cuts.clone());
            bench.journal.answers(Written::No);
            assert_eq!(line.commits(5, ME, &[(0, 20)], error), [(0, error)]);
            bench.journal.answers(Written::NotYet);
            line.ask_commit(&said(5, ME, &[(0, 20)]));
            line.says(&[(0, error)]);
            assert!(!line.has_reply());
            bench.journal.decide(Written::No);
            line.run();
            assert_eq!(line.reply().errors, [(0, error)]);
            assert_eq!((line.answered == line.got, bench.repairs("passed_journal_full")), (true, 2.0));
        }
    });
}

#[test]
fn a_slow_journal_is_waited_for_half_a_second() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.member(cuts);
        bench.journal.answers(Written::NotYet);
        line.ask_commit(&said(5, ME, &[(0, 20)]));
        line.says(&[(0, 22)]);
        line.pass(MS * 499);
        assert!(!line.has_reply());
        line.pass(MS);
        assert_eq!(line.reply().errors, [(0, 22)]);
        // What reaches it later all the same has been taken back.
        bench.journal.decide(Written::Yes);
        line.run();
        assert_eq!((bench.journal.offsets(), bench.repairs("passed_journal_late")), (vec![], 1.0));
        bench.journal.answers(Written::Yes);
        line.stable(6, ME, &[0, 1]);
        assert!(line.is_idle(), "nothing was promised");
    });
}

#[test]
fn one_groups_unknown_member_passes() {
    in_all_cuts(|cuts| {
        let bench = Bench::new(|c| {
            let rule = CommitGroupRule { mode: None, unknown_member: Some(UnknownMember::Pass) };
            c.groups.insert("bill*".into(), rule);
        });
        let mut line = bench.member(cuts);
        assert_eq!(line.commits(5, ME, &[(0, 20)], 25), [(0, 25)]);
        assert_eq!(line.commits(5, ME, &[(0, 20)], 22), [(0, 0)]);
    });
}

#[test]
fn a_group_that_is_off_and_one_that_is_observed_see_every_byte() {
    in_all_cuts(|cuts| {
        for (mode, observed) in [(Mode::Off, 0.0), (Mode::Observe, 4.0)] {
            let bench = Bench::new(|c| {
                c.groups.insert("billing".into(), CommitGroupRule { mode: Some(mode), unknown_member: None });
            });
            let mut line = bench.member(cuts.clone());
            for error in [22, 25, 27] {
                assert_eq!(line.commits(5, ME, &[(0, 20)], error), [(0, error)]);
            }
            assert_eq!(line.beat(5, ME, 25), 25);
            line.stable(6, ME, &[0, 1]);
            line.ask_offsets(&[0]);
            assert_eq!(line.answer_offsets(&[(0, 10, 0)]).offsets, [(0, 10)]);
            assert!(line.is_idle());
            assert_eq!((line.sent == line.arrived, line.answered == line.got), (true, true));
            assert_eq!((bench.repairs("observed"), bench.journal.writes()), (observed, 0));
        }
    });
}

#[test]
fn each_partition_gets_its_own_answer() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.member(cuts);
        bench.journal.answers(Written::NotYet);
        line.ask_commit(&said(5, ME, &[(0, 20), (1, 21), (2, 22)]));
        line.says(&[(0, 0), (1, 22), (2, 29)]);
        assert!(!line.has_reply());
        bench.journal.decide(Written::Yes);
        line.run();
        assert_eq!(line.reply().errors, [(0, 0), (1, 0), (2, 29)]);
        assert_eq!(bench.journal.offsets(), [(1, 21)]);
    });
}

/// Every other error, also of members whose rebalance would be mended.
#[test]
fn other_errors_pass() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.member(cuts);
        for error in [3, 7, 12, 14, 15, 16, 24, 28, 29, 30, 82, 110, 113] {
            assert_eq!(line.commits(5, ME, &[(0, 20)], error), [(0, error)]);
        }
        assert_eq!((bench.journal.writes(), line.answered == line.got), (0, true));
    });
}

fn refused_after(bench: &Bench, line: &mut Line, said: &Said) {
    for error in [22, 25, 27] {
        let all: Vec<_> = said.at.iter().map(|(p, _)| (*p, error)).collect();
        assert_eq!(line.tries(said, error), all);
    }
    assert_eq!((bench.journal.writes(), line.answered == line.got), (0, true));
}

#[test]
fn who_was_never_seen_is_told_the_truth() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.member(cuts.clone());
        refused_after(&bench, &mut line, &said(5, "somebody", &[(0, 20)]));
        // Its kind is not known: it was only heard of.
        let mut other = bench.line(cuts, 2);
        assert_eq!(other.commits(5, "heard", &[(2, 10)], 0), [(2, 0)]);
        refused_after(&bench, &mut other, &said(5, "heard", &[(2, 20)]));
    });
}

#[test]
fn connect_and_streams_see_their_errors() {
    in_all_cuts(|cuts| {
        for (kind, protocol) in [("connect", "sessioned"), ("consumer", "stream")] {
            let bench = Bench::plain();
            let mut line = bench.line(cuts.clone(), 1);
            let join = Join { member: ME, kind, protocol, ..Join::default() };
            assert_eq!(line.join(join, 0, 5, ME), 0);
            assert_eq!(line.sync(5, ME, &[0], 0), 0);
            assert_eq!(line.commits(5, ME, &[(0, 10)], 0), [(0, 0)]);
            refused_after(&bench, &mut line, &said(5, ME, &[(0, 20)]));
            for error in [22, 25] {
                assert_eq!(line.beat(5, ME, error), error, "{protocol}");
            }
        }
    });
}

#[test]
fn restore_consumers_changelogs_and_internal_topics_see_their_errors() {
    in_all_cuts(|cuts| {
        for client_id in ["app-restore-consumer", "app-global-consumer"] {
            let bench = Bench::plain();
            let mut line = Line::new(&bench, cuts.clone(), 1, client_id, "apache-kafka-java");
            line.stable(5, ME, &[0]);
            assert_eq!(line.commits(5, ME, &[(0, 10)], 0), [(0, 0)]);
            refused_after(&bench, &mut line, &said(5, ME, &[(0, 20)]));
        }
        let bench = Bench::plain();
        let mut line = bench.member(cuts.clone());
        for topic in ["app-store-changelog", "__transaction_state"] {
            refused_after(&bench, &mut line, &Said { topic: topic.into(), ..said(5, ME, &[(0, 20)]) });
        }
    });
}

#[test]
fn a_commit_without_a_member_passes() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.member(cuts.clone());
        refused_after(&bench, &mut line, &said(-1, "", &[(0, 20)]));
    });
}

#[test]
fn a_step_back_passes_and_voids_the_promise() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.member(cuts);
        // Lower than what the broker holds.
        assert_eq!(line.commits(5, ME, &[(0, 5)], 22), [(0, 22)]);
        // Lower than what is promised, though higher than what the broker holds.
        assert_eq!(line.commits(5, ME, &[(0, 30)], 22), [(0, 0)]);
        assert_eq!(bench.journal.offsets(), [(0, 30)]);
        assert_eq!(line.commits(5, ME, &[(0, 15)], 29), [(0, 29)]);
        // Refused, it changes nothing: what was acknowledged still holds.
        assert_eq!(bench.journal.offsets(), [(0, 30)]);
        assert_eq!(line.commits(5, ME, &[(0, 15)], 0), [(0, 0)]);
        assert_eq!((bench.journal.offsets(), bench.commits("covered")), (vec![], 1.0));
        line.stable(6, ME, &[0, 1]);
        assert!(line.is_idle());
    });
}

/// Version 10 names topics by id; kafka-protocol ends at 9.
#[test]
fn a_topic_named_by_its_id_is_found() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.member(cuts);
        let mut body = b"\x08billing\0\0\0\x05\x03me\0\x02".to_vec();
        body.extend(TOPIC_ID);
        body.extend(b"\x02\0\0\0\0\0\0\0\0\0\0\0\x14\0\0\0\x03\x05note\0\0\0");
        line.ask_raw(ApiKey::OFFSET_COMMIT, 10, &body);
        let answer = |error: u8| {
            let mut body = b"\0\0\0\0\x02".to_vec();
            body.extend(TOPIC_ID);
            body.extend([2, 0, 0, 0, 0, 0, error, 0, 0, 0]);
            body
        };
        let asked = line.expect(ApiKey::OFFSET_COMMIT);
        let before = line.got.len();
        line.answer_raw(&asked, &answer(27));
        assert_eq!(line.got[before..], response(ApiKey::OFFSET_COMMIT, 10, asked.correlation, &answer(0)));
        assert_eq!(bench.journal.offsets(), [(0, 20)]);
        line.reply();
        line.stable(6, ME, &[0, 1]);
        line.holds(&[(0, 10)]);
        line.replays(&said(6, ME, &[(0, 20)]), 0);
    });
}

#[test]
fn one_client_is_mended_and_the_rest_observed() {
    in_all_cuts(|cuts| {
        let bench = Bench::new(|c| {
            c.mode = Mode::Observe;
            c.clients.insert("canary*".into(), ModeRule { mode: Mode::Repair });
        });
        let mut line = bench.member(cuts.clone());
        assert_eq!(line.commits(5, ME, &[(0, 20)], 22), [(0, 22)]);
        let mut canary = Line::new(&bench, cuts, 2, "canary-1", "apache-kafka-java");
        canary.stable(5, "canary", &[2]);
        assert_eq!(canary.commits(5, "canary", &[(2, 20)], 22), [(2, 0)]);
        assert_eq!((canary.beat(5, "canary", 22), line.beat(5, ME, 22)), (27, 22));
    });
}
