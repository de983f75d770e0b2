//! What an earlier run had promised (rule C7).

use super::bench::*;
use super::line::Line;
use super::says::*;
use crate::session::tests::kit::{Cuts, in_all_cuts};
use crate::store::journal::{Key, Kind, Promise};
use crate::wire::api::ApiKey;

fn restored(promises: Vec<Promise>) -> Bench {
    Bench::restored(|_| {}, promises)
}

/// The member goes on where it was: it has not noticed anything.
fn beats(bench: &Bench, cuts: Cuts) -> Line {
    let mut line = bench.line(cuts, 1);
    assert_eq!(line.beat(5, ME, 0), 0);
    line.run();
    line
}

#[test]
fn in_its_old_generation_it_is_sent_after_the_first_heartbeat() {
    in_all_cuts(|cuts| {
        let bench = restored(vec![promise(0, 20)]).with_cluster(CLUSTER);
        let mut line = bench.line(cuts, 1);
        line.pass(MS * 2000);
        assert!(line.is_idle(), "nobody was seen yet");
        assert_eq!(line.beat(5, ME, 0), 0);
        line.run();
        line.holds(&[(0, 10)]);
        line.replays(&said(5, ME, &[(0, 20)]), 0);
        assert_eq!(bench.commits("replayed"), 1.0);
    });
}

#[test]
fn what_was_refused_before_waits_for_its_assignment() {
    in_all_cuts(|cuts| {
        let bench = restored(vec![Promise { ready: false, ..promise(0, 20) }]).with_cluster(CLUSTER);
        let mut line = beats(&bench, cuts);
        line.pass(MS * 2000);
        assert!(line.is_idle());
        line.stable(6, ME, &[0]);
        line.holds(&[(0, 10)]);
        line.replays(&said(6, ME, &[(0, 20)]), 0);
    });
}

#[test]
fn in_a_newer_generation_its_assignment_decides() {
    in_all_cuts(|cuts| {
        let bench = restored(vec![promise(0, 20), promise(1, 21)]).with_cluster(CLUSTER);
        let mut line = bench.line(cuts, 1);
        assert_eq!(line.beat(6, ME, 0), 0);
        line.pass(MS * 2000);
        assert!(line.is_idle(), "how it came to that generation was not seen");
        line.stable(7, ME, &[0]);
        line.holds(&[(0, 10)]);
        line.replays(&said(7, ME, &[(0, 20)]), 0);
        assert_eq!(bench.commits("superseded"), 1.0);
    });
}

/// The app has been started anew: another id, the same client id.
#[test]
fn the_same_app_under_a_new_id_takes_its_own_over() {
    in_all_cuts(|cuts| {
        let bench = restored(vec![promise(0, 20)]).with_cluster(CLUSTER);
        let mut line = bench.line(cuts.clone(), 1);
        line.stable(6, "new", &[0]);
        line.holds(&[(0, 10)]);
        line.replays(&said(6, "new", &[(0, 20)]), 0);
        // Another app that got the partition is its new owner.
        let bench = restored(vec![promise(0, 20)]).with_cluster(CLUSTER);
        let mut line = Line::new(&bench, cuts, 1, "other", "apache-kafka-java");
        line.stable(6, "new", &[0]);
        line.pass(MS * 2000);
        assert_eq!((line.is_idle(), bench.commits("superseded")), (true, 1.0));
    });
}

#[test]
fn of_another_cluster_or_topic_nothing_is_sent() {
    in_all_cuts(|cuts| {
        let elsewhere = Key { cluster: "cluster-2".into(), ..promise(0, 20).key };
        let cases = [Promise { key: elsewhere, ..promise(0, 20) }, Promise { topic_id: [8; 16], ..promise(0, 20) }];
        for promise in cases {
            let bench = restored(vec![promise]).with_cluster(CLUSTER);
            let mut line = beats(&bench, cuts.clone());
            line.pass(MS * 2000);
            line.stable(6, ME, &[0]);
            line.pass(MS * 2000);
            assert!(line.is_idle());
            assert_eq!((bench.commits("superseded"), bench.commits("replayed")), (1.0, 0.0));
        }
    });
}

#[test]
fn where_the_cluster_is_not_known_it_waits() {
    in_all_cuts(|cuts| {
        let bench = restored(vec![promise(0, 20)]);
        let mut line = beats(&bench, cuts);
        line.pass(MS * 2000);
        // It is asked for on the client's connection; here the answer comes another way.
        let question = line.next();
        assert!(question.ours && question.api == ApiKey::METADATA && line.is_idle());
        assert_eq!(bench.commits("superseded"), 0.0);
        bench.world.env.shared.cluster.learn(CLUSTER);
        line.pass(MS * 300);
        line.holds(&[(0, 10)]);
        line.replays(&said(5, ME, &[(0, 20)]), 0);
    });
}

#[test]
fn its_old_baseline_still_counts() {
    in_all_cuts(|cuts| {
        for raw in [9, 25] {
            let bench = restored(vec![promise(0, 20)]).with_cluster(CLUSTER);
            let mut line = beats(&bench, cuts.clone());
            line.holds(&[(0, raw)]);
            assert!(line.is_idle());
            assert_eq!(bench.commits("superseded"), 1.0);
        }
    });
}

#[test]
fn what_nobody_comes_back_for_is_given_up() {
    in_all_cuts(|cuts| {
        let bench = restored(vec![promise(0, 20)]).with_cluster(CLUSTER);
        let mut line = bench.line(cuts, 1);
        // Java's longest rebalance, and max_age.
        line.rig.at(bench.now + MAX_AGE + REBALANCE * 5);
        assert_eq!(line.beat(5, "somebody", 0), 0);
        line.ask_offsets(&[0]);
        line.answer_offsets(&[(0, 10, 0)]);
        line.stable(6, ME, &[0]);
        line.pass(MS * 500);
        assert_eq!((bench.commits("expired"), bench.commits("replayed")), (1.0, 0.0));
    });
}

#[test]
fn what_was_acknowledged_before_the_broker_had_it_waits_for_ever() {
    in_all_cuts(|cuts| {
        let bench = restored(vec![Promise { kind: Kind::Behind, ..promise(0, 20) }]).with_cluster(CLUSTER);
        let mut line = bench.line(cuts, 1);
        line.rig.at(bench.now + MAX_AGE * 600);
        assert_eq!(line.beat(5, ME, 0), 0);
        line.run();
        line.holds(&[(0, 10)]);
        line.replays(&said(5, ME, &[(0, 20)]), 0);
        assert_eq!(bench.commits("flushed"), 1.0);
    });
}
