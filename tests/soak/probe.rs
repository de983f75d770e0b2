//! How long a small request takes, directly and through kmend, in turn.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{MetadataRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::harness::admin::conn::Conn;
use crate::harness::admin::one_batch;
use crate::harness::{Kafka, Kmend};
use crate::statistics::percentile;

const TOPIC: &str = "probe";

/// A connection of its own each way.
pub struct Probe {
    direct: Conn,
    through: Conn,
    batch: Bytes,
    turn: bool,
}

/// Microseconds: Metadata and Produce (acks=1).
#[derive(Debug, Clone, Copy, Default)]
pub struct Taken {
    pub direct: [u32; 2],
    pub through: [u32; 2],
}

impl Probe {
    pub fn new(kafka: &Kafka, kmend: &Kmend) -> Probe {
        kafka.admin().create(TOPIC, 1, &[("retention.bytes", "10000000"), ("segment.bytes", "5000000")]);
        let open = |address: &str| Conn::open(address).expect("a connection");
        Probe { direct: open(&kafka.bootstrap()[0]), through: open(&kmend.listen), batch: one_batch(), turn: false }
    }

    /// One request of each kind each way; none where one of them was not answered.
    pub fn take(&mut self) -> Option<Taken> {
        self.turn = !self.turn;
        let mut taken = Taken::default();
        for through in [self.turn, !self.turn] {
            let conn = if through { &mut self.through } else { &mut self.direct };
            let times = [metadata(conn)?, produce(conn, self.batch.clone())?];
            *(if through { &mut taken.through } else { &mut taken.direct }) = times;
        }
        Some(taken)
    }
}

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

fn metadata(conn: &mut Conn) -> Option<u32> {
    let topic = MetadataRequestTopic::default().with_name(Some(name()));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    let began = Instant::now();
    conn.call(12, &request)?;
    Some(began.elapsed().as_micros() as u32)
}

fn produce(conn: &mut Conn, batch: Bytes) -> Option<u32> {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch));
    let topic = TopicProduceData::default().with_name(name()).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(1).with_timeout_ms(5_000).with_topic_data(vec![topic]);
    let began = Instant::now();
    conn.call(9, &request)?;
    Some(began.elapsed().as_micros() as u32)
}

/// By ten minutes.
#[derive(Debug, Default)]
pub struct Latencies(Vec<Vec<Taken>>);

pub const SPAN: Duration = Duration::from_secs(600);

impl Latencies {
    pub fn add(&mut self, at: Duration, taken: Taken) {
        let span = (at.as_secs() / SPAN.as_secs()) as usize;
        if self.0.len() <= span {
            self.0.resize_with(span + 1, Vec::new);
        }
        self.0[span].push(taken);
    }

    pub fn spans(&self) -> usize {
        self.0.len()
    }

    /// Of one span and one kind of request (0 Metadata, 1 Produce): direct and through kmend, in microseconds.
    pub fn percentile(&self, span: usize, kind: usize, share: f64) -> (u32, u32) {
        let of = |pick: fn(&Taken) -> [u32; 2]| {
            let mut all: Vec<u32> = self.0.get(span).into_iter().flatten().map(|t| pick(t)[kind]).collect();
            all.sort_unstable();
            percentile(&all, share)
        };
        (of(|t| t.direct), of(|t| t.through))
    }

    pub fn count(&self, span: usize) -> usize {
        self.0.get(span).map_or(0, Vec::len)
    }
}
