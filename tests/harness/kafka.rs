//! Real Apache Kafka brokers (KRaft) on loopback.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;

use super::admin::Admin;
use super::reaper::{Guarded, remove_at_end};
use super::secured::{self, Authority, Way, scram_users};
use super::wait::{eventually, wait_for};
use super::{ports, setup};

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    pub nodes: u32,
    /// The bootstrap target that holds the jars: `kafka` (newest) or `kafka-old`.
    pub version: &'static str,
    /// Clients must log in with SASL/PLAIN as [`USER`] with [`PASSWORD`].
    pub sasl: bool,
    /// The host that brokers listen on and advertise to clients: some address of 127.0.0.0/8, so
    /// that a test can tell it from kmend's.
    pub host: &'static str,
    /// The ports that nodes 1, 2 and so on tell their clients in place of their own: those of relays.
    pub advertise: Vec<u16>,
    /// Node n is in `rack-<n>`, and consumers may read from the replica in theirs.
    pub racks: bool,
    /// Besides, there is a listener for each [`Way`], and only who is allowed to may do anything there. The others are
    /// as they are without; who comes in by them may do everything.
    pub secured: bool,
    /// Lines for server.properties.
    pub extra: Vec<String>,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        ClusterSpec {
            nodes: 1,
            version: "kafka",
            sasl: false,
            host: "127.0.0.1",
            advertise: Vec::new(),
            racks: false,
            secured: false,
            extra: Vec::new(),
        }
    }
}

/// The login of clusters with SASL.
pub const USER: &str = "alice";
pub const PASSWORD: &str = "alice-secret";

struct Node {
    id: u32,
    /// The listener that the tests' clients (or kmend) use.
    client: u16,
    /// The listener for brokers among themselves and for [`Admin`]: never with SASL.
    inner: u16,
    /// One for each [`Way`], where there are such.
    secured: Vec<u16>,
    /// None: a broker that was added later and votes for nothing.
    controller: Option<u16>,
    process: Option<Guarded>,
}

/// A running cluster. Dropping it kills the brokers and removes their data.
pub struct Kafka {
    spec: ClusterSpec,
    cluster_id: String,
    dir: tempfile::TempDir,
    authority: Option<Authority>,
    nodes: Mutex<Vec<Node>>,
}

impl Kafka {
    /// Starts a cluster and waits until every broker is known to the others.
    pub fn start(spec: ClusterSpec) -> Kafka {
        let dir = tempfile::Builder::new().prefix("kmend-kafka-").tempdir().expect("a temporary folder");
        remove_at_end(dir.path());
        let nodes = (1..=spec.nodes)
            .map(|id| Node {
                id,
                client: ports::free(),
                inner: ports::free(),
                secured: secured_ports(&spec),
                controller: Some(ports::free()),
                process: None,
            })
            .collect();
        let authority = spec.secured.then(|| Authority::new(&dir.path().join("certificates")));
        let kafka = Kafka { spec, cluster_id: cluster_id(), dir, authority, nodes: Mutex::new(nodes) };
        let ids: Vec<u32> = (1..=kafka.spec.nodes).collect();
        std::thread::scope(|s| ids.iter().for_each(|id| drop(s.spawn(|| kafka.format(*id)))));
        ids.iter().for_each(|id| kafka.launch(*id));
        kafka.wait_for_brokers(kafka.spec.nodes as usize);
        kafka.warm_up();
        kafka
    }

    /// Has every partition of the offsets topic made and loaded: what a client does on a cluster whose first
    /// group it is (kafkajs restarts, kafka-python backs off for long) is not what is tested here.
    fn warm_up(&self) {
        let admin = self.admin();
        admin.create("warm-up", 1, &[]);
        // Some of these names fall on each of the three partitions.
        for n in 0..12 {
            admin.commit(&format!("warm-up-{n}"), "warm-up", 0, 0);
        }
    }

    /// `host:port` of every broker, for clients.
    pub fn bootstrap(&self) -> Vec<String> {
        self.lock().iter().map(|n| format!("{}:{}", self.spec.host, n.client)).collect()
    }

    /// The bootstrap servers as clients want them.
    pub fn servers(&self) -> String {
        self.bootstrap().join(",")
    }

    pub fn spec(&self) -> &ClusterSpec {
        &self.spec
    }

    /// Every port that belongs to a broker, by any listener.
    pub fn all_ports(&self) -> Vec<u16> {
        let nodes = self.lock();
        let of = |n: &Node| [n.client, n.inner].into_iter().chain(n.controller).chain(n.secured.clone()).collect();
        nodes.iter().flat_map(|n| -> Vec<u16> { of(n) }).collect()
    }

    /// `host:port` of every broker's listener for one way to log in.
    pub fn by(&self, way: Way) -> Vec<String> {
        let at = Way::ALL.iter().position(|w| *w == way).expect("one of all");
        self.lock().iter().map(|n| format!("{}:{}", self.spec.host, n.secured[at])).collect()
    }

    /// Who made the certificates of this cluster.
    pub fn authority(&self) -> &Authority {
        self.authority.as_ref().expect("a cluster with `secured`")
    }

    /// The client port of one node.
    pub fn port(&self, id: u32) -> u16 {
        self.with(id, |n| n.client)
    }

    /// An admin client straight to the brokers, past kmend and without a login.
    pub fn admin(&self) -> Admin {
        Admin::new(self.lock().iter().map(|n| format!("{}:{}", self.spec.host, n.inner)).collect())
    }

    /// SIGKILL to one broker.
    pub fn kill(&self, id: u32) {
        self.with(id, |n| n.process = None);
    }

    /// SIGTERM to one broker: it hands over its leaders and ends.
    pub fn stop(&self, id: u32) {
        self.with(id, |n| n.process.as_mut().map(|p| p.signal(Signal::TERM)));
        let ended = || self.with(id, |n| n.process.as_mut().is_none_or(|p| p.ended().is_some()));
        eventually(Duration::from_secs(20), ended);
        self.kill(id);
    }

    /// Whether a broker's process is there.
    pub fn runs(&self, id: u32) -> bool {
        self.with(id, |n| n.process.as_mut().is_some_and(|p| p.ended().is_none()))
    }

    /// SIGSTOP or SIGCONT to one broker.
    pub fn signal(&self, id: u32, signal: Signal) {
        self.with(id, |n| n.process.as_mut().map(|p| p.signal(signal)));
    }

    /// Starts a broker that was stopped or killed, and waits until it accepts connections.
    pub fn start_node(&self, id: u32) {
        self.launch(id);
        self.wait_for_port(id);
    }

    /// Stops a broker and starts it, with the same node id, on another port for clients.
    pub fn move_node(&self, id: u32) -> u16 {
        self.stop(id);
        let port = ports::free();
        self.with(id, |n| n.client = port);
        self.start_node(id);
        port
    }

    /// Adds a broker to the running cluster; its node id.
    pub fn add_node(&self) -> u32 {
        let id = {
            let mut nodes = self.lock();
            let id = nodes.iter().map(|n| n.id).max().unwrap_or(0) + 1;
            let (client, inner, secured) = (ports::free(), ports::free(), secured_ports(&self.spec));
            nodes.push(Node { id, client, inner, secured, controller: None, process: None });
            id
        };
        self.format(id);
        self.start_node(id);
        let all = self.lock().len();
        self.wait_for_brokers(all);
        id
    }

    /// Waits until the metadata names `count` brokers.
    pub fn wait_for_brokers(&self, count: usize) {
        let limit = Duration::from_secs(90);
        wait_for("all brokers in the metadata", limit, || {
            if let Some(dead) = self.lock().iter_mut().find_map(|n| n.process.as_mut()?.ended().map(|_| n.id)) {
                panic!("broker {dead} ended; its log:\n{}", self.log_tail(dead));
            }
            self.admin().try_metadata(&[]).filter(|m| m.brokers.len() == count)
        });
    }

    fn wait_for_port(&self, id: u32) {
        let address = self.with(id, |n| format!("{}:{}", self.spec.host, n.client));
        wait_for("the broker's port", Duration::from_secs(60), || std::net::TcpStream::connect(&address).ok());
    }

    /// What a broker has logged: warnings and errors.
    pub fn log(&self, id: u32) -> String {
        std::fs::read_to_string(self.file(id, "log")).unwrap_or_default()
    }

    fn log_tail(&self, id: u32) -> String {
        let text = self.log(id);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn file(&self, id: u32, ending: &str) -> PathBuf {
        self.dir.path().join(format!("{id}.{ending}"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Node>> {
        self.nodes.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn with<T>(&self, id: u32, f: impl FnOnce(&mut Node) -> T) -> T {
        f(self.lock().iter_mut().find(|n| n.id == id).expect("a node of this cluster"))
    }

    fn java(&self, id: u32) -> Command {
        let place = setup::place(self.spec.version);
        write_properties(self, id);
        let mut java = Command::new(place.join("java"));
        let heap = if self.spec.nodes == 1 { "-Xmx512m" } else { "-Xmx320m" };
        java.args([heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        java.args(logging(self.dir.path(), self.spec.version));
        java.arg("-cp").arg(place.join("libs/*"));
        java
    }

    fn format(&self, id: u32) {
        let mut java = self.java(id);
        java.args(["kafka.tools.StorageTool", "format", "-t", &self.cluster_id, "-c"]).arg(self.file(id, "properties"));
        if self.spec.secured {
            java.args(scram_users());
        }
        let out = java.output().expect("java starts");
        assert!(out.status.success(), "format of node {id}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// Starts the process of a broker that was stopped or killed; does not wait.
    pub fn launch(&self, id: u32) {
        let mut java = self.java(id);
        let log = std::fs::File::create(self.file(id, "log")).expect("the broker's log");
        java.arg("kafka.Kafka").arg(self.file(id, "properties"));
        java.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        let process = Guarded::spawn(&mut java).expect("java starts");
        self.with(id, |n| n.process = Some(process));
    }
}

fn secured_ports(spec: &ClusterSpec) -> Vec<u16> {
    if spec.secured { Way::ALL.map(|_| ports::free()).to_vec() } else { Vec::new() }
}

/// 16 bytes in URL-safe base64, as Kafka wants them.
fn cluster_id() -> String {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let mut state = seed as u64 ^ (u64::from(std::process::id()) << 40);
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        alphabet[(state >> 33) as usize % alphabet.len()] as char
    };
    (0..21).map(|_| next()).chain(['A']).collect()
}

fn logging(dir: &Path, version: &str) -> Vec<String> {
    if version == "kafka-old" {
        let file = dir.join("log4j.properties");
        let text = "log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n\
                    log4j.appender.out.layout=org.apache.log4j.PatternLayout\n\
                    log4j.appender.out.layout.ConversionPattern=[%d] %p %m (%c)%n\n";
        std::fs::write(&file, text).expect("the logging configuration");
        return vec![format!("-Dlog4j.configuration=file:{}", file.display())];
    }
    let file = dir.join("log4j2.yaml");
    let text = "Configuration:\n  Appenders:\n    Console:\n      name: out\n      PatternLayout:\n        \
                pattern: \"[%d] %p %m (%c)%n\"\n  Loggers:\n    Root:\n      level: WARN\n      AppenderRef:\n        ref: out\n";
    std::fs::write(&file, text).expect("the logging configuration");
    vec![format!("-Dlog4j2.configurationFile={}", file.display())]
}

fn write_properties(kafka: &Kafka, id: u32) {
    let (spec, host) = (&kafka.spec, kafka.spec.host);
    let nodes = kafka.lock();
    let node = nodes.iter().find(|n| n.id == id).expect("a node of this cluster");
    let voters: Vec<String> = nodes.iter().filter_map(|n| Some(format!("{}@{host}:{}", n.id, n.controller?))).collect();
    let outside = if spec.sasl { "SASL_PLAINTEXT" } else { "PLAINTEXT" };
    let told = spec.advertise.get(id as usize - 1).copied().unwrap_or(node.client);
    let told = format!("CLIENT://{host}:{told},INNER://{host}:{}", node.inner);
    let own = format!("CLIENT://{host}:{},INNER://{host}:{}", node.client, node.inner);
    let (more, more_told, more_map, secured) = match &kafka.authority {
        Some(authority) => secured::listeners(host, &node.secured, authority),
        None => Default::default(),
    };
    let (own, told) = (own + &more, told + &more_told);
    let copies = spec.nodes.min(3);
    let (roles, listeners) = match node.controller {
        Some(port) => ("broker,controller", format!("{own},CONTROLLER://{host}:{port}")),
        None => ("broker", own.clone()),
    };
    let mut text = format!(
        "process.roles={roles}
node.id={id}
controller.quorum.voters={voters}
listeners={listeners}
advertised.listeners={told}
listener.security.protocol.map=CLIENT:{outside},INNER:PLAINTEXT,CONTROLLER:PLAINTEXT{more_map}
inter.broker.listener.name=INNER
controller.listener.names=CONTROLLER
log.dirs={dir}/data-{id}
auto.create.topics.enable=false
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=3
transaction.state.log.replication.factor={copies}
transaction.state.log.num.partitions=3
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.coordinator.rebalance.protocols=classic,consumer
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
log.retention.check.interval.ms=500
log.initial.task.delay.ms=100
log.segment.delete.delay.ms=100
log.cleaner.backoff.ms=200
log.cleaner.dedupe.buffer.size=4194304
max.incremental.fetch.session.cache.slots=10000
",
        voters = voters.join(","),
        dir = kafka.dir.path().display(),
    );
    text.push_str(&secured);
    if spec.sasl {
        text.push_str(&format!(
            "sasl.enabled.mechanisms=PLAIN\nlistener.name.client.plain.sasl.jaas.config=\
             org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n"
        ));
    }
    if spec.racks {
        let selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
        text.push_str(&format!("broker.rack=rack-{id}\nreplica.selector.class={selector}\n"));
    }
    for line in &spec.extra {
        text.push_str(line);
        text.push('\n');
    }
    drop(nodes);
    std::fs::write(kafka.file(id, "properties"), text).expect("server.properties");
}
