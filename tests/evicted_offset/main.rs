//! A position or a committed offset that retention has evicted: directly on the broker the app dies,
//! is stuck or skips; through kmend it goes on, misses nothing and sees nothing twice.
//!
//! `KMEND_MATRIX=1 cargo test --test evicted_offset matrix` runs everything by everything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

mod above_end;
mod case;
mod matrix;
mod scenario;

use std::sync::OnceLock;

use harness::{ClusterSpec, Kafka};

/// One broker for all cases.
fn kafka() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| Kafka::start(ClusterSpec::default()))
}

/// Declares the fixed pairwise subset that `make test` runs: one test per line.
macro_rules! mended {
    ($($name:ident: $client:literal $reset:literal $scenario:ident;)*) => {
        mod mended {
            $(#[test]
            fn $name() {
                crate::case::mended(crate::kafka(), $client, $reset, crate::scenario::Scenario::$scenario);
            })*
        }

        /// What the subset covers; `matrix` checks that nothing is left out.
        pub const SUBSET: &[(&str, &str, scenario::Scenario)] =
            &[$(($client, $reset, scenario::Scenario::$scenario)),*];
    };
}

mended! {
    java_none_paused: "java" "none" Paused;
    java_latest_three_partitions: "java" "latest" ThreePartitions;
    java_none_moving_start: "java" "none" MovingStart;
    java_earliest_aborted: "java" "earliest" Aborted;
    java_consumer_none_running: "java-consumer" "none" Running;
    java_consumer_latest_committed: "java-consumer" "latest" Committed;
    java_consumer_none_expired: "java-consumer" "none" Expired;
    librdkafka_none_three_partitions: "librdkafka" "none" ThreePartitions;
    librdkafka_latest_running: "librdkafka" "latest" Running;
    librdkafka_earliest_compacted: "librdkafka" "earliest" Compacted;
    librdkafka_none_aborted: "librdkafka" "none" Aborted;
    franz_go_none_committed: "franz-go" "none" Committed;
    franz_go_latest_moving_start: "franz-go" "latest" MovingStart;
    franz_go_none_compacted: "franz-go" "none" Compacted;
    franz_go_earliest_three_partitions: "franz-go" "earliest" ThreePartitions;
    sarama_none_committed: "sarama" "none" Committed;
    sarama_latest_paused: "sarama" "latest" Paused;
    sarama_none_running: "sarama" "none" Running;
    aiokafka_none_aborted: "aiokafka" "none" Aborted;
    aiokafka_latest_paused: "aiokafka" "latest" Paused;
    aiokafka_none_expired: "aiokafka" "none" Expired;
    kafka_python_none_three_partitions: "kafka-python" "none" ThreePartitions;
    kafka_python_latest_compacted: "kafka-python" "latest" Compacted;
    kafka_python_earliest_running: "kafka-python" "earliest" Running;
    kafkajs_latest_paused: "kafkajs" "latest" Paused;
    kafkajs_earliest_committed: "kafkajs" "earliest" Committed;
    kafkajs_latest_moving_start: "kafkajs" "latest" MovingStart;
}

/// The older line of brokers (3.9), whose newest versions are others.
mod older_broker {
    use std::sync::OnceLock;

    use crate::case::mended;
    use crate::harness::{ClusterSpec, Kafka};
    use crate::scenario::Scenario::{Committed, Paused, ThreePartitions};

    fn kafka() -> &'static Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| Kafka::start(ClusterSpec { version: "kafka-old", ..ClusterSpec::default() }))
    }

    #[test]
    fn java_none_three_partitions() {
        mended(kafka(), "java", "none", ThreePartitions);
    }

    #[test]
    fn librdkafka_latest_paused() {
        mended(kafka(), "librdkafka", "latest", Paused);
    }

    #[test]
    fn sarama_none_committed() {
        mended(kafka(), "sarama", "none", Committed);
    }
}

/// Each repair is first shown to be needed: the same client directly on the broker.
mod direct {
    use std::time::Duration;

    use crate::case::Verdict::{self, Died, Skipped, Stuck};
    use crate::scenario::Scenario::{self, Committed, Paused, Running};

    fn shows(client: &str, reset: &str, scenario: Scenario, expected: Verdict) {
        let patience = Duration::from_secs(if expected == Died { 30 } else { 6 });
        let outcome = crate::case::direct(crate::kafka(), client, reset, scenario, patience);
        assert_eq!(outcome.verdict, expected, "{outcome:#?}");
        println!(
            "{client} {reset} {scenario:?}: {expected:?}, {}/{} missed, {} errors, first: {:?}",
            outcome.missed,
            outcome.there,
            outcome.errors.len(),
            outcome.errors.first()
        );
    }

    #[test]
    fn java_with_none_dies() {
        shows("java", "none", Paused, Died);
    }

    #[test]
    fn java_with_latest_skips() {
        shows("java", "latest", Running, Skipped);
    }

    #[test]
    fn java_consumer_protocol_with_none_dies() {
        shows("java-consumer", "none", Committed, Died);
    }

    #[test]
    fn librdkafka_with_none_falls_silent() {
        shows("librdkafka", "none", Paused, Stuck);
    }

    #[test]
    fn franz_go_with_none_is_stuck() {
        shows("franz-go", "none", Paused, Stuck);
    }

    #[test]
    fn sarama_with_none_rejoins_for_ever() {
        shows("sarama", "none", Committed, Stuck);
    }

    #[test]
    fn sarama_with_latest_skips() {
        shows("sarama", "latest", Paused, Skipped);
    }

    #[test]
    fn aiokafka_with_none_dies() {
        shows("aiokafka", "none", Paused, Died);
    }

    #[test]
    fn kafka_python_with_none_dies() {
        shows("kafka-python", "none", Paused, Died);
    }

    #[test]
    fn kafkajs_with_latest_skips() {
        shows("kafkajs", "latest", Paused, Skipped);
    }
}
