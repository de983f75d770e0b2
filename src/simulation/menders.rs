//! What the simulated kmends are made of.

use std::sync::Arc;
use std::time::Instant;

use prometheus::Registry;

use super::SECOND;
use super::grown::INTERVAL;
use super::wire::TOPIC;
use crate::config::Config;
use crate::config::model::{Mode, ResetPolicy, TopicRule};
use crate::config::units::Duration;
use crate::mend::{Mender, Shared};
use crate::menders::assignment_watchdog::AssignmentWatchdog;
use crate::menders::commit_buffer::{CommitBuffer, Kept};
use crate::menders::offset_reset::OffsetReset;
use crate::menders::partition_discovery::PartitionDiscovery;
use crate::store::checkpoints::Checkpoints;
use crate::store::journal::{Journal, Promise};
use crate::telemetry::metrics::Family;

/// A kmend starts.
pub struct Start<'a> {
    pub registry: &'a Registry,
    pub journal: Arc<dyn Journal>,
    /// What the journal held.
    pub restored: Vec<Promise>,
    pub now: Instant,
    pub shared: &'a Arc<Shared>,
}

/// Called once for each life of each kmend.
pub type Make<'a> = &'a dyn Fn(Start<'_>) -> Vec<Arc<dyn Mender>>;

pub fn none(_: Start<'_>) -> Vec<Arc<dyn Mender>> {
    Vec::new()
}

/// All that there are; they watch and change nothing.
pub fn observing(start: Start<'_>) -> Vec<Arc<dyn Mender>> {
    let mut config = Config::default();
    config.menders.offset_reset.mode = Mode::Observe;
    config.menders.partition_discovery.mode = Mode::Observe;
    config.menders.commit_buffer.mode = Mode::Observe;
    config.menders.assignment_watchdog.mode = Mode::Observe;
    every_one(start, &discovers(config))
}

/// commit_buffer mends.
pub fn buffering(start: Start<'_>) -> Vec<Arc<dyn Mender>> {
    alone(start, &Config::default())
}

/// The same, and commits are acknowledged before the broker has them.
pub fn behind(start: Start<'_>) -> Vec<Arc<dyn Mender>> {
    let mut config = Config::default();
    config.menders.commit_buffer.write_behind.enabled = true;
    alone(start, &config)
}

/// assignment_watchdog makes members rejoin.
pub fn watching(start: Start<'_>) -> Vec<Arc<dyn Mender>> {
    let repairs = Family::counter(start.registry, "repairs_total", "What menders did.", &["mender", "outcome"]);
    vec![Arc::new(AssignmentWatchdog::new(&watched(), start.registry, &repairs, start.shared))]
}

/// Both mend.
pub fn all(start: Start<'_>) -> Vec<Arc<dyn Mender>> {
    both(start, watched())
}

/// The same, and commits are acknowledged before the broker has them.
pub fn all_behind(start: Start<'_>) -> Vec<Arc<dyn Mender>> {
    let mut config = watched();
    config.menders.commit_buffer.write_behind.enabled = true;
    both(start, config)
}

/// offset_reset mends.
pub fn resetting(start: Start<'_>) -> Vec<Arc<dyn Mender>> {
    vec![offset_reset(&start, &Config::default())]
}

/// The same, with a policy for the topic.
pub fn steering(start: Start<'_>) -> Vec<Arc<dyn Mender>> {
    let mut config = Config::default();
    let policy = TopicRule::Policy(ResetPolicy::Earliest);
    config.menders.offset_reset.topics.insert(TOPIC.to_owned(), policy);
    vec![offset_reset(&start, &config)]
}

fn offset_reset(start: &Start<'_>, config: &Config) -> Arc<dyn Mender> {
    let repairs = crate::menders::repairs(start.registry);
    Arc::new(OffsetReset::new(config, start.registry, &repairs, Checkpoints::none()))
}

/// All of them but partition_discovery: the topic does not grow.
pub fn every(start: Start<'_>) -> Vec<Arc<dyn Mender>> {
    together(start, watched())
}

/// The same, and commits are acknowledged before the broker has them.
pub fn every_behind(start: Start<'_>) -> Vec<Arc<dyn Mender>> {
    let mut config = watched();
    config.menders.commit_buffer.write_behind.enabled = true;
    together(start, config)
}

fn together(start: Start<'_>, mut config: Config) -> Vec<Arc<dyn Mender>> {
    config.menders.partition_discovery.mode = Mode::Off;
    every_one(start, &config)
}

/// partition_discovery mends.
pub fn discovering(start: Start<'_>) -> Vec<Arc<dyn Mender>> {
    let repairs = crate::menders::repairs(start.registry);
    let chances = start.shared.chances.clone();
    vec![Arc::new(PartitionDiscovery::new(&discovers(Config::default()), start.registry, &repairs, chances))]
}

/// All of them.
pub fn all_four(start: Start<'_>) -> Vec<Arc<dyn Mender>> {
    every_one(start, &discovers(watched()))
}

/// The same, and commits are acknowledged before the broker has them.
pub fn all_four_behind(start: Start<'_>) -> Vec<Arc<dyn Mender>> {
    let mut config = discovers(watched());
    config.menders.commit_buffer.write_behind.enabled = true;
    every_one(start, &config)
}

fn discovers(mut config: Config) -> Config {
    config.menders.partition_discovery.interval = Duration::from_secs(INTERVAL / SECOND);
    config
}

fn every_one(start: Start<'_>, config: &Config) -> Vec<Arc<dyn Mender>> {
    let kept = Kept { journal: start.journal, restored: start.restored };
    let repairs = crate::menders::repairs(start.registry);
    crate::menders::all(config, start.registry, &repairs, start.shared, Checkpoints::none(), kept, start.now)
}

/// Whether rule W5 (in the end everything is read) is asked of assignment_watchdog.
pub fn watchdog_mends() -> bool {
    true
}

/// A run is short.
fn watched() -> Config {
    let mut config = Config::default();
    config.menders.assignment_watchdog.after = Duration::from_secs(3);
    config
}

/// In the order of [`crate::menders::all`].
fn both(start: Start<'_>, config: Config) -> Vec<Arc<dyn Mender>> {
    let repairs = Family::counter(start.registry, "repairs_total", "What menders did.", &["mender", "outcome"]);
    let watchdog = AssignmentWatchdog::new(&config, start.registry, &repairs, start.shared);
    let kept = Kept { journal: start.journal, restored: start.restored };
    vec![Arc::new(CommitBuffer::new(&config, start.registry, &repairs, kept, start.now)), Arc::new(watchdog)]
}

/// Without the other menders.
fn alone(start: Start<'_>, config: &Config) -> Vec<Arc<dyn Mender>> {
    let repairs = Family::counter(start.registry, "repairs_total", "What menders did.", &["mender", "outcome"]);
    let kept = Kept { journal: start.journal, restored: start.restored };
    vec![Arc::new(CommitBuffer::new(config, start.registry, &repairs, kept, start.now))]
}
