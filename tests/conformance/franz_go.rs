//! franz-go's own integration tests, of the release in `tests/versions.env`: produce, consume, transactions, groups by every
//! protocol, share groups. They make topics and groups of their own.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::front::{Front, Way};
use crate::harness::Kafka;
use crate::harness::reaper::Guarded;
use crate::harness::setup::{pinned, place};
use crate::harness::wait::within;

pub const NAME: &str = "franz-go";

/// In each of its long tests; its own default is 500,000.
const RECORDS: &str = "20000";
const LIMIT: Duration = Duration::from_secs(1200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Fail,
    Skip,
}

#[derive(Debug)]
struct Run {
    tests: BTreeMap<String, Verdict>,
    took: Duration,
    log: String,
}

impl Run {
    fn count(&self, verdict: Verdict) -> usize {
        self.tests.values().filter(|v| **v == verdict).count()
    }

    fn told(&self) -> String {
        let [pass, fail, skip] = [Verdict::Pass, Verdict::Fail, Verdict::Skip].map(|v| self.count(v));
        format!("{pass} passed, {fail} failed, {skip} skipped, {:.0} s", self.took.as_secs_f64())
    }
}

/// Directly, then through kmend: a row of the report.
pub fn compare(kafka: &Kafka, way: Way, chaos: bool) -> String {
    let direct = run(&kafka.servers(), None, chaos);
    assert!(direct.count(Verdict::Pass) > 30, "directly: {}\n{}", direct.told(), direct.log);
    let front = Front::start(kafka, way);
    let through = run(&front.kmend.listen, front.ca.as_deref(), chaos);
    front.stayed_well();
    let passes = |run: &Run, name: &String| run.tests.get(name) == Some(&Verdict::Pass);
    let lost: Vec<&String> =
        direct.tests.keys().filter(|name| passes(&direct, name) && !passes(&through, name)).collect();
    assert!(lost.is_empty(), "pass directly and not through kmend: {lost:?}\n{}", through.log);
    format!("{} | {}", direct.told(), through.told())
}

fn run(seeds: &str, ca: Option<&Path>, chaos: bool) -> Run {
    let dir = tempfile::Builder::new().prefix("kmend-kgo-").tempdir().expect("a temporary folder");
    let log = dir.path().join("log");
    let file = std::fs::File::create(&log).expect("a log");
    let suite = place("franz-go-suite").join("kgo.test");
    let began = Instant::now();
    let mut command = Command::new("nice");
    command.arg(&suite).args(["-test.v", "-test.parallel", "2", "-test.timeout", &format!("{}s", LIMIT.as_secs())]);
    command.env("KGO_SEEDS", seeds).env("KGO_TEST_RF", "3").env("KGO_TEST_RECORDS", RECORDS);
    command.env("KGO_TEST_MAX_TOPIC_PARTS", "11").env("KGO_LOG_LEVEL", "none");
    command.env("KGO_TEST_CHAOS", if chaos { "1" } else { "0" });
    if let Some(ca) = ca {
        command.env("KGO_TEST_TLS", format!("ca:{}", ca.display()));
    }
    command.current_dir(dir.path()).stdin(Stdio::null());
    command.stdout(file.try_clone().expect("a log")).stderr(file);
    let mut process = Guarded::spawn(&mut command).expect("nice");
    let ended = within(LIMIT + Duration::from_secs(10), || process.ended());
    let log = std::fs::read_to_string(&log).expect("a log");
    assert!(ended.is_some(), "franz-go {} has not ended:\n{log}", pinned("FRANZ_GO_SUITE_VERSION"));
    Run { tests: log.lines().filter_map(verdict).collect(), took: began.elapsed(), log: failures(&log) }
}

/// `    --- PASS: TestTxnEtl/range (29.20s)`, at any depth.
fn verdict(line: &str) -> Option<(String, Verdict)> {
    let rest = line.trim_start().strip_prefix("--- ")?;
    let (word, rest) = rest.split_once(": ")?;
    let verdict = match word {
        "PASS" => Verdict::Pass,
        "FAIL" => Verdict::Fail,
        "SKIP" => Verdict::Skip,
        _ => return None,
    };
    Some((rest.split(' ').next()?.to_owned(), verdict))
}

/// What is worth reading of a log.
fn failures(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains("=== ") && !line.contains("--- PASS")).collect();
    lines[lines.len().saturating_sub(80)..].join("\n")
}
