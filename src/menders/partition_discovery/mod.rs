//! New partitions of a topic reach running producers and consumers within seconds (rules B1 to B5).
//!
//! See `README.md` beside this file for what breaks without it, what it does and what it never does.

mod client;
mod conn;
mod consumer;
mod gate;
mod growth;
mod idle;
mod metrics;
mod poll;
mod producer;
mod schedule;
mod software;
mod watch;
mod work;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use prometheus::{IntCounterVec, Registry};

use crate::config::Config;
use crate::config::model::Nudge;
use crate::config::units::Auto;
use crate::mend::catalog::TopicId;
use crate::mend::modes::Modes;
use crate::mend::{Chances, ConnMender, Interest, Mender, Treatment};
use crate::wire::api::ApiKey;
use watch::News;

pub const NAME: &str = "partition_discovery";

/// The part that all connections share.
pub struct PartitionDiscovery {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    rules: ArcSwap<Rules>,
    metrics: metrics::Metrics,
    watch: watch::Watch,
    clients: client::Clients,
    chances: Arc<Chances>,
}

struct Rules {
    modes: Modes,
    interval: Duration,
    nudge: Auto<Nudge>,
}

impl Rules {
    fn new(config: &Config) -> Rules {
        let config = &config.menders.partition_discovery;
        Rules {
            modes: Modes::new(config.mode, &config.topics, &config.groups, &config.clients),
            interval: config.interval.into(),
            nudge: config.nudge,
        }
    }
}

impl Shared {
    /// From 0 to 1, by chance.
    fn chance(&self) -> f64 {
        self.chances.fraction()
    }

    /// An id that no broker's session is likely to have.
    fn session(&self) -> i32 {
        self.chances.number()
    }

    /// A Metadata response, to a client or to kmend, describes a topic.
    fn see(&self, topic: &str, id: TopicId, leaders: &[i32], now: Instant) -> News {
        let news = self.watch.see(topic, id, leaders, now);
        match news {
            News::Grown { from, to } => {
                self.metrics.added(topic, to - from);
                tracing::info!(topic, from, to, "a topic has more partitions");
            }
            News::Recreated => tracing::info!(topic, "a topic has been deleted and made again"),
            News::Same | News::Leaderless | News::Stale => {}
        }
        news
    }
}

impl PartitionDiscovery {
    pub fn new(
        config: &Config,
        registry: &Registry,
        repairs: &IntCounterVec,
        chances: Arc<Chances>,
    ) -> PartitionDiscovery {
        let shared = Shared {
            rules: ArcSwap::from_pointee(Rules::new(config)),
            metrics: metrics::Metrics::new(registry, repairs),
            watch: watch::Watch::default(),
            clients: client::Clients::default(),
            chances,
        };
        PartitionDiscovery { shared: Arc::new(shared) }
    }
}

impl Mender for PartitionDiscovery {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Vec<Interest> {
        if self.shared.rules.load().modes.is_off() {
            return Vec::new();
        }
        vec![
            Interest::Request(ApiKey::PRODUCE, Treatment::Stream),
            Interest::Request(ApiKey::FETCH, Treatment::Stream),
            Interest::Response(ApiKey::METADATA, Treatment::Stream),
            Interest::Request(ApiKey::JOIN_GROUP, Treatment::Whole),
            Interest::Response(ApiKey::JOIN_GROUP, Treatment::Whole),
            Interest::Request(ApiKey::LEAVE_GROUP, Treatment::Whole),
            Interest::Request(ApiKey::HEARTBEAT, Treatment::Whole),
            Interest::Response(ApiKey::HEARTBEAT, Treatment::Whole),
            Interest::Request(ApiKey::CONSUMER_GROUP_HEARTBEAT, Treatment::Whole),
        ]
    }

    fn connect(&self) -> Box<dyn ConnMender> {
        Box::new(conn::OnConnection::new(self.shared.clone()))
    }

    fn reload(&self, config: &Config) {
        self.shared.rules.store(Arc::new(Rules::new(config)));
        self.shared.clients.begin_anew();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(registry: &Registry) -> Arc<Shared> {
        let repairs = crate::menders::repairs(registry);
        PartitionDiscovery::new(&Config::default(), registry, &repairs, Arc::default()).shared
    }

    #[test]
    fn added_partitions_are_counted() {
        let (registry, now) = (Registry::new(), Instant::now());
        let shared = shared(&registry);
        shared.see("orders", [1; 16], &[0; 3], now);
        shared.see("orders", [1; 16], &[0; 5], now);
        let added = registry.gather().into_iter().find(|f| f.name().ends_with("partitions_added_total")).unwrap();
        assert_eq!(added.get_metric()[0].get_counter().get_value(), 2.0);
    }
}
