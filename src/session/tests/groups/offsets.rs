//! How far groups have committed, and where clients ask to begin.

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::*;

use super::line::*;
use crate::mend::ClientKey;
use crate::session::tests::kit::*;
use crate::session::tests::watch::Watch;
use crate::wire::api::ApiKey;
use crate::wire::codec::commit::{self, Commit, CommitPartition, CommitTopic};
use crate::wire::codec::write::Out;
use crate::wire::layout;

fn world() -> World {
    let world = World::new(Watch::default().mender(), Default::default());
    world.env.shared.catalog.learn("t", TOPIC_ID, &[1, 1, 1, 1]);
    world
}

fn client(line: &Line) -> ClientKey {
    line.rig.core.conn().client()
}

/// What is known to be committed of partitions 0 to 3 of `t`.
fn known(line: &Line, group: &str) -> [Option<i64>; 4] {
    [0, 1, 2, 3].map(|p| line.shared.progress.committed_of(group, &("t".into(), p)).map(|c| c.offset))
}

fn last(line: &Line) -> Option<i16> {
    line.shared.progress.last_commit(&client(line), "g").map(|c| c.error)
}

/// Of `t`, and of an id that nobody knows in version 10.
fn committing(version: i16, offsets: &[(i32, i64)]) -> Vec<u8> {
    let partition = |(index, offset): &(i32, i64)| CommitPartition {
        index: *index,
        offset: *offset,
        leader_epoch: 3,
        metadata: Some("note".into()),
    };
    let topic =
        |name: &str, id| CommitTopic { name: name.into(), id, partitions: offsets.iter().map(partition).collect() };
    let mut topics = vec![topic("t", TOPIC_ID)];
    if version >= 10 {
        topics = vec![topic("", [9; 16]), topic("", TOPIC_ID)];
    }
    let commit = Commit { group: "g".into(), generation: 3, member: "me".into(), instance: None, topics };
    commit::write(version, &commit)
}

fn said(version: i16, errors: &[(i32, i16)]) -> Vec<u8> {
    let topic = |out: &mut Out, name: &str, id: &[u8]| {
        if version >= 10 {
            out.raw(id)
        } else {
            out.string(Some(name))
        };
        out.array(errors, |out, (index, error)| {
            out.i32(*index).i16(*error).tags();
        });
        out.tags();
    };
    let mut out = Out::new(ApiKey::OFFSET_COMMIT.is_flexible(version));
    if version >= 3 {
        out.i32(0);
    }
    let topics: &[(&str, [u8; 16])] = if version >= 10 { &[("", [9; 16]), ("", TOPIC_ID)] } else { &[("t", TOPIC_ID)] };
    out.array(topics, |out, (name, id)| topic(out, name, id));
    out.tags();
    out.bytes
}

#[test]
fn what_the_broker_takes_of_a_commit_is_committed() {
    in_all_cuts(|cuts| {
        for version in 2..=10 {
            let mut line = Line::new(&world(), cuts.clone());
            line.ask_raw(
                ApiKey::OFFSET_COMMIT,
                version,
                &committing(version, &[(0, 10), (1, 11), (2, 12), (3, 13), (1, 21)]),
            );
            assert_eq!((known(&line, "g"), last(&line)), ([None; 4], None), "not before the answer");
            line.answer_raw(&said(version, &[(0, 0), (2, 3), (3, 29), (1, 0)]));
            assert_eq!(known(&line, "g"), [Some(10), Some(21), None, None], "{version}");
            assert_eq!(last(&line), Some(0), "some of it was taken");
            let committed = line.shared.progress.committed_of("g", &("t".into(), 0)).expect("committed");
            assert_eq!((committed.client, committed.at), (client(&line), line.rig.now));
            // It may go back. A refusal changes nothing.
            for (error, at) in [(0, 5), (22, 5)] {
                line.ask_raw(ApiKey::OFFSET_COMMIT, version, &committing(version, &[(0, at), (1, 99)]));
                line.answer_raw(&said(version, &[(0, error), (1, 22)]));
                assert_eq!(known(&line, "g"), [Some(5), Some(21), None, None]);
                assert_eq!(last(&line), Some(error));
            }
            line.ask_raw(ApiKey::OFFSET_COMMIT, version, &committing(version, &[(3, 7)]));
            line.answer_raw(&said(version, &[(3, 0)]));
            assert_eq!((known(&line, "g")[3], last(&line)), (Some(7), Some(0)));
            assert_eq!(line.shared.progress.committed_by("g").len(), 3, "nothing of an unknown topic");
        }
    });
}

#[test]
fn transactions_are_not_looked_at_and_nobodys_commits_are() {
    use kafka_protocol::messages::txn_offset_commit_request::{
        TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
    };
    let mut line = Line::new(&world(), Cuts::Whole);
    let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(10);
    let topic = TxnOffsetCommitRequestTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![partition]);
    let message = TxnOffsetCommitRequest::default().with_group_id(group()).with_topics(vec![topic]);
    line.ask(ApiKey::TXN_OFFSET_COMMIT, 2, &message);
    line.answer(&TxnOffsetCommitResponse::default());
    assert_eq!((known(&line, "g"), last(&line)), ([None; 4], None));
    // Without a member, as tools commit.
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(10);
    let topic = OffsetCommitRequestTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![partition]);
    line.ask(ApiKey::OFFSET_COMMIT, 2, &OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![topic]));
    let partition = OffsetCommitResponsePartition::default();
    let topic = OffsetCommitResponseTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![partition]);
    line.answer(&OffsetCommitResponse::default().with_topics(vec![topic]));
    assert_eq!(known(&line, "g")[0], Some(10));
}

/// Each group asks for `t`; `None`: for everything that it has.
fn asking(version: i16, groups: &[&str], partitions: Option<&[i32]>) -> Vec<u8> {
    let mut out = Out::new(ApiKey::OFFSET_FETCH.is_flexible(version));
    let list = |out: &mut Out| match partitions {
        Some(partitions) => {
            out.array(&[()], |out, ()| {
                if version >= 10 {
                    out.raw(&TOPIC_ID)
                } else {
                    out.string(Some("t"))
                };
                out.array(partitions, |out, p| {
                    out.i32(*p);
                });
                out.tags();
            });
        }
        None if ApiKey::OFFSET_FETCH.is_flexible(version) => drop(out.raw(&[0])),
        None => drop(out.i32(-1)),
    };
    if version >= 8 {
        out.array(groups, |out, group| {
            out.string(Some(group));
            if version >= 9 {
                out.string(None).i32(-1);
            }
            list(out);
            out.tags();
        });
    } else {
        out.string(groups.first().copied());
        list(&mut out);
    }
    if version >= 7 {
        out.i8(0);
    }
    out.tags();
    out.bytes
}

/// Group, its error, and of `t`: partition, offset, error.
type Held<'a> = (&'a str, i16, &'a [(i32, i64, i16)]);

fn holding(version: i16, groups: &[Held<'_>]) -> Vec<u8> {
    let mut out = Out::new(ApiKey::OFFSET_FETCH.is_flexible(version));
    let list = |out: &mut Out, partitions: &[(i32, i64, i16)]| {
        out.array(&[()], |out, ()| {
            if version >= 10 {
                out.raw(&TOPIC_ID)
            } else {
                out.string(Some("t"))
            };
            out.array(partitions, |out, (index, offset, error)| {
                out.i32(*index).i64(*offset);
                if version >= 5 {
                    out.i32(3);
                }
                out.string(Some("note")).i16(*error).tags();
            });
            out.tags();
        });
    };
    if version >= 3 {
        out.i32(0);
    }
    if version >= 8 {
        out.array(groups, |out, (group, error, partitions)| {
            out.string(Some(group));
            list(out, partitions);
            out.i16(*error).tags();
        });
    } else if let Some((_, error, partitions)) = groups.first() {
        list(&mut out, partitions);
        if version >= 2 {
            out.i16(*error);
        }
    }
    out.tags();
    out.bytes
}

fn looked_up(line: &Line) -> Vec<i32> {
    let client = client(line);
    (0..4).filter(|p| line.shared.progress.looked_up_at(&client, &("t".into(), *p)) == Some(line.rig.now)).collect()
}

#[test]
fn who_asks_for_offsets_looks_up_and_learns_what_is_committed() {
    in_all_cuts(|cuts| {
        for version in 1..=10 {
            let mut line = Line::new(&world(), cuts.clone());
            line.ask_raw(ApiKey::OFFSET_FETCH, version, &asking(version, &["g"], Some(&[0, 2])));
            assert_eq!(looked_up(&line), [0, 2], "{version}");
            line.answer_raw(&holding(version, &[("g", 0, &[(0, 10, 0), (1, -1, 0), (2, 12, 88)])]));
            assert_eq!(known(&line, "g"), [Some(10), Some(-1), None, None], "{version}");
            assert_eq!(last(&line), None, "that was no commit");
            if version >= 2 {
                line.ask_raw(ApiKey::OFFSET_FETCH, version, &asking(version, &["g"], None));
                assert_eq!(looked_up(&line), [0, 2], "who asks for everything does not say for what");
                line.answer_raw(&holding(version, &[("g", 16, &[(0, -1, 0)])]));
                assert_eq!(known(&line, "g"), [Some(10), Some(-1), None, None], "{version}");
            }
            if version >= 8 {
                line.ask_raw(ApiKey::OFFSET_FETCH, version, &asking(version, &["g", "h", "i"], None));
                let held: [Held<'_>; 3] = [("h", 16, &[(0, -1, 0)]), ("i", 0, &[(0, 30, 0)]), ("g", 0, &[(0, 20, 0)])];
                line.answer_raw(&holding(version, &held));
                assert_eq!(
                    [known(&line, "g")[0], known(&line, "h")[0], known(&line, "i")[0]],
                    [Some(20), None, Some(30)]
                );
            }
        }
    });
}

fn listing(version: i16, replica: i32) -> Vec<u8> {
    let partition = |p| ListOffsetsPartition::default().with_partition_index(p).with_timestamp(-1);
    let topic =
        ListOffsetsTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![partition(1), partition(3)]);
    let message = ListOffsetsRequest::default().with_replica_id(BrokerId(replica)).with_topics(vec![topic]);
    encoded(&message, version)
}

fn epochs(version: i16, replica: i32) -> Vec<u8> {
    let partition = |p| OffsetForLeaderPartition::default().with_partition(p).with_leader_epoch(3);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(TopicName(text("t")))
        .with_partitions(vec![partition(1), partition(3)]);
    let mut message = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
    if version >= 3 {
        message = message.with_replica_id(BrokerId(replica));
    }
    encoded(&message, version)
}

#[test]
fn who_asks_where_a_log_begins_or_ends_looks_up() {
    in_all_cuts(|cuts| {
        for version in 1..=10 {
            let mut line = Line::new(&world(), cuts.clone());
            line.ask_raw(ApiKey::LIST_OFFSETS, version, &listing(version, 2));
            assert!(looked_up(&line).is_empty(), "a broker that follows");
            line.ask_raw(ApiKey::LIST_OFFSETS, version, &listing(version, -1));
            assert_eq!(looked_up(&line), [1, 3], "{version}");
        }
        for version in 2..=4 {
            let mut line = Line::new(&world(), cuts.clone());
            if version >= 3 {
                line.ask_raw(ApiKey::OFFSET_FOR_LEADER_EPOCH, version, &epochs(version, 2));
                assert!(looked_up(&line).is_empty(), "a broker that follows");
            }
            line.ask_raw(ApiKey::OFFSET_FOR_LEADER_EPOCH, version, &epochs(version, -1));
            assert_eq!(looked_up(&line), [1, 3], "{version}");
        }
    });
}

/// Where a body is cut, nothing of it is taken, and it passes as it came.
#[test]
fn of_what_is_cut_nothing_is_taken() {
    for (api, version, body) in [
        (ApiKey::OFFSET_COMMIT, 8, committing(8, &[(0, 10)])),
        (ApiKey::OFFSET_COMMIT, 10, committing(10, &[(0, 10)])),
        (ApiKey::OFFSET_FETCH, 7, asking(7, &["g"], Some(&[0]))),
        (ApiKey::OFFSET_FETCH, 10, asking(10, &["g"], Some(&[0]))),
        (ApiKey::LIST_OFFSETS, 7, listing(7, -1)),
        (ApiKey::OFFSET_FOR_LEADER_EPOCH, 4, epochs(4, -1)),
    ] {
        let answer = match api {
            ApiKey::OFFSET_COMMIT => said(version, &[(0, 0)]),
            ApiKey::OFFSET_FETCH => holding(version, &[("g", 0, &[(0, 10, 0)])]),
            _ => vec![0; 10],
        };
        for cut in 0..body.len() {
            let mut line = Line::new(&world(), Cuts::Whole);
            line.ask_raw(api, version, &body[..cut]);
            line.answer_raw(&answer);
            assert_eq!((known(&line, "g"), looked_up(&line)), ([None; 4], vec![]), "{api:?} {version} {cut}");
        }
        if layout::response(api, version).is_none() || api == ApiKey::LIST_OFFSETS {
            continue;
        }
        for cut in 0..answer.len() {
            let mut line = Line::new(&world(), Cuts::Whole);
            line.ask_raw(api, version, &body);
            line.answer_raw(&answer[..cut]);
            assert_eq!((known(&line, "g"), last(&line)), ([None; 4], None), "{api:?} {version} {cut}");
        }
    }
}
