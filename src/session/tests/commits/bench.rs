//! kmend with commit_buffer and a scripted journal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;

use super::journal::Script;
use super::line::Line;
use crate::config::Config;
use crate::config::commit_buffer::CommitBuffer;
use crate::config::model::Mode;
use crate::mend::Interests;
use crate::menders;
use crate::session::tests::kit::{Cuts, World};
use crate::store::checkpoints::Checkpoints;
use crate::store::journal::{Key, Kind, Promise};

pub const TOPIC: &str = "orders";
pub const TOPIC_ID: [u8; 16] = [7; 16];
pub const GROUP: &str = "billing";
pub const CLUSTER: &str = "cluster-1";
pub const ME: &str = "me";
pub const MS: Duration = Duration::from_millis(1);
pub const REBALANCE: Duration = Duration::from_secs(60);
pub const MAX_AGE: Duration = Duration::from_secs(60);

pub struct Bench {
    pub world: World,
    pub journal: Arc<Script>,
    pub now: Instant,
    config: Config,
}

impl Bench {
    /// The cluster and its topic are known.
    pub fn new(set: impl FnOnce(&mut CommitBuffer)) -> Bench {
        Bench::restored(set, Vec::new()).with_cluster(CLUSTER)
    }

    pub fn plain() -> Bench {
        Bench::new(|_| {})
    }

    pub fn behind() -> Bench {
        Bench::new(|c| c.write_behind.enabled = true)
    }

    /// Kept from an earlier run; the cluster has not said its name yet.
    pub fn restored(set: impl FnOnce(&mut CommitBuffer), restored: Vec<Promise>) -> Bench {
        let mut config = Config::default();
        config.menders.offset_reset.mode = Mode::Off;
        set(&mut config.menders.commit_buffer);
        Bench::of(config, restored, Script::new(true))
    }

    pub fn of(mut config: Config, restored: Vec<Promise>, journal: Arc<Script>) -> Bench {
        config.menders.partition_discovery.mode = Mode::Off;
        config.menders.assignment_watchdog.mode = Mode::Off;
        let (registry, now, shared) = (Registry::new(), Instant::now(), Arc::default());
        let kept = menders::commit_buffer::Kept { journal: journal.clone(), restored };
        let all =
            menders::all(&config, &registry, &menders::repairs(&registry), &shared, Checkpoints::none(), kept, now);
        let world = World::sharing(all, registry, shared);
        journal.wakes(&world.env.shared);
        Bench { world, journal, now, config }
    }

    pub fn with_cluster(self, id: &str) -> Bench {
        self.world.env.shared.cluster.learn(id);
        self.learn_topic(TOPIC_ID);
        self
    }

    pub fn learn_topic(&self, id: [u8; 16]) {
        self.world.env.shared.catalog.learn(TOPIC, id, &[1, 1, 1]);
    }

    pub fn reload(&mut self, set: impl FnOnce(&mut CommitBuffer)) {
        set(&mut self.config.menders.commit_buffer);
        let env = &self.world.env;
        env.menders.iter().for_each(|m| m.reload(&self.config));
        env.interests.store(Arc::new(Interests::fold(env.menders.iter().map(|m| m.interests()))));
    }

    /// A connection that has said who it is.
    pub fn line(&self, cuts: Cuts, number: u64) -> Line {
        Line::new(self, cuts, number, "app", "apache-kafka-java")
    }

    /// Its member `me` has joined generation 5 and owns partitions 0 and 1; the broker holds offset
    /// 10 of each, and kmend knows it.
    pub fn member(&self, cuts: Cuts) -> Line {
        let mut line = self.line(cuts, 1);
        line.stable(5, ME, &[0, 1]);
        assert_eq!(line.commits(5, ME, &[(0, 10), (1, 10)], 0), [(0, 0), (1, 0)]);
        line
    }

    pub fn commits(&self, outcome: &str) -> f64 {
        self.world.metric("kmend_commits_total", &[("outcome", outcome)])
    }

    pub fn repairs(&self, outcome: &str) -> f64 {
        self.world.metric("kmend_repairs_total", &[("mender", "commit_buffer"), ("outcome", outcome)])
    }
}

/// As an earlier run has left it: of member `me`, generation 5, over 10.
pub fn promise(partition: i32, offset: i64) -> Promise {
    Promise {
        key: Key { cluster: CLUSTER.into(), group: GROUP.into(), topic: TOPIC.into(), partition },
        kind: Kind::Buffered,
        topic_id: TOPIC_ID,
        member: ME.into(),
        instance: None,
        generation: 5,
        ready: true,
        consumer_protocol: false,
        client_id: "app".into(),
        offset,
        leader_epoch: 3,
        metadata: Some("note".into()),
        baseline: Some(10),
        time_ms: 1,
    }
}
