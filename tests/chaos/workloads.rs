//! What runs while things break: apps on real clients, each started again when it dies, as whoever runs it would.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::wait::{eventually, within};
use crate::harness::{Admin, Client, Opts};
use crate::history::{End, History, Life};

/// Addresses that clients are given: those of three kmends, or the cluster's three times.
pub type Doors = [String; 3];

pub const PARTITIONS: i32 = 4;
const RATE: u32 = 25;
/// Sessions are short, so that a killed member's partitions are somebody else's soon.
const SESSION: &str = "session.timeout.ms=15000";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Java, idempotent; a classic group with the assignors that Java takes by itself. (With the cooperative one an app that commits after
    /// each poll ends by its own client's error whenever it has records while a rebalance is under way.)
    Java,
    /// librdkafka, idempotent; a KIP-848 group of Java and librdkafka.
    Consumer,
    /// franz-go, idempotent, to Java's consume-transform-produce in transactions, to a reader with `read_committed`.
    Transactions,
    /// Each of the other clients in turn.
    Others,
    /// A commit after each record; through kmend acknowledged before the broker has it.
    WriteBehind,
}

impl Workload {
    pub const ALL: [Workload; 5] =
        [Workload::Java, Workload::Consumer, Workload::Transactions, Workload::Others, Workload::WriteBehind];

    pub fn name(self, round: usize) -> String {
        match self {
            Workload::Java => "Java, classic group".to_owned(),
            Workload::Consumer => "librdkafka and Java, KIP-848 group".to_owned(),
            Workload::Transactions => "transactions".to_owned(),
            Workload::Others => format!("{}, classic group", other(round)),
            Workload::WriteBehind => "commit after each record, write-behind".to_owned(),
        }
    }
}

fn other(round: usize) -> &'static str {
    ["franz-go", "sarama", "aiokafka", "kafka-python", "kafkajs"][round % 5]
}

/// kafkajs gives concurrent requests the same sequence numbers: the broker takes new records for old ones (its issue 1005).
fn is_idempotent(client: &str) -> bool {
    client != "kafkajs"
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Producer,
    Consumer,
    /// Reads one topic and writes the other, in transactions.
    Transformer,
    /// Of what the transformers wrote.
    Reader,
}

/// An app, over all its lives.
pub struct App {
    pub role: Role,
    client: &'static str,
    opts: Opts,
    lives: Mutex<Vec<(Client, Option<End>)>>,
}

impl App {
    fn new(role: Role, client: &'static str, opts: Opts) -> App {
        App { role, client, opts, lives: Mutex::default() }
    }

    fn with(self, name: &'static str, value: &str) -> App {
        App { opts: self.opts.with(name, value), ..self }
    }

    fn lives(&self) -> MutexGuard<'_, Vec<(Client, Option<End>)>> {
        self.lives.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn start(&self) {
        let client = Client::start(self.client, self.opts.clone());
        self.lives().push((client, None));
    }

    /// SIGKILL; somebody else is started in its place.
    pub fn replace(&self) {
        if let Some((client, end)) = self.lives().last_mut().filter(|(_, end)| end.is_none()) {
            *end = Some(End::Asked);
            client.signal(Signal::KILL);
        }
        self.start();
    }

    /// SIGTERM.
    fn ask_to_close(&self) {
        if let Some((client, end)) = self.lives().last_mut().filter(|(_, end)| end.is_none()) {
            *end = Some(End::Asked);
            client.signal(Signal::TERM);
        }
    }

    /// A command on the stdin of the process that runs now.
    pub fn tell(&self, line: &str) {
        if let Some((client, _)) = self.lives().last() {
            client.tell(line);
        }
    }

    /// It closes in order, and is started again.
    pub fn restart(&self) {
        self.ask_to_close();
        self.wait_closed(Duration::from_secs(10));
        self.start();
    }

    /// Whether it has ended by then; it is killed where it has not.
    fn wait_closed(&self, limit: Duration) -> bool {
        let ended = || self.lives().last().is_none_or(|(client, _)| !client.alive());
        let has = eventually(limit, ended);
        if !has && let Some((client, _)) = self.lives().last() {
            client.signal(Signal::KILL);
        }
        has
    }

    /// One that has ended by itself is started again.
    fn look_after(&self) {
        let has_died = match self.lives().last_mut() {
            Some((client, end)) if end.is_none() && !client.alive() => {
                *end = Some(End::Died);
                true
            }
            _ => false,
        };
        if has_died {
            self.start();
        }
    }

    pub fn progress(&self) -> usize {
        self.lives().iter().map(|(client, _)| client.progress()).sum()
    }

    fn errors(&self) -> usize {
        self.lives().iter().map(|(client, _)| client.errors().len()).sum()
    }

    fn handled(&self, topic: &str) -> Vec<(i32, i64)> {
        self.lives().iter().flat_map(|(c, _)| c.handled_at(topic)).map(|(_, p, o)| (p, o)).collect()
    }

    fn told(&self) -> Vec<Life> {
        let life = |(client, end): &(Client, Option<End>)| Life {
            client: self.client.to_owned(),
            said: client.timeline(),
            end: end.unwrap_or(End::Asked),
            tells_assignments: self.role != Role::Producer
                && ["java", "java-consumer", "librdkafka"].contains(&self.client),
        };
        self.lives().iter().map(life).collect()
    }

    pub fn story(&self) -> String {
        self.lives().iter().map(|(client, _)| client.story()).collect::<Vec<_>>().join("\n")
    }
}

/// One workload on one way to the cluster.
pub struct Run {
    pub workload: Workload,
    pub apps: Vec<App>,
    pub topic: String,
    /// What the transformers write to.
    pub out: Option<String>,
    /// The groups: of the topic and of what is made of it.
    pub groups: Vec<(String, String)>,
}

impl Run {
    pub fn new(workload: Workload, round: usize, name: &str, doors: &Doors, is_direct: bool) -> Run {
        let (topic, out, group) = (name.to_owned(), format!("{name}-out"), format!("{name}-group"));
        let reading = format!("{name}-reading");
        // Not every app takes a list.
        let one =
            |list: &str| if is_direct { list.split(',').next().unwrap_or("").to_owned() } else { list.to_owned() };
        let produce = |client: &'static str, door: &str| {
            let opts = Opts::produce(door, &topic).with("IDEMPOTENCE", is_idempotent(client)).with("RATE", RATE);
            App::new(Role::Producer, client, opts.with("CLIENT_ID", format!("{name}-producer")))
        };
        let consume = |client: &'static str, number: usize, door: &str| {
            let opts = Opts::consume(door, &topic, &group).with("CLIENT_ID", format!("{name}-{number}"));
            App::new(Role::Consumer, client, opts.with("CALLBACKS", "yes"))
        };
        let [a, b, c] = doors;
        let apps = match workload {
            Workload::Java => vec![
                produce("java", a),
                consume("java", 1, a).with("COMMIT", "manual").with("PROPS", SESSION),
                consume("java", 2, b).with("COMMIT", "manual").with("PROPS", SESSION),
            ],
            Workload::Consumer => vec![
                produce("librdkafka", a),
                consume("java-consumer", 1, a),
                consume("librdkafka", 2, b).with("PROTOCOL", "consumer").with("COMMIT", "manual"),
            ],
            Workload::Others => {
                let client = other(round);
                let (a, b) = (one(a), one(b));
                // Only those in Python know it.
                let member = |n, door: &str| consume(client, n, door).with("PROPS", "session_timeout_ms=15000");
                vec![produce(client, &a), member(1, &a), member(2, &b)]
            }
            Workload::WriteBehind => {
                let member = |n| consume("librdkafka", n, c).with("COMMIT", "each").with("PROPS", SESSION);
                vec![produce("franz-go", &one(c)), member(1), member(2)]
            }
            Workload::Transactions => {
                let transform = |number: usize, door: &str| {
                    let opts = Opts::consume(door, &topic, &group).with("MODE", "ctp").with("OUT", &out);
                    let opts = opts.with("TRANSACTIONAL", format!("{name}-{number}")).with("PROPS", SESSION);
                    App::new(Role::Transformer, "java", opts.with("CLIENT_ID", format!("{name}-{number}")))
                };
                let opts = Opts::consume(b, &out, &reading).with("ISOLATION", "read_committed").with("PROPS", SESSION);
                let reader = App::new(
                    Role::Reader,
                    "librdkafka",
                    opts.with("CALLBACKS", "yes").with("CLIENT_ID", format!("{name}-reader")),
                );
                vec![produce("franz-go", &one(a)), transform(1, a), transform(2, b), reader]
            }
        };
        let transforms = workload == Workload::Transactions;
        let mut groups = vec![(group, topic.clone())];
        if transforms {
            groups.push((reading, out.clone()));
        }
        Run { workload, apps, topic, out: transforms.then_some(out), groups }
    }

    pub fn topics(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.topic).chain(&self.out)
    }

    pub fn prepare(&self, admin: &Admin) {
        for topic in self.topics() {
            admin.create_replicated(topic, PARTITIONS, 3, &[("min.insync.replicas", "2")]);
        }
    }

    pub fn start(&self) {
        self.apps.iter().for_each(App::start);
    }

    pub fn look_after(&self) {
        self.apps.iter().for_each(App::look_after);
    }

    pub fn of(&self, role: Role) -> impl Iterator<Item = &App> {
        self.apps.iter().filter(move |app| app.role == role)
    }

    /// One of the two members of its group.
    pub fn member(&self, n: usize) -> &App {
        let is_member = |app: &&App| matches!(app.role, Role::Consumer | Role::Transformer);
        self.apps.iter().filter(is_member).nth(n).expect("every workload has two members")
    }

    /// Who reads for good: consumers, or the reader behind the transformers.
    fn readers(&self) -> impl Iterator<Item = &App> {
        self.apps.iter().filter(|app| matches!(app.role, Role::Consumer | Role::Reader))
    }

    /// Whether records have come all the way.
    pub fn goes(&self) -> bool {
        self.readers().map(App::progress).sum::<usize>() >= 10
    }

    pub fn errors(&self) -> usize {
        self.apps.iter().map(App::errors).sum()
    }

    pub fn story(&self) -> String {
        self.apps.iter().map(App::story).collect::<Vec<_>>().join("\n")
    }

    /// Ends the producers, waits until everything has been read, ends the rest; what is left open after that.
    pub fn finish(&self, admin: &Admin, limit: Duration) -> Vec<String> {
        let mut blocked = Vec::new();
        self.of(Role::Producer).for_each(App::ask_to_close);
        for app in self.of(Role::Producer) {
            if !app.wait_closed(limit) {
                blocked.push(format!("the producer ({}) does not end", app.client));
            }
        }
        let began = Instant::now();
        let all = |topic: &str| -> usize {
            let partitions = partitions(admin, topic);
            (0..partitions).map(|p| admin.values(topic, p).len()).sum()
        };
        let unread = || -> Option<String> {
            self.look_after();
            match &self.out {
                None => unread(admin, &self.topic, self.readers()),
                // Everything has come through once.
                Some(out) => {
                    let (had, made) = (all(&self.topic), read(out, self.readers()).len());
                    (made < had).then(|| format!("{made} of {had} records have come through the transactions"))
                }
            }
        };
        let done = within(limit.saturating_sub(began.elapsed()).max(Duration::from_secs(1)), || {
            let open = unread();
            if open.is_some() {
                std::thread::sleep(Duration::from_millis(400));
            }
            open.is_none().then_some(())
        });
        if done.is_none() {
            blocked.extend(unread());
        }
        // What comes twice comes now.
        std::thread::sleep(Duration::from_secs(1));
        let rest = || self.apps.iter().filter(|app| app.role != Role::Producer);
        rest().for_each(App::ask_to_close);
        for app in rest() {
            if !app.wait_closed(Duration::from_secs(20)) {
                blocked.push(format!("{} does not end", app.client));
            }
        }
        blocked
    }

    /// What was seen: of the topic, and of what was made of it.
    pub fn histories(
        &self,
        admin: &Admin,
        committed: &[(Instant, String, i32, i64)],
        blocked: Vec<String>,
    ) -> Vec<History> {
        let lives = |role: Role| -> Vec<Life> { self.of(role).flat_map(App::told).collect() };
        let of = |group: &str| -> Vec<(Instant, i32, i64)> {
            committed.iter().filter(|(_, g, _, _)| g == group).map(|(at, _, p, o)| (*at, *p, *o)).collect()
        };
        let mut history = History {
            topic: self.topic.clone(),
            producers: lives(Role::Producer),
            consumers: lives(Role::Consumer).into_iter().chain(lives(Role::Transformer)).collect(),
            committed: of(&self.groups[0].0),
            blocked,
            ..History::default()
        };
        // A producer that was started again begins with record 0 once more.
        history.is_exact = history.producers.iter().all(|l| l.end != End::Died && is_idempotent(&l.client));
        // The apps on these two have several sends under way by themselves.
        let sends_at_once = |l: &Life| ["aiokafka", "kafkajs"].contains(&l.client.as_str());
        history.is_ordered = history.is_exact && !history.producers.iter().any(sends_at_once);
        for p in 0..partitions(admin, &self.topic) {
            history.log.insert(p, admin.values(&self.topic, p));
            history.starts.insert(p, admin.log_start(&self.topic, p));
        }
        let Some((out, (group, _))) = self.out.as_ref().zip(self.groups.get(1)) else {
            return vec![history];
        };
        let mut made = History {
            topic: out.clone(),
            consumers: lives(Role::Reader),
            committed: of(group),
            is_exact: true,
            ..History::default()
        };
        for p in 0..partitions(admin, out) {
            let (seen, hidden) = admin.values_committed(out, p);
            made.log.insert(p, seen);
            made.hidden.insert(p, hidden);
        }
        vec![history, made]
    }
}

pub fn partitions(admin: &Admin, topic: &str) -> i32 {
    let metadata = within(Duration::from_secs(20), || {
        admin.try_metadata(&[topic]).filter(|m| m.topics.iter().all(|t| t.error_code == 0))
    });
    metadata.and_then(|m| m.topics.first().map(|t| t.partitions.len() as i32)).unwrap_or(0)
}

fn read<'a>(topic: &str, readers: impl Iterator<Item = &'a App>) -> BTreeSet<(i32, i64)> {
    readers.flat_map(|app| app.handled(topic)).collect()
}

fn unread<'a>(admin: &Admin, topic: &str, readers: impl Iterator<Item = &'a App>) -> Option<String> {
    let read = read(topic, readers);
    let mut open: BTreeMap<i32, usize> = BTreeMap::new();
    for p in 0..partitions(admin, topic) {
        let left = admin.values(topic, p).into_iter().filter(|(o, _)| !read.contains(&(p, *o))).count();
        if left > 0 {
            open.insert(p, left);
        }
    }
    (!open.is_empty()).then(|| format!("unread records by partition: {open:?}"))
}
