//! An admin client straight to the brokers: past kmend, so that what a test arranges and what it
//! checks does not hang on the thing under test.

mod acls;
pub mod conn;
mod groups;
pub mod guest;
pub mod members;
pub mod records;
mod spread;
mod topics;

pub use guest::Guest;
pub use records::Batch;
pub use spread::one_batch;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use kafka_protocol::messages::{FindCoordinatorRequest, MetadataResponse};
use kafka_protocol::protocol::{Request, StrBytes};

use super::wait::{wait_for, within};
use conn::Conn;

const LIMIT: Duration = Duration::from_secs(20);

/// Talks to the brokers of one cluster. Every call retries what a cluster in motion answers.
pub struct Admin {
    bootstrap: Vec<String>,
    conns: Mutex<HashMap<String, Conn>>,
}

/// The error code that an answer bears: kafka-protocol has no common trait for it.
type Code = i16;

impl Admin {
    pub fn new(bootstrap: Vec<String>) -> Admin {
        Admin { bootstrap, conns: Mutex::new(HashMap::new()) }
    }

    /// One request to one broker; none where the connection fails.
    pub fn ask<R: Request>(&self, address: &str, version: i16, request: &R) -> Option<R::Response> {
        let mut conns = self.conns.lock().unwrap_or_else(|e| e.into_inner());
        if !conns.contains_key(address) {
            conns.insert(address.to_owned(), Conn::open(address)?);
        }
        let answer = conns.get_mut(address)?.call(version, request);
        if answer.is_none() {
            conns.remove(address);
        }
        answer
    }

    /// One request to any broker.
    fn ask_any<R: Request>(&self, version: i16, request: &R) -> Option<R::Response> {
        self.bootstrap.iter().find_map(|address| self.ask(address, version, request))
    }

    /// Asks a broker that `who` finds until `code` says 0; fails the test with the last code.
    fn ask_until_ok<R: Request>(
        &self,
        who: impl Fn() -> Option<String>,
        version: i16,
        request: &R,
        code: impl Fn(&R::Response) -> Code,
    ) -> R::Response {
        let mut last = None;
        let answer = within(LIMIT, || {
            let answer = self.ask(&who()?, version, request)?;
            last = Some(code(&answer));
            (last == Some(0)).then_some(answer)
        });
        answer.unwrap_or_else(|| panic!("API {} failed; last error code {last:?}", R::KEY))
    }

    /// The address of the broker that coordinates a group (`kind` 0) or a transactional id (1).
    fn coordinator(&self, key: &str, kind: i8) -> Option<String> {
        let request = FindCoordinatorRequest::default()
            .with_key_type(kind)
            .with_coordinator_keys(vec![StrBytes::from_string(key.to_owned())]);
        let answer = self.ask_any(4, &request)?;
        let found = answer.coordinators.first().filter(|c| c.error_code == 0)?;
        Some(format!("{}:{}", found.host.as_str(), found.port))
    }

    /// The address of a partition's leader.
    fn leader(&self, topic: &str, partition: i32) -> Option<String> {
        let metadata = self.try_metadata(&[topic])?;
        let leader = partition_of(&metadata, topic, partition)?.leader_id;
        address_of(&metadata, leader.0)
    }

    /// The node id that leads a partition.
    pub fn leader_id(&self, topic: &str, partition: i32) -> i32 {
        wait_for("a leader", LIMIT, || {
            let metadata = self.try_metadata(&[topic])?;
            partition_of(&metadata, topic, partition).map(|p| p.leader_id.0).filter(|id| *id >= 0)
        })
    }
}

fn partition_of<'a>(
    metadata: &'a MetadataResponse,
    topic: &str,
    partition: i32,
) -> Option<&'a kafka_protocol::messages::metadata_response::MetadataResponsePartition> {
    let topic = metadata.topics.iter().find(|t| t.name.as_ref().is_some_and(|n| n.as_str() == topic))?;
    topic.partitions.iter().find(|p| p.partition_index == partition)
}

fn address_of(metadata: &MetadataResponse, node: i32) -> Option<String> {
    let broker = metadata.brokers.iter().find(|b| b.node_id.0 == node)?;
    Some(format!("{}:{}", broker.host.as_str(), broker.port))
}
