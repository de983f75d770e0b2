//! What menders are told of a Produce request.

use std::time::Duration;

use super::Topic;

/// A Produce request's front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProduceRequest {
    /// Counts the requests of a connection.
    pub seq: u64,
    pub version: i16,
    pub correlation: i32,
    /// 0: the broker does not answer.
    pub acks: i16,
    /// It names a transactional id.
    pub transactional: bool,
    /// Bytes of the frame, size prefix included.
    pub size: usize,
    /// How long the connection had been quiet when its first byte came; `None`: something was in flight.
    pub quiet: Option<Duration>,
    /// Nothing is in flight, and nothing has been received behind it.
    pub alone: bool,
}

/// Whose a record batch is (message format v2: producer id @43, epoch @51, base sequence @53).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// -1: not of an idempotent producer.
    pub producer_id: i64,
    pub epoch: i16,
    pub base_sequence: i32,
}

/// A partition of a Produce request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produced {
    pub topic: Topic,
    pub partition: i32,
    /// `None`: no records, or in an older format than v2.
    pub batch: Option<Batch>,
}
