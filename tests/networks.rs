//! Where an app may sit: IPv6 only, `localhost`, another network namespace (what a Compose container is), and two
//! kmends on one host. All with defaults or one documented key.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod harness;

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use harness::client::ALL;
use harness::{Client, ClusterSpec, Kafka, Kmend, Opts, slot, unique};

fn kafka() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| Kafka::start(ClusterSpec::default()))
}

/// Produces and consumes a few records with every client in `clients`.
fn round_trip(servers: &str, clients: &[&str], prefix: &[&str]) {
    for client in clients {
        let topic = unique(&format!("networks-{client}"));
        kafka().admin().create(&topic, 1, &[]);
        let produce = Opts::produce(servers, &topic).with("COUNT", 5).with("RATE", 100);
        let consume = Opts::consume(servers, &topic, &format!("{topic}-group"));
        let apps = [Client::start_in(client, produce, prefix), Client::start_in(client, consume, prefix)];
        for app in &apps {
            app.wait("5 records", Duration::from_secs(30), |c| c.progress() >= 5);
            assert!(app.errors().is_empty(), "{}", app.story());
        }
    }
}

fn port(kmend: &Kmend) -> &str {
    kmend.listen.rsplit_once(':').map_or("", |(_, port)| port)
}

#[test]
fn ipv6_only() {
    let _slot = slot();
    let kmend = Kmend::start_at("[::1]", &kafka().bootstrap(), |_| {});
    round_trip(&kmend.listen, &ALL, &[]);
}

/// `localhost` binds both families, so whichever a client tries first, it is answered.
#[test]
fn localhost_by_both_families() {
    let _slot = slot();
    let kmend = Kmend::start_at("localhost", &kafka().bootstrap(), |_| {});
    round_trip(&kmend.listen, &ALL, &[]);
    for host in ["127.0.0.1", "[::1]"] {
        round_trip(&format!("{host}:{}", port(&kmend)), &["franz-go"], &[]);
    }
}

#[test]
fn two_kmends_on_one_host() {
    let _slot = slot();
    let first = Kmend::start(kafka(), |_| {});
    // Within the range that the first one takes its ports for brokers from.
    let near = format!("127.0.0.1:{}", port(&first).parse::<u16>().expect("a port") + 5);
    let second = Kmend::start(kafka(), |c| c["listen"]["address"] = vec![near.clone()].into());
    std::thread::scope(|s| {
        s.spawn(|| round_trip(&first.listen, &["java", "franz-go"], &[]));
        s.spawn(|| round_trip(&second.listen, &["librdkafka", "kafkajs"], &[]));
    });
}

/// A network namespace with one end of a veth pair; removed when dropped.
struct Namespace {
    name: String,
    link: String,
    address: String,
}

impl Namespace {
    fn new() -> Namespace {
        let id = std::process::id();
        let (a, b) = (id / 250 % 250, id % 250);
        let space = Namespace {
            name: format!("kmend-test-{id}"),
            link: format!("kmt{}", id % 100_000),
            address: format!("10.{}.{}.1", 100 + a % 100, b),
        };
        let (name, link) = (&space.name, &space.link);
        let inside = format!("{}.2", space.address.rsplit_once('.').map_or("", |(net, _)| net));
        ip(&["netns", "add", name]);
        ip(&["link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name]);
        ip(&["addr", "add", &format!("{}/30", space.address), "dev", link]);
        ip(&["link", "set", link, "up"]);
        ip(&["-n", name, "addr", "add", &format!("{inside}/30"), "dev", "eth0"]);
        ip(&["-n", name, "link", "set", "eth0", "up"]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        space
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.link]).output();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

fn ip(args: &[&str]) {
    let out = Command::new("ip").args(args).output();
    let said = match &out {
        Ok(out) if out.status.success() => return,
        Ok(out) => String::from_utf8_lossy(&out.stderr).into_owned(),
        Err(e) => format!("{e} (package iproute2)"),
    };
    panic!(
        "`ip {}` failed: {said}\nThis test needs a network namespace: run it as root, or in a container with \
         --cap-add NET_ADMIN --cap-add SYS_ADMIN.",
        args.join(" ")
    );
}

/// What a Compose container is: the app reaches kmend by an address that is not loopback, and must be told that one.
#[test]
fn app_in_another_network_namespace() {
    let _slot = slot();
    let space = Namespace::new();
    let kmend = Kmend::start_at("0.0.0.0", &kafka().bootstrap(), |_| {});
    // It says that others than this host's apps can come, in plaintext.
    kmend.allow("is not loopback");
    let servers = format!("{}:{}", space.address, port(&kmend));
    round_trip(&servers, &["java", "librdkafka", "franz-go", "kafkajs"], &["ip", "netns", "exec", &space.name]);
}
