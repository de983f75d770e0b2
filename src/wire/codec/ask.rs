//! The requests that kmend sends on a client's connection, and how their answers are read.
//!
//! Bodies only: the session puts the header before them. Answers reach kafka-protocol's decoders
//! only after a walk over the whole frame: those decoders trust array lengths (rule P3).

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::messages::{list_offsets_request, metadata_request};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use thiserror::Error;

use super::super::api::ApiKey;
use super::super::layout;
use super::super::walk::{self, Nobody};

/// The earliest offset; never -4, the earliest local one, which skips what lies in a lower tier (KIP-405).
pub const EARLIEST: i64 = -2;
pub const LATEST: i64 = -1;

/// The versions that kmend writes these requests in: old enough for every broker that clients of
/// today can talk to, new enough for what is asked.
pub mod version {
    /// ListOffsets 2 is the first with an isolation level.
    pub const LIST_OFFSETS: (i16, i16) = (2, 7);
    /// Metadata 4 is the first that creates no topics where it is told not to.
    pub const METADATA: (i16, i16) = (4, 12);
    /// Metadata 12 is the first that can be asked by topic id.
    pub const METADATA_BY_ID: (i16, i16) = (12, 13);
}

#[derive(Debug, Error)]
pub enum CodecError {
    #[error("{0:?} version {1} cannot be written: {2}")]
    Encode(ApiKey, i16, String),
    #[error("{0:?} version {1} cannot be read: {2}")]
    Decode(ApiKey, i16, String),
    /// An empty list would ask for the whole cluster.
    #[error("no topics to ask for")]
    NoTopics,
}

pub(crate) fn encode(api: ApiKey, version: i16, message: &impl Encodable) -> Result<Vec<u8>, CodecError> {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).map_err(|e| CodecError::Encode(api, version, e.to_string()))?;
    Ok(out.to_vec())
}

/// Decodes the body of a complete response frame, after checking its shape.
pub(super) fn decode<M: Decodable>(api: ApiKey, version: i16, frame: &[u8], body: usize) -> Result<M, CodecError> {
    let fail = |why: String| CodecError::Decode(api, version, why);
    let layout = layout::response(api, version).ok_or_else(|| fail("no layout".into()))?;
    let mut copy = frame.to_vec();
    walk::whole(layout, &mut copy, body, &mut Nobody).map_err(|e| fail(e.to_string()))?;
    let mut bytes = Bytes::from(copy);
    bytes.advance(body);
    M::decode(&mut bytes, version).map_err(|e| fail(e.to_string()))
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// Asks for one offset of each partition. `timestamp`: [`EARLIEST`] or [`LATEST`].
pub fn list_offsets(
    version: i16,
    topic: &str,
    partitions: &[i32],
    timestamp: i64,
    isolation: i8,
) -> Result<Vec<u8>, CodecError> {
    let partitions = partitions.iter().map(|p| {
        list_offsets_request::ListOffsetsPartition::default()
            .with_partition_index(*p)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp)
    });
    let request =
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_isolation_level(isolation).with_topics(vec![
            list_offsets_request::ListOffsetsTopic::default()
                .with_name(name(topic))
                .with_partitions(partitions.collect()),
        ]);
    encode(ApiKey::LIST_OFFSETS, version, &request)
}

/// The answer to [`list_offsets`]: `(partition, error, offset)` each.
pub fn listed_offsets(version: i16, frame: &[u8], body: usize) -> Result<Vec<(i32, i16, i64)>, CodecError> {
    let answer: ListOffsetsResponse = decode(ApiKey::LIST_OFFSETS, version, frame, body)?;
    let partitions = answer.topics.into_iter().flat_map(|t| t.partitions);
    Ok(partitions.map(|p| (p.partition_index, p.error_code, p.offset)).collect())
}

/// Asks for the name of a topic id. Creates nothing.
pub fn topic_by_id(version: i16, id: [u8; 16]) -> Result<Vec<u8>, CodecError> {
    let topic =
        metadata_request::MetadataRequestTopic::default().with_topic_id(uuid::Uuid::from_bytes(id)).with_name(None);
    let request = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
    encode(ApiKey::METADATA, version, &request)
}

/// The answer to [`topic_by_id`]: the name, where the broker knows the id.
pub fn topic_name(version: i16, frame: &[u8], body: usize) -> Result<Option<String>, CodecError> {
    let answer: MetadataResponse = decode(ApiKey::METADATA, version, frame, body)?;
    let topic = answer.topics.into_iter().find(|t| t.error_code == 0);
    Ok(topic.and_then(|t| t.name).map(|n| n.0.to_string()))
}

/// Asks for these topics, by name. Creates nothing, and never asks for all.
pub fn metadata(version: i16, topics: &[&str]) -> Result<Vec<u8>, CodecError> {
    if topics.is_empty() {
        return Err(CodecError::NoTopics);
    }
    let topics = topics.iter().map(|t| metadata_request::MetadataRequestTopic::default().with_name(Some(name(t))));
    let request = MetadataRequest::default().with_topics(Some(topics.collect())).with_allow_auto_topic_creation(false);
    encode(ApiKey::METADATA, version, &request)
}

/// A topic in the answer to [`metadata`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    /// Zeros below version 10.
    pub id: [u8; 16],
    pub error: i16,
    /// Index, error and leader (-1: none), in the broker's order.
    pub partitions: Vec<(i32, i16, i32)>,
}

/// The answer to [`metadata`].
pub fn described(version: i16, frame: &[u8], body: usize) -> Result<Vec<Described>, CodecError> {
    let answer: MetadataResponse = decode(ApiKey::METADATA, version, frame, body)?;
    let described = answer.topics.into_iter().map(|t| Described {
        name: t.name.map(|n| n.0.to_string()).unwrap_or_default(),
        id: t.topic_id.into_bytes(),
        error: t.error_code,
        partitions: t.partitions.iter().map(|p| (p.partition_index, p.error_code, p.leader_id.0)).collect(),
    });
    Ok(described.collect())
}

/// Closes a fetch session (KIP-227: epoch -1), so that the broker gets its slot back.
pub fn close_fetch_session(version: i16, session: i32) -> Result<Vec<u8>, CodecError> {
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(1)
        .with_session_id(session)
        .with_session_epoch(-1);
    encode(ApiKey::FETCH, version, &request)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};

    use super::*;

    #[test]
    fn topics_are_asked_for_by_name_and_never_all() {
        assert!(matches!(metadata(4, &[]), Err(CodecError::NoTopics)));
        for version in version::METADATA.0..=version::METADATA.1 {
            let mut bytes = Bytes::from(metadata(version, &["a", "b"]).unwrap());
            let request = MetadataRequest::decode(&mut bytes, version).unwrap();
            assert!(bytes.is_empty() && !request.allow_auto_topic_creation);
            let names: Vec<_> = request.topics.unwrap().into_iter().map(|t| t.name.unwrap().0.to_string()).collect();
            assert_eq!(names, ["a", "b"]);
        }
    }

    #[test]
    fn the_answer_tells_ids_errors_and_leaders() {
        for version in version::METADATA.0..=version::METADATA.1 {
            let partition = |p: i32, error: i16, leader: i32| {
                MetadataResponsePartition::default()
                    .with_partition_index(p)
                    .with_error_code(error)
                    .with_leader_id(BrokerId(leader))
            };
            let mut a = MetadataResponseTopic::default()
                .with_name(Some(name("a")))
                .with_partitions(vec![partition(1, 0, 7), partition(0, 5, -1)]);
            let id = if version >= 10 { [9; 16] } else { [0; 16] };
            if version >= 10 {
                a = a.with_topic_id(uuid::Uuid::from_bytes(id));
            }
            let b = MetadataResponseTopic::default().with_name(Some(name("b"))).with_error_code(3);
            let mut frame = vec![0; 9];
            frame.extend(
                encode(ApiKey::METADATA, version, &MetadataResponse::default().with_topics(vec![a, b])).unwrap(),
            );
            let answer = described(version, &frame, 9).unwrap();
            assert_eq!((answer.len(), answer[0].id, answer[1].error), (2, id, 3));
            assert_eq!((answer[0].name.as_str(), &answer[0].partitions), ("a", &vec![(1, 0, 7), (0, 5, -1)]));
        }
    }
}
