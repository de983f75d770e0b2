//! Ways out: kmend and its app get their signal at the same moment, and the app's last commit still needs kmend.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod harness;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use harness::{Client, ClusterSpec, Kafka, Kmend, Opts, slot, unique};
use rustix::process::Signal;

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
