//! Commits that are acknowledged before the broker has them (rule C8).

use super::bench::*;
use super::journal::Script;
use super::line::Line;
use super::says::*;
use crate::config::Config;
use crate::config::model::{Mode, ModeRule};
use crate::session::tests::kit::in_all_cuts;
use crate::store::journal::{Kind, Written};

/// A commit that the client is told of at once, and the broker is not.
fn acknowledged(line: &mut Line, said: &Said) {
    line.ask_commit(said);
    assert!(line.is_idle(), "{said:?}");
    let all: Vec<_> = said.at.iter().map(|(p, _)| (*p, 0)).collect();
    assert_eq!(line.reply().errors, all);
}

/// A commit that the broker is asked.
fn through(line: &mut Line, said: &Said) {
    let all: Vec<_> = said.at.iter().map(|(p, _)| (*p, 0)).collect();
    assert_eq!(line.tries(said, 0), all);
}

#[test]
fn the_first_of_a_connection_group_and_topic_is_written_through() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.line(cuts.clone(), 1);
        line.stable(5, ME, &[0, 1]);
        through(&mut line, &said(5, ME, &[(0, 10), (1, 10)]));
        acknowledged(&mut line, &said(5, ME, &[(0, 20), (1, 20)]));
        assert_eq!((bench.commits("behind"), bench.journal.offsets()), (2.0, vec![(0, 20), (1, 20)]));
        assert!(bench.journal.kept().values().all(|p| p.kind == Kind::Behind && p.ready && p.baseline == Some(10)));
        // Another topic, another connection.
        through(&mut line, &Said { topic: "other".into(), ..said(5, ME, &[(0, 20)]) });
        let mut second = bench.line(cuts, 2);
        through(&mut second, &said(5, ME, &[(0, 30)]));
        assert_eq!(bench.journal.offsets(), [(1, 20)], "the broker has a newer one");
    });
}

#[test]
fn a_changed_text_or_name_is_written_through() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts);
        acknowledged(&mut line, &said(5, ME, &[(0, 20)]));
        through(&mut line, &Said { text: Some("other".into()), ..said(5, ME, &[(0, 30)]) });
        through(&mut line, &said(5, ME, &[(0, 40)]));
        acknowledged(&mut line, &said(5, ME, &[(0, 50)]));
        assert_eq!(bench.journal.offsets(), [(0, 50)]);
        line.pass(MS * 2000);
        line.replays(&said(5, ME, &[(0, 50)]), 0);
        line.stable(6, ME, &[0, 1]);
        through(&mut line, &said(6, ME, &[(0, 60)]));
        acknowledged(&mut line, &said(6, ME, &[(0, 70)]));
    });
}

#[test]
fn an_old_generation_is_the_brokers_to_judge() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts);
        acknowledged(&mut line, &said(5, ME, &[(0, 20)]));
        line.ask(crate::wire::api::ApiKey::JOIN_GROUP, 5, &Join { member: ME, ..Join::default() }.request());
        line.replays(&said(5, ME, &[(0, 20)]), 0);
        let asked = line.expect(crate::wire::api::ApiKey::JOIN_GROUP);
        line.answer(&asked, &Join::default().response(0, 6, ME));
        line.reply();
        line.ask_commit(&said(5, ME, &[(0, 30)]));
        line.says(&[(0, 22)]);
        assert_eq!(line.reply().errors, [(0, 0)]);
        assert_eq!(bench.journal.kept().values().map(|p| p.kind).collect::<Vec<_>>(), [Kind::Buffered]);
    });
}

#[test]
fn only_the_journals_yes_is_an_acknowledgement() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts);
        bench.journal.answers(Written::NotYet);
        line.ask_commit(&said(5, ME, &[(0, 20)]));
        assert!(line.is_idle() && !line.has_reply());
        bench.journal.decide(Written::Yes);
        line.run();
        assert_eq!((line.reply().errors, line.is_idle()), (vec![(0, 0)], true));
        // Refused: the broker is asked.
        line.ask_commit(&said(5, ME, &[(0, 30)]));
        bench.journal.decide(Written::No);
        line.run();
        line.says(&[(0, 0)]);
        assert_eq!(line.reply().errors, [(0, 0)]);
        // Late: likewise, after half a second.
        line.ask_commit(&said(5, ME, &[(1, 40)]));
        line.pass(MS * 499);
        assert!(line.is_idle() && !line.has_reply());
        line.pass(MS);
        line.says(&[(1, 0)]);
        assert_eq!(line.reply().errors, [(1, 0)]);
        assert_eq!(bench.repairs("passed_journal_late"), 1.0);
        bench.journal.decide(Written::Yes);
        assert_eq!(bench.journal.offsets(), []);
    });
}

#[test]
fn without_a_folder_there_is_none() {
    in_all_cuts(|cuts| {
        let mut config = Config::default();
        config.menders.offset_reset.mode = Mode::Off;
        config.menders.commit_buffer.write_behind.enabled = true;
        let bench = Bench::of(config, Vec::new(), Script::new(false)).with_cluster(CLUSTER);
        let mut line = bench.member(cuts);
        through(&mut line, &said(5, ME, &[(0, 20)]));
        through(&mut line, &said(5, ME, &[(0, 30)]));
    });
}

#[test]
fn it_is_flushed_after_the_interval() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts);
        acknowledged(&mut line, &said(5, ME, &[(0, 20)]));
        line.pass(MS * 1999);
        assert!(line.is_idle());
        line.pass(MS * 1);
        line.replays(&said(5, ME, &[(0, 20)]), 0);
        assert_eq!((bench.commits("flushed"), bench.journal.offsets()), (1.0, vec![]));
        line.pass(MS * 5000);
        assert!(line.is_idle(), "once");
    });
}

#[test]
fn constant_commits_do_not_put_it_off() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts);
        for step in 0..21 {
            acknowledged(&mut line, &said(5, ME, &[(0, 20 + step)]));
            line.pass(MS * if step < 20 { 99 } else { 270 });
        }
        line.replays(&said(5, ME, &[(0, 40)]), 0);
        assert!(line.is_idle());
    });
}

#[test]
fn a_commit_during_the_flush_is_flushed_next() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts);
        acknowledged(&mut line, &said(5, ME, &[(0, 20)]));
        line.pass(MS * 2000);
        line.ask_commit(&said(5, ME, &[(0, 30)]));
        // Its answer comes in its turn, behind that of the flush.
        assert!(line.inbox.len() == 1 && !line.has_reply());
        line.replays(&said(5, ME, &[(0, 20)]), 0);
        assert_eq!(line.reply().errors, [(0, 0)]);
        assert_eq!(bench.journal.offsets(), [(0, 30)]);
        line.pass(MS * 2300);
        line.replays(&said(5, ME, &[(0, 30)]), 0);
        assert_eq!(bench.journal.offsets(), []);
    });
}

#[test]
fn a_client_that_goes_leaves_its_commits_to_its_connection() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts);
        acknowledged(&mut line, &said(5, ME, &[(0, 20)]));
        line.rig.client_gone();
        line.run();
        assert!(line.rig.is_lingering());
        line.replays(&said(5, ME, &[(0, 20)]), 0);
        assert!(!line.rig.is_lingering());
        assert_eq!((bench.commits("flushed"), bench.journal.offsets()), (1.0, vec![]));
    });
}

#[test]
fn a_broker_that_keeps_silent_is_not_waited_for_long() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts);
        acknowledged(&mut line, &said(5, ME, &[(0, 20)]));
        line.rig.client_gone();
        line.pass(MS * 5001);
        assert!(!line.rig.is_lingering());
        assert_eq!(bench.journal.offsets(), [(0, 20)], "the next run finds it");
    });
}

#[test]
fn a_client_without_promises_just_goes() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts);
        line.rig.client_gone();
        assert!(!line.rig.is_lingering());
    });
}

#[test]
fn when_kmend_stops_it_is_flushed_at_once() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts);
        acknowledged(&mut line, &said(5, ME, &[(0, 20)]));
        line.rig.core.begin(line.rig.now);
        line.rig.core.drain();
        line.run();
        line.replays(&said(5, ME, &[(0, 20)]), 0);
    });
}

#[test]
fn a_flush_that_a_rebalance_refuses_waits_for_the_assignment() {
    in_all_cuts(|cuts| {
        for error in [22, 25, 27] {
            let bench = Bench::behind();
            let mut line = bench.member(cuts.clone());
            acknowledged(&mut line, &said(5, ME, &[(0, 20), (1, 21)]));
            line.pass(MS * 2000);
            line.replays(&said(5, ME, &[(0, 20), (1, 21)]), error);
            line.pass(MS * 5000);
            assert!(line.is_idle(), "{error}");
            line.stable(6, ME, &[0]);
            line.holds(&[(0, 10)]);
            line.replays(&said(6, ME, &[(0, 20)]), 0);
            assert_eq!((bench.commits("flushed"), bench.commits("superseded")), (1.0, 1.0));
            assert_eq!(bench.journal.offsets(), []);
        }
    });
}

#[test]
fn an_error_that_no_retry_mends_ends_it_for_the_group() {
    in_all_cuts(|cuts| {
        for error in [12, 28, 30] {
            let bench = Bench::behind();
            let mut line = bench.member(cuts.clone());
            acknowledged(&mut line, &said(5, ME, &[(0, 20)]));
            line.pass(MS * 2000);
            line.replays(&said(5, ME, &[(0, 20)]), error);
            assert_eq!((bench.commits("failed"), bench.journal.offsets()), (1.0, vec![]));
            assert_eq!(line.commits(5, ME, &[(0, 30)], error), [(0, error)]);
            through(&mut line, &said(5, ME, &[(0, 40)]));
            through(&mut line, &said(5, ME, &[(0, 50)]));
        }
    });
}

#[test]
fn what_was_acknowledged_does_not_age() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts);
        acknowledged(&mut line, &said(5, ME, &[(0, 20)]));
        line.pass(MS * 2000);
        line.replays(&said(5, ME, &[(0, 20)]), 27);
        line.pass((REBALANCE + MAX_AGE) * 3);
        assert!(line.is_idle());
        line.stable(6, ME, &[0]);
        line.pass(MS * 300);
        line.holds(&[(0, 10)]);
        line.replays(&said(6, ME, &[(0, 20)]), 0);
    });
}

/// Pipelined: the broker has not answered the one before.
#[test]
fn behind_a_commit_that_is_on_its_way_it_goes_the_same_way() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts);
        // Nothing is known of partition 2.
        line.ask_commit(&said(5, ME, &[(0, 40), (2, 7)]));
        line.ask_commit(&said(5, ME, &[(0, 50)]));
        line.says(&[(0, 0), (2, 0)]);
        assert_eq!(line.reply().errors, [(0, 0), (2, 0)]);
        line.says(&[(0, 0)]);
        assert_eq!(line.reply().errors, [(0, 0)]);
        acknowledged(&mut line, &said(5, ME, &[(0, 60)]));
    });
}

#[test]
fn what_another_connection_commits_meanwhile_is_not_taken_back() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts.clone());
        let mut other = bench.line(cuts, 2);
        through(&mut other, &said(5, ME, &[(0, 15)]));
        bench.journal.answers(Written::NotYet);
        line.ask_commit(&said(5, ME, &[(0, 20)]));
        through(&mut other, &said(5, ME, &[(0, 30)]));
        bench.journal.decide(Written::Yes);
        line.run();
        assert_eq!(line.reply().errors, [(0, 0)]);
        line.pass(MS * 2000);
        line.holds(&[(0, 30)]);
        assert!(line.is_idle());
    });
}

#[test]
fn a_flush_that_was_lost_is_compared_before_it_is_sent_again() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts.clone());
        acknowledged(&mut line, &said(5, ME, &[(0, 20)]));
        line.pass(MS * 2000);
        line.inbox.clear();
        line.rig.broker_gone();
        let mut other = bench.line(cuts, 2);
        other.rig.at(line.rig.now);
        assert_eq!(other.beat(5, ME, 0), 0);
        other.pass(MS * 1250);
        other.holds(&[(0, 20)]);
        assert!(other.is_idle() && bench.journal.offsets().is_empty());
    });
}

/// What takes the place of an acknowledged commit was acknowledged too.
#[test]
fn what_is_refused_on_top_of_it_does_not_age_either() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts);
        acknowledged(&mut line, &said(5, ME, &[(0, 20)]));
        line.pass(MS * 2000);
        line.replays(&said(5, ME, &[(0, 20)]), 27);
        assert_eq!(line.commits(5, ME, &[(0, 30)], 27), [(0, 0)]);
        line.pass((REBALANCE + MAX_AGE) * 2);
        assert_eq!((bench.journal.offsets(), bench.commits("expired")), (vec![(0, 30)], 0.0));
        line.stable(6, ME, &[0]);
        line.holds(&[(0, 10)]);
        line.replays(&said(6, ME, &[(0, 30)]), 0);
    });
}

#[test]
fn a_step_back_is_the_brokers_at_once() {
    in_all_cuts(|cuts| {
        // Below what the broker holds, and between that and what was acknowledged.
        for back in [5, 15] {
            let bench = Bench::behind();
            let mut line = bench.member(cuts.clone());
            acknowledged(&mut line, &said(5, ME, &[(0, 20)]));
            through(&mut line, &said(5, ME, &[(0, back)]));
            assert_eq!((bench.commits("covered"), bench.journal.offsets()), (1.0, vec![]));
        }
        // Also where it has to wait for its turn.
        let bench = Bench::behind();
        let mut line = bench.member(cuts.clone());
        let mut other = bench.line(cuts, 2);
        through(&mut other, &said(5, ME, &[(0, 11)]));
        acknowledged(&mut line, &said(5, ME, &[(0, 20)]));
        line.pass(MS * 2300);
        other.pass(MS * 2300);
        other.ask_commit(&said(5, ME, &[(0, 15)]));
        assert!(other.is_idle());
        line.replays(&said(5, ME, &[(0, 20)]), 7);
        other.run();
        other.pass(MS * 1250);
        other.says(&[(0, 0)]);
    });
}

#[test]
fn a_topic_that_is_only_observed_is_written_through() {
    in_all_cuts(|cuts| {
        let bench = Bench::new(|c| {
            c.write_behind.enabled = true;
            c.topics.insert(TOPIC.into(), ModeRule { mode: Mode::Observe });
        });
        let mut line = bench.member(cuts);
        through(&mut line, &said(5, ME, &[(0, 20)]));
    });
}
