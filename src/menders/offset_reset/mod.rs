//! A position below the log start is moved to where the log begins (rules A1 to A9).
//!
//! See `README.md` beside this file for what breaks without it, what it does and what it never does.

mod asking;
mod chase;
mod conn;
mod headroom;
mod ledger;
mod lift;
mod listed;
mod metrics;
mod rules;
mod starts;
mod steer;

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::{IntCounterVec, Registry};

use crate::config::Config;
use crate::mend::{ConnMender, Interest, Mender, Treatment};
use crate::store::checkpoints::Checkpoints;
use crate::wire::api::ApiKey;

pub const NAME: &str = "offset_reset";

/// The part that all connections share.
pub struct OffsetReset {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    rules: ArcSwap<rules::Rules>,
    metrics: metrics::Metrics,
    starts: starts::LogStarts,
    steers: steer::Steers,
    ledger: ledger::Ledger,
    headroom: headroom::Headroom,
}

impl OffsetReset {
    pub fn new(config: &Config, registry: &Registry, repairs: &IntCounterVec, checkpoints: Checkpoints) -> OffsetReset {
        let shared = Shared {
            rules: ArcSwap::from_pointee(rules::Rules::new(&config.menders.offset_reset)),
            metrics: metrics::Metrics::new(registry, repairs),
            starts: starts::LogStarts::default(),
            steers: steer::Steers::default(),
            ledger: ledger::Ledger::new(checkpoints),
            headroom: headroom::Headroom::new(registry),
        };
        OffsetReset { shared: Arc::new(shared) }
    }
}

impl Mender for OffsetReset {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Vec<Interest> {
        if self.shared.rules.load().is_off() {
            return Vec::new();
        }
        vec![
            Interest::Request(ApiKey::FETCH, Treatment::Stream),
            Interest::Response(ApiKey::FETCH, Treatment::Stream),
            Interest::Response(ApiKey::METADATA, Treatment::Stream),
            Interest::Request(ApiKey::LIST_OFFSETS, Treatment::Whole),
            Interest::Response(ApiKey::LIST_OFFSETS, Treatment::Whole),
            Interest::Request(ApiKey::OFFSET_FETCH, Treatment::Whole),
            Interest::Response(ApiKey::OFFSET_FETCH, Treatment::Whole),
            // The session learns the client's groups from them.
            Interest::Request(ApiKey::JOIN_GROUP, Treatment::Whole),
            Interest::Request(ApiKey::CONSUMER_GROUP_HEARTBEAT, Treatment::Whole),
        ]
    }

    fn connect(&self) -> Box<dyn ConnMender> {
        Box::new(conn::OnConnection::new(self.shared.clone()))
    }

    fn reload(&self, config: &Config) {
        self.shared.rules.store(Arc::new(rules::Rules::new(&config.menders.offset_reset)));
    }
}
