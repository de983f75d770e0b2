//! Java's Admin, share groups and Kafka Streams, by small programs of ours: what they say through kmend is what they say
//! directly, line by line.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::front::{Front, Way};
use crate::harness::reaper::Guarded;
use crate::harness::setup::place;
use crate::harness::wait::within;
use crate::harness::{Kafka, unique};

pub const NAME: &str = "java";

const LIMIT: Duration = Duration::from_secs(240);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Admin,
    Share,
    Streams,
    /// KIP-1071.
    StreamsByBroker,
}

impl Program {
    pub fn name(self) -> &'static str {
        match self {
            Program::Admin => "Admin",
            Program::Share => "share group",
            Program::Streams => "Streams, exactly once",
            Program::StreamsByBroker => "Streams, exactly once, KIP-1071",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Program::Admin => "Admins",
            Program::Share => "Shares",
            Program::Streams | Program::StreamsByBroker => "Counts",
        }
    }

    /// Whether a broker of the older line has it.
    pub fn is_new(self) -> bool {
        matches!(self, Program::Share | Program::StreamsByBroker)
    }

    /// What has to be among the lines, also directly.
    fn expected(self) -> &'static [&'static str] {
        match self {
            Program::Admin => {
                &["describeCluster: 3 nodes [1, 2, 3] at ours", "deleteRecords: 4", "createPartitions: null"]
            }
            Program::Share => &["share group: 3000 values, 2970 accepted, 30 rejected", "share group: no error"],
            Program::Streams => &["streams: counts [300] of 20 words"],
            Program::StreamsByBroker => &["streams, KIP-1071: counts [300] of 20 words"],
        }
    }
}

/// Directly, then through kmend: a row of the report.
pub fn compare(kafka: &Kafka, way: Way, program: Program) -> String {
    let ports = kafka.bootstrap().iter().map(|a| a.rsplit(':').next().expect("a port").to_owned()).collect();
    let direct = run(&kafka.servers(), ports, None, program);
    let front = Front::start(kafka, way);
    let first: u16 = front.kmend.listen.rsplit(':').next().expect("a port").parse().expect("a port");
    let ports = (first..first + 24).map(|port| port.to_string()).collect();
    let through = run(&front.kmend.listen, ports, front.ca.as_deref(), program);
    front.stayed_well();
    for expected in program.expected() {
        assert!(
            direct.lines.iter().any(|line| line == expected),
            "directly: no {expected}: {:#?}\n{}",
            direct.lines,
            direct.errors
        );
    }
    let other: Vec<(&String, &String)> = direct.lines.iter().zip(&through.lines).filter(|(a, b)| a != b).collect();
    assert!(
        other.is_empty() && direct.lines.len() == through.lines.len(),
        "directly, and through kmend: {other:#?}\n{}",
        through.errors
    );
    let told = |run: &Run| format!("{} lines, {:.0} s", run.lines.len(), run.took.as_secs_f64());
    format!("{} | the same {}", told(&direct), told(&through))
}

struct Run {
    lines: Vec<String>,
    errors: String,
    took: Duration,
}

fn run(servers: &str, ports: Vec<String>, ca: Option<&Path>, program: Program) -> Run {
    let dir = tempfile::Builder::new().prefix("kmend-java-").tempdir().expect("a temporary folder");
    let config = dir.path().join("client.properties");
    let mut text = format!("bootstrap.servers={servers}\ntest.ports={}\n", ports.join(","));
    if let Some(ca) = ca {
        text.push_str(&format!(
            "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={}\n",
            ca.display()
        ));
    }
    std::fs::write(&config, text).expect("a file");
    let paths = place("java-paths");
    let file = |name: &str| std::fs::File::create(dir.path().join(name)).expect("a file");
    let mut command = Command::new(paths.join("java"));
    command.arg(format!("-Djava.io.tmpdir={}", dir.path().display()));
    command.args([
        "-Xmx512m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
    ]);
    command.arg(format!("{}/*:{}", paths.join("libs").display(), paths.join("classes").display()));
    command.arg(program.class()).arg(&config).arg(format!("{}-", unique("java")));
    if program == Program::StreamsByBroker {
        command.arg("streams");
    }
    command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
    let began = Instant::now();
    let mut process = Guarded::spawn(&mut command).expect("java");
    let ended = within(LIMIT, || process.ended());
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect("a file");
    let (out, errors) = (read("out"), read("err"));
    assert!(ended.is_some_and(|status| status.success()), "{}: {ended:?}\n{out}\n{errors}", program.name());
    Run { lines: out.lines().map(str::to_owned).collect(), errors, took: began.elapsed() }
}
