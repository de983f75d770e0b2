//! Topics: create, grow, move leaders, evict records.

use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, ElectLeadersRequest, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::super::wait::wait_for;
use super::{Admin, LIMIT, address_of, partition_of};

pub(super) fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

impl Admin {
    /// Metadata of some topics (none: only the brokers), where a broker answers.
    pub fn try_metadata(&self, topics: &[&str]) -> Option<MetadataResponse> {
        let topics = topics.iter().map(|t| MetadataRequestTopic::default().with_name(Some(name(t)))).collect();
        let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
        self.ask_any(12, &request)
    }

    /// Creates a topic and waits until each partition has a leader that knows it.
    pub fn create(&self, topic: &str, partitions: i32, config: &[(&str, &str)]) {
        self.create_replicated(topic, partitions, 1, config);
    }

    /// The same with `copies` replicas.
    pub fn create_replicated(&self, topic: &str, partitions: i32, copies: i16, config: &[(&str, &str)]) {
        let own = |s: &str| StrBytes::from_string(s.to_owned());
        let config = config
            .iter()
            .map(|(k, v)| CreatableTopicConfig::default().with_name(own(k)).with_value(Some(own(v))))
            .collect();
        let wanted = CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(copies)
            .with_configs(config);
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(10_000);
        // 36: a first try that timed out has created it after all.
        let code = |c: i16| if c == 36 { 0 } else { c };
        self.ask_until_ok(|| self.any(), 7, &request, |r| r.topics.first().map_or(-1, |t| code(t.error_code)));
        self.wait_for_leaders(topic, partitions);
    }

    /// Creates many topics with one request each hundred; does not wait for all their leaders.
    pub fn create_many(&self, topics: &[String], partitions: i32) {
        for some in topics.chunks(100) {
            let wanted = some
                .iter()
                .map(|t| {
                    CreatableTopic::default()
                        .with_name(name(t))
                        .with_num_partitions(partitions)
                        .with_replication_factor(1)
                })
                .collect();
            let request = CreateTopicsRequest::default().with_topics(wanted).with_timeout_ms(30_000);
            let code = |r: &kafka_protocol::messages::CreateTopicsResponse| {
                r.topics
                    .iter()
                    .map(|t| if t.error_code == 36 { 0 } else { t.error_code })
                    .find(|c| *c != 0)
                    .unwrap_or(0)
            };
            self.ask_until_ok(|| self.any(), 7, &request, code);
        }
        if let Some(last) = topics.last() {
            self.wait_for_leaders(last, partitions);
        }
    }

    /// Lets a topic grow to `total` partitions.
    pub fn add_partitions(&self, topic: &str, total: i32) {
        let wanted = CreatePartitionsTopic::default().with_name(name(topic)).with_count(total).with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![wanted]).with_timeout_ms(10_000);
        self.ask_until_ok(|| self.any(), 3, &request, |r| r.results.first().map_or(-1, |t| t.error_code));
        self.wait_for_leaders(topic, total);
    }

    /// Deletes a topic and waits until no broker knows it.
    pub fn delete(&self, topic: &str) {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![name(topic)]).with_timeout_ms(10_000);
        self.ask_until_ok(|| self.any(), 5, &request, |r| r.responses.first().map_or(-1, |t| t.error_code));
        wait_for("the topic to be gone", LIMIT, || (!self.exists(topic)).then_some(()));
    }

    /// Whether a topic is there; does not create it.
    pub fn exists(&self, topic: &str) -> bool {
        let metadata = wait_for("metadata", LIMIT, || self.try_metadata(&[topic]));
        metadata.topics.iter().any(|t| t.error_code == 0)
    }

    /// Asks for a topic as a careless client does: a broker with auto.create.topics.enable makes it.
    pub fn ask_carelessly(&self, topic: &str) {
        let topics = vec![MetadataRequestTopic::default().with_name(Some(name(topic)))];
        let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(true);
        self.ask_any(12, &request);
    }

    /// Evicts everything below `offset`, as retention would, at once; the new log start.
    pub fn delete_records(&self, topic: &str, partition: i32, offset: i64) -> i64 {
        let at = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let wanted = DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(vec![at]);
        let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(10_000);
        let first = |r: &kafka_protocol::messages::DeleteRecordsResponse| r.topics.first()?.partitions.first().cloned();
        let who = || self.leader(topic, partition);
        let answer = self.ask_until_ok(who, 2, &request, |r| first(r).map_or(-1, |p| p.error_code));
        first(&answer).map_or(-1, |p| p.low_watermark)
    }

    /// Makes `node` the leader of a partition: its replicas become `node` and those that it had.
    pub fn move_leader(&self, topic: &str, partition: i32, node: i32) {
        let metadata = wait_for("metadata", LIMIT, || self.try_metadata(&[topic]));
        let had = partition_of(&metadata, topic, partition).map(|p| p.replica_nodes.clone()).unwrap_or_default();
        let copies = had.len().max(1);
        let mut replicas = vec![BrokerId(node)];
        replicas.extend(had.into_iter().filter(|r| r.0 != node));
        replicas.truncate(copies);
        let moved = ReassignablePartition::default().with_partition_index(partition).with_replicas(Some(replicas));
        let wanted = ReassignableTopic::default().with_name(name(topic)).with_partitions(vec![moved]);
        let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![wanted]).with_timeout_ms(10_000);
        self.ask_until_ok(|| self.any(), 0, &request, |r| r.error_code);
        wait_for("the leader to move", LIMIT, || {
            if self.leader_id(topic, partition) == node {
                return Some(());
            }
            // The preferred replica is elected every few minutes by itself: not in a test.
            let which = TopicPartitions::default().with_topic(name(topic)).with_partitions(vec![partition]);
            let elect = ElectLeadersRequest::default()
                .with_election_type(0)
                .with_topic_partitions(Some(vec![which]))
                .with_timeout_ms(5_000);
            self.ask_any(2, &elect);
            None
        });
    }

    fn wait_for_leaders(&self, topic: &str, partitions: i32) {
        wait_for("leaders of the new partitions", LIMIT, || {
            let metadata = self.try_metadata(&[topic])?;
            let up = |p| {
                let found = partition_of(&metadata, topic, p);
                found.is_some_and(|f| f.error_code == 0 && address_of(&metadata, f.leader_id.0).is_some())
            };
            (0..partitions).all(up).then_some(())
        });
    }

    pub(super) fn any(&self) -> Option<String> {
        let metadata = self.try_metadata(&[])?;
        let broker = metadata.brokers.first()?;
        Some(format!("{}:{}", broker.host.as_str(), broker.port))
    }
}
