//! A topic gets new partitions while apps use it: directly on the broker they go on without them for
//! minutes; through kmend each producer sends to them and each group reads them within seconds, and
//! no app sees an error, a loss or a duplicate for it.
//!
//! `KMEND_MATRIX=1 cargo test --test new_partitions runs` measures everything five times.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../tapped/mod.rs"]
mod tapped;

mod behind;
#[path = "../transparent/compare.rs"]
mod compare;
mod deleted;
mod direct;
mod faults;
mod groups;
mod growth;
mod idempotent;
mod kip848;
mod many;
mod observe;
mod plain;
mod racks;
mod recreated;
mod relay;
mod runs;
mod shared;
mod spread;
mod truth;

use std::sync::{Once, OnceLock};
use std::time::Duration;

use growth::Role::{Consumer, Producer};
use growth::{Cell, Row};
use harness::{ClusterSpec, Kafka, Kmend, Together, once};
use serde_json::json;

/// One broker for what needs nothing special.
fn kafka() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    let kafka = SHARED.get_or_init(|| Kafka::start(ClusterSpec::default()));
    begin();
    kafka
}

/// Whether no test was picked by its name.
fn is_all() -> bool {
    std::env::args().skip(1).all(|a| a.starts_with('-'))
}

/// The direct half and the one through kmend take a minute each, most of it waiting: where all tests
/// run, they begin with the first test, whichever that is.
fn begin() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        if is_all() {
            std::thread::spawn(direct::outcome);
        }
    });
}

/// kmend with the mender under test in a mode; interval in seconds, 0: the default (5 s).
fn kmend(upstream: &[String], mode: &str, interval: u64) -> Kmend {
    Kmend::start_at("127.0.0.1", upstream, |config| {
        let own = &mut config["menders"]["partition_discovery"];
        *own = json!({ "mode": mode });
        if interval > 0 {
            own["interval"] = json!(format!("{interval}s"));
        }
    })
}

/// The promise: after a growth a client uses the new partitions within this. franz-go asks for metadata
/// at most every 5 s after an error of a producer.
fn limit(client: &str, role: growth::Role, interval: u64) -> Duration {
    let extra = if client == "franz-go" && role == Producer { 5 } else { 0 };
    Duration::from_secs(2 * interval + 2 + extra)
}

/// Every client in both roles; all of them run side by side, each behind a kmend of its own.
pub const CELLS: [Cell; 16] = [
    Cell { client: "java", role: Producer },
    Cell { client: "java", role: Consumer },
    Cell { client: "java-old", role: Producer },
    Cell { client: "java-old", role: Consumer },
    Cell { client: "librdkafka", role: Producer },
    Cell { client: "librdkafka", role: Consumer },
    Cell { client: "franz-go", role: Producer },
    Cell { client: "franz-go", role: Consumer },
    Cell { client: "sarama", role: Producer },
    Cell { client: "sarama", role: Consumer },
    Cell { client: "aiokafka", role: Producer },
    Cell { client: "aiokafka", role: Consumer },
    Cell { client: "kafka-python", role: Producer },
    Cell { client: "kafka-python", role: Consumer },
    Cell { client: "kafkajs", role: Producer },
    Cell { client: "kafkajs", role: Consumer },
];

/// The one run through kmend that all of its tests share.
fn rows() -> Vec<Row> {
    static ROWS: OnceLock<Result<Vec<Row>, String>> = OnceLock::new();
    once(&ROWS, || growth::mended(kafka(), &CELLS))
}

/// Checks the rows of one client in one role.
fn finds(client: &str, role: growth::Role) {
    for row in rows().iter().filter(|r| r.cell.client == client && r.cell.role == role) {
        println!("{}", row.text());
        row.check(5);
    }
}

macro_rules! mended {
    ($($name:ident: $client:literal;)*) => {
        mod mended {
            mod producer {
                $(#[test]
                fn $name() {
                    crate::finds($client, crate::Producer);
                })*
            }
            mod consumer {
                $(#[test]
                fn $name() {
                    crate::finds($client, crate::Consumer);
                })*
            }
        }
    };
}

mended! {
    java: "java";
    java_old: "java-old";
    librdkafka: "librdkafka";
    franz_go: "franz-go";
    sarama: "sarama";
    aiokafka: "aiokafka";
    kafka_python: "kafka-python";
    kafkajs: "kafkajs";
}
