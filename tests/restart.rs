//! Things that go away and come back: kmend, the upstream, a broker. Clients log in with SASL/PLAIN that passes
//! through, so kmend has no login of its own to ask anybody with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod harness;

use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpStream;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use harness::{Admin, Client, ClusterSpec, Kafka, Kmend, Opts, slot, unique};

/// Three brokers with SASL/PLAIN for clients.
fn kafka() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| Kafka::start(ClusterSpec { nodes: 3, sasl: true, ..ClusterSpec::default() }))
}

/// One test at a time: some of them stop brokers.
static ALONE: Mutex<()> = Mutex::new(());

/// A producer and a consumer at work on a topic of three partitions, one on each broker.
struct Pair {
    topic: String,
    producer: Client,
    consumer: Client,
}

impl Pair {
    fn start(client: &str, kafka: &Kafka, servers: &str) -> Pair {
        let topic = unique(&format!("restart-{client}"));
        let copies = kafka.spec().nodes.min(3) as i16;
        kafka.admin().create_replicated(&topic, 3, copies, &[("min.insync.replicas", "1")]);
        let pair = Pair::at_work(client, kafka, servers, &topic);
        pair.wait_progress(Instant::now(), Duration::from_secs(30));
        pair
    }

    /// The same without waiting.
    fn at_work(client: &str, kafka: &Kafka, servers: &str, topic: &str) -> Pair {
        // A broker takes its time to start on a busy machine; by itself sarama would have ended before.
        let login = |opts: Opts| if kafka.spec().sasl { opts.login() } else { opts }.with("RETRIES", 100);
        let producer = Client::start(client, login(Opts::produce(servers, topic)).with("RATE", 50));
        let consumer = Client::start(client, login(Opts::consume(servers, topic, &format!("{topic}-group"))));
        Pair { topic: topic.to_owned(), producer, consumer }
    }

    /// Both have done something since `since`.
    #[track_caller]
    fn wait_progress(&self, since: Instant, limit: Duration) {
        for app in [&self.producer, &self.consumer] {
            app.wait("progress", limit.saturating_sub(since.elapsed()), |c| c.progress_since(since) > 0);
        }
    }

    /// Every record that the cluster has taken reaches the consumer, and no error reached it.
    fn nothing_lost(&self, kafka: &Kafka) {
        self.producer.close();
        for p in 0..3 {
            let there: BTreeSet<i64> = kafka.admin().read(&self.topic, p, false).into_iter().collect();
            self.consumer.wait("all records", Duration::from_secs(15), |c| {
                let handled: BTreeSet<i64> = c.handled(&self.topic, p).into_iter().collect();
                there.is_subset(&handled)
            });
        }
        assert!(self.consumer.alive(), "{}", self.consumer.story());
    }
}

fn killed_kmend_is_found_again(client: &str) {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let _slot = slot();
    let kmend = Kmend::start(kafka(), |_| {});
    kmend.allow("");
    let pair = Pair::start(client, kafka(), &kmend.listen);
    kmend.kill_and_restart();
    let restarted = Instant::now();
    pair.wait_progress(restarted, Duration::from_secs(5));
    println!("{client}: producer and consumer went on {:.2} s after the restart", restarted.elapsed().as_secs_f64());
    pair.nothing_lost(kafka());
}

macro_rules! killed {
    ($($name:ident: $client:literal;)*) => {
        $(#[test]
        fn $name() {
            killed_kmend_is_found_again($client);
        })*
    };
}

killed! {
    killed_kmend_is_found_again_by_java: "java";
    killed_kmend_is_found_again_by_old_java: "java-old";
    killed_kmend_is_found_again_by_librdkafka: "librdkafka";
    killed_kmend_is_found_again_by_sarama: "sarama";
    killed_kmend_is_found_again_by_franz_go: "franz-go";
}

/// kmend starts before the cluster does: it is ready, and clients go on when the cluster is there.
#[test]
fn upstream_that_is_absent_at_the_start() {
    let _slot = slot();
    let kafka = Kafka::start(ClusterSpec::default());
    let clients = ["java", "librdkafka", "sarama", "franz-go"].map(|client| (client, unique("absent")));
    for (_, topic) in &clients {
        kafka.admin().create(topic, 3, &[]);
    }
    kafka.stop(1);
    let kmend = Kmend::start(&kafka, |_| {});
    kmend.allow("");
    let pairs = clients.map(|(client, topic)| (client, Pair::at_work(client, &kafka, &kmend.listen, &topic)));
    std::thread::sleep(Duration::from_secs(1));
    kafka.start_node(1);
    kafka.wait_for_brokers(1);
    let there = Instant::now();
    for (client, pair) in &pairs {
        pair.wait_progress(there, Duration::from_secs(5));
        println!("{client}: at work {:.2} s after the cluster was there", there.elapsed().as_secs_f64());
    }
}

/// A name that does not resolve yet is no reason to end, and the other bootstrap servers are tried.
#[test]
fn name_that_does_not_resolve() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let _slot = slot();
    let mut upstream = vec!["no-such-host.invalid:9092".to_owned()];
    upstream.extend(kafka().bootstrap());
    let kmend = Kmend::start_at("127.0.0.1", &upstream, |_| {});
    kmend.allow("");
    Pair::start("franz-go", kafka(), &kmend.listen).nothing_lost(kafka());
}

/// A client that comes back at once whenever it is dropped (kafka-python does) finds no broker that takes and drops it a thousand times a
/// second: while one cannot be reached, each attempt waits a little for it.
#[test]
fn attempts_at_a_broker_that_is_away_are_paced() {
    let _slot = slot();
    let kafka = Kafka::start(ClusterSpec::default());
    let kmend = Kmend::start(&kafka, |_| {});
    kmend.allow("");
    let metadata = Admin::new(vec![kmend.listen.clone()]).try_metadata(&[]).expect("metadata");
    let node = format!("127.0.0.1:{}", metadata.brokers[0].port);
    assert_ne!(node, kmend.listen, "the node has a listener of its own");
    kafka.stop(1);
    let (began, mut attempts) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(3) {
        let mut client = TcpStream::connect(&node).expect("kmend listens");
        let dropped = client.read(&mut [0]).map_or(true, |read| read == 0);
        assert!(dropped, "nobody can have answered");
        attempts += 1;
    }
    println!("{attempts} attempts in 3 s");
    assert!((3..=30).contains(&attempts), "{attempts} attempts in 3 s");
    kafka.start_node(1);
    kafka.wait_for_brokers(1);
    assert!(Admin::new(vec![node]).try_metadata(&[]).is_some(), "the broker is back");
}

/// A broker comes back under its node id, but at another port: the client's port for it stays.
fn broker_moves(client: &str) {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let _slot = slot();
    let kmend = Kmend::start(kafka(), |_| {});
    kmend.allow("");
    let pair = Pair::start(client, kafka(), &kmend.listen);
    let leader = kafka().admin().leader_id(&pair.topic, 0) as u32;
    kafka().move_node(leader);
    kafka().wait_for_brokers(3);
    kafka().admin().move_leader(&pair.topic, 0, leader as i32);
    let since = Instant::now();
    let partition_moves = |c: &Client| c.handled(&pair.topic, 0).len();
    let before = partition_moves(&pair.consumer);
    pair.consumer.wait("records of the moved leader", Duration::from_secs(5), |c| partition_moves(c) > before);
    pair.wait_progress(since, Duration::from_secs(5));
    println!("{client}: records of the moved leader after {:.2} s", since.elapsed().as_secs_f64());
    pair.nothing_lost(kafka());
}

#[test]
fn broker_that_moves_to_another_port_java() {
    broker_moves("java");
}

#[test]
fn broker_that_moves_to_another_port_franz_go() {
    broker_moves("franz-go");
}
