//! What was seen in one run: of each app what it said and when, the committed offsets as the broker had them, and the log
//! in the end.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::harness::client::Event;

/// How an app ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The test wanted it.
    Asked,
    /// By itself.
    Died,
}

/// One process of an app.
#[derive(Debug)]
pub struct Life {
    pub client: String,
    pub said: Vec<(Instant, Event)>,
    pub end: End,
    /// It says when partitions are assigned to it and taken from it.
    pub tells_assignments: bool,
}

/// One topic with its producers and the group that reads it.
#[derive(Debug, Default)]
pub struct History {
    pub topic: String,
    pub producers: Vec<Life>,
    pub consumers: Vec<Life>,
    /// Partition to records (offset, value), as a consumer with `read_committed` may see them in the end.
    pub log: BTreeMap<i32, Vec<(i64, String)>>,
    /// Records of transactions that were aborted, or that are still open: nobody may see them.
    pub hidden: BTreeMap<i32, Vec<i64>>,
    /// What retention has left: partition to the first offset that is still there.
    pub starts: BTreeMap<i32, i64>,
    /// When which offset of the group was seen at the broker.
    pub committed: Vec<(Instant, i32, i64)>,
    /// Each value is in the log once by right: its producers are idempotent, or it comes from transactions.
    pub is_exact: bool,
    /// A producer numbers its records: they stand in each partition in that order.
    pub is_ordered: bool,
    /// What it was that somebody waited for in vain in the end.
    pub blocked: Vec<String>,
}

impl History {
    /// How often records were handled.
    pub fn handled(&self) -> usize {
        let is = |event: &Event| matches!(event, Event::Handled { topic, .. } if *topic == self.topic);
        self.consumers.iter().flat_map(|life| &life.said).filter(|(_, event)| is(event)).count()
    }
}
