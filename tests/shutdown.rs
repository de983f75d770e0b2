//! Ways out: kmend and its app get their signal at the same moment, and the app's last commit still needs kmend.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod harness;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use harness::{Client, ClusterSpec, Kafka, Kmend, Opts, slot, unique, wait_for};
use rustix::process::Signal;
use serde_json::json;

fn kafka() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| Kafka::start(ClusterSpec::default()))
}

/// An app that is in the middle of its records, through a kmend with the settings of an ordinary sidecar.
fn at_work(client: &str) -> (Kmend, Client, String) {
    let topic = unique(&format!("shutdown-{client}"));
    kafka().admin().create(&topic, 1, &[]);
    kafka().admin().produce(&topic, 0, 2_000);
    let kmend = Kmend::start(kafka(), |c| c["shutdown"]["drain_timeout"] = "30s".into());
    let opts = Opts::consume(&kmend.listen, &topic, &format!("{topic}-group")).with("HANDLER_MS", 5);
    let app = Client::start(client, opts);
    app.wait("60 records", Duration::from_secs(30), |c| c.progress() >= 60);
    (kmend, app, topic)
}

/// What was handled last is what is committed, and kmend ends with 0 soon after its last client.
fn ends_well(kmend: &Kmend, app: &Client, topic: &str) {
    assert_eq!(app.exit_code(Duration::from_secs(15)), Some(0), "{}", app.story());
    let handled = app.handled(topic, 0).into_iter().max().expect("records");
    let committed = kafka().admin().committed(&format!("{topic}-group"), topic, 0);
    assert_eq!(committed, Some(handled + 1), "{}", app.story());
    assert_eq!(kmend.exit_code(Duration::from_secs(5)), Some(0));
}

fn signalled_together(client: &str) {
    let _slot = slot();
    let (kmend, app, topic) = at_work(client);
    kmend.terminate();
    app.signal(Signal::TERM);
    ends_well(&kmend, &app, &topic);
}

macro_rules! together {
    ($($name:ident: $client:literal;)*) => {
        $(#[test]
        fn $name() {
            signalled_together($client);
        })*
    };
}

together! {
    signalled_together_java_commits: "java";
    signalled_together_java_consumer_commits: "java-consumer";
    signalled_together_librdkafka_commits: "librdkafka";
    signalled_together_franz_go_commits: "franz-go";
    signalled_together_sarama_commits: "sarama";
    signalled_together_aiokafka_commits: "aiokafka";
    signalled_together_kafka_python_commits: "kafka-python";
    signalled_together_kafkajs_commits: "kafkajs";
}

/// The app needs a while for its way out: kmend waits for it.
#[test]
fn app_that_closes_late_still_commits() {
    let _slot = slot();
    let (kmend, app, topic) = at_work("java");
    kmend.terminate();
    let before = app.progress();
    std::thread::sleep(Duration::from_secs(3));
    assert!(app.progress() > before, "the app goes on while kmend drains");
    app.signal(Signal::TERM);
    ends_well(&kmend, &app, &topic);
}

/// A second signal is an order, not a wish.
#[test]
fn second_signal_ends_at_once() {
    let _slot = slot();
    let (kmend, _app, _topic) = at_work("franz-go");
    kmend.allow("second signal");
    kmend.terminate();
    std::thread::sleep(Duration::from_millis(200));
    kmend.terminate();
    let began = Instant::now();
    kmend.exit_code(Duration::from_secs(5));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

/// Without any client there is nothing to wait for.
#[test]
fn idle_kmend_ends_at_once() {
    let kmend = Kmend::start(kafka(), |c| c["shutdown"]["drain_timeout"] = "30s".into());
    kmend.terminate();
    let began = Instant::now();
    assert_eq!(kmend.exit_code(Duration::from_secs(5)), Some(0));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

/// A signal in the first moment is one like any other.
#[test]
fn a_signal_at_the_very_start_is_heard() {
    let (_listener, address) = hung();
    for _ in 0..10 {
        let kmend = Kmend::prepare(&[], "127.0.0.1", std::slice::from_ref(&address), |_| {});
        kmend.launch();
        while kmend.log().is_empty() {
            std::thread::yield_now();
        }
        kmend.terminate();
        assert_eq!(kmend.exit_code(Duration::from_secs(5)), Some(0), "{}", kmend.log_text());
    }
}

/// What the defaults promise: gone within 2 s of the signal, where no client stays.
const PROMISED: Duration = Duration::from_secs(2);

/// kmend's default times, before any upstream.
fn with_defaults(upstream: &[String]) -> Kmend {
    Kmend::start_at("127.0.0.1", upstream, |c| {
        c.as_object_mut().unwrap().remove("shutdown");
    })
}

/// A broker that takes connections and never says a word.
fn hung() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// How long kmend takes from a signal to its end, which is a good one.
fn ends_within(kmend: &Kmend, limit: Duration, signalled: Instant) {
    assert_eq!(kmend.exit_code(limit + Duration::from_secs(5)), Some(0));
    let took = signalled.elapsed();
    println!("kmend ended {:.2} s after the signal", took.as_secs_f64());
    assert!(took < limit, "{took:?}");
}

/// ApiVersions 0: a request that is nobody's in particular.
fn asks(stream: &mut TcpStream) {
    stream.write_all(b"\0\0\0\x0d\0\x12\0\0\0\0\0\x07\0\x03raw").unwrap();
}

/// The request is answered.
fn is_served(stream: &mut TcpStream) {
    asks(stream);
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("an answer");
    stream.read_exact(&mut vec![0; u32::from_be_bytes(size) as usize]).expect("all of it");
}

fn clients(kmend: &Kmend) -> f64 {
    kmend.metrics().sum("kmend_client_connections", &[])
}

#[test]
fn hung_upstream_delays_no_exit() {
    let (_listener, address) = hung();
    let kmend = with_defaults(std::slice::from_ref(&address));
    let signalled = Instant::now();
    kmend.terminate();
    ends_within(&kmend, PROMISED, signalled);

    // The client goes at once, and with it the hope for its answer.
    let kmend = with_defaults(&[address]);
    let mut client = TcpStream::connect(&kmend.listen).unwrap();
    asks(&mut client);
    wait_for("the client", Duration::from_secs(5), || (clients(&kmend) == 1.0).then_some(()));
    let signalled = Instant::now();
    kmend.terminate();
    drop(client);
    ends_within(&kmend, PROMISED, signalled);
}

/// The same where a real broker has been stopped in the middle of its work, and its app is killed.
#[test]
fn stopped_broker_delays_no_exit() {
    let _slot = slot();
    let kafka = Kafka::start(ClusterSpec::default());
    let topic = unique("shutdown-hung");
    kafka.admin().create(&topic, 1, &[]);
    kafka.admin().produce(&topic, 0, 500);
    let kmend = with_defaults(&kafka.bootstrap());
    kmend.allow("");
    let app = Client::start("franz-go", Opts::consume(&kmend.listen, &topic, &format!("{topic}-group")));
    app.wait("60 records", Duration::from_secs(30), |c| c.progress() >= 60);
    kafka.signal(1, Signal::STOP);
    // Requests are on their way that nobody will answer.
    std::thread::sleep(Duration::from_secs(1));
    let signalled = Instant::now();
    kmend.terminate();
    app.signal(Signal::KILL);
    ends_within(&kmend, PROMISED, signalled);
    kafka.signal(1, Signal::CONT);
}

/// A client that stays costs `drain_timeout`, and `grace` at most.
#[test]
fn client_that_stays_is_cut_in_the_end() {
    let (_listener, address) = hung();
    let kmend = with_defaults(&[address]);
    kmend.allow("shutdown.drain_timeout is over");
    let mut client = TcpStream::connect(&kmend.listen).unwrap();
    asks(&mut client);
    wait_for("the client", Duration::from_secs(5), || (clients(&kmend) == 1.0).then_some(()));
    let signalled = Instant::now();
    kmend.terminate();
    std::thread::sleep(Duration::from_millis(1500));
    client.set_nonblocking(true).unwrap();
    let error = client.read(&mut [0; 8]).expect_err("still connected");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    ends_within(&kmend, 2 * PROMISED, signalled);
    assert!(signalled.elapsed() >= Duration::from_secs(2));
}

/// An app on its way out may open another connection, to its coordinator; when the last has gone, so
/// has kmend.
#[test]
fn new_clients_are_served_while_one_remains() {
    let _slot = slot();
    let kmend = Kmend::start(kafka(), |c| c["shutdown"]["drain_timeout"] = "30s".into());
    let mut first = TcpStream::connect(&kmend.listen).unwrap();
    is_served(&mut first);
    kmend.terminate();
    wait_for("the drain", Duration::from_secs(5), || kmend.log().iter().any(|l| l.contains("stopping")).then_some(()));
    let mut second = TcpStream::connect(&kmend.listen).unwrap();
    is_served(&mut second);
    drop(first);
    std::thread::sleep(Duration::from_millis(300));
    is_served(&mut second);
    let gone = Instant::now();
    drop(second);
    ends_within(&kmend, Duration::from_secs(1), gone);
    assert!(TcpStream::connect(&kmend.listen).is_err());
}

/// An app that has committed 600 records through a kmend that writes behind, the last 100 of them a
/// moment ago: they are promised, and the broker does not have them.
fn promised(kafka: &Kafka) -> (Kmend, Client, String) {
    let topic = unique("shutdown-promised");
    kafka.admin().create(&topic, 1, &[]);
    kafka.admin().produce(&topic, 0, 500);
    let kmend = Kmend::start_at("127.0.0.1", &kafka.bootstrap(), |c| {
        c.as_object_mut().unwrap().remove("shutdown");
        c["menders"]["commit_buffer"]["write_behind"] = json!({ "enabled": true, "interval": "60s" });
    });
    let opts = Opts::consume(&kmend.listen, &topic, &format!("{topic}-group")).with("COMMIT", "manual");
    let app = Client::start("franz-go", opts);
    let has_committed = |n| app.wait("commits", Duration::from_secs(30), |c| c.committed(&topic, 0) == Some(n));
    has_committed(500);
    kafka.admin().produce(&topic, 0, 100);
    has_committed(600);
    assert!(committed(kafka, &topic) < Some(600), "written behind");
    (kmend, app, topic)
}

fn committed(kafka: &Kafka, topic: &str) -> Option<i64> {
    kafka.admin().committed(&format!("{topic}-group"), topic, 0)
}

/// What was promised to an app that is killed is on the broker before kmend is gone.
#[test]
fn promises_are_kept_on_the_way_out() {
    let _slot = slot();
    let (kmend, app, topic) = promised(kafka());
    let signalled = Instant::now();
    kmend.terminate();
    app.signal(Signal::KILL);
    ends_within(&kmend, PROMISED, signalled);
    assert_eq!(committed(kafka(), &topic), Some(600));
}

/// Where the broker hangs they stay in the journal, and delay nothing.
#[test]
fn promises_to_a_stopped_broker_delay_no_exit() {
    let _slot = slot();
    let kafka = Kafka::start(ClusterSpec::default());
    let (kmend, app, _topic) = promised(&kafka);
    kmend.allow("shutdown.grace is over");
    kafka.signal(1, Signal::STOP);
    let signalled = Instant::now();
    kmend.terminate();
    app.signal(Signal::KILL);
    ends_within(&kmend, PROMISED, signalled);
    assert!(signalled.elapsed() > Duration::from_secs(1), "it used its time");
    kafka.signal(1, Signal::CONT);
}
