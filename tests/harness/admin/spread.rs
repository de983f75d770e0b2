//! Many partitions at once: a record into each of them, and what they hold.

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProducerId};
use kafka_protocol::records::{Compression, RecordBatchEncoder, RecordEncodeOptions};

use super::Admin;
use super::records::{Producer, record};
use super::topics::name;

/// One record; with a producer an idempotent batch that belongs to no transaction.
fn batch(who: Option<&Producer>) -> Bytes {
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut one = record(0, "w", 5, who);
    one.transactional = false;
    RecordBatchEncoder::encode(&mut bytes, &[one], &options).expect("a batch");
    bytes.freeze()
}

/// A batch with one small record, of no producer in particular.
pub fn one_batch() -> Bytes {
    batch(None)
}

impl Admin {
    /// Appends one record to each of the partitions `0..partitions`, which one broker leads; false
    /// where one of them refused.
    pub fn produce_everywhere(&self, topic: &str, partitions: i32) -> bool {
        let each = |p| PartitionProduceData::default().with_index(p).with_records(Some(batch(None)));
        let data =
            TopicProduceData::default().with_name(name(topic)).with_partition_data((0..partitions).map(each).collect());
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5_000).with_topic_data(vec![data]);
        let answer = self.ask_any(9, &request);
        let ok = |r: &kafka_protocol::messages::ProduceResponse| {
            r.responses.iter().flat_map(|t| &t.partition_responses).all(|p| p.error_code == 0)
        };
        answer.as_ref().is_some_and(ok)
    }

    /// All records of a partition: offset and value.
    pub fn values(&self, topic: &str, partition: i32) -> Vec<(i64, String)> {
        let (mut at, end) = (self.log_start(topic, partition), self.log_end(topic, partition));
        let mut found = Vec::new();
        while at < end {
            let records = self.fetch(topic, partition, at);
            let Some(last) = records.last() else { break };
            let text =
                |v: &Option<Bytes>| v.as_ref().map_or(String::new(), |v| String::from_utf8_lossy(v).into_owned());
            // A batch is sent whole, also what lies before the offset that was asked for.
            let new = records.iter().filter(|r| !r.control && r.offset >= at);
            found.extend(new.map(|r| (r.offset, text(&r.value))));
            at = last.offset + 1;
        }
        found
    }

    /// The records of a partition that a consumer with `read_committed` is to see in the end (offset and value), and the offsets of
    /// those that it is not: their transactions were aborted, or have not ended. By the markers in the log itself.
    pub fn values_committed(&self, topic: &str, partition: i32) -> (Vec<(i64, String)>, Vec<i64>) {
        let (mut at, end) = (self.log_start(topic, partition), self.log_end(topic, partition));
        let (mut seen, mut hidden) = (BTreeMap::new(), Vec::new());
        let mut open: HashMap<i64, Vec<(i64, String)>> = HashMap::new();
        while at < end {
            let records = self.fetch(topic, partition, at);
            let Some(last) = records.last() else { break };
            let next = last.offset + 1;
            for record in records.into_iter().filter(|r| r.offset >= at) {
                let text = |v: Option<Bytes>| v.map_or(String::new(), |v| String::from_utf8_lossy(&v).into_owned());
                // A marker's key is a version and a type: 0 aborts, 1 commits.
                let commits = record.control && record.key.as_ref().is_some_and(|k| k.ends_with(&[0, 1]));
                match (record.control, record.transactional) {
                    (true, _) => {
                        let ended = open.remove(&record.producer_id).unwrap_or_default();
                        if commits { seen.extend(ended) } else { hidden.extend(ended.into_iter().map(|(o, _)| o)) }
                    }
                    (_, true) => open.entry(record.producer_id).or_default().push((record.offset, text(record.value))),
                    _ => drop(seen.insert(record.offset, text(record.value))),
                }
            }
            at = next;
        }
        hidden.extend(open.into_values().flatten().map(|(o, _)| o));
        (seen.into_iter().collect(), hidden)
    }

    /// Appends as a producer that has lost a batch: sequence 0, then 5. The broker's error code (45).
    pub fn produce_out_of_order(&self, topic: &str) -> i16 {
        let init = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let got = self.ask_until_ok(|| self.any(), 4, &init, |r| r.error_code);
        let mut code = 0;
        for sequence in [0, 5] {
            let who = Producer { id: got.producer_id.0, epoch: got.producer_epoch, sequence };
            let data = PartitionProduceData::default().with_index(0).with_records(Some(batch(Some(&who))));
            let data = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
            let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5_000).with_topic_data(vec![data]);
            let answer = self.ask_any(9, &request).expect("an answer");
            code = answer.responses[0].partition_responses[0].error_code;
        }
        code
    }
}
