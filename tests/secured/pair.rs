//! A producer and a consumer at work, behind a kmend of their own, for longer than a login lasts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::harness::{Admin, Client, Opts, caught, unique};
use crate::{CLIENTS, Discreet, kafka};

const PARTITIONS: i32 = 2;
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long they work: four sessions; with `KMEND_MATRIX` twenty.
pub fn span() -> Duration {
    Duration::from_secs(if std::env::var_os("KMEND_MATRIX").is_some() { 60 } else { 12 })
}

/// Two apps on a topic of their own.
pub struct Pair {
    pub producer: Client,
    pub consumer: Client,
    pub topic: String,
    admin: Admin,
}

impl Pair {
    /// Starts both; `owner` begins the names of topic and group.
    pub fn start(clients: [&str; 2], servers: &str, owner: &str, login: impl Fn(Opts) -> Opts) -> Pair {
        let admin = kafka().admin();
        let topic = unique(&format!("{owner}-{}-{}", clients[0], clients[1]));
        admin.create(&topic, PARTITIONS, &[]);
        let own = |opts: Opts, what: &str| login(opts.with("CLIENT_ID", format!("{topic}-{what}")));
        // What a busy machine lets expire is sent again, and must be there once all the same.
        let produce = Opts::produce(servers, &topic).with("RATE", 50).with("IDEMPOTENCE", true);
        let producer = Client::start(clients[0], own(produce, "producer"));
        let group = format!("{topic}-group");
        let consumer = Client::start(clients[1], own(Opts::consume(servers, &topic, &group), "consumer"));
        Pair { producer, consumer, topic, admin }
    }

    /// Waits until both work.
    #[track_caller]
    pub fn begin(&self) {
        for app in [&self.producer, &self.consumer] {
            app.wait("the first record", PATIENCE, |c| c.progress() > 0 || !c.alive());
            assert!(app.alive(), "{}", app.story());
        }
    }

    /// Lets them work for so long; the longest time in which one of them did nothing.
    pub fn work(&self, span: Duration) -> Duration {
        let began = Instant::now();
        while began.elapsed() < span && self.producer.alive() && self.consumer.alive() {
            std::thread::sleep(Duration::from_millis(100));
        }
        self.producer.longest_gap(began).max(self.consumer.longest_gap(began))
    }

    /// Ends both; every record is in the log once, and was handled once; nobody saw an error. How many there were.
    #[track_caller]
    pub fn finish(&self) -> usize {
        self.producer.close();
        let all: Vec<Vec<(i64, String)>> = (0..PARTITIONS).map(|p| self.admin.values(&self.topic, p)).collect();
        let handled_all = |c: &Client| (0..).zip(&all).all(|(p, log)| c.handled(&self.topic, p).len() >= log.len());
        self.consumer.wait("all records", PATIENCE, |c| handled_all(c) || !c.alive());
        self.consumer.close();
        for app in [&self.producer, &self.consumer] {
            assert_eq!(app.errors(), Vec::<String>::new(), "{}", app.story());
        }
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        all.iter().flatten().for_each(|(_, value)| *times.entry(value).or_default() += 1);
        let sent = self.producer.sent(&self.topic);
        for (_, _, value) in &sent {
            assert_eq!(times.get(value.as_str()), Some(&1), "{value}\n{}", self.producer.story());
        }
        assert_eq!(sent.len(), times.len(), "what was sent, and what is there\n{}", self.producer.story());
        for (p, log) in (0..).zip(&all) {
            let offsets: Vec<i64> = log.iter().map(|(offset, _)| *offset).collect();
            assert_eq!(self.consumer.handled(&self.topic, p), offsets, "{}", self.consumer.story());
        }
        sent.len()
    }
}

/// What one pair came to behind its kmend.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub clients: [&'static str; 2],
    pub records: usize,
    /// The longest time without a record at one of the two.
    pub pause: Duration,
    /// Connections of the clients, and to the brokers.
    pub connections: f64,
    pub upstream: f64,
    /// SaslHandshake requests that clients sent.
    pub logins: f64,
    /// Renewals of kmend's own login.
    pub renewed: f64,
    /// Connections that a broker ended: those that it found expired, and those that nobody used.
    pub closed: f64,
}

/// Some pairs side by side, each behind a kmend of its own, for [`span`].
pub fn side_by_side(
    pairs: &[[&'static str; 2]],
    owner: &str,
    kmend: impl Fn() -> Discreet + Sync,
    login: impl Fn(Opts) -> Opts + Sync,
) -> Vec<Outcome> {
    let start = |clients: &[&'static str; 2]| {
        let kmend = kmend();
        let pair = Pair::start(*clients, &kmend.listen, owner, &login);
        (kmend, pair, *clients)
    };
    // Virtual machines first: while they start nobody else gets to log in anew in time.
    let (slow, quick): (Vec<_>, Vec<_>) = pairs.iter().partition(|clients| clients.contains(&"java"));
    let mut all: Vec<_> = slow.into_iter().map(start).collect();
    all.iter().for_each(|(_, pair, _)| pair.begin());
    all.extend(quick.into_iter().map(start));
    let run = |(kmend, pair, clients): (Discreet, Pair, [&'static str; 2])| {
        pair.begin();
        let pause = pair.work(span());
        let records = pair.finish();
        let metrics = kmend.metrics();
        let sum = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels);
        Outcome {
            clients,
            records,
            pause,
            connections: sum("kmend_client_connections_total", &[]),
            upstream: sum("kmend_upstream_connections_total", &[("outcome", "connected")]),
            logins: sum("kmend_requests_total", &[("api", "SaslHandshake")]),
            renewed: sum("kmend_logins_renewed_total", &[]),
            closed: sum("kmend_disconnects_total", &[("side", "upstream")]),
        }
    };
    let ended: Vec<Result<Outcome, String>> = std::thread::scope(|threads| {
        let running: Vec<_> = all.into_iter().map(|one| threads.spawn(|| caught(move || run(one)))).collect();
        running.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("a thread".to_owned()))).collect()
    });
    ended.into_iter().map(|one| one.unwrap_or_else(|text| panic!("{text}"))).collect()
}

/// Each client with itself.
pub fn each() -> [[&'static str; 2]; 4] {
    CLIENTS.map(|client| [client, client])
}
