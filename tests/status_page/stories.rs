//! What makes each mender mend, with a real client. They are told side by side, on one kmend.

use std::panic::resume_unwind;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Admin, Client, Kafka, Kmend, Opts, eventually, unique, wait_for};
use crate::hop;

pub const PATIENCE: Duration = Duration::from_secs(60);

/// Of each mender, by the words of its log lines: what has to be there in `repair` ...
pub const REPAIRS: &[(&str, &str)] = &[
    ("offset_reset", "was evicted, reset to"),
    ("partition_discovery", "a topic has more partitions"),
    ("partition_discovery", "a client is made to look for new partitions"),
    ("partition_discovery", "a client knows of the new partitions"),
    ("commit_buffer", "a commit that a rebalance refused is kept"),
    ("commit_buffer", "a kept commit has reached the broker"),
    ("commit_buffer", "a client went without a commit"),
    ("assignment_watchdog", "partitions are assigned and nobody fetches them"),
    ("assignment_watchdog", "a member is told to rejoin"),
    ("assignment_watchdog", "a member that was told to rejoin fetches all"),
];

/// ... and in `observe`.
pub const OBSERVED: &[(&str, &str)] = &[
    ("offset_reset", "in mode `repair` it would be reset"),
    ("partition_discovery", "in mode `repair` it would not have had to wait"),
    ("commit_buffer", "in mode `repair` a commit that a rebalance refused would be kept"),
    ("assignment_watchdog", "in mode `repair` a member would be told to rejoin"),
];

#[derive(Clone, Copy)]
pub struct Stage<'a> {
    pub kafka: &'a Kafka,
    pub kmend: &'a Kmend,
    /// `repair`; else `observe`.
    pub mends: bool,
}

impl Stage<'_> {
    /// Tells all stories, for the n-th time.
    pub fn tell(&self, round: usize) {
        let all: [&(dyn Fn() + Sync); 5] =
            [&|| evicted(self), &|| grown(self), &|| refused(self), &|| ended(self), &|| hop::dangling(self, round)];
        std::thread::scope(|threads| {
            let told: Vec<_> = all.into_iter().map(|story| threads.spawn(story)).collect();
            told.into_iter().for_each(|story| story.join().unwrap_or_else(|e| resume_unwind(e)));
        });
        // The last words of a story are still on their way to the page: that is what is measured.
        std::thread::sleep(Duration::from_millis(1500));
    }

    /// Waits until kmend has counted so many of an outcome.
    pub fn wait_counted(&self, mender: &str, outcome: &str, count: f64) {
        let labels = [("mender", mender), ("outcome", outcome)];
        let counted = || self.kmend.metrics().sum("kmend_repairs_total", &labels);
        wait_for(&format!("{count} {outcome} of {mender}"), PATIENCE, || (counted() >= count).then_some(()));
    }

    /// Waits for a line of the log about something of that name.
    fn wait_said(&self, words: &str, name: &str) {
        let said = || self.kmend.log().iter().any(|line| line.contains(words) && line.contains(name));
        wait_for(&format!("{words} ({name})"), PATIENCE, || said().then_some(()));
    }

    /// A topic of its own.
    fn topic(&self, name: &str, partitions: i32) -> (Admin, String) {
        let admin = self.kafka.admin();
        let topic = unique(&format!("page-{name}"));
        admin.create(&topic, partitions, &[]);
        (admin, topic)
    }

    fn consumer(&self, client: &str, topic: &str, opts: impl FnOnce(Opts) -> Opts) -> Client {
        let own = Opts::consume(&self.kmend.listen, topic, &format!("{topic}-group")).with("CLIENT_ID", topic);
        Client::start(client, opts(own))
    }
}

/// A frozen app's position is evicted.
fn evicted(stage: &Stage<'_>) {
    let (admin, topic) = stage.topic("evicted", 1);
    admin.produce(&topic, 0, 100);
    admin.commit(&format!("{topic}-group"), &topic, 0, 0);
    // Where nothing is mended it has to get over it by itself.
    let reset = if stage.mends { "none" } else { "earliest" };
    let app = stage.consumer("java", &topic, |o| o.with("RESET", reset));
    app.wait_handled(&topic, 0, 99, PATIENCE);
    app.freeze();
    admin.produce(&topic, 0, 500);
    admin.delete_records(&topic, 0, 400);
    app.thaw();
    app.wait_handled(&topic, 0, 599, PATIENCE);
    app.close();
}

/// A topic grows under a producer.
fn grown(stage: &Stage<'_>) {
    let (admin, topic) = stage.topic("grown", 1);
    let opts = Opts::produce(&stage.kmend.listen, &topic).with("CLIENT_ID", &topic);
    // Where nothing is mended it has to look by itself.
    let own = if stage.mends { "" } else { "topic.metadata.refresh.interval.ms=2000" };
    let app = Client::start("librdkafka", opts.with("PROPS", own));
    app.wait("a steady run", PATIENCE, |c| c.progress() >= 60);
    admin.add_partitions(&topic, 3);
    app.wait("records in a new partition", PATIENCE, |c| c.first_in(&topic, 2).is_some());
    let said = if stage.mends { "knows of the new partitions" } else { "has learnt of new partitions by itself" };
    stage.wait_said(said, &topic);
    app.close();
}

/// A commit is refused, since the group has gone on in the member's name.
fn refused(stage: &Stage<'_>) {
    let (admin, topic) = stage.topic("refused", 1);
    let group = format!("{topic}-group");
    let app = stage.consumer("librdkafka", &topic, |o| o.with("COMMIT", "each"));
    let write = || _ = admin.produce(&topic, 0, 1);
    write();
    app.wait("the first commit", PATIENCE, |_| admin.committed(&group, &topic, 0).is_some());
    let words = if stage.mends { "a commit that a rebalance refused is kept" } else { "would be kept" };
    // Its heartbeat may be quicker than its handler; then the next record.
    for _ in 0..5 {
        admin.wait_stable(&group, 1);
        app.hold_handler(PATIENCE, write);
        admin.rejoin_as(&group, &topic);
        app.resume_handler();
        let said = || stage.kmend.log().iter().any(|line| line.contains(words) && line.contains(&topic));
        if eventually(Duration::from_secs(4), said) {
            break;
        }
    }
    stage.wait_said(words, &topic);
    if stage.mends {
        stage.wait_said("a kept commit has reached the broker", &topic);
        app.close();
    }
}

/// An app that commits by itself now and then is stopped without warning (`delivered`).
fn ended(stage: &Stage<'_>) {
    if !stage.mends {
        return;
    }
    let (admin, topic) = stage.topic("ended", 1);
    let app = stage.consumer("java", &topic, |o| o.with("COMMIT", "default").with("SIGNALS", "default"));
    admin.produce(&topic, 0, 10);
    app.wait("the first records", PATIENCE, |c| c.progress() >= 10);
    // Every 5 s it commits; some while after that it has handled what it has not committed.
    for _ in 0..70 {
        admin.produce(&topic, 0, 10);
        std::thread::sleep(Duration::from_millis(100));
    }
    app.signal(Signal::KILL);
    stage.wait_said("a client went without a commit", &topic);
}
