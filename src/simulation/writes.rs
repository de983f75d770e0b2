//! Produce as producers and broker write and read it. A batch has the head of Kafka's format v2, and
//! behind it whose it is and which.

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse, ProducerId,
};
use uuid::Uuid;

use super::check::Life;
use super::wire::{decode, encode, topic};

/// Version 13 names topics by their id.
pub const BY_ID: i16 = 13;
/// Its responses may name the partition's leader.
const WITH_LEADER: i16 = 10;

/// The head of a batch.
const HEAD: usize = 61;

/// A record: whose it is, and which one of its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub life: Life,
    pub number: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// -1: not idempotent.
    pub producer: i64,
    pub epoch: i16,
    pub sequence: i32,
    pub lines: Vec<Line>,
}

impl Batch {
    fn write(&self) -> Bytes {
        let mut bytes = vec![0; HEAD];
        bytes[16] = 2;
        bytes[43..51].copy_from_slice(&self.producer.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&(self.lines.len() as i32).to_be_bytes());
        for line in &self.lines {
            bytes.extend((line.life.0 as u32).to_be_bytes());
            bytes.extend(line.life.1.to_be_bytes());
            bytes.extend(line.number.to_be_bytes());
        }
        bytes.into()
    }

    fn read(bytes: &[u8]) -> Batch {
        let int = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let line = |at: usize| Line { life: (int(at) as usize, int(at + 4) as u32), number: int(at + 8) };
        Batch {
            producer: i64::from_be_bytes(bytes[43..51].try_into().expect("8 bytes")),
            epoch: i16::from_be_bytes([bytes[51], bytes[52]]),
            sequence: int(53),
            lines: (0..int(57) as usize).map(|n| line(HEAD + 12 * n)).collect(),
        }
    }
}

pub fn ask(version: i16, acks: i16, id: [u8; 16], batches: &[(i32, Batch)]) -> Vec<u8> {
    let each = |(partition, batch): &(i32, Batch)| {
        PartitionProduceData::default().with_index(*partition).with_records(Some(batch.write()))
    };
    let data = TopicProduceData::default().with_partition_data(batches.iter().map(each).collect());
    let data = match version {
        BY_ID.. => data.with_topic_id(Uuid::from_bytes(id)),
        _ => data.with_name(topic()),
    };
    let message = ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![data]);
    encode(&message, version)
}

pub struct Asked {
    pub id: [u8; 16],
    pub batches: Vec<(i32, Batch)>,
}

pub fn asked(request: &ProduceRequest) -> Asked {
    let each = |p: &PartitionProduceData| (p.index, Batch::read(p.records.as_deref().unwrap_or_default()));
    let id = request.topic_data.first().map_or([0; 16], |t| t.topic_id.into_bytes());
    Asked { id, batches: request.topic_data.iter().flat_map(|t| &t.partition_data).map(each).collect() }
}

/// Partition, error, and where the batch stands.
pub fn answer(version: i16, id: [u8; 16], written: &[(i32, i16, i64)]) -> Vec<u8> {
    let each = |(partition, error, at): &(i32, i16, i64)| {
        PartitionProduceResponse::default().with_index(*partition).with_error_code(*error).with_base_offset(*at)
    };
    let answered = TopicProduceResponse::default().with_partition_responses(written.iter().map(each).collect());
    let answered = match version {
        BY_ID.. => answered.with_topic_id(Uuid::from_bytes(id)),
        _ => answered.with_name(topic()),
    };
    encode(&ProduceResponse::default().with_responses(vec![answered]), version)
}

/// The same as the producer reads it, and whether a leader is named.
pub fn answered(frame: &[u8], body: usize, version: i16) -> (Vec<(i32, i16, i64)>, bool) {
    let message: ProduceResponse = decode(frame, body, version);
    let all = || message.responses.iter().flat_map(|t| &t.partition_responses);
    let named = version >= WITH_LEADER && all().any(|p| p.current_leader.leader_id.0 >= 0);
    (all().map(|p| (p.index, p.error_code, p.base_offset)).collect(), named)
}

/// The version in which producer ids are asked for.
pub const PRODUCER: i16 = 2;

pub fn ask_producer() -> Vec<u8> {
    encode(&InitProducerIdRequest::default().with_transaction_timeout_ms(60_000), PRODUCER)
}

pub fn producer(version: i16, id: i64) -> Vec<u8> {
    encode(&InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0), version)
}

pub fn producer_told(frame: &[u8], body: usize, version: i16) -> i64 {
    decode::<InitProducerIdResponse>(frame, body, version).producer_id.0
}
