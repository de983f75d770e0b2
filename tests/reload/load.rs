//! What has to go on undisturbed: apps at work, and connections of the test's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest};

use crate::changes::Change;
use crate::harness::admin::conn::Conn;
use crate::harness::{Admin, Client, Kafka, Kmend, Opts, eventually, unique};
use crate::json_of;

const PARTITIONS: i32 = 3;
/// Records a second of each producer.
const RATE: u32 = 200;
const PATIENCE: Duration = Duration::from_secs(60);

/// A producer and a consumer of one client on a topic of their own.
struct Pair {
    topic: String,
    group: String,
    producer: Client,
    consumer: Client,
}

impl Pair {
    fn start(admin: &Admin, kmend: &Kmend, client: &str) -> Pair {
        let topic = unique(&format!("reload-{client}"));
        let group = format!("{topic}-group");
        admin.create(&topic, PARTITIONS, &[]);
        // What a busy machine lets expire is sent again, and must be there once all the same.
        let produce = Opts::produce(&kmend.listen, &topic).with("RATE", RATE).with("IDEMPOTENCE", true);
        let producer = Client::start(client, produce);
        let consumer = Client::start(client, Opts::consume(&kmend.listen, &topic, &group));
        Pair { topic, group, producer, consumer }
    }

    /// Waits until both work, and have made all connections that they make.
    fn begin(&self) {
        self.producer.wait("400 records", PATIENCE, |c| c.progress() >= 400);
        self.consumer.wait("300 records", PATIENCE, |c| c.progress() >= 300);
    }

    /// Ends both: no error, every record in the log once, handled once and in order, and committed. How many.
    fn finish(&self, admin: &Admin) -> usize {
        self.producer.close();
        let logs: Vec<Vec<(i64, String)>> = (0..PARTITIONS).map(|p| admin.values(&self.topic, p)).collect();
        let handled = |p: i32| self.consumer.handled(&self.topic, p);
        let done = || (0..).zip(&logs).all(|(p, log)| handled(p).len() >= log.len());
        self.consumer.wait("all records", PATIENCE, |c| done() || !c.alive());
        self.consumer.close();
        for app in [&self.producer, &self.consumer] {
            assert_eq!(app.errors(), Vec::<String>::new(), "{}", app.story());
        }
        for (p, log) in (0..).zip(&logs) {
            let offsets: Vec<i64> = log.iter().map(|(offset, _)| *offset).collect();
            assert_eq!(handled(p), offsets, "{}[{p}]\n{}", self.topic, self.consumer.story());
            assert_eq!(admin.committed(&self.group, &self.topic, p), Some(admin.log_end(&self.topic, p)));
        }
        // Record n is `r<n>`: each is there once, and none is missing in between.
        let mut numbers: Vec<usize> =
            logs.iter().flatten().filter_map(|(_, value)| value.strip_prefix('r')?.parse().ok()).collect();
        numbers.sort_unstable();
        let first = numbers.first().copied().unwrap_or_default();
        assert_eq!(numbers, (first..first + numbers.len()).collect::<Vec<_>>(), "{}", self.producer.story());
        let sent = self.producer.sent(&self.topic).len();
        assert_eq!(sent, numbers.len(), "what was sent, and what is there\n{}", self.producer.story());
        sent
    }
}

/// What kmend counts of its connections.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Counts {
    accepted: f64,
    open: f64,
    ended: f64,
    refused: f64,
}

impl Counts {
    fn of(kmend: &Kmend) -> Counts {
        let metrics = kmend.metrics();
        Counts {
            accepted: metrics.sum("kmend_client_connections_total", &[]),
            open: metrics.sum("kmend_client_connections", &[]),
            ended: metrics.sum("kmend_disconnects_total", &[]),
            refused: metrics.sum("kmend_connections_refused_total", &[]),
        }
    }
}

pub struct Load {
    pairs: Vec<Pair>,
    /// These ask something now and then.
    asking: Vec<Conn>,
    /// These only at their start and at the end.
    silent: Vec<Conn>,
    /// As it has to be.
    expected: Counts,
}

/// Whether the broker behind it answers.
fn answers(conn: &mut Conn) -> bool {
    conn.call(0, &ApiVersionsRequest::default()).is_some_and(|a| a.error_code == 0)
}

fn dead(conns: &mut [Conn]) -> usize {
    conns.iter_mut().map(answers).filter(|answers| !answers).count()
}

impl Load {
    /// Starts a pair of each client, and connections of the test's own to the bootstrap and to the broker's port.
    pub fn start(kafka: &Kafka, kmend: &Kmend, clients: &[&str]) -> Load {
        let admin = kafka.admin();
        let pairs: Vec<Pair> = clients.iter().map(|client| Pair::start(&admin, kmend, client)).collect();
        pairs.iter().for_each(Pair::begin);
        let listeners = json_of(kmend, "/api/status")["listeners"].clone();
        let all: Vec<&str> = listeners.as_array().into_iter().flatten().filter_map(|l| l["address"].as_str()).collect();
        assert_eq!(all.len(), 2, "the bootstrap listener and the broker's: {listeners}");
        let open = |address: &&str| {
            let mut conn = Conn::open(address).expect("kmend listens");
            assert!(answers(&mut conn), "a new connection to {address}");
            conn
        };
        let some = || all.iter().cycle().take(6).map(open).collect::<Vec<_>>();
        let (asking, silent) = (some(), some());
        Load { pairs, asking, silent, expected: Counts::of(kmend) }
    }

    pub fn producer(&self) -> &Client {
        &self.pairs[0].producer
    }

    pub fn connections(&self) -> f64 {
        self.expected.open
    }

    /// What is not as it was, in words; `all`: the silent ones are asked, too.
    pub fn dropped(&mut self, kmend: &Kmend, all: bool) -> Vec<String> {
        let (now, then) = (Counts::of(kmend), self.expected);
        let counts = [
            ("accepted", now.accepted, then.accepted),
            ("open", now.open, then.open),
            ("ended", now.ended, then.ended),
            ("refused", now.refused, then.refused),
        ];
        let other = counts.iter().filter(|(_, now, then)| now != then);
        let mut found: Vec<String> = other.map(|(what, now, then)| format!("{what}: {now}, not {then}")).collect();
        let asking = dead(&mut self.asking);
        let silent = if all { dead(&mut self.silent) } else { 0 };
        found.extend((asking > 0).then(|| format!("asking now and then: {asking} answer no more")));
        found.extend((silent > 0).then(|| format!("silent: {silent} answer no more")));
        found
    }

    /// Of some keys it can be seen that they are in force.
    pub fn check_effect(&mut self, kmend: &Kmend, change: &Change) {
        let wanted = change.value.as_str();
        if change.key == "log.level" {
            assert_eq!(kmend.get("/api/log-level").1.trim(), wanted.expect("text"));
        } else if let Some(name) = change.key.strip_prefix("menders.").and_then(|k| k.strip_suffix(".mode")) {
            let menders = json_of(kmend, "/api/status")["menders"].clone();
            let mender = menders.as_array().into_iter().flatten().find(|m| m["name"] == name);
            // What is said of one client is not the mender's own mode.
            assert!(mender.is_none_or(|m| m["mode"] == change.value), "{change:?}: {menders}");
        } else if change.key == "limits.max_connections" {
            let gets_in = Conn::open(&kmend.listen).is_some_and(|mut conn| answers(&mut conn));
            assert_eq!(gets_in, change.value != 1, "{change:?}");
            self.expected.accepted += 1.0;
            if gets_in {
                self.expected.ended += 1.0;
            } else {
                self.expected.refused += 1.0;
            }
            eventually(Duration::from_secs(5), || Counts::of(kmend) == self.expected);
            assert_eq!(Counts::of(kmend), self.expected, "{change:?}\n{}", kmend.log_text());
        }
    }

    /// Ends the apps; how many records there were.
    pub fn finish(&self, kafka: &Kafka) -> usize {
        self.pairs.iter().map(|pair| pair.finish(&kafka.admin())).sum()
    }
}

/// One connection that asks for metadata fifty times a second.
pub struct Pings {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<(Instant, Duration)>>>,
}

impl Pings {
    pub fn start(kmend: &Kmend) -> Pings {
        let over = Arc::new(AtomicBool::new(false));
        let (ended, mut conn) = (over.clone(), Conn::open(&kmend.listen).expect("kmend listens"));
        let thread = std::thread::spawn(move || {
            let mut took = Vec::new();
            while !ended.load(Ordering::SeqCst) {
                let asked = Instant::now();
                conn.call(9, &MetadataRequest::default().with_topics(Some(Vec::new()))).expect("an answer to a ping");
                took.push((asked, asked.elapsed()));
                std::thread::sleep(Duration::from_millis(20));
            }
            took
        });
        Pings { over, thread: Some(thread) }
    }

    /// How long they took from `quiet` to `began`, and from then on.
    pub fn split(mut self, quiet: Instant, began: Instant) -> (Vec<Duration>, Vec<Duration>) {
        self.over.store(true, Ordering::SeqCst);
        let all = self.thread.take().expect("running").join().expect("every ping was answered");
        let counted = all.into_iter().filter(|(asked, _)| *asked >= quiet);
        let (before, after): (Vec<_>, Vec<_>) = counted.partition(|(asked, _)| *asked < began);
        let took = |some: Vec<(Instant, Duration)>| some.into_iter().map(|(_, took)| took).collect();
        (took(before), took(after))
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

/// Median, 99th percentile and the longest, in milliseconds.
pub fn span(mut all: Vec<Duration>) -> String {
    all.sort_unstable();
    let at = |share: f64| all[((all.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    format!("median {:.1} ms, p99 {:.1} ms, most {:.1} ms", at(0.5), at(0.99), at(1.0))
}
