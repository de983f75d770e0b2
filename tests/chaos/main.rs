//! Consistency under faults: real clients on a real cluster, directly and through kmend at the same time, while brokers,
//! kmends, disks and the network fail. What either way shows is checked against the log as it is in the end
//! ([`check::Anomaly`]). `make chaos`, an hour; it writes `docs/chaos_runs.md` and the table in `docs/trust.md`.
//!
//! Rounds that an interrupted run of the same kmend has done are kept, and not run again.
//!
//! `CHAOS=killed` runs the faults whose names have that part, `CHAOS_ROUNDS=1` so many rounds of each (2), `CHAOS_SEED=7`
//! others than 1, `CHAOS_WORKLOADS=Java,Others` not all of them,
//! `CHAOS_AFTER=2` begins with round 3 (the rounds differ in which client the others are). With any of them nothing is written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

mod check;
mod check_tests;
mod faults;
mod history;
mod kept;
mod network;
mod report;
mod workloads;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use serde_json::json;

use check::{Anomaly, Found};
use faults::{Fault, Stage};
use harness::wait::eventually;
use harness::{ClusterSpec, Kafka, Kmend, Over, caught, ports};
use kept::Kept;
use network::Network;
use workloads::{Doors, Run, Workload};

/// All have to read by then.
const START: Duration = Duration::from_secs(120);
/// So long everything is quiet before the producers are ended.
const QUIET: Duration = Duration::from_secs(4);
/// After that everything has to be read by then.
const FINISH: Duration = Duration::from_secs(75);

/// What a second try adds to a round's number: its topics have other names, its clients are the same.
const AGAIN: usize = 1_000;

/// Workloads that run at the same time; with all of them at once a small cluster has not enough of two cores.
const WAVES: [&[Workload]; 2] =
    [&[Workload::Java, Workload::Consumer, Workload::Others], &[Workload::Transactions, Workload::WriteBehind]];

/// One workload under one fault, both ways.
#[derive(Serialize, Deserialize)]
pub struct Row {
    /// From 1.
    pub round: usize,
    pub fault: Fault,
    /// The workload's.
    pub name: String,
    pub direct: Outcome,
    pub through: Outcome,
}

#[derive(Default, Serialize, Deserialize)]
pub struct Outcome {
    pub found: Found,
    pub records: usize,
    pub handled: usize,
    /// What apps could see.
    pub errors: usize,
}

/// Workload and anomaly.
pub type Known = BTreeSet<(String, Anomaly)>;

/// What direct runs have shown, under any fault.
pub fn known(rows: &[Row]) -> Known {
    rows.iter().flat_map(|row| row.direct.found.keys().map(|anomaly| (row.name.clone(), *anomaly))).collect()
}

impl Outcome {
    /// Apps that ended by an error.
    pub fn died(&self) -> usize {
        self.found.get(&Anomaly::Died).map_or(0, Vec::len)
    }
}

impl Row {
    /// What was found through kmend, and not directly. Which app dies in which run is chance: those are counted over all. So is
    /// in which run a client does what it does by itself: `known` are the kinds that direct runs of it have shown.
    pub fn worse(&self, known: &Known) -> Vec<String> {
        let is_known = |anomaly: Anomaly| known.contains(&(self.name.clone(), anomaly));
        let is_new = |anomaly: &Anomaly| *anomaly != Anomaly::Died && !is_known(*anomaly);
        let only = self.through.found.iter().filter(|(anomaly, _)| is_new(anomaly));
        only.map(|(anomaly, examples)| format!("{anomaly} ({}): {}", examples.len(), examples[0])).collect()
    }
}

fn stage(disk: &Path) -> Stage {
    // What another one has left there.
    for left in std::fs::read_dir(disk).into_iter().flatten().flatten() {
        let path = left.path();
        let gone = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        gone.expect("an empty disk");
    }
    let relays: Vec<u16> = (0..3).map(|_| ports::free()).collect();
    let extra = [
        "min.insync.replicas=2",
        "transaction.state.log.min.isr=2",
        "group.consumer.min.session.timeout.ms=6000",
        "group.consumer.session.timeout.ms=15000",
        "group.consumer.min.heartbeat.interval.ms=1000",
        "group.consumer.heartbeat.interval.ms=2000",
    ];
    let extra = extra.map(str::to_owned).to_vec();
    let kafka = Kafka::start(ClusterSpec { nodes: 3, advertise: relays.clone(), extra, ..ClusterSpec::default() });
    network::lose_nothing();
    let network = Network::new(&(1..).zip(&relays).map(|(id, relay)| (*relay, kafka.port(id))).collect::<Vec<_>>());
    let upstream: Vec<String> = relays.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let start = |n: usize| {
        let kmend = Kmend::start_at("127.0.0.1", &upstream, |config| {
            let own = &mut config["menders"]["commit_buffer"];
            own["journal"] = json!({ "dir": disk.join(n.to_string()), "max_bytes": "1MiB" });
            own["write_behind"] = json!({ "enabled": n == 2 });
        });
        // Whatever it warns of, it has reason to.
        kmend.allow("");
        kmend
    };
    Stage { kmends: (0..3).map(start).collect(), kafka, network, disk: disk.to_owned() }
}

impl Stage {
    fn doors(&self, is_direct: bool) -> Doors {
        if !is_direct {
            return [0, 1, 2].map(|n: usize| self.kmends[n].listen.clone());
        }
        let relays: Vec<String> = self.kafka.spec().advertise.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        [relays.join(","), relays.join(","), relays.join(",")]
    }
}

/// One fault over some workloads, both ways at the same time.
fn round(stage: &Stage, fault: Fault, workloads: &[Workload], number: usize, seed: u64) -> Vec<Row> {
    let mut dice = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(number as u64));
    let make = |workload: Workload, is_direct: bool| {
        let name = format!("chaos-{number}-{workload:?}-{}", if is_direct { "direct" } else { "kmend" });
        Run::new(workload, number, &name, &stage.doors(is_direct), is_direct)
    };
    let pairs: Vec<(Run, Run)> = workloads.iter().map(|w| (make(*w, true), make(*w, false))).collect();
    let all: Vec<&Run> = pairs.iter().flat_map(|(direct, through)| [direct, through]).collect();
    let admin = stage.kafka.admin();
    for run in &all {
        run.prepare(&admin);
    }
    let committed = Mutex::new(Vec::new());
    let over = AtomicBool::new(false);
    let ended = std::thread::scope(|threads| {
        threads.spawn(|| observe(stage, &all, &committed, &over));
        let stop = Over(&over);
        all.iter().for_each(|run| run.start());
        for run in &all {
            assert!(eventually(START, || run.goes()), "{} does not start:\n{}", run.topic, run.story());
        }
        let tend = AtomicBool::new(false);
        std::thread::scope(|inner| {
            inner.spawn(|| {
                while !tend.load(Ordering::SeqCst) {
                    all.iter().for_each(|run| run.look_after());
                    std::thread::sleep(Duration::from_millis(200));
                }
            });
            let _done = Over(&tend);
            fault.strike(stage, &all, &mut dice);
            std::thread::sleep(QUIET);
        });
        let finish = |run: &Run| run.finish(&stage.kafka.admin(), FINISH);
        let ended: Vec<Vec<String>> = std::thread::scope(|inner| {
            let threads: Vec<_> = all.iter().map(|run| inner.spawn(|| finish(run))).collect();
            threads.into_iter().map(|t| t.join().expect("a run ends")).collect()
        });
        // The last commits.
        std::thread::sleep(Duration::from_millis(1_500));
        drop(stop);
        ended
    });
    let committed = committed.into_inner().unwrap_or_else(|e| e.into_inner());
    let mut outcomes = all.iter().zip(ended).map(|(run, blocked)| outcome(stage, run, &committed, blocked));
    let rows = pairs
        .iter()
        .map(|(direct, _)| Row {
            round: number % AGAIN,
            fault,
            name: direct.workload.name(number),
            direct: outcomes.next().unwrap_or_default(),
            through: outcomes.next().unwrap_or_default(),
        })
        .collect();
    for topic in all.iter().flat_map(|run| run.topics()) {
        admin.delete(topic);
    }
    rows
}

type Committed = (Instant, String, i32, i64);

fn outcome(stage: &Stage, run: &Run, committed: &[Committed], blocked: Vec<String>) -> Outcome {
    let mut outcome = Outcome { errors: run.errors(), ..Outcome::default() };
    for history in run.histories(&stage.kafka.admin(), committed, blocked) {
        outcome.records += history.log.values().map(Vec::len).sum::<usize>();
        outcome.handled += history.handled();
        for (anomaly, examples) in check::check(&history) {
            outcome.found.entry(anomaly).or_default().extend(examples);
        }
    }
    if !outcome.found.is_empty() {
        let about = |line: &String| line.contains(&run.topic);
        let log: Vec<String> = stage.kmends.iter().flat_map(Kmend::log).filter(about).collect();
        let text = format!("{:#?}\n{}\n{}\n", outcome.found, run.story(), log.join("\n"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos");
        std::fs::create_dir_all(&folder).expect("a folder for what was found");
        let file = folder.join(format!("{}.txt", run.topic));
        std::fs::write(&file, text).expect("what was found is kept");
        println!("  see {}", file.display());
    }
    outcome
}

/// Asks the brokers what the groups have committed, some times a second, until it is over.
fn observe(stage: &Stage, runs: &[&Run], into: &Mutex<Vec<Committed>>, over: &AtomicBool) {
    let admin = stage.kafka.admin();
    while !over.load(Ordering::SeqCst) {
        for (group, topic) in runs.iter().flat_map(|run| &run.groups) {
            let some = admin.try_committed(group, topic, 16).unwrap_or_default();
            let now = Instant::now();
            let mut into = into.lock().unwrap_or_else(|e| e.into_inner());
            into.extend(some.into_iter().map(|(p, offset)| (now, group.clone(), p, offset)));
        }
        std::thread::sleep(Duration::from_millis(150));
    }
}

/// What no kmend ever says.
fn panics(stage: &Stage) -> Vec<String> {
    stage.kmends.iter().flat_map(Kmend::log).filter(|line| line.contains("panicked")).collect()
}

/// A small file system of its own; needs the right to mount (`unshare --map-root-user --mount --net`, as `make chaos` has it).
fn small_disk(dir: &Path) {
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(dir).status();
    let has = status.is_ok_and(|s| s.success());
    assert!(has, "no file system could be mounted at {}: run this by `make chaos`", dir.display());
}

#[test]
fn faults_do_no_more_harm_through_kmend() {
    let wanted = std::env::var("CHAOS").ok();
    let set = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let (rounds, seed) = (set("CHAOS_ROUNDS").unwrap_or(2), set("CHAOS_SEED").unwrap_or(1));
    let disk = tempfile::Builder::new().prefix("kmend-chaos-").tempdir().expect("a temporary folder");
    small_disk(disk.path());
    network::raise_loopback();
    let mut stage = stage(disk.path());
    let is_wanted = |f: &Fault| wanted.as_ref().is_none_or(|part| f.name().contains(part.as_str()));
    // Whoever chooses looks at something; what is kept is the whole.
    let is_whole = std::env::vars().all(|(name, _)| !name.starts_with("CHAOS"));
    let mut kept = is_whole.then(|| Kept::open(seed));
    let mut rows: Vec<Row> = kept.as_mut().map(Kept::rows).unwrap_or_default();
    let (mut failed, mut panicked) = (Vec::new(), Vec::new());
    let mut number = set("CHAOS_AFTER").unwrap_or(0) as usize;
    let only = std::env::var("CHAOS_WORKLOADS").unwrap_or_default();
    let is_chosen = |w: &&Workload| only.is_empty() || only.split(',').any(|name| name == format!("{w:?}"));
    for _ in 0..rounds {
        for fault in Fault::ALL.into_iter().filter(is_wanted) {
            number += 1;
            for wave in WAVES {
                let is_done = |w: &Workload| rows.iter().any(|r: &Row| r.round == number && r.name == w.name(number));
                let wave: Vec<Workload> = wave.iter().filter(is_chosen).copied().filter(|w| !is_done(w)).collect();
                let started = Instant::now();
                let mut new = None;
                // What the set-up needs may take too long on a busy machine; what is checked does not fail a round.
                for number in [number, number + AGAIN].into_iter().filter(|_| !wave.is_empty()) {
                    match caught(|| round(&stage, fault, &wave, number, seed)) {
                        Ok(rows) => {
                            new = Some(rows);
                            break;
                        }
                        Err(error) => {
                            println!("round {number}, {}: it could not be run; another cluster: {error}", fault.name());
                            panicked.extend(panics(&stage));
                            drop(stage);
                            stage = self::stage(disk.path());
                        }
                    }
                }
                if new.is_none() && !wave.is_empty() {
                    failed.push(fault.name());
                }
                for row in new.into_iter().flatten() {
                    println!(
                        "round {number}, {:.0} s\n{}",
                        started.elapsed().as_secs_f64(),
                        report::line(&row, &known(&rows))
                    );
                    if let Some(kept) = &mut kept {
                        kept.add(&row);
                    }
                    rows.push(row);
                }
            }
        }
    }
    assert!(!rows.is_empty() || !failed.is_empty(), "no fault is called {wanted:?}");
    panicked.extend(panics(&stage));
    if is_whole {
        report::write(&rows, seed);
    }
    assert!(failed.is_empty(), "these could not be run: {failed:?}");
    let known = known(&rows);
    let worse = rows.iter().filter(|row| !row.worse(&known).is_empty()).map(|row| report::line(row, &known));
    let worse: Vec<String> = worse.collect();
    assert!(worse.is_empty() && panicked.is_empty(), "{}\n{}", worse.join("\n"), panicked.join("\n"));
    let died = |pick: fn(&Row) -> &Outcome| rows.iter().map(|row| pick(row).died()).sum::<usize>();
    let (direct, through) = (died(|row| &row.direct) as f64, died(|row| &row.through) as f64);
    // Twice what chance does to the difference of two counts.
    let chance = 2.0 * (direct + through).sqrt();
    assert!(rows.len() < 100 || through - direct <= chance, "{through} apps died through kmend, {direct} directly");
}

#[test]
fn every_workload_has_its_wave() {
    let all: Vec<Workload> = WAVES.into_iter().flatten().copied().collect();
    assert_eq!(all.len(), Workload::ALL.len());
    assert!(Workload::ALL.iter().all(|w| all.contains(w)));
}
