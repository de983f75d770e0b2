//! Transactions are not looked at, and who was fenced is told so (rule C5).

use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TransactionalId, TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::bench::*;
use super::says::*;
use crate::mend::{Interest, Interests, Treatment};
use crate::session::tests::kit::in_all_cuts;
use crate::wire::api::ApiKey;

const TXN: ApiKey = ApiKey::TXN_OFFSET_COMMIT;

#[test]
fn nobody_is_interested_in_transactional_commits() {
    let everything: [fn(&mut crate::config::commit_buffer::CommitBuffer); 2] =
        [|_| {}, |c| (c.write_behind.enabled, c.delivered.enabled) = (true, true)];
    for set in everything {
        let bench = Bench::restored(set, vec![promise(0, 20)]);
        let all: Vec<Interest> = bench.world.env.menders.iter().flat_map(|m| m.interests()).collect();
        let theirs = |i: &&Interest| matches!(i, Interest::Request(TXN, _) | Interest::Response(TXN, _));
        assert!(all.iter().filter(theirs).count() == 0 && !all.is_empty());
        let folded = Interests::fold([all]);
        assert_eq!((folded.request(TXN), folded.response(TXN)), (Treatment::Skip, Treatment::Skip));
    }
}

#[test]
fn a_transactional_commit_passes_with_every_error() {
    in_all_cuts(|cuts| {
        let bench = Bench::behind();
        let mut line = bench.member(cuts);
        for error in [0, 22, 25, 27, 82] {
            let partition =
                TxnOffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(20);
            let topics =
                TxnOffsetCommitRequestTopic::default().with_name(topic(TOPIC)).with_partitions(vec![partition]);
            let message = TxnOffsetCommitRequest::default()
                .with_transactional_id(TransactionalId(text("t")))
                .with_group_id(group())
                .with_generation_id(5)
                .with_member_id(text(ME))
                .with_topics(vec![topics]);
            line.ask(TXN, 3, &message);
            let asked = line.expect(TXN);
            let partition = TxnOffsetCommitResponsePartition::default().with_partition_index(0).with_error_code(error);
            let topics =
                TxnOffsetCommitResponseTopic::default().with_name(topic(TOPIC)).with_partitions(vec![partition]);
            line.answer(&asked, &TxnOffsetCommitResponse::default().with_topics(vec![topics]));
            assert_eq!(line.reply().errors, [(0, error)]);
        }
        assert!(line.answered == line.got && line.sent == line.arrived && bench.journal.writes() == 0);
    });
}

#[test]
fn a_member_that_was_fenced_is_told() {
    in_all_cuts(|cuts| {
        let bench = Bench::plain();
        let mut line = bench.member(cuts.clone());
        for error in [82, 110] {
            assert_eq!(line.commits(5, ME, &[(0, 20)], error), [(0, error)]);
        }
        let bench = Bench::plain();
        let mut line = bench.line(cuts, 1);
        line.consumes(0, 5, ME, Some(&[0]));
        line.consumes(5, 6, ME, None);
        line.ask(ApiKey::OFFSET_COMMIT, 9, &said(5, ME, &[(0, 20)]).request());
        line.says(&[(0, 110)]);
        assert_eq!(line.reply().errors, [(0, 110)]);
        assert_eq!(bench.journal.writes(), 0);
    });
}
