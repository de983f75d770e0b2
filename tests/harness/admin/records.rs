//! Records: produce plain and transactional batches, list offsets, read a log back.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, BrokerId, EndTxnRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest,
    ProduceRequest, ProducerId, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record, RecordBatchDecoder,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use super::topics::name;
use super::{Admin, LIMIT};
use crate::harness::wait::wait_for;

/// Keys of records in a transaction that is aborted begin with this.
pub const ABORTED: &str = "aborted-";

/// What is written by one call: `n` records in batches of `size`, with values of `bytes` bytes.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    pub n: usize,
    pub size: usize,
    pub bytes: usize,
    /// Keys count up to this number and begin again: few keys are what compaction works on. 0: all differ.
    pub keys: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { n: 100, size: 10, bytes: 20, keys: 0 }
    }
}

/// A producer id with its epoch and next sequence.
pub(super) struct Producer {
    pub id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

impl Admin {
    /// Appends `n` records (`k0`, `k1`, ...) in small batches; the offset of the first.
    pub fn produce(&self, topic: &str, partition: i32, n: usize) -> i64 {
        self.produce_batches(topic, partition, Batch { n, ..Batch::default() })
    }

    /// Appends records as `batch` says; the offset of the first.
    pub fn produce_batches(&self, topic: &str, partition: i32, batch: Batch) -> i64 {
        let mut first = None;
        for start in (0..batch.n).step_by(batch.size) {
            let end = (start + batch.size).min(batch.n);
            let key = |i: usize| format!("k{}", if batch.keys == 0 { i } else { i % batch.keys });
            let records: Vec<Record> = (start..end).map(|i| record(i - start, &key(i), batch.bytes, None)).collect();
            let at = self.append(topic, partition, &records, None);
            first.get_or_insert(at);
        }
        first.unwrap_or(-1)
    }

    /// Appends `n` records in a transaction of its own and ends it; the offset of the first. The
    /// marker takes one more offset.
    pub fn produce_transaction(&self, topic: &str, partition: i32, n: usize, commit: bool) -> i64 {
        let txn = crate::harness::unique("txn");
        let own = || TransactionalId(StrBytes::from_string(txn.clone()));
        let who = || self.coordinator(&txn, 1);
        let init = InitProducerIdRequest::default()
            .with_transactional_id(Some(own()))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let got = self.ask_until_ok(who, 4, &init, |r| r.error_code);
        let mut producer = Producer { id: got.producer_id.0, epoch: got.producer_epoch, sequence: 0 };
        let add = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(own())
            .with_v3_and_below_producer_id(got.producer_id)
            .with_v3_and_below_producer_epoch(got.producer_epoch)
            .with_v3_and_below_topics(vec![
                AddPartitionsToTxnTopic::default().with_name(name(topic)).with_partitions(vec![partition]),
            ]);
        self.ask_until_ok(who, 3, &add, |r| {
            let first = r.results_by_topic_v3_and_below.first().and_then(|t| t.results_by_partition.first());
            first.map_or(-1, |p| p.partition_error_code)
        });
        let mut first = None;
        for start in (0..n).step_by(10) {
            let end = (start + 10).min(n);
            let key = |i| {
                if commit { format!("k{i}") } else { format!("{ABORTED}{i}") }
            };
            let records: Vec<Record> = (start..end).map(|i| record(i - start, &key(i), 20, Some(&producer))).collect();
            let at = self.append(topic, partition, &records, Some(own()));
            producer.sequence += records.len() as i32;
            first.get_or_insert(at);
        }
        let end = EndTxnRequest::default()
            .with_transactional_id(own())
            .with_producer_id(got.producer_id)
            .with_producer_epoch(got.producer_epoch)
            .with_committed(commit);
        self.ask_until_ok(who, 3, &end, |r| r.error_code);
        let done = first.unwrap_or(-1) + n as i64;
        wait_for("the transaction's marker", LIMIT, || {
            (self.list_offset(topic, partition, -1, 1) > done).then_some(())
        });
        first.unwrap_or(-1)
    }

    fn append(&self, topic: &str, partition: i32, records: &[Record], txn: Option<TransactionalId>) -> i64 {
        let mut bytes = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut bytes, records, &options).expect("a batch");
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(bytes.freeze()));
        let request =
            ProduceRequest::default().with_transactional_id(txn).with_acks(-1).with_timeout_ms(10_000).with_topic_data(
                vec![TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data])],
            );
        let first = |r: &kafka_protocol::messages::ProduceResponse| {
            r.responses.first()?.partition_responses.first().map(|p| (p.error_code, p.base_offset))
        };
        let who = || self.leader(topic, partition);
        let answer = self.ask_until_ok(who, 9, &request, |r| first(r).map_or(-1, |p| p.0));
        first(&answer).map_or(-1, |p| p.1)
    }

    /// The log start: the earliest offset that is still there.
    pub fn log_start(&self, topic: &str, partition: i32) -> i64 {
        self.list_offset(topic, partition, -2, 0)
    }

    /// The log end (the high watermark).
    pub fn log_end(&self, topic: &str, partition: i32) -> i64 {
        self.list_offset(topic, partition, -1, 0)
    }

    /// ListOffsets for a timestamp (-1 latest, -2 earliest) at an isolation level.
    pub fn list_offset(&self, topic: &str, partition: i32, timestamp: i64, isolation: i8) -> i64 {
        let at = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(isolation)
            .with_topics(vec![ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![at])]);
        let first = |r: &kafka_protocol::messages::ListOffsetsResponse| {
            r.topics.first()?.partitions.first().map(|p| (p.error_code, p.offset))
        };
        let who = || self.leader(topic, partition);
        let answer = self.ask_until_ok(who, 7, &request, |r| first(r).map_or(-1, |p| p.0));
        first(&answer).map_or(-1, |p| p.1)
    }

    /// The truth: the offsets of all records that a consumer may see from the log start on. With
    /// `committed` those of aborted transactions (told by their keys) are left out.
    pub fn read(&self, topic: &str, partition: i32, committed: bool) -> Vec<i64> {
        let (mut at, end) = (self.log_start(topic, partition), self.log_end(topic, partition));
        let start = at;
        let mut found = Vec::new();
        while at < end {
            let records = self.fetch(topic, partition, at);
            let Some(last) = records.last() else { break };
            at = last.offset + 1;
            let dead = |r: &Record| committed && r.key.as_ref().is_some_and(|k| k.starts_with(ABORTED.as_bytes()));
            found.extend(records.iter().filter(|r| !r.control && r.offset >= start && !dead(r)).map(|r| r.offset));
        }
        found
    }

    pub(super) fn fetch(&self, topic: &str, partition: i32, offset: i64) -> Vec<Record> {
        let at = FetchPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(offset)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(100 << 20);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(100)
            .with_max_bytes(100 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![FetchTopic::default().with_topic(name(topic)).with_partitions(vec![at])]);
        let first = |r: &kafka_protocol::messages::FetchResponse| r.responses.first()?.partitions.first().cloned();
        let who = || self.leader(topic, partition);
        let answer = self.ask_until_ok(who, 12, &request, |r| first(r).map_or(-1, |p| p.error_code));
        let mut bytes: Bytes = first(&answer).and_then(|p| p.records).unwrap_or_default();
        let sets = RecordBatchDecoder::decode_all(&mut bytes).expect("uncompressed batches");
        sets.into_iter().flat_map(|s| s.records).collect()
    }
}

pub(super) fn record(delta: usize, key: &str, bytes: usize, producer: Option<&Producer>) -> Record {
    Record {
        transactional: producer.is_some(),
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: producer.map_or(NO_PRODUCER_ID, |p| p.id),
        producer_epoch: producer.map_or(NO_PRODUCER_EPOCH, |p| p.epoch),
        timestamp_type: TimestampType::Creation,
        offset: delta as i64,
        // The encoder puts records into one batch as long as offset and sequence grow together.
        sequence: producer.map_or(NO_SEQUENCE, |p| p.sequence) + delta as i32,
        timestamp: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as i64),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::from(vec![b'v'; bytes])),
        headers: Default::default(),
    }
}
