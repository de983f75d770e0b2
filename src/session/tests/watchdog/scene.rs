//! kmend with assignment_watchdog, its clients' connections and one clock for all of them.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest};
use prometheus::Registry;

use super::broker::Brokers;
use super::line::Line;
use super::says::*;
use crate::config::Config;
use crate::config::assignment_watchdog::{AssignmentWatchdog, WatchdogScope};
use crate::config::model::Mode;
use crate::mend::{Finding, Interests, Stalled};
use crate::menders;
use crate::session::tests::commits::journal::Script;
use crate::session::tests::kit::{Cuts, World};
use crate::store::checkpoints::Checkpoints;
use crate::wire::api::ApiKey;

pub const MS: Duration = Duration::from_millis(1);
pub const SECOND: Duration = Duration::from_secs(1);
pub const JAVA: &str = "apache-kafka-java";
pub const FRANZ_GO: &str = "kgo";

pub struct Scene {
    pub world: World,
    pub brokers: Rc<RefCell<Brokers>>,
    pub lines: BTreeMap<u64, Line>,
    pub start: Instant,
    pub now: Instant,
    pub cuts: Cuts,
    config: Config,
    numbers: u64,
}

impl Scene {
    /// Members are told in every group, unless `set` says otherwise.
    pub fn new(set: impl FnOnce(&mut Config)) -> Scene {
        Scene::in_cuts(Cuts::Whole, set)
    }

    pub fn in_cuts(cuts: Cuts, set: impl FnOnce(&mut Config)) -> Scene {
        let mut config = Config::default();
        config.menders.offset_reset.mode = Mode::Off;
        config.menders.commit_buffer.mode = Mode::Off;
        config.menders.partition_discovery.mode = Mode::Off;
        config.menders.assignment_watchdog.scope = WatchdogScope::Any;
        set(&mut config);
        let (registry, now, shared) = (Registry::new(), Instant::now(), Arc::default());
        let journal = Script::new(true);
        let kept = menders::commit_buffer::Kept { journal: journal.clone(), restored: Vec::new() };
        let all =
            menders::all(&config, &registry, &menders::repairs(&registry), &shared, Checkpoints::none(), kept, now);
        let world = World::sharing(all, registry, shared);
        journal.wakes(&world.env.shared);
        let brokers = Rc::new(RefCell::new(Brokers::new()));
        Scene { world, brokers, lines: BTreeMap::new(), start: now, now, cuts, config, numbers: 0 }
    }

    pub fn plain() -> Scene {
        Scene::new(|_| {})
    }

    /// Members are told in switched groups only.
    pub fn scoped() -> Scene {
        Scene::new(|c| c.menders.assignment_watchdog.scope = WatchdogScope::ProtocolSwitch)
    }

    pub fn reload(&mut self, set: impl FnOnce(&mut AssignmentWatchdog)) {
        set(&mut self.config.menders.assignment_watchdog);
        let env = &self.world.env;
        env.menders.iter().for_each(|m| m.reload(&self.config));
        env.interests.store(Arc::new(Interests::fold(env.menders.iter().map(|m| m.interests()))));
    }

    pub fn brokers(&self) -> RefMut<'_, Brokers> {
        self.brokers.borrow_mut()
    }

    /// This many records come to each of these partitions.
    pub fn produce(&self, partitions: &[i32], records: i64) {
        self.produce_to(TOPIC, partitions, records);
    }

    pub fn produce_to(&self, topic: &str, partitions: &[i32], records: i64) {
        for partition in partitions {
            *self.brokers().ends.entry((topic.to_owned(), *partition)).or_insert(0) += records;
        }
    }

    pub fn commits(&self, group: &str, partitions: &[i32], offset: i64) {
        for partition in partitions {
            self.brokers().committed.insert((group.to_owned(), TOPIC.to_owned(), *partition), offset);
        }
    }

    /// A connection without a word on it.
    pub fn bare(&mut self, client_id: &str, node: i32) -> u64 {
        self.numbers += 1;
        let rig = self.world.connect_at(self.cuts.clone(), self.numbers, Some(node), self.now);
        self.lines.insert(self.numbers, Line::new(rig, self.numbers, client_id, self.brokers.clone()));
        self.numbers
    }

    /// A connection that has said who it is, and knows the topics.
    pub fn connect(&mut self, client_id: &str, node: i32, software: &str) -> u64 {
        let number = self.bare(client_id, node);
        let line = self.line(number);
        let hello = ApiVersionsRequest::default().with_client_software_name(text(software));
        line.ask(ApiKey::API_VERSIONS, 3, &hello.with_client_software_version(text("1")));
        line.ask(ApiKey::METADATA, 12, &MetadataRequest::default().with_topics(None));
        number
    }

    pub fn line(&mut self, number: u64) -> &mut Line {
        self.lines.get_mut(&number).expect("a connection")
    }

    /// The client closes it.
    pub fn close(&mut self, number: u64) {
        let mut line = self.lines.remove(&number).expect("a connection");
        line.rig.client_gone();
        assert!(!line.rig.is_lingering());
        self.settle();
    }

    /// Whatever connections have told each other has come.
    pub fn settle(&mut self) {
        for _ in 0..10 {
            for line in self.lines.values_mut() {
                line.rig.settle();
                line.serve();
            }
            if !self.lines.values().any(|line| line.rig.has_mail()) {
                return;
            }
        }
    }

    /// Time passes; every connection is woken whenever it wants to be.
    pub fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        self.settle();
        while self.now < end {
            let next = self.lines.values().filter_map(|line| line.rig.core.deadline()).min();
            self.now = next.map_or(end, |at| at.clamp(self.now + MS, end.max(self.now + MS)));
            for line in self.lines.values_mut() {
                line.rig.at(self.now);
                line.serve();
            }
            self.settle();
        }
    }

    pub fn seconds(&self) -> f64 {
        (self.now - self.start).as_secs_f64()
    }

    pub fn repairs(&self, outcome: &str) -> f64 {
        self.world.metric("kmend_repairs_total", &[("mender", "assignment_watchdog"), ("outcome", outcome)])
    }

    /// `reported`, `told`, `healed`, `gave_up`.
    pub fn counts(&self) -> [u32; 4] {
        ["reported", "told", "healed", "gave_up"].map(|outcome| self.repairs(outcome) as u32)
    }

    pub fn finding(&self, group: &str, member: &str) -> Option<Finding> {
        self.world.env.shared.findings.get(&group.into(), &member.into())
    }

    /// Partition and lag.
    pub fn unfetched(&self, member: &str) -> Vec<(i32, Option<i64>)> {
        let finding = self.finding(GROUP, member);
        finding.into_iter().flat_map(|f| f.unfetched).map(|u| (u.place.1, u.lag)).collect()
    }

    pub fn paused(&self, member: &str) -> Vec<i32> {
        self.finding(GROUP, member).into_iter().flat_map(|f| f.paused).map(|place| place.1).collect()
    }

    pub fn stalled(&self, member: &str) -> Option<Stalled> {
        self.finding(GROUP, member).and_then(|f| f.stalled)
    }

    /// No byte was changed on any connection that is there.
    pub fn is_untouched(&self) -> bool {
        self.lines.values().all(Line::is_untouched)
    }

    /// Requests of kmend's own of this kind.
    pub fn asked(&self, api: ApiKey) -> usize {
        self.brokers.borrow().asked.iter().filter(|asked| asked.api == api).count()
    }
}
