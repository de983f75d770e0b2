//! Promises that another mender wants at the broker now, and what is told of how far groups are.

use std::time::Instant;

use super::bench::*;
use super::line::Line;
use super::says::*;
use crate::mend::Errands;
use crate::mend::Injected;
use crate::session::tests::kit::{Cuts, in_all_cuts, response};
use crate::wire::api::ApiKey;

fn pending(bench: &Bench, member: &str) -> usize {
    bench.world.env.shared.promises.pending(GROUP, member)
}

fn hurry(bench: &Bench, member: &str) {
    let shared = &bench.world.env.shared;
    shared.promises.hurry(GROUP, member, &shared.peers);
}

/// What the group is known to have committed of partition 0.
fn known(bench: &Bench) -> Option<i64> {
    bench.world.env.shared.progress.committed_of(GROUP, &(TOPIC.into(), 0)).map(|c| c.offset)
}

fn last(bench: &Bench, line: &Line) -> Option<(Instant, i16)> {
    bench.world.env.shared.progress.last_commit(&line.rig.core.conn().client(), GROUP).map(|c| (c.at, c.error))
}

fn acknowledged(line: &mut Line, at: &[(i32, i64)]) {
    line.ask_commit(&said(5, ME, at));
    assert!(line.is_idle());
    assert_eq!(line.reply().errors.len(), at.len());
}

#[test]
fn what_is_written_behind_goes_out_without_waiting_for_its_time() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts);
        assert_eq!(pending(&bench, ME), 0);
        acknowledged(&mut line, &[(0, 20), (1, 30)]);
        assert_eq!((pending(&bench, ME), pending(&bench, "other")), (2, 0));
        assert_eq!(bench.world.env.shared.promises.pending("another group", ME), 0);
        line.pass(MS * 300);
        assert!(line.is_idle(), "not yet");
        // Somebody else's hurry is not this one's.
        hurry(&bench, "other");
        assert!(!line.rig.has_mail());
        hurry(&bench, ME);
        assert!(line.rig.has_mail());
        line.run();
        assert_eq!(pending(&bench, ME), 2, "the broker has not answered");
        line.replays(&said(5, ME, &[(0, 20), (1, 30)]), 0);
        assert_eq!((pending(&bench, ME), bench.commits("flushed")), (0, 2.0));
        assert!(bench.journal.kept().is_empty());
        // What comes after it takes its time.
        acknowledged(&mut line, &[(0, 40)]);
        line.pass(MS * 300);
        assert!(line.is_idle());
    });
}

#[test]
fn it_goes_on_the_connection_that_carries_the_member() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts.clone());
        let other = bench.line(cuts, 2);
        acknowledged(&mut line, &[(0, 20)]);
        hurry(&bench, ME);
        assert_eq!((line.rig.has_mail(), other.rig.has_mail()), (true, false));
    });
}

#[test]
fn what_was_promised_under_an_id_before_is_the_members_too() {
    let bench = Bench::plain();
    let mut line = bench.member(Cuts::Whole);
    assert_eq!(line.commits(5, ME, &[(0, 20)], 25), [(0, 0)]);
    assert_eq!((pending(&bench, ME), pending(&bench, "new")), (1, 0));
    assert_eq!(line.join(Join { member: ME, ..Join::default() }, 25, -1, ""), 25);
    assert_eq!(line.join(Join::default(), 0, 6, "new"), 0);
    assert_eq!(pending(&bench, "new"), 1);
}

#[test]
fn what_the_broker_takes_of_it_is_known_to_be_committed() {
    in_all_cuts(|cuts| {
        for (error, expected) in [(0, 20), (14, 10)] {
            let bench = Bench::behind();
            let mut line = bench.member(cuts.clone());
            let before = last(&bench, &line);
            assert_eq!((known(&bench), before.map(|(_, error)| error)), (Some(10), Some(0)));
            line.pass(MS * 100);
            acknowledged(&mut line, &[(0, 20)]);
            assert_eq!((known(&bench), last(&bench, &line)), (Some(10), before), "kmend's own yes is not the broker's");
            hurry(&bench, ME);
            line.run();
            line.replays(&said(5, ME, &[(0, 20)]), error);
            assert_eq!(known(&bench), Some(expected));
            let committed = bench.world.env.shared.progress.committed_of(GROUP, &(TOPIC.into(), 0)).expect("known");
            assert_eq!(committed.client, line.rig.core.conn().client());
        }
    });
}

#[test]
fn a_refusal_that_the_client_does_not_hear_of_is_known() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.member(cuts);
        assert_eq!(line.commits(5, ME, &[(0, 20)], 27), [(0, 0)]);
        assert_eq!((known(&bench), last(&bench, &line).map(|(_, error)| error)), (Some(10), Some(27)));
        assert!(bench.world.env.shared.groups.is_rebalancing(GROUP));
        // It is told what was promised; the broker has less.
        line.ask_offsets(&[0]);
        assert_eq!(line.answer_offsets(&[(0, 10, 0)]).offsets, [(0, 20)]);
        assert_eq!(known(&bench), Some(10));
    });
}

/// On a connection of kmend's own, where the client is known; of an earlier run's promise it is not.
#[test]
fn an_errand_that_succeeds_is_known_as_well() {
    for restored in [false, true] {
        let of_before = if restored { vec![promise(0, 20)] } else { Vec::new() };
        let bench = Bench::restored(|c| c.write_behind.enabled = true, of_before).with_cluster(CLUSTER);
        let shared = bench.world.env.shared.clone();
        if !restored {
            let mut line = bench.member(Cuts::Whole);
            acknowledged(&mut line, &[(0, 20)]);
            // The broker's side goes before anything could be sent.
            line.rig.broker_gone();
            assert_eq!(known(&bench), None, "its last connection has gone");
        }
        let errands = bench.world.env.menders.iter().find_map(|m| m.errands(shared.clone())).expect("errands");
        run(&*errands, &bench);
        assert!(bench.journal.kept().is_empty());
        assert_eq!(known(&bench), (!restored).then_some(20));
    }
}

fn run(errands: &dyn Errands, bench: &Bench) {
    let mut now = bench.now;
    for _ in 0..10 {
        now += MS * 1000;
        for group in errands.wanted(now) {
            let newest = |_: ApiKey, bounds: (i16, i16)| Some(bounds.1.min(9));
            while let Some(errand) = errands.take(&group, &newest, now) {
                let body = match errand.api {
                    ApiKey::OFFSET_COMMIT => encoded(&committed(TOPIC, &[(0, 0)]), errand.version),
                    _ => encoded(&raw_offsets(&[(0, 10, 0)]), errand.version),
                };
                let frame = response(errand.api, errand.version, 1, &body);
                let at = frame.len() - body.len();
                errands.done(errand.token, Injected::Answer { frame: &frame, body: at, took: MS }, now);
            }
        }
    }
}
