//! What the parts cost that every frame goes through, by themselves: `cargo bench` (or `cargo bench produce`). What a
//! whole request costs is counted by `make check-instructions`, and measured by `make bench`.

#![allow(clippy::expect_used)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use kafka_protocol::messages::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::messages::{BrokerId, RequestHeader, TopicName};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};
use kmend::config::Config;
use kmend::mend::chain::{Around, Chain};
use kmend::mend::{
    Conn, ConnMender, Cx, FetchTable, Interest, Interests, Mender, ProduceRequest as Produce, Readers, Shared, Topics,
    Treatment, Verdict,
};
use kmend::wire::api::ApiKey;
use kmend::wire::head;
use kmend::wire::layout::{self, mark};
use kmend::wire::walk::{self, Mark, Visitor};

fn main() {
    divan::main();
}

/// The oldest and the newest shape of each: plain and compact lengths.
const PRODUCE: [i16; 2] = [7, 12];
const FETCH: [i16; 2] = [11, 12];
const METADATA: [i16; 2] = [8, 12];
const MANY: [usize; 3] = [1, 100, 10_000];

fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

fn encoded(message: &impl Encodable, version: i16) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).expect("it can be written");
    bytes.to_vec()
}

fn produce(version: i16, partitions: usize, records: usize) -> Vec<u8> {
    let records = Bytes::from(vec![2; records]);
    let each = |p| PartitionProduceData::default().with_index(p as i32).with_records(Some(records.clone()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(text("orders")))
        .with_partition_data((0..partitions).map(each).collect());
    encoded(&ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]), version)
}

fn fetched(version: i16, partitions: usize, records: usize) -> Vec<u8> {
    let records = Bytes::from(vec![2; records]);
    let each = |p| PartitionData::default().with_partition_index(p as i32).with_records(Some(records.clone()));
    let topic = FetchableTopicResponse::default()
        .with_topic(TopicName(text("orders")))
        .with_partitions((0..partitions).map(each).collect());
    encoded(&FetchResponse::default().with_responses(vec![topic]), version)
}

fn metadata(version: i16, topics: usize) -> Vec<u8> {
    let broker =
        MetadataResponseBroker::default().with_node_id(BrokerId(1)).with_host(text("kafka-0.kafka")).with_port(9092);
    let partition = |p| {
        MetadataResponsePartition::default()
            .with_partition_index(p)
            .with_leader_id(BrokerId(1))
            .with_replica_nodes(vec![BrokerId(1); 3])
            .with_isr_nodes(vec![BrokerId(1); 3])
    };
    let topic = |t| {
        MetadataResponseTopic::default()
            .with_name(Some(TopicName(text(&format!("topic-{t}")))))
            .with_partitions((0..6).map(partition).collect())
    };
    let answer = MetadataResponse::default().with_brokers(vec![broker]).with_topics((0..topics).map(topic).collect());
    encoded(&answer, version)
}

/// Looks at what the session looks at, and keeps a little of it.
#[derive(Default)]
struct Looks(u64);

impl Visitor for Looks {
    fn fixed(&mut self, mark: Mark, _: usize, bytes: &mut [u8]) {
        if mark == mark::PARTITION {
            self.0 += u64::from(bytes.first().copied().unwrap_or_default());
        }
    }
    fn string(&mut self, mark: Mark, _: usize, value: Option<&[u8]>) {
        if mark == mark::TOPIC {
            self.0 += value.map_or(0, |v| v.len() as u64);
        }
    }
}

fn walk(bencher: Bencher<'_, '_>, layout: layout::Layout, mut body: Vec<u8>, items: usize) {
    let bencher = bencher.counter(ItemsCount::new(items)).counter(BytesCount::new(body.len()));
    bencher.bench_local(|| {
        let mut looks = Looks::default();
        walk::whole(layout, black_box(&mut body), 0, &mut looks).expect("it is sound");
        looks.0
    });
}

#[divan::bench(args = [1, 2])]
fn request_head(bencher: Bencher<'_, '_>, header: i16) {
    // Version 2 of the header is that of flexible messages.
    let version = if header == 2 { 12 } else { 7 };
    assert_eq!(ProduceRequest::header_version(version), header);
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::PRODUCE.0)
        .with_request_api_version(version)
        .with_client_id(Some(text("producer-1")));
    let body = [encoded(&header, ProduceRequest::header_version(version)), produce(version, 1, 100)].concat();
    let frame = [&(body.len() as i32).to_be_bytes()[..], &body].concat();
    bencher.bench_local(|| head::request(black_box(&frame), frame.len()).expect("it is sound"));
}

#[divan::bench(args = PRODUCE, consts = MANY)]
fn produce_request<const N: usize>(bencher: Bencher<'_, '_>, version: i16) {
    let layout = layout::request(ApiKey::PRODUCE, version).expect("a layout");
    walk(bencher, layout, produce(version, N, 100), N);
}

#[divan::bench(args = FETCH, consts = MANY)]
fn fetch_response<const N: usize>(bencher: Bencher<'_, '_>, version: i16) {
    let layout = layout::response(ApiKey::FETCH, version).expect("a layout");
    walk(bencher, layout, fetched(version, N, 100), N);
}

/// Topics of six partitions.
#[divan::bench(args = METADATA, consts = MANY)]
fn metadata_response<const N: usize>(bencher: Bencher<'_, '_>, version: i16) {
    let layout = layout::response(ApiKey::METADATA, version).expect("a layout");
    walk(bencher, layout, metadata(version, N), N);
}

/// A mender that lets everything pass: what is left is the chain.
struct Passes(Vec<Interest>);

impl Mender for Passes {
    fn name(&self) -> &'static str {
        "passes"
    }
    fn interests(&self) -> Vec<Interest> {
        self.0.clone()
    }
    fn connect(&self) -> Box<dyn ConnMender> {
        Box::new(Nothing)
    }
    fn reload(&self, _: &Config) {}
}

struct Nothing;

impl ConnMender for Nothing {
    fn produce_request(&mut self, _: &mut Cx<'_>, request: &Produce) -> Verdict {
        if black_box(request).acks == 7 { Verdict::Gather } else { Verdict::Pass }
    }
}

/// A call into the chain of four menders, of which so many want to see it.
#[divan::bench(args = [0, 1, 4])]
fn chain(bencher: Bencher<'_, '_>, readers: usize) {
    let wants = |n| if n < readers { vec![Interest::Request(ApiKey::PRODUCE, Treatment::Stream)] } else { Vec::new() };
    let menders: Vec<Arc<dyn Mender>> = (0..4).map(|n| Arc::new(Passes(wants(n))) as Arc<dyn Mender>).collect();
    let readers: Readers = Interests::fold(menders.iter().map(|m| m.interests())).readers(ApiKey::PRODUCE);
    let mut chain = Chain::new(&menders);
    let conn = Conn::new(1, IpAddr::V4(Ipv4Addr::LOCALHOST), Some(1));
    let (topics, fetch, shared) = (Topics::default(), FetchTable::default(), Shared::default());
    let now = Instant::now();
    let around = Around { now, conn: &conn, topics: &topics, fetch: &fetch, shared: &shared, quiet: None };
    let request = Produce {
        seq: 1,
        version: 12,
        correlation: 1,
        acks: 1,
        transactional: false,
        size: 200,
        quiet: None,
        alone: true,
    };
    bencher.bench_local(|| chain.verdict(&around, readers, |m, cx| m.produce_request(cx, black_box(&request))));
}
