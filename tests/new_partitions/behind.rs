//! A broker that is reached through a relay only, and that makes topics by itself.

use std::sync::OnceLock;

use crate::harness::{ClusterSpec, Kafka, ports};
use crate::relay::Relay;

pub struct Behind {
    pub kafka: Kafka,
    pub relay: Relay,
    /// The broker's address as kmend learns it.
    pub upstream: Vec<String>,
}

/// One for all tests; they tell their clients apart by their ids.
pub fn behind() -> &'static Behind {
    static SHARED: OnceLock<Behind> = OnceLock::new();
    crate::begin();
    SHARED.get_or_init(|| {
        let port = ports::free();
        let extra = vec!["auto.create.topics.enable=true".to_owned()];
        let kafka = Kafka::start(ClusterSpec { advertise: vec![port], extra, ..ClusterSpec::default() });
        let relay = Relay::start(port, kafka.port(1));
        Behind { kafka, relay, upstream: vec![format!("127.0.0.1:{port}")] }
    })
}
