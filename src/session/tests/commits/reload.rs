//! A mode that changes in the middle of a rebalance (rule M6).

use super::bench::*;
use super::says::*;
use crate::config::model::Mode;
use crate::session::tests::kit::in_all_cuts;
use crate::store::journal::Written;

#[test]
fn what_was_promised_is_kept_also_when_it_is_off_now() {
    in_all_cuts(|cuts| {
        let mut bench = Bench::plain();
        let mut line = bench.member(cuts);
        assert_eq!(line.commits(5, ME, &[(0, 20)], 22), [(0, 0)]);
        bench.reload(|c| c.mode = Mode::Off);
        line.stable(6, ME, &[0, 1]);
        line.holds(&[(0, 10)]);
        line.replays(&said(6, ME, &[(0, 20)]), 0);
        // Nothing new is promised.
        assert_eq!(line.commits(6, ME, &[(0, 30)], 22), [(0, 22)]);
        assert_eq!(line.beat(6, ME, 25), 25);
    });
}

#[test]
fn a_refusal_on_its_way_reaches_the_client() {
    in_all_cuts(|cuts| {
        let mut bench = Bench::plain();
        let mut line = bench.member(cuts);
        line.ask_commit(&said(5, ME, &[(0, 20)]));
        bench.reload(|c| c.mode = Mode::Off);
        line.says(&[(0, 22)]);
        assert_eq!((line.reply().errors, bench.journal.writes()), (vec![(0, 22)], 0));
    });
}

/// Nobody was told yet: what the journal has by then is a promise, what it has not is none.
#[test]
fn a_proposal_leads_to_the_truth() {
    in_all_cuts(|cuts| {
        for (written, told) in [(Written::Yes, 0), (Written::No, 22)] {
            let mut bench = Bench::plain();
            let mut line = bench.member(cuts.clone());
            bench.journal.answers(Written::NotYet);
            line.ask_commit(&said(5, ME, &[(0, 20)]));
            line.says(&[(0, 22)]);
            bench.reload(|c| c.mode = Mode::Off);
            bench.journal.answers(Written::Yes);
            bench.journal.decide(written);
            line.run();
            assert_eq!(line.reply().errors, [(0, told)]);
            line.stable(6, ME, &[0, 1]);
            if told == 0 {
                line.holds(&[(0, 10)]);
                line.replays(&said(6, ME, &[(0, 20)]), 0);
            }
            assert!(line.is_idle() && bench.journal.offsets().is_empty());
        }
    });
}

#[test]
fn what_was_written_behind_is_flushed_also_when_it_is_off_now() {
    in_all_cuts(|cuts| {
        let mut bench = Bench::behind();
        let mut line = bench.member(cuts);
        line.ask_commit(&said(5, ME, &[(0, 20)]));
        assert_eq!(line.reply().errors, [(0, 0)]);
        bench.reload(|c| (c.mode, c.write_behind.enabled) = (Mode::Off, false));
        assert_eq!(line.commits(5, ME, &[(1, 20)], 0), [(1, 0)]);
        line.pass(MS * 2000);
        line.replays(&said(5, ME, &[(0, 20)]), 0);
        assert_eq!(bench.journal.offsets(), []);
    });
}

#[test]
fn when_it_is_on_again_it_mends() {
    in_all_cuts(|cuts| {
        let mut bench = Bench::new(|c| c.mode = Mode::Off);
        let mut line = bench.member(cuts);
        assert_eq!(line.commits(5, ME, &[(0, 20)], 22), [(0, 22)]);
        bench.reload(|c| c.mode = Mode::Repair);
        assert_eq!(line.commits(5, ME, &[(0, 20)], 22), [(0, 22)], "nobody has seen it join");
        line.stable(6, ME, &[0, 1]);
        assert_eq!(line.commits(6, ME, &[(0, 20)], 22), [(0, 0)]);
    });
}
