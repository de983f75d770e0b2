//! Measures the repair ten times and pauses for ten minutes; writes `docs/assignments_runs.md`. Only with
//! `KMEND_MATRIX=1`; a larger number is that many runs.

use std::fmt::Write as _;

use serde_json::json;

use crate::dangling::repaired;
use crate::harness::setup::{pinned, root};
use crate::harness::{Kmend, caught};
use crate::hop::{FEW, MANY};
use crate::pauses::paused_for;
use crate::{AFTER, kmend};

/// Ten minutes at five records a second.
const TEN_MINUTES: i64 = 3000;

#[test]
fn runs() {
    let Ok(wanted) = std::env::var("KMEND_MATRIX") else { return };
    let times = wanted.parse().ok().filter(|n| *n > 1).unwrap_or(10);
    let mut text = format!(
        "# Partitions that dangle: {times} runs\n\n\
         Written by `KMEND_MATRIX=1 cargo test --test assignments runs` on Kafka {}: franz-go 1.16.1 after the first hop \
         from range to cooperative-sticky, `after` {} s. Good: every partition is fetched again, no record is skipped, no \
         committed offset goes back, each of the two members loses what it had once.\n\n\
         | partitions | kmends | good | seconds until all were fetched | JoinGroups of each | generations |\n\
         |---|---|---|---|---|---|\n",
        pinned("KAFKA_VERSION"),
        AFTER.as_secs(),
    );
    let mut bad = Vec::new();
    for (partitions, kmends) in [(MANY, 1), (FEW, 1), (MANY, 4)] {
        let run = || {
            let own: Vec<Kmend> = (0..kmends).map(|_| kmend(json!({ "mode": "repair" }))).collect();
            repaired(partitions, &own)
        };
        let (mut good, mut seconds, mut joins, mut generations) = (0, Vec::new(), Vec::new(), Vec::new());
        for _ in 0..times {
            match caught(run) {
                Ok(done) => {
                    good += 1;
                    seconds.push(format!("{:.1}", done.seconds));
                    joins.push(format!("{:?}", done.joins));
                    generations.push(done.generations.to_string());
                }
                Err(why) => bad.push(why),
            }
        }
        joins.sort_unstable();
        joins.dedup();
        generations.sort_unstable();
        generations.dedup();
        let (seconds, joins, generations) = (seconds.join(", "), joins.join(" "), generations.join(", "));
        let line = format!("| {partitions} | {kmends} | {good} of {times} | {seconds} | {joins} | {generations} |");
        println!("{line}");
        let _ = writeln!(text, "{line}");
    }
    text.push_str(
        "\n## Ten minutes of pause\n\nBehind a kmend with `scope: any`.\n\n| client | paused | |\n|---|---|---|\n",
    );
    let pauses = [("java", ""), ("java", "1"), ("franz-go-1.22.2", "1")];
    let results: Vec<Result<(), String>> = std::thread::scope(|threads| {
        let run = |(client, which): (&'static str, &'static str)| {
            threads.spawn(move || caught(|| paused_for(client, which, TEN_MINUTES)))
        };
        let all: Vec<_> = pauses.map(run).into_iter().collect();
        all.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("panicked".to_owned()))).collect()
    });
    for ((client, which), result) in pauses.iter().zip(results) {
        let what = if which.is_empty() { "everything" } else { "one of three" };
        let end = if result.is_ok() { "no report, no rejoin" } else { "FAILED" };
        let _ = writeln!(text, "| {client} | {what} | {end} |");
        bad.extend(result.err());
    }
    std::fs::write(root().join("docs/assignments_runs.md"), text).expect("docs/assignments_runs.md");
    assert!(bad.is_empty(), "{}", bad.join("\n\n"));
}
