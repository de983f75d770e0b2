//! Encoded frames of both directions. Each is made once and sent many times, with another correlation id.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, BrokerId, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, FetchRequest, FetchResponse, FindCoordinatorResponse, MetadataRequest, MetadataResponse,
    OffsetCommitRequest, OffsetCommitResponse, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader,
    TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes, VersionRange};
use uuid::Uuid;

use crate::Outcome;

/// Where a frame has its correlation id: behind its length, and in a request behind API key and version.
pub const REQUEST_CORRELATION: usize = 8;
pub const ANSWER_CORRELATION: usize = 4;

const TOPIC_ID: Uuid = Uuid::from_u128(0x6b6d_656e_645f_6265_6e63_6820_746f_7069);

/// What is sent of these is what clients of today send.
pub const METADATA: i16 = 12;
pub const PRODUCE: i16 = 9;
pub const OFFSET_COMMIT: i16 = 8;
const CREATE_TOPICS: i16 = 5;
const DELETE_TOPICS: i16 = 5;

/// Topics are called `t`, `t1`, `t2` and so on.
pub fn topic(number: usize) -> TopicName {
    let name = if number == 0 { "t".to_owned() } else { format!("t{number}") };
    TopicName(StrBytes::from_string(name))
}

fn topic_id(number: usize) -> Uuid {
    Uuid::from_u128(TOPIC_ID.as_u128() + number as u128)
}

fn request<R: Request>(version: i16, body: &R) -> Outcome<BytesMut> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("bench")));
    let mut frame = BytesMut::new();
    frame.put_u32(0);
    header.encode(&mut frame, R::header_version(version))?;
    body.encode(&mut frame, version)?;
    Ok(sized(frame))
}

fn answer<R: Encodable + HeaderVersion>(version: i16, body: &R) -> Outcome<BytesMut> {
    let mut frame = BytesMut::new();
    frame.put_u32(0);
    ResponseHeader::default().encode(&mut frame, R::header_version(version))?;
    body.encode(&mut frame, version)?;
    Ok(sized(frame))
}

fn sized(mut frame: BytesMut) -> BytesMut {
    let size = (frame.len() - 4) as u32;
    if let Some(prefix) = frame.first_chunk_mut::<4>() {
        *prefix = size.to_be_bytes();
    }
    frame
}

/// A record batch (format v2) as far as anybody on the way looks, and filler behind it.
fn records(size: usize) -> Bytes {
    let mut batch = BytesMut::zeroed(size.max(61));
    let length = (batch.len() - 12) as u32;
    if let Some(at) = batch.get_mut(8..12) {
        at.copy_from_slice(&length.to_be_bytes());
    }
    if let Some(magic) = batch.get_mut(16) {
        *magic = 2;
    }
    // No producer id, epoch and sequence.
    if let Some(whose) = batch.get_mut(43..57) {
        whose.fill(0xff);
    }
    batch.freeze()
}

pub fn api_versions_request() -> Outcome<BytesMut> {
    let name = StrBytes::from_static_str("kmend-bench");
    let body = ApiVersionsRequest::default()
        .with_client_software_name(name)
        .with_client_software_version(StrBytes::from_static_str("0.0.0"));
    request(3, &body)
}

pub fn metadata_request(topics: usize) -> Outcome<BytesMut> {
    let topics = (0..topics).map(|n| MetadataRequestTopic::default().with_name(Some(topic(n)))).collect();
    request(METADATA, &MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false))
}

/// Asks for all topics that there are.
pub fn all_metadata_request() -> Outcome<BytesMut> {
    request(METADATA, &MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false))
}

pub fn create_request(number: usize, partitions: i32) -> Outcome<BytesMut> {
    let one =
        CreatableTopic::default().with_name(topic(number)).with_num_partitions(partitions).with_replication_factor(1);
    request(CREATE_TOPICS, &CreateTopicsRequest::default().with_topics(vec![one]).with_timeout_ms(10_000))
}

/// The error code in the answer to [`create_request`], which comes without its length; 0: it is there.
pub fn created(answer: &[u8]) -> Outcome<i16> {
    let mut answer = Bytes::copy_from_slice(answer);
    ResponseHeader::decode(&mut answer, CreateTopicsResponse::header_version(CREATE_TOPICS))?;
    let answer = CreateTopicsResponse::decode(&mut answer, CREATE_TOPICS)?;
    Ok(answer.topics.first().ok_or("no topic in the answer")?.error_code)
}

pub fn delete_request(number: usize) -> Outcome<BytesMut> {
    let body = DeleteTopicsRequest::default().with_topic_names(vec![topic(number)]).with_timeout_ms(10_000);
    request(DELETE_TOPICS, &body)
}

pub fn produce_request(bytes: usize) -> Outcome<BytesMut> {
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(records(bytes)));
    let topic = TopicProduceData::default().with_name(topic(0)).with_partition_data(vec![partition]);
    let body = ProduceRequest::default().with_acks(1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
    request(PRODUCE, &body)
}

/// Asks the canned broker for an answer of so many bytes of records in so many partitions.
pub fn fetch_request(version: i16, bytes: usize, partitions: usize) -> Outcome<BytesMut> {
    let each = |p| FetchPartition::default().with_partition(p as i32).with_partition_max_bytes(bytes as i32);
    let topic = FetchTopic::default()
        .with_topic(if version < 13 { topic(0) } else { TopicName::default() })
        .with_topic_id(if version < 13 { Uuid::nil() } else { topic_id(0) })
        .with_partitions((0..partitions).map(each).collect());
    let body = FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(partitions as i32)
        .with_max_bytes(bytes as i32)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    request(version, &body)
}

pub fn commit_request() -> Outcome<BytesMut> {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(1);
    let topic = OffsetCommitRequestTopic::default().with_name(topic(0)).with_partitions(vec![partition]);
    let body = OffsetCommitRequest::default()
        .with_group_id(kafka_protocol::messages::GroupId(StrBytes::from_static_str("g")))
        .with_topics(vec![topic]);
    request(OFFSET_COMMIT, &body)
}

/// The newest version of Fetch that is known here.
pub fn newest_fetch() -> i16 {
    ApiKey::Fetch.valid_versions().max
}

/// What the canned broker has.
#[derive(Debug, Clone)]
pub struct World {
    pub brokers: Vec<(String, u16)>,
    pub topics: usize,
    pub partitions: usize,
}

/// Which APIs and versions a broker of today announces of those that are answered here.
fn supported() -> Vec<(ApiKey, VersionRange)> {
    let all = [
        ApiKey::Produce,
        ApiKey::Fetch,
        ApiKey::Metadata,
        ApiKey::OffsetCommit,
        ApiKey::FindCoordinator,
        ApiKey::ApiVersions,
    ];
    all.into_iter().map(|key| (key, key.valid_versions())).collect()
}

/// The answer of `world` to a request of `api` and `version`; `(bytes, partitions)` of a Fetch.
pub fn answer_to(world: &World, api: i16, version: i16, fetch: (usize, usize)) -> Outcome<Bytes> {
    let api = ApiKey::try_from(api).map_err(|()| format!("an API that is not canned: {api}"))?;
    let frame = match api {
        ApiKey::ApiVersions => {
            let each = |(key, range): (ApiKey, VersionRange)| {
                ApiVersion::default().with_api_key(key as i16).with_min_version(range.min).with_max_version(range.max)
            };
            let keys = supported().into_iter().map(each).collect();
            answer(version, &ApiVersionsResponse::default().with_api_keys(keys))?
        }
        ApiKey::Metadata => answer(version, &metadata(world, version))?,
        ApiKey::Produce => {
            let partition = PartitionProduceResponse::default().with_base_offset(1);
            let topic = TopicProduceResponse::default()
                .with_name(if version < 13 { topic(0) } else { TopicName::default() })
                .with_topic_id(if version < 13 { Uuid::nil() } else { topic_id(0) })
                .with_partition_responses(vec![partition]);
            answer(version, &ProduceResponse::default().with_responses(vec![topic]))?
        }
        ApiKey::Fetch => {
            let (bytes, partitions) = fetch;
            let records = records(bytes / partitions.max(1));
            let each = |p| {
                PartitionData::default()
                    .with_partition_index(p as i32)
                    .with_high_watermark(1_000_000)
                    .with_last_stable_offset(1_000_000)
                    .with_log_start_offset(0)
                    .with_records(Some(records.clone()))
            };
            let topic = FetchableTopicResponse::default()
                .with_topic(if version < 13 { topic(0) } else { TopicName::default() })
                .with_topic_id(if version < 13 { Uuid::nil() } else { topic_id(0) })
                .with_partitions((0..partitions).map(each).collect());
            answer(version, &FetchResponse::default().with_responses(vec![topic]))?
        }
        ApiKey::OffsetCommit => {
            let topic = OffsetCommitResponseTopic::default()
                .with_name(topic(0))
                .with_partitions(vec![OffsetCommitResponsePartition::default()]);
            answer(version, &OffsetCommitResponse::default().with_topics(vec![topic]))?
        }
        ApiKey::FindCoordinator => {
            let (host, port) = world.brokers.first().cloned().unwrap_or_default();
            let host = StrBytes::from_string(host);
            let body = if version < 4 {
                FindCoordinatorResponse::default().with_node_id(BrokerId(0)).with_host(host).with_port(port.into())
            } else {
                let one = Coordinator::default()
                    .with_key(StrBytes::from_static_str("g"))
                    .with_node_id(BrokerId(0))
                    .with_host(host)
                    .with_port(port.into());
                FindCoordinatorResponse::default().with_coordinators(vec![one])
            };
            answer(version, &body)?
        }
        other => return Err(format!("an API that is not canned: {other:?}").into()),
    };
    Ok(frame.freeze())
}

fn metadata(world: &World, version: i16) -> MetadataResponse {
    let broker = |(id, (host, port)): (usize, &(String, u16))| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(id as i32))
            .with_host(StrBytes::from_string(host.clone()))
            .with_port(i32::from(*port))
    };
    let partition = |p| {
        let leader = BrokerId((p % world.brokers.len().max(1)) as i32);
        MetadataResponsePartition::default()
            .with_partition_index(p as i32)
            .with_leader_id(leader)
            .with_replica_nodes(vec![leader])
            .with_isr_nodes(vec![leader])
    };
    let each = |n| {
        MetadataResponseTopic::default()
            .with_name(Some(topic(n)))
            .with_topic_id(if version < 10 { Uuid::nil() } else { topic_id(n) })
            .with_partitions((0..world.partitions).map(partition).collect())
    };
    MetadataResponse::default()
        .with_brokers(world.brokers.iter().enumerate().map(broker).collect())
        .with_cluster_id(Some(StrBytes::from_static_str("kmend-bench-cluster-00")))
        .with_controller_id(BrokerId(0))
        .with_topics((0..world.topics).map(each).collect())
}
