//! What the journal promises, on disks of every kind.

mod bytes;
mod files;
mod flaky;
mod model;
mod thread;

use prometheus::Registry;

use super::faults::Metrics;
use super::{Key, Kind, Promise, Record};

fn metrics() -> Metrics {
    Metrics::new(&Registry::new())
}

fn key(partition: i32) -> Key {
    Key { cluster: "c".into(), group: "billing".into(), topic: "orders".into(), partition }
}

fn promise(partition: i32, offset: i64) -> Promise {
    Promise {
        key: key(partition),
        kind: Kind::Buffered,
        topic_id: [0; 16],
        member: "app-1".into(),
        instance: None,
        generation: 3,
        ready: false,
        consumer_protocol: false,
        client_id: "app".into(),
        offset,
        leader_epoch: -1,
        metadata: None,
        baseline: None,
        time_ms: offset as u64,
    }
}

fn promised(partition: i32, offset: i64) -> Record {
    Record::Promised(promise(partition, offset))
}

fn settled(partition: i32) -> Record {
    Record::Settled(key(partition))
}
