//! What is promised goes before a request that would make it late (rule C2).

use super::bench::*;
use super::line::Line;
use super::says::*;
use super::steps::OFFSETS;
use crate::config::commit_buffer::CommitBuffer;
use crate::session::core::Wait;
use crate::session::tests::kit::{Cuts, in_all_cuts};
use crate::wire::api::ApiKey;

const LIMIT: std::time::Duration = std::time::Duration::from_millis(1500);

/// A promise of partition 0, at 20, which the broker would take now: a heartbeat's answer is not due
/// yet, the look at it neither.
fn promised(bench: &Bench, cuts: Cuts) -> Line {
    let mut line = bench.member(cuts);
    line.ask_commit(&said(5, ME, &[(0, 30)]));
    assert_eq!(line.reply().errors, [(0, 0)]);
    assert!(line.is_idle());
    assert_eq!(bench.journal.offsets(), [(0, 30)]);
    line
}

fn asks(line: &mut Line, api: ApiKey) {
    match api {
        ApiKey::JOIN_GROUP => line.ask(api, 5, &Join { member: ME, ..Join::default() }.request()),
        ApiKey::LEAVE_GROUP => line.ask_leave(ME),
        _ => line.ask(api, OFFSETS, &fetch_offsets(&[0])),
    }
}

const ALL: [ApiKey; 3] = [ApiKey::JOIN_GROUP, ApiKey::LEAVE_GROUP, ApiKey::OFFSET_FETCH];

#[test]
fn joins_leaves_and_reads_wait_for_the_flush() {
    in_all_cuts(|cuts| {
        for api in ALL {
            let bench = Bench::behind();
            let mut line = promised(&bench, cuts.clone());
            asks(&mut line, api);
            // Its generation is still good: it goes without a question.
            assert_eq!(line.rig.waits[0], Wait::Held);
            assert_eq!(line.inbox.len(), 1);
            line.replays(&said(5, ME, &[(0, 30)]), 0);
            line.expect(api);
            assert!(bench.journal.kept().is_empty() && line.is_idle());
            assert_eq!(bench.commits("flushed"), 1.0);
        }
    });
}

#[test]
fn a_broker_that_does_not_answer_holds_them_a_second_and_a_half() {
    in_all_cuts(|cuts| {
        for api in ALL {
            let bench = Bench::behind();
            let mut line = promised(&bench, cuts.clone());
            asks(&mut line, api);
            line.expect_ours(ApiKey::OFFSET_COMMIT);
            line.pass(LIMIT - MS);
            assert!(line.is_idle(), "{api:?}");
            line.pass(MS);
            line.expect(api);
            assert_eq!(bench.journal.offsets(), [(0, 30)], "it is kept all the same");
        }
    });
}

#[test]
fn what_another_connection_has_on_its_way_is_waited_for() {
    in_all_cuts(|cuts| {
        for api in ALL {
            let bench = Bench::behind();
            let mut other = bench.line(cuts.clone(), 2);
            other.ask_offsets(&[2]);
            other.answer_offsets(&[(2, -1, 0)]);
            let mut line = promised(&bench, cuts.clone());
            line.pass(MS * 2000);
            let flush = line.expect_ours(ApiKey::OFFSET_COMMIT);
            other.pass(MS * 2000);
            asks(&mut other, api);
            assert!(other.is_idle() && other.rig.waits[0] == Wait::Held);
            line.answer(&flush, &committed(TOPIC, &[(0, 0)]));
            assert!(other.rig.has_mail());
            other.run();
            other.expect(api);
        }
    });
}

#[test]
fn another_connection_holds_them_no_longer_either() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut other = bench.line(cuts.clone(), 2);
        other.ask_offsets(&[2]);
        other.answer_offsets(&[(2, -1, 0)]);
        let mut line = promised(&bench, cuts);
        line.pass(MS * 2000);
        line.expect_ours(ApiKey::OFFSET_COMMIT);
        other.pass(MS * 2000);
        asks(&mut other, ApiKey::JOIN_GROUP);
        other.pass(LIMIT - MS);
        assert!(other.is_idle());
        other.pass(MS);
        other.expect(ApiKey::JOIN_GROUP);
    });
}

#[test]
fn without_a_promise_nothing_waits() {
    in_all_cuts(|cuts| {
        for api in ALL {
            let bench = Bench::plain();
            let mut line = bench.member(cuts.clone());
            asks(&mut line, api);
            line.expect(api);
            // What was refused waits for an assignment: asking for one is not held up.
            let bench = Bench::plain();
            let mut line = bench.member(cuts.clone());
            assert_eq!(line.commits(5, ME, &[(0, 20)], 27), [(0, 0)]);
            asks(&mut line, api);
            line.expect(api);
        }
    });
}

fn left(cuts: Cuts, set: impl FnOnce(&mut CommitBuffer)) -> (Bench, Line) {
    let bench = Bench::new(set);
    let mut line = bench.member(cuts);
    assert_eq!(line.commits(5, ME, &[(0, 20)], 27), [(0, 0)]);
    line.ask_leave(ME);
    (bench, line)
}

#[test]
fn an_empty_group_takes_what_its_last_member_left() {
    in_all_cuts(|cuts| {
        let (bench, mut line) = left(cuts, |_| {});
        let leave = line.expect(ApiKey::LEAVE_GROUP);
        line.answer(&leave, &kafka_protocol::messages::LeaveGroupResponse::default());
        line.holds(&[(0, 10)]);
        line.replays(&said(-1, "", &[(0, 20)]), 0);
        assert!(bench.journal.kept().is_empty());
        assert_eq!(bench.commits("replayed"), 1.0);
    });
}

/// It is asked again for as long as a promise lives, and each time what the broker holds is compared.
#[test]
fn a_group_with_members_takes_nothing_and_its_next_owner_supersedes_it() {
    in_all_cuts(|cuts| {
        let (bench, mut line) = left(cuts, |_| {});
        line.answer_leave();
        line.holds(&[(0, 10)]);
        line.replays(&said(-1, "", &[(0, 20)]), 25);
        assert!(line.is_idle());
        line.pass(MS * 1000);
        line.holds(&[(0, 21)]);
        assert_eq!((bench.commits("superseded"), bench.journal.offsets()), (1.0, vec![]));
        line.pass(MS * 5000);
        assert!(line.is_idle());
    });
}

#[test]
fn what_it_left_is_not_ahead_of_what_others_have_committed() {
    in_all_cuts(|cuts| {
        for raw in [9, 21] {
            let (bench, mut line) = left(cuts.clone(), |_| {});
            line.answer_leave();
            line.holds(&[(0, raw)]);
            assert!(line.is_idle());
            assert_eq!((bench.commits("superseded"), bench.journal.offsets()), (1.0, vec![]));
        }
    });
}

/// What may still be written in its name goes before it leaves.
#[test]
fn what_was_written_behind_is_not_left_to_an_empty_group() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = promised(&bench, cuts);
        line.ask_leave(ME);
        line.replays(&said(5, ME, &[(0, 30)]), 27);
        line.answer_leave();
        line.pass(MS * 300);
        line.holds(&[(0, 10)]);
        line.replays(&said(-1, "", &[(0, 30)]), 0);
        assert_eq!(bench.commits("flushed"), 1.0);
    });
}

#[test]
fn a_consumer_of_kip_848_that_leaves_or_gives_up_partitions_waits_for_the_flush() {
    in_all_cuts(|cuts| {
        for (epoch, owned) in [(-1, None), (-2, None), (5, Some(&[1][..]))] {
            let bench = Bench::behind();
            let mut line = bench.line(cuts.clone(), 1);
            line.consumes(0, 5, ME, Some(&[0, 1]));
            for at in [10, 20] {
                line.ask(ApiKey::OFFSET_COMMIT, 9, &said(5, ME, &[(0, at)]).request());
                if at == 10 {
                    line.says(&[(0, 0)]);
                }
                assert_eq!(line.reply().errors, [(0, 0)]);
            }
            line.ask(ApiKey::CONSUMER_GROUP_HEARTBEAT, 0, &consumer(epoch, ME, owned));
            assert_eq!((line.inbox.len(), line.rig.waits[0]), (1, Wait::Held));
            line.replays(&said(5, ME, &[(0, 20)]), 0);
            line.expect(ApiKey::CONSUMER_GROUP_HEARTBEAT);
        }
        // One that only lives does not wait.
        let bench = Bench::behind();
        let mut line = bench.line(cuts, 1);
        line.consumes(0, 5, ME, Some(&[0]));
        line.ask(ApiKey::OFFSET_COMMIT, 9, &said(5, ME, &[(0, 10)]).request());
        line.says(&[(0, 0)]);
        line.ask(ApiKey::OFFSET_COMMIT, 9, &said(5, ME, &[(0, 20)]).request());
        line.ask(ApiKey::CONSUMER_GROUP_HEARTBEAT, 0, &consumer(5, ME, None));
        line.expect(ApiKey::CONSUMER_GROUP_HEARTBEAT);
    });
}
