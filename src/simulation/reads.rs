//! Fetch and ListOffsets as members and broker write and read them. A record is eight bytes that say
//! which one it is: kmend never looks into them.

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse};
use uuid::Uuid;

use super::wire::{TOPIC_ID, decode, encode, topic};

/// Version 13 names topics by their id, earlier ones by their name.
const BY_ID: i16 = 13;
/// Fetch sessions (KIP-227).
pub const SESSIONS: i16 = 7;

/// How a record begins.
const MARK: [u8; 2] = [0xAB, 0xCD];
const RECORD: usize = 8;

/// A record as a member sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    /// How often the log had lost its end when it was written.
    pub epoch: u8,
}

impl Record {
    fn write(self) -> [u8; RECORD] {
        let offset = u32::try_from(self.offset).expect("a short run").to_be_bytes();
        let partition = u8::try_from(self.partition).expect("few partitions");
        let [a, b] = MARK;
        [a, b, self.epoch, partition, offset[0], offset[1], offset[2], offset[3]]
    }

    /// `None`: these bytes are no record.
    fn read(bytes: &[u8]) -> Option<Record> {
        let [a, b, epoch, partition, offset @ ..] = *bytes.first_chunk::<RECORD>()?;
        let offset = i64::from(u32::from_be_bytes(offset));
        ([a, b] == MARK && bytes.len() == RECORD).then_some(Record { partition: i32::from(partition), offset, epoch })
    }
}

/// What a member is answered for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub partition: i32,
    pub error: i16,
    pub records: Vec<Option<Record>>,
}

/// What a client asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asks {
    pub session: i32,
    pub epoch: i32,
    pub wants: Vec<(i32, i64)>,
    pub forgets: Vec<i32>,
}

/// What a partition is answered: an error, or records and where the log begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub partition: i32,
    pub error: i16,
    pub records: Vec<Record>,
    pub start: i64,
    pub end: i64,
}

impl Part {
    pub fn error(partition: i32, error: i16) -> Part {
        Part { partition, error, records: Vec::new(), start: -1, end: -1 }
    }
}

pub fn ask(version: i16, asks: &Asks) -> Vec<u8> {
    let partitions = asks.wants.iter().map(|(partition, offset)| {
        FetchPartition::default()
            .with_partition(*partition)
            .with_fetch_offset(*offset)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(1 << 20)
    });
    let partitions: Vec<_> = partitions.collect();
    let mut message = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(100)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20);
    if version >= SESSIONS {
        message = message.with_session_id(asks.session).with_session_epoch(asks.epoch);
        let forgotten = ForgottenTopic::default().with_partitions(asks.forgets.clone());
        let forgotten = match version {
            BY_ID.. => forgotten.with_topic_id(Uuid::from_bytes(TOPIC_ID)),
            _ => forgotten.with_topic(topic()),
        };
        message.forgotten_topics_data.extend(Some(forgotten).filter(|f| !f.partitions.is_empty()));
    }
    let listed = FetchTopic::default().with_partitions(partitions);
    let listed = match version {
        BY_ID.. => listed.with_topic_id(Uuid::from_bytes(TOPIC_ID)),
        _ => listed.with_topic(topic()),
    };
    message.topics.extend(Some(listed).filter(|t| !t.partitions.is_empty()));
    encode(&message, version)
}

pub fn asked(request: &FetchRequest) -> Asks {
    let wants = request.topics.iter().flat_map(|t| &t.partitions).map(|p| (p.partition, p.fetch_offset));
    Asks {
        session: request.session_id,
        epoch: request.session_epoch,
        wants: wants.collect(),
        forgets: request.forgotten_topics_data.iter().flat_map(|t| t.partitions.clone()).collect(),
    }
}

pub fn answer(version: i16, error: i16, session: i32, parts: &[Part]) -> Vec<u8> {
    let partitions = parts.iter().map(|p| {
        PartitionData::default()
            .with_partition_index(p.partition)
            .with_error_code(p.error)
            .with_high_watermark(p.end)
            .with_last_stable_offset(p.end)
            .with_log_start_offset(p.start)
            .with_records(Some(p.records.iter().flat_map(|r| r.write()).collect()))
    });
    let answered = FetchableTopicResponse::default().with_partitions(partitions.collect());
    let answered = match version {
        BY_ID.. => answered.with_topic_id(Uuid::from_bytes(TOPIC_ID)),
        _ => answered.with_topic(topic()),
    };
    let mut message = FetchResponse::default();
    message.responses.extend(Some(answered).filter(|a| !a.partitions.is_empty()));
    let message = if version >= SESSIONS { message.with_error_code(error).with_session_id(session) } else { message };
    encode(&message, version)
}

/// Error and session of the whole; what each partition is answered.
pub fn answered(frame: &[u8], body: usize, version: i16) -> (i16, i32, Vec<Got>) {
    let message: FetchResponse = decode(frame, body, version);
    let got = |p: &PartitionData| {
        let records = p.records.as_ref().map_or(&[][..], |r| r);
        let records = records.chunks(RECORD).map(Record::read).collect();
        Got { partition: p.partition_index, error: p.error_code, records }
    };
    let parts = message.responses.iter().flat_map(|t| &t.partitions).map(got).collect();
    (message.error_code, message.session_id, parts)
}

/// A member looks up where logs begin or end.
pub fn ask_ends(version: i16, wants: &[(i32, i64)]) -> Vec<u8> {
    let partitions = wants.iter().map(|(partition, timestamp)| {
        ListOffsetsPartition::default().with_partition_index(*partition).with_timestamp(*timestamp)
    });
    let topics = ListOffsetsTopic::default().with_name(topic()).with_partitions(partitions.collect());
    let message = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topics]);
    encode(&message, version)
}

/// Partition, error and offset.
pub fn ends_told(frame: &[u8], body: usize, version: i16) -> Vec<(i32, i16, i64)> {
    let message: ListOffsetsResponse = decode(frame, body, version);
    let all = message.topics.iter().flat_map(|t| &t.partitions);
    all.map(|p| (p.partition_index, p.error_code, p.offset)).collect()
}

/// Partition and timestamp: -1 for the end, -2 for the start.
pub fn ends_asked(request: &ListOffsetsRequest) -> Vec<(i32, i64)> {
    request.topics.iter().flat_map(|t| &t.partitions).map(|p| (p.partition_index, p.timestamp)).collect()
}

/// Partition, error and offset.
pub fn ends(version: i16, ends: &[(i32, i16, i64)]) -> Vec<u8> {
    let partitions = ends.iter().map(|(partition, error, offset)| {
        ListOffsetsPartitionResponse::default()
            .with_partition_index(*partition)
            .with_error_code(*error)
            .with_offset(*offset)
    });
    let topics = ListOffsetsTopicResponse::default().with_name(topic()).with_partitions(partitions.collect());
    encode(&ListOffsetsResponse::default().with_topics(vec![topics]), version)
}
