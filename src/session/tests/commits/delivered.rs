//! What a client that dies without a commit has handled is committed in its name (rule C8b).

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse};

use super::bench::*;
use super::line::Line;
use super::says::*;
use crate::session::tests::kit::{Cuts, in_all_cuts};
use crate::wire::api::ApiKey;

fn bench() -> Bench {
    Bench::new(|c| c.delivered.enabled = true)
}

/// The app fetches partition 0 from these positions, one after the other.
fn fetches(line: &mut Line, positions: &[i64]) {
    for at in positions {
        let partition = FetchPartition::default().with_partition(0).with_fetch_offset(*at);
        let topics = FetchTopic::default().with_topic(topic(TOPIC)).with_partitions(vec![partition]);
        let message = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(500)
            .with_session_epoch(-1)
            .with_topics(vec![topics]);
        line.ask(ApiKey::FETCH, 12, &message);
        let asked = line.expect(ApiKey::FETCH);
        line.answer(&asked, &FetchResponse::default());
        line.reply();
    }
}

/// A member of this software that has committed 10, fetched on and dies.
fn dies(bench: &Bench, cuts: Cuts, software: &str, positions: &[i64]) -> Line {
    let mut line = Line::new(bench, cuts, 1, "app", software);
    line.stable(5, ME, &[0, 1]);
    line.commits(5, ME, &[(0, 10)], 0);
    fetches(&mut line, positions);
    line.rig.client_gone();
    line.run();
    line
}

/// As kmend says it: without epoch and text.
fn handled(offset: i64) -> Said {
    Said { epoch: -1, text: None, ..said(5, ME, &[(0, offset)]) }
}

const SAFE: [&str; 3] = ["apache-kafka-java", "aiokafka", "kafka-python"];
const AHEAD: [&str; 5] = ["librdkafka", "sarama", "kafkajs", "unheard-of", "kgo"];

#[test]
fn the_last_position_but_one_is_committed() {
    in_all_cuts(|cuts| {
        for software in SAFE {
            let bench = bench();
            let mut line = dies(&bench, cuts.clone(), software, &[10, 20, 20, 30]);
            assert!(line.rig.is_lingering());
            line.holds(&[(0, 10)]);
            line.replays(&handled(20), 0);
            assert!(!line.rig.is_lingering());
            assert_eq!((bench.commits("delivered"), bench.journal.offsets()), (1.0, vec![]));
        }
    });
}

#[test]
fn software_that_fetches_ahead_is_believed_only_where_that_is_wanted() {
    in_all_cuts(|cuts| {
        for software in AHEAD {
            let bench = bench();
            let line = dies(&bench, cuts.clone(), software, &[10, 20, 30]);
            assert!(line.is_idle() && !line.rig.is_lingering(), "{software}");
            let bench = Bench::new(|c| (c.delivered.enabled, c.delivered.unmeasured) = (true, true));
            let mut line = dies(&bench, cuts.clone(), software, &[10, 20, 30]);
            line.holds(&[(0, 10)]);
            line.replays(&handled(20), 0);
        }
    });
}

#[test]
fn it_is_never_ahead() {
    in_all_cuts(|cuts| {
        // Nothing before the first position is known; nor after a step back; nor is it a rewind.
        for positions in [&[10][..], &[30], &[10, 20, 15], &[5, 10, 20], &[3, 5, 20]] {
            let bench = bench();
            let line = dies(&bench, cuts.clone(), "apache-kafka-java", positions);
            assert!(line.is_idle() && !line.rig.is_lingering(), "{positions:?}");
            assert_eq!(bench.journal.writes(), 0);
        }
        // What the broker holds meanwhile is newer.
        let bench = bench();
        let mut line = dies(&bench, cuts, "apache-kafka-java", &[10, 20, 30]);
        line.holds(&[(0, 25)]);
        assert!(line.is_idle() && !line.rig.is_lingering());
        assert_eq!(bench.commits("superseded"), 1.0);
    });
}

#[test]
fn not_where_it_is_off_or_the_group_is() {
    in_all_cuts(|cuts| {
        let line = dies(&Bench::plain(), cuts.clone(), "apache-kafka-java", &[10, 20, 30]);
        assert!(line.is_idle() && !line.rig.is_lingering());
        let bench = Bench::new(|c| {
            c.delivered.enabled = true;
            c.topics.insert(TOPIC.into(), crate::config::model::ModeRule { mode: crate::config::model::Mode::Off });
        });
        let line = dies(&bench, cuts, "apache-kafka-java", &[10, 20, 30]);
        assert!(line.is_idle() && !line.rig.is_lingering());
    });
}

#[test]
fn not_while_the_client_has_another_connection() {
    in_all_cuts(|cuts| {
        let bench = bench();
        let mut other = bench.line(cuts.clone(), 2);
        other.ask_offsets(&[2]);
        other.answer_offsets(&[(2, -1, 0)]);
        let mut line = dies(&bench, cuts.clone(), "apache-kafka-java", &[10, 20, 30]);
        line.pass(MS * 5001);
        assert!(line.is_idle() && !line.rig.is_lingering());
        assert_eq!(bench.journal.writes(), 0);
        // The last of them may take a moment to go.
        let bench = self::bench();
        let mut other = bench.line(cuts.clone(), 2);
        other.ask_offsets(&[2]);
        other.answer_offsets(&[(2, -1, 0)]);
        let mut line = dies(&bench, cuts, "apache-kafka-java", &[10, 20, 30]);
        line.pass(MS * 200);
        assert!(line.is_idle() && line.rig.is_lingering());
        other.rig.client_gone();
        line.run();
        line.holds(&[(0, 10)]);
        line.replays(&handled(20), 0);
    });
}

#[test]
fn not_where_two_members_may_own_the_partition() {
    in_all_cuts(|cuts| {
        let bench = bench();
        let mut other = Line::new(&bench, cuts.clone(), 2, "other", "apache-kafka-java");
        other.stable(5, "them", &[0]);
        let line = dies(&bench, cuts, "apache-kafka-java", &[10, 20, 30]);
        assert!(line.is_idle() && !line.rig.is_lingering());
    });
}

#[test]
fn not_for_a_group_that_keeps_its_offsets_elsewhere() {
    in_all_cuts(|cuts| {
        let bench = bench();
        let mut line = bench.line(cuts, 1);
        line.stable(5, ME, &[0]);
        line.ask_offsets(&[0]);
        line.answer_offsets(&[(0, -1, 0)]);
        fetches(&mut line, &[10, 20, 30]);
        line.rig.client_gone();
        line.run();
        assert!(line.is_idle() && !line.rig.is_lingering());
    });
}

#[test]
fn an_assignment_makes_older_positions_worthless() {
    in_all_cuts(|cuts| {
        let bench = bench();
        let mut line = bench.member(cuts);
        fetches(&mut line, &[10, 20]);
        line.stable(6, ME, &[0, 1]);
        fetches(&mut line, &[30]);
        line.rig.client_gone();
        line.run();
        assert!(line.is_idle() && !line.rig.is_lingering());
    });
}

#[test]
fn a_consumer_of_kip_848_fetches_ahead_of_its_app() {
    in_all_cuts(|cuts| {
        let bench = bench();
        let mut line = bench.line(cuts, 1);
        line.consumes(0, 5, ME, Some(&[0]));
        line.ask(ApiKey::OFFSET_COMMIT, 9, &said(5, ME, &[(0, 10)]).request());
        line.says(&[(0, 0)]);
        fetches(&mut line, &[10, 20, 30]);
        line.rig.client_gone();
        line.run();
        assert!(line.is_idle() && !line.rig.is_lingering());
    });
}
