//! Apache Kafka's VerifiableProducer and VerifiableConsumer, the workload of Kafka's own system tests.

mod check;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use self::check::{Found, check};
use crate::front::{Front, Way};
use crate::harness::reaper::Guarded;
use crate::harness::setup::place;
use crate::harness::wait::within;
use crate::harness::{Kafka, unique};

pub const NAME: &str = "verifiable";

const VALUES: usize = 20_000;
const RATE: usize = 1_000;
const PARTITIONS: i32 = 6;
/// Into the run, something is killed.
const KILLED_AFTER: Duration = Duration::from_secs(8);
/// After the producer has ended.
const DRAIN: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    Classic,
    /// KIP-848.
    Consumer,
}

impl Groups {
    pub fn name(self) -> &'static str {
        match self {
            Groups::Classic => "classic groups",
            Groups::Consumer => "KIP-848 groups",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// SIGKILL for one of two consumers, and another one comes.
    ConsumerKilled,
    /// SIGKILL for kmend, twice, and it is started again at once; directly nothing.
    KmendKilled,
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Fault::None => "no fault",
            Fault::ConsumerKilled => "a consumer killed",
            Fault::KmendKilled => "kmend killed twice",
        }
    }
}

/// Directly, then through kmend: a row of the report.
pub fn compare(kafka: &Kafka, way: Way, groups: Groups, fault: Fault) -> String {
    let direct = run(kafka, &kafka.servers(), None, groups, fault, None);
    let front = Front::start(kafka, way);
    let through = run(kafka, &front.kmend.listen, front.ca.as_deref(), groups, fault, Some(&front));
    front.stayed_well();
    let problems = [("directly", direct.problems()), ("through kmend", through.problems())];
    for (where_, problems) in problems {
        assert!(problems.is_empty(), "{where_}: {}", problems.join(", "));
    }
    format!("{} | {}", direct.told(), through.told())
}

/// The programs of one run, and what they write.
struct Tools {
    dir: tempfile::TempDir,
    servers: String,
    topic: String,
    config: PathBuf,
    groups: Groups,
}

impl Tools {
    fn start(&self, program: &str, output: &str, args: &[&str]) -> Guarded {
        let tools = place("kafka-tools");
        let file = |end: &str| std::fs::File::create(self.dir.path().join(format!("{output}.{end}"))).expect("a file");
        let mut command = Command::new(tools.join("java"));
        command.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
        command.arg(format!("{}/*", tools.join("libs").display())).arg(format!("org.apache.kafka.tools.{program}"));
        command.args(["--bootstrap-server", &self.servers, "--topic", &self.topic]).args(args);
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        Guarded::spawn(&mut command).expect("java")
    }

    fn consumer(&self, name: &str) -> Guarded {
        let group = format!("{}-group", self.topic);
        let config = self.config.display().to_string();
        let mut args =
            vec!["--group-id", &group, "--verbose", "--reset-policy", "earliest", "--command-config", &config];
        args.extend(match self.groups {
            Groups::Classic => [
                "--group-protocol",
                "classic",
                "--assignment-strategy",
                "org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
                "--session-timeout",
                "10000",
            ]
            .as_slice(),
            Groups::Consumer => ["--group-protocol", "consumer"].as_slice(),
        });
        self.start("VerifiableConsumer", &format!("consumer-{name}"), &args)
    }

    fn found(&self) -> Found {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let mut consumers: Vec<PathBuf> = std::fs::read_dir(self.dir.path())
            .expect("the folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("consumer-")))
            .filter(|path| path.extension().is_some_and(|end| end == "out"))
            .collect();
        consumers.sort();
        let consumed: Vec<String> = consumers.iter().map(|path| read(path)).collect();
        check(&read(&self.dir.path().join("producer.out")), &consumed)
    }

    fn errors(&self) -> String {
        let entries =
            std::fs::read_dir(self.dir.path()).expect("the folder").map(|entry| entry.expect("an entry").path());
        let ends = entries.filter(|path| path.extension().is_some_and(|end| end == "err"));
        ends.map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect()
    }
}

fn run(kafka: &Kafka, servers: &str, ca: Option<&Path>, groups: Groups, fault: Fault, front: Option<&Front>) -> Found {
    let dir = tempfile::Builder::new().prefix("kmend-verifiable-").tempdir().expect("a temporary folder");
    let topic = unique("verifiable");
    kafka.admin().create_replicated(&topic, PARTITIONS, 3, &[("min.insync.replicas", "2")]);
    let config = dir.path().join("client.properties");
    let tls = ca.map(|ca| {
        format!("security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={}\n", ca.display())
    });
    let tls = tls.unwrap_or_default();
    std::fs::write(&config, &tls).expect("a file");
    // The program itself sets 0, and then a connection that ends costs what was on its way; apps keep the default.
    let of_producer = dir.path().join("producer.properties");
    std::fs::write(&of_producer, tls + "retries=2147483647\n").expect("a file");
    let tools = Tools { dir, servers: servers.to_owned(), topic, config, groups };
    let mut consumers = vec![tools.consumer("1"), tools.consumer("2")];
    let config = of_producer.display().to_string();
    let (values, rate) = (VALUES.to_string(), RATE.to_string());
    let args = ["--max-messages", &values, "--throughput", &rate, "--acks", "-1", "--command-config", &config];
    let mut producer = tools.start("VerifiableProducer", "producer", &args);
    let began = Instant::now();
    for round in 0..2 {
        within(KILLED_AFTER, || producer.ended());
        match (fault, front) {
            (Fault::ConsumerKilled, _) if round == 0 => {
                consumers.swap_remove(0).kill();
                consumers.push(tools.consumer("3"));
            }
            (Fault::KmendKilled, Some(front)) => front.kmend.kill_and_restart(),
            _ => {}
        }
    }
    let ended = within(Duration::from_secs(240), || producer.ended());
    assert!(ended.is_some(), "the producer has not ended:\n{}", tools.errors());
    within(DRAIN, || tools.found().lost.is_empty().then_some(()));
    // What comes twice comes now.
    std::thread::sleep(Duration::from_secs(2));
    for consumer in &mut consumers {
        consumer.signal(rustix::process::Signal::TERM);
    }
    within(Duration::from_secs(20), || consumers.iter_mut().all(|c| c.ended().is_some()).then_some(()));
    let mut found = tools.found();
    found.took = began.elapsed();
    if !found.problems().is_empty() {
        println!("{}", tools.errors());
    }
    found
}
