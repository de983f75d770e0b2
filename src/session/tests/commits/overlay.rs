//! What was promised is what a client reads back, where the broker's own word allows it (rule C6).

use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::bench::*;
use super::journal::Script;
use super::line::Line;
use super::says::*;
use crate::config::Config;
use crate::config::model::Mode;
use crate::session::tests::kit::{Cuts, in_all_cuts};
use crate::wire::api::ApiKey;

/// Partition 0 is promised at 20 over 10; nothing can be sent before the next assignment.
fn promised(bench: &Bench, cuts: Cuts) -> Line {
    let mut line = bench.member(cuts);
    assert_eq!(line.commits(5, ME, &[(0, 20)], 22), [(0, 0)]);
    line.answered.clear();
    line.got.clear();
    line
}

#[test]
fn a_promise_is_read_back_where_it_stands() {
    in_all_cuts(|cuts| {
        for (raw, told) in [(10, 20), (15, 20), (20, 20), (9, 9), (25, 25), (-1, -1)] {
            let bench = Bench::plain();
            let mut line = promised(&bench, cuts.clone());
            line.ask_offsets(&[0, 1]);
            assert!(!line.is_idle(), "nothing can go first");
            let reply = line.answer_offsets(&[(0, raw, 0), (1, 10, 0)]);
            assert_eq!(reply.offsets, [(0, told), (1, 10)], "{raw}");
            if told == raw {
                assert!(line.answered == line.got);
            }
        }
    });
}

#[test]
fn nothing_committed_is_below_what_was_promised_where_nothing_was_known() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.line(cuts, 1);
        line.stable(5, ME, &[0]);
        assert_eq!(line.commits(5, ME, &[(0, 20)], 22), [(0, 0)]);
        line.ask_offsets(&[0]);
        assert_eq!(line.answer_offsets(&[(0, -1, 0)]).offsets, [(0, 20)]);
    });
}

#[test]
fn errors_pass() {
    in_all_cuts(|cuts| {
        for error in [3, 14, 16, 29, 30, 88] {
            let bench = Bench::plain();
            let mut line = promised(&bench, cuts.clone());
            line.ask_offsets(&[0]);
            let reply = line.answer_offsets(&[(0, -1, error)]);
            assert_eq!((reply.offsets, reply.errors), (vec![(0, -1)], vec![(0, error)]));
            line.ask_offsets(&[0]);
            assert_eq!(line.answer_offsets(&[(0, 15, error)]).offsets, [(0, 15)]);
            assert!(line.answered == line.got && line.sent == line.arrived);
        }
    });
}

/// The text beside an offset cannot be changed in its place.
#[test]
fn with_another_text_the_truth_stands() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.member(cuts);
        let other = Said { text: Some("another".into()), ..said(5, ME, &[(0, 20)]) };
        assert_eq!(line.tries(&other, 22), [(0, 0)]);
        line.ask_offsets(&[0]);
        assert_eq!(line.answer_offsets(&[(0, 10, 0)]).offsets, [(0, 10)]);
    });
}

/// The new owner is not behind this kmend, or has another name: it reads what was promised.
#[test]
fn whoever_owns_it_next_reads_the_promise_too() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let _line = promised(&bench, cuts.clone());
        let mut other = Line::new(&bench, cuts, 2, "other", "apache-kafka-java");
        other.ask_offsets(&[0]);
        assert_eq!(other.answer_offsets(&[(0, 10, 0)]).offsets, [(0, 20)]);
    });
}

#[test]
fn another_topic_of_that_name_is_told_the_truth() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let _line = promised(&bench, cuts.clone());
        bench.learn_topic([8; 16]);
        let mut other = Line::new(&bench, cuts, 2, "other", "apache-kafka-java");
        other.ask_offsets(&[0]);
        assert_eq!(other.answer_offsets(&[(0, 15, 0)]).offsets, [(0, 15)]);
    });
}

/// Where the log begins at 15 both menders have something to say: first what was promised.
#[test]
fn it_comes_before_offset_reset_lifts() {
    in_all_cuts(|cuts| {
        for (start, told) in [(15, 20), (30, 30)] {
            let mut config = Config::default();
            config.menders.offset_reset.mode = Mode::Repair;
            let bench = Bench::of(config, Vec::new(), Script::new(true)).with_cluster(CLUSTER);
            let mut line = promised(&bench, cuts.clone());
            line.ask_offsets(&[0]);
            read(&mut line, start);
            assert_eq!(line.reply().offsets, [(0, told)], "{start}");
            // What was learnt is the broker's own word, not what was lifted.
            line.stable(6, ME, &[0, 1]);
            line.holds(&[(0, 10)]);
            line.replays(&said(6, ME, &[(0, 20)]), 0);
        }
    });
}

/// Where kmend learnt what was lifted, it would take the broker's own value for a step back.
#[test]
fn what_was_lifted_is_no_baseline() {
    in_all_cuts(|cuts| {
        let mut config = Config::default();
        config.menders.offset_reset.mode = Mode::Repair;
        let bench = Bench::of(config, Vec::new(), Script::new(true)).with_cluster(CLUSTER);
        let mut line = bench.member(cuts);
        line.ask_offsets(&[0]);
        read(&mut line, 15);
        assert_eq!(line.reply().offsets, [(0, 15)]);
        assert_eq!(line.commits(5, ME, &[(0, 20)], 22), [(0, 0)]);
        line.stable(6, ME, &[0, 1]);
        line.holds(&[(0, 10)]);
        line.replays(&said(6, ME, &[(0, 20)]), 0);
    });
}

/// The broker holds 10 and its log begins at `start`.
fn read(line: &mut Line, start: i64) {
    while !line.has_reply() {
        let asked = line.next();
        match asked.api {
            ApiKey::OFFSET_FETCH => line.answer(&asked, &offsets(&[(0, 10, 0)])),
            ApiKey::LIST_OFFSETS => starts(line, &asked, start),
            api => panic!("{api:?}"),
        }
    }
}

fn starts(line: &mut Line, asked: &super::line::Request, start: i64) {
    let request: ListOffsetsRequest = asked.read();
    let topics = request.topics.iter().map(|t| {
        let partitions = t.partitions.iter().map(|p| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(p.partition_index)
                .with_timestamp(-1)
                .with_offset(if p.timestamp == -2 { start } else { 100 })
        });
        ListOffsetsTopicResponse::default().with_name(t.name.clone()).with_partitions(partitions.collect())
    });
    line.answer(asked, &ListOffsetsResponse::default().with_topics(topics.collect()));
}
