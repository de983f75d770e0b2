//! Two members with franz-go's fault of up to 1.16.1, left by two of the old kind: after the change from range to
//! cooperative-sticky neither fetches what it had before (`tests/assignments/hop.rs` has all of it).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::{Admin, Client, Opts, Over, eventually, unique, wait_for};
use crate::stories::{PATIENCE, Stage};

const BROKEN: &str = "franz-go-1.16.1";
const PARTITIONS: i32 = 2;
const RANGE: &str = "range";
const BOTH: &str = "cooperative-sticky,range";
const COOPERATIVE: &str = "cooperative-sticky";

struct Group<'a> {
    stage: &'a Stage<'a>,
    admin: Admin,
    topic: String,
    group: String,
    members: Vec<Client>,
}

impl Group<'_> {
    /// Goes on once the group is stable with it, and everything is read.
    fn join(&mut self, tag: &str, balancers: &str) {
        let opts = Opts::consume(&self.stage.kmend.listen, &self.topic, &self.group);
        let opts = opts.with("CLIENT_ID", format!("{}-{tag}", self.topic)).with("BALANCERS", balancers);
        self.members.push(Client::start(BROKEN, opts));
        self.settle(RANGE);
        self.catch_up();
    }

    fn leave(&mut self) {
        self.members.remove(0).close();
    }

    fn settle(&self, protocol: &str) {
        wait_for(&format!("a stable group on {protocol}"), PATIENCE, || {
            let now = self.admin.membership(&self.group);
            let all = now.members.len() == self.members.len();
            (all && now.state == "Stable" && now.protocol.as_str() == protocol).then_some(())
        });
    }

    fn catch_up(&self) {
        for p in 0..PARTITIONS {
            let end = self.admin.log_end(&self.topic, p);
            let reads = |c: &Client| c.handled(&self.topic, p).last().is_some_and(|o| *o + 1 >= end);
            let there = eventually(PATIENCE, || self.members.iter().any(reads));
            assert!(there, "{}[{p}] is not read", self.topic);
        }
    }
}

/// Goes the hop, and waits until kmend has seen what came of it, and has mended it where it may:
/// two members in each round.
pub fn dangling(stage: &Stage<'_>, round: usize) {
    let admin = stage.kafka.admin();
    let topic = unique("page-hop");
    admin.create(&topic, PARTITIONS, &[]);
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let _over = Over(&over);
        threads.spawn(|| {
            let admin = stage.kafka.admin();
            while !over.load(Ordering::SeqCst) {
                admin.produce_everywhere(&topic, PARTITIONS);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let group = format!("{topic}-group");
        let mut group = Group { stage, admin, topic: topic.clone(), group, members: Vec::new() };
        // The new ones come first by name: range gives them something.
        group.join("z-old-1", RANGE);
        group.join("z-old-2", RANGE);
        group.join("a-new-1", BOTH);
        group.leave();
        group.settle(RANGE);
        group.catch_up();
        group.join("a-new-2", BOTH);
        group.leave();
        group.settle(COOPERATIVE);
        let outcome = if stage.mends { "healed" } else { "observed" };
        stage.wait_counted("assignment_watchdog", outcome, 2.0 * round as f64);
        if stage.mends {
            group.catch_up();
        }
    });
}
