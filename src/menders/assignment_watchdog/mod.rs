//! Partitions that are assigned and that nobody consumes; members that live and do nothing (rules D1 to D4).
//!
//! See `README.md` beside this file for what breaks without it, what it does and what it never does.

mod bucket;
mod collector;
mod conn;
mod ends;
mod held;
mod metrics;
mod repair;
mod rules;
mod stalled;
mod watch;

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::{IntCounterVec, Registry};

use crate::config::Config;
use crate::mend::{ConnMender, Interest, Mender, Shared as MendShared, Treatment};
use crate::wire::api::ApiKey;
use metrics::Metrics;
use rules::Rules;
use watch::Watch;

pub const NAME: &str = "assignment_watchdog";

/// The part that all connections share.
pub struct AssignmentWatchdog {
    shared: Arc<Shared>,
    mend: Arc<MendShared>,
}

pub(crate) struct Shared {
    rules: ArcSwap<Rules>,
    metrics: Metrics,
    watch: Watch,
}

impl Shared {
    /// Counts the rebalances that have ended.
    fn drain(&self, mend: &MendShared) {
        for rebalance in mend.groups.take_rebalances() {
            tracing::info!(group = %rebalance.group, cause = rebalance.cause.label(), took = ?rebalance.took,
                "a group has rebalanced");
            self.metrics.rebalance(&rebalance);
        }
    }
}

impl AssignmentWatchdog {
    pub fn new(
        config: &Config,
        registry: &Registry,
        repairs: &IntCounterVec,
        mend: &Arc<MendShared>,
    ) -> AssignmentWatchdog {
        let shared = Arc::new(Shared {
            rules: ArcSwap::from_pointee(Rules::new(config)),
            metrics: Metrics::new(registry, repairs),
            watch: Watch::default(),
        });
        if shared.rules.load().modes.is_off() {
            shared.watch.begin_anew(true);
        }
        collector::register(registry, &shared, mend);
        AssignmentWatchdog { shared, mend: mend.clone() }
    }
}

impl Mender for AssignmentWatchdog {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Vec<Interest> {
        if self.shared.rules.load().modes.is_off() {
            return Vec::new();
        }
        let whole = [
            ApiKey::JOIN_GROUP,
            ApiKey::SYNC_GROUP,
            ApiKey::HEARTBEAT,
            ApiKey::CONSUMER_GROUP_HEARTBEAT,
            ApiKey::OFFSET_COMMIT,
            ApiKey::OFFSET_FETCH,
        ];
        let both = |api| [Interest::Request(api, Treatment::Whole), Interest::Response(api, Treatment::Whole)];
        let mut all: Vec<Interest> = whole.into_iter().flat_map(both).collect();
        all.extend([
            Interest::Request(ApiKey::LEAVE_GROUP, Treatment::Whole),
            Interest::Request(ApiKey::LIST_OFFSETS, Treatment::Whole),
            Interest::Request(ApiKey::OFFSET_FOR_LEADER_EPOCH, Treatment::Whole),
            Interest::Request(ApiKey::FETCH, Treatment::Stream),
            Interest::Response(ApiKey::FETCH, Treatment::Stream),
            Interest::Response(ApiKey::METADATA, Treatment::Stream),
        ]);
        all
    }

    fn connect(&self) -> Box<dyn ConnMender> {
        Box::new(conn::OnConnection::new(self.shared.clone()))
    }

    fn reload(&self, config: &Config) {
        self.shared.rules.store(Arc::new(Rules::new(config)));
        let is_off = self.shared.rules.load().modes.is_off();
        self.shared.watch.begin_anew(is_off);
        if is_off {
            self.mend.findings.clear();
        }
    }
}
