//! What happens to the records while the app is not looking.

use std::time::Duration;

use crate::harness::admin::Batch;
use crate::harness::{Admin, Client, Opts, eventually, wait_for};

/// Everything that the rules of `offset_reset` speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// The app is frozen, its position evicted, then it goes on.
    Paused,
    /// The app is slow: the log start overtakes it while it works.
    Running,
    /// The group's committed offset was evicted while no app ran.
    Committed,
    /// Nothing is left: the log start is the log end.
    Expired,
    /// Three partitions of one fetch session at once, each with another log start.
    ThreePartitions,
    /// The log start moves on while the repair is under way.
    MovingStart,
    /// The log start lies in a gap that compaction has left.
    Compacted,
    /// `read_committed`, and the log start lies within an aborted transaction.
    Aborted,
}

use Scenario::*;

impl Scenario {
    pub const ALL: [Scenario; 8] =
        [Paused, Running, Committed, Expired, ThreePartitions, MovingStart, Compacted, Aborted];

    pub fn partitions(self) -> i32 {
        if self == ThreePartitions { 3 } else { 1 }
    }

    /// The topic's own settings.
    pub fn config(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Compacted => &[
                ("cleanup.policy", "compact,delete"),
                ("segment.ms", "100"),
                ("min.cleanable.dirty.ratio", "0.01"),
                ("retention.ms", "-1"),
            ],
            _ => &[],
        }
    }

    /// What the app needs besides.
    pub fn opts(self, opts: Opts) -> Opts {
        match self {
            Running => opts.with("FETCH_BYTES", 8192).with("HANDLER_MS", 2),
            Aborted => opts.with("ISOLATION", "read_committed"),
            _ => opts,
        }
    }

    pub fn committed_only(self) -> bool {
        self == Aborted
    }
}

/// What is there before the app starts.
pub fn prepare(scenario: Scenario, admin: &Admin, topic: &str, group: &str) {
    for p in 0..scenario.partitions() {
        // A committed offset to start from: `none` and `latest` must not apply before the eviction.
        match scenario {
            Committed => {
                admin.produce(topic, p, 600);
                admin.commit(group, topic, p, 100);
                admin.delete_records(topic, p, 400);
            }
            Running => {
                admin.produce_batches(topic, p, Batch { n: 2000, bytes: 500, ..Batch::default() });
                admin.commit(group, topic, p, 0);
            }
            _ => {
                admin.produce(topic, p, 100);
                admin.commit(group, topic, p, 0);
            }
        }
    }
}

/// Lets the app come to the point, and evicts. Returns, for each partition, the log starts that there were.
pub fn evict(scenario: Scenario, admin: &Admin, topic: &str, app: &Client) -> Vec<Vec<i64>> {
    let all = 0..scenario.partitions();
    match scenario {
        Committed => return vec![vec![400]],
        Running => {
            app.wait("100 records", Duration::from_secs(30), |c| c.handled(topic, 0).len() >= 100 || !c.alive());
            return vec![vec![admin.delete_records(topic, 0, 1500)]];
        }
        _ => {}
    }
    for p in all.clone() {
        app.wait_handled(topic, p, 99, Duration::from_secs(30));
    }
    app.freeze();
    let starts: Vec<Vec<i64>> = all.clone().map(|p| vec![replace(scenario, admin, topic, p)]).collect();
    app.thaw();
    if scenario == MovingStart {
        // Into the time in which the first log start is being looked up.
        let further = [430, 460, 490].map(|at| {
            std::thread::sleep(Duration::from_millis(2));
            admin.delete_records(topic, 0, at)
        });
        return vec![starts.into_iter().flatten().chain(further).collect()];
    }
    starts
}

/// Writes 500 records behind the app's position 100 and evicts up to the log start that is returned.
fn replace(scenario: Scenario, admin: &Admin, topic: &str, p: i32) -> i64 {
    match scenario {
        Expired => {
            admin.produce(topic, p, 500);
            admin.delete_records(topic, p, 600)
        }
        Aborted => {
            admin.produce(topic, p, 250);
            admin.produce_transaction(topic, p, 100, false); // 350 to 449, and its marker
            admin.produce_transaction(topic, p, 50, true);
            admin.produce(topic, p, 100);
            admin.delete_records(topic, p, 400)
        }
        Compacted => {
            admin.produce_batches(topic, p, Batch { n: 500, keys: 100, ..Batch::default() });
            wait_for("compaction", Duration::from_secs(30), || {
                // Only a segment that is not written to any more is cleaned, and only a new record ends it.
                admin.produce_batches(topic, p, Batch { n: 1, keys: 1, ..Batch::default() });
                let gap = || !admin.read(topic, p, false).iter().any(|o| (200..450).contains(o));
                eventually(Duration::from_millis(400), gap).then_some(())
            });
            admin.delete_records(topic, p, 300)
        }
        _ => {
            admin.produce(topic, p, 500);
            admin.delete_records(topic, p, 400 + 20 * i64::from(p))
        }
    }
}
