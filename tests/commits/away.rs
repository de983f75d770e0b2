//! Write-behind while the brokers or the client are away: what kmend has acknowledged gets to the broker.
//!
//! The interval is longer than any test here: nothing arrives because its time has come, and each test proves that
//! something was pending when the trouble began.

use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Admin, Client, ClusterSpec, Kafka, Kmend, Opts, Together, eventually, kmend::binary, unique};
use crate::{behind, commits};

pub const RECORDS: i64 = 200;
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What is promised of a restart: two seconds, and half of one for the rest.
pub const PROMISE: Duration = Duration::from_millis(2_500);

/// Brokers that want a login.
pub fn with_login() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| Kafka::start(ClusterSpec { sasl: true, ..ClusterSpec::default() }))
}

/// kmend with write-behind and an interval that is never over.
pub fn writing_behind(upstream: &[String], change: impl FnOnce(&mut Value)) -> Kmend {
    Kmend::start_at("127.0.0.1", upstream, |config| configure(config, change))
}

pub fn configure(config: &mut Value, change: impl FnOnce(&mut Value)) {
    config["menders"]["commit_buffer"]["write_behind"] = serde_json::json!({ "enabled": true, "interval": "60s" });
    change(config);
}

/// What `kmend journal inspect` shows of a folder: group and offset of each promise.
pub fn promised(folder: &std::path::Path) -> Vec<(String, i64)> {
    let out = Command::new(binary()).args(["journal", "inspect", "--json"]).arg(folder).output().expect("kmend starts");
    let text = String::from_utf8_lossy(&out.stdout);
    let all: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let of = |p: &Value| Some((p["group"].as_str()?.to_owned(), p["offset"].as_i64()?));
    let journals = all["journals"].as_array().cloned().unwrap_or_default();
    journals.iter().flat_map(|j| j["promises"].as_array().cloned().unwrap_or_default()).filter_map(|p| of(&p)).collect()
}

/// An app with a commit after each of 200 records: all acknowledged, and one of them at the broker.
pub struct Pending {
    pub app: Client,
    pub kmend: Kmend,
    pub admin: Admin,
    pub topic: String,
    pub group: String,
}

impl Pending {
    pub fn start(kafka: &Kafka, kmend: Kmend, client: &str) -> Pending {
        let admin = kafka.admin();
        let topic = unique(&format!("away-{client}"));
        let group = format!("{topic}-group");
        admin.create_replicated(&topic, 1, kafka.spec().nodes.min(3) as i16, &[]);
        let app = app(kafka, &kmend, client, &topic, &group);
        let pending = Pending { app, kmend, admin, topic, group };
        pending.write(1);
        pending.acknowledged(1);
        pending.write(RECORDS as usize - 1);
        pending.acknowledged(RECORDS);
        pending.is_pending();
        pending
    }

    pub fn write(&self, n: usize) {
        self.admin.produce(&self.topic, 0, n);
    }

    /// The app has been told that its commits up to there are taken, and of no error.
    #[track_caller]
    pub fn acknowledged(&self, offset: i64) {
        let told = |c: &Client| c.committed(&self.topic, 0) == Some(offset);
        self.app.wait(&format!("a commit of {offset}"), PATIENCE, told);
        // A broker that was killed cannot be reached, through kmend neither: franz-go may say so.
        let mut errors = self.app.errors();
        errors.retain(|e| !e.contains("unable to dial"));
        assert_eq!(errors, Vec::<String>::new(), "{}", self.app.story());
    }

    pub fn at_broker(&self) -> i64 {
        self.admin.committed(&self.group, &self.topic, 0).unwrap_or(-1)
    }

    /// The journal has what the broker has not.
    #[track_caller]
    pub fn is_pending(&self) {
        let (at, kept) = (self.at_broker(), promised(&self.kmend.state()));
        assert!(at < RECORDS, "nothing is pending: the broker has {at}");
        assert!(kept.contains(&(self.group.clone(), RECORDS)), "nothing is pending: the journal has {kept:?}");
    }

    /// The broker has it in time.
    #[track_caller]
    pub fn arrives(&self, offset: i64, since: Instant, limit: Duration) {
        let there = eventually(PATIENCE, || self.at_broker() == offset);
        let took = since.elapsed();
        println!("{}: {} at the broker after {took:?}", self.topic, self.at_broker());
        assert!(there && took <= limit, "{}: {} of {offset} after {took:?}", self.topic, self.at_broker());
    }

    /// Nothing is promised any more, in memory and on disk.
    #[track_caller]
    pub fn is_settled(&self, kmend: &Kmend) {
        let left = || kmend.metrics().sum("kmend_commits_buffered", &[]);
        assert!(eventually(Duration::from_secs(5), || left() == 0.0), "{} promises are still kept", left());
        let on_disk = || promised(&self.kmend.state());
        assert!(eventually(Duration::from_secs(5), || on_disk().is_empty()), "in the journal: {:?}", on_disk());
    }
}

/// One more app of that group.
pub fn app(kafka: &Kafka, kmend: &Kmend, client: &str, topic: &str, group: &str) -> Client {
    let opts = Opts::consume(&kmend.listen, topic, group).with("CLIENT_ID", topic).with("COMMIT", "each");
    Client::start(client, if kafka.spec().sasl { opts.login() } else { opts }).ready()
}

/// The partition of the offsets topic that a group's commits are in: Java's hash of its name.
fn home(group: &str) -> i32 {
    let hash = group.encode_utf16().fold(0i32, |h, c| h.wrapping_mul(31).wrapping_add(i32::from(c)));
    (hash & i32::MAX) % 3
}

const OFFSETS: &str = "__consumer_offsets";

/// The group's coordinator becomes another one, and its client lives.
///
/// Fails where a promise is forgotten with the connection that carried it, and where neither the client's next
/// connection nor one of kmend's own takes it over.
fn coordinator_moves(kafka: &Kafka, client: &str, is_killed: bool) {
    // A connection of the client's keeps to the interval: it is over once, behind the trouble.
    let kmend = writing_behind(&kafka.bootstrap(), |c| {
        c["menders"]["commit_buffer"]["write_behind"]["interval"] = "10s".into();
    });
    let run = Pending::start(kafka, kmend, client);
    run.kmend.allow("");
    let partition = home(&run.group);
    let before = run.admin.leader_id(OFFSETS, partition);
    let began = Instant::now();
    if is_killed {
        kafka.kill(before as u32);
    } else {
        run.admin.move_leader(OFFSETS, partition, before % 3 + 1);
    }
    let moved = || run.admin.leader_id(OFFSETS, partition) != before;
    assert!(eventually(PATIENCE, moved), "the coordinator is where it was");
    let at = run.at_broker();
    println!("{client}: the coordinator was node {before}, the next one has {at} after {:?}", began.elapsed());
    if is_killed {
        // No word from the app: what is promised must not wait for its next commit.
        run.arrives(RECORDS, began, Duration::from_secs(40));
    }
    run.write(5);
    run.acknowledged(RECORDS + 5);
    assert!(run.at_broker() >= at, "the broker has {} after {at}", run.at_broker());
    let ended = Instant::now();
    run.app.signal(Signal::KILL);
    run.arrives(RECORDS + 5, ended, Duration::from_secs(15));
    run.is_settled(&run.kmend);
}

fn coordinators() {
    let kafka = Kafka::start(ClusterSpec { nodes: 3, ..ClusterSpec::default() });
    coordinator_moves(&kafka, "aiokafka", false);
    coordinator_moves(&kafka, "franz-go", true);
}

/// No broker for so long, and no client any more: the commit arrives when there is a broker again.
///
/// Fails without errands: no client's connection is there that could carry it.
pub fn upstream_down(client: &str, down: Duration) -> String {
    let kafka = Kafka::start(ClusterSpec::default());
    let run = Pending::start(&kafka, writing_behind(&kafka.bootstrap(), |_| {}), client);
    run.kmend.allow("");
    kafka.kill(1);
    run.app.signal(Signal::KILL);
    std::thread::sleep(down);
    let kept = promised(&run.kmend.state());
    assert_eq!(kept, [(run.group.clone(), RECORDS)], "after {down:?}");
    kafka.start_node(1);
    kafka.wait_for_brokers(1);
    let there = Instant::now();
    // The longest pause between attempts, and the coordinator's own start.
    run.arrives(RECORDS, there, Duration::from_secs(40));
    run.is_settled(&run.kmend);
    let flushed = commits(&run.kmend, "flushed") + commits(&run.kmend, "replayed");
    assert!(flushed >= 1.0, "kmend has brought nothing");
    let text = format!(
        "{client}: brokers down for {down:?}, app killed in the first second; the acknowledged commit was at the \
         broker {:.1} s after it was back",
        there.elapsed().as_secs_f64()
    );
    println!("{text}");
    text
}

/// kmend and its client are killed, and kmend is started without the client.
///
/// Fails without a journal, and without errands.
fn client_gone(client: &str, is_member: bool) {
    let run = Pending::start(&behind().kafka, writing_behind(&behind().upstream, |_| {}), client);
    run.kmend.kill();
    run.app.signal(Signal::KILL);
    if !is_member {
        // As when its session is over: nobody can commit as this member any more.
        run.admin.remove_member(&run.group, &run.topic);
    }
    run.is_pending();
    run.kmend.launch();
    run.kmend.wait_ready();
    run.arrives(RECORDS, Instant::now(), PROMISE);
    run.is_settled(&run.kmend);
}

/// The same where a login is needed, which kmend has not: it waits for the client, which was frozen meanwhile.
///
/// Fails where the promises of an earlier run are sent only when their time has come.
fn client_frozen(client: &str) {
    let run = Pending::start(with_login(), writing_behind(&with_login().bootstrap(), |_| {}), client);
    run.kmend.allow("");
    run.app.freeze();
    run.kmend.kill_and_restart();
    // Twice the time that it would take without a login.
    std::thread::sleep(2 * PROMISE);
    run.is_pending();
    run.app.thaw();
    let back = || run.kmend.metrics().sum("kmend_requests_total", &[("api", "Heartbeat")]) > 0.0;
    assert!(eventually(PATIENCE, back), "the client has not come back\n{}", run.app.story());
    run.arrives(RECORDS, Instant::now(), PROMISE);
    run.is_settled(&run.kmend);
    assert!(run.app.alive(), "{}", run.app.story());
}

/// The same with a client that is killed, too, and started anew: another member.
///
/// Fails where the new app is shown what the broker has: it would handle records once more.
fn client_anew(client: &str) {
    let run = Pending::start(with_login(), writing_behind(&with_login().bootstrap(), |_| {}), client);
    run.kmend.allow("");
    run.kmend.kill();
    run.app.signal(Signal::KILL);
    run.is_pending();
    // As when its session is over.
    run.admin.remove_member(&run.group, &run.topic);
    run.kmend.launch();
    run.kmend.wait_ready();
    let anew = app(with_login(), &run.kmend, client, &run.topic, &run.group);
    run.write(1);
    anew.wait("the new record", PATIENCE, |c| c.handled(&run.topic, 0).contains(&RECORDS));
    println!("{client}, started anew: handled {:?}", anew.handled(&run.topic, 0));
    assert_eq!(anew.handled(&run.topic, 0), [RECORDS], "{}", anew.story());
    anew.wait("its commit", PATIENCE, |c| c.committed(&run.topic, 0) == Some(RECORDS + 1));
    anew.close();
    run.arrives(RECORDS + 1, Instant::now(), PROMISE);
    run.is_settled(&run.kmend);
}

const STORIES: &[(&str, fn())] = &[
    ("coordinators", coordinators),
    ("down", || drop(upstream_down("franz-go", Duration::from_secs(10)))),
    ("gone", || client_gone("franz-go", true)),
    ("gone, no member", || client_gone("aiokafka", false)),
    ("frozen", || client_frozen("franz-go")),
    ("anew", || client_anew("aiokafka")),
];

static TOLD: Together = Together::new();

#[test]
fn coordinator_that_moves() {
    TOLD.tell("coordinators", STORIES);
}

#[test]
fn brokers_down_and_the_client_gone() {
    TOLD.tell("down", STORIES);
}

#[test]
fn kmend_starts_without_its_client() {
    TOLD.tell("gone", STORIES);
}

#[test]
fn kmend_starts_and_the_member_is_gone() {
    TOLD.tell("gone, no member", STORIES);
}

#[test]
fn kmend_waits_for_a_client_that_logs_in() {
    TOLD.tell("frozen", STORIES);
}

#[test]
fn kmend_waits_for_a_new_client_that_logs_in() {
    TOLD.tell("anew", STORIES);
}

/// `KMEND_MATRIX=1 cargo test --test commits five_minutes -- --nocapture`
#[test]
fn brokers_down_for_five_minutes() {
    if std::env::var("KMEND_MATRIX").is_ok() {
        upstream_down("aiokafka", Duration::from_secs(300));
    }
}
