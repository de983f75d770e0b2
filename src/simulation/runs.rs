//! Many runs of all kinds, on all cores (`make simulate`), and their report.
//!
//! `KMEND_SIMULATE=100000` says how many there are, `KMEND_FROM` the first seed, `KMEND_CORES` how many
//! threads, `KMEND_REPORT` where the report goes. `KMEND_KIND=together KMEND_SEED=7` runs one and tells
//! all of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::check::Coverage;
use super::menders::{self, Start};
use super::plan::Plan;
use super::tests::{set, told};
use super::world::{Demand, run};
use crate::mend::Mender;

/// A kind of plan, and the menders that it is run with.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    made: fn(u64) -> Plan,
    make: fn(Start<'_>) -> Vec<Arc<dyn Mender>>,
    demand: Demand,
}

const KINDS: [Kind; 17] = [
    Kind { name: "groups", made: Plan::new, make: menders::none, demand: Demand::Transparent },
    Kind { name: "groups-observed", made: Plan::new, make: menders::observing, demand: Demand::Transparent },
    Kind { name: "groups-buffered", made: Plan::new, make: menders::buffering, demand: Demand::Usual },
    Kind { name: "groups-behind", made: Plan::new, make: menders::behind, demand: Demand::Usual },
    Kind { name: "switching", made: Plan::switching, make: menders::watching, demand: Demand::AllRead },
    Kind { name: "switching-buffered", made: Plan::switching, make: menders::all, demand: Demand::AllRead },
    Kind { name: "switching-behind", made: Plan::switching, make: menders::all_behind, demand: Demand::AllRead },
    Kind { name: "evicted-passed", made: Plan::evicting, make: menders::none, demand: Demand::Transparent },
    Kind { name: "evicted", made: Plan::evicting, make: menders::resetting, demand: Demand::Mended },
    Kind { name: "evicted-by-policy", made: Plan::evicting, make: menders::steering, demand: Demand::Steered },
    Kind { name: "together", made: Plan::evicting, make: menders::every, demand: Demand::All },
    Kind { name: "together-behind", made: Plan::evicting, make: menders::every_behind, demand: Demand::All },
    Kind { name: "growing-observed", made: Plan::growing, make: menders::observing, demand: Demand::Transparent },
    Kind { name: "growing", made: Plan::growing, make: menders::discovering, demand: Demand::Grown },
    Kind { name: "remade", made: Plan::remade, make: menders::discovering, demand: Demand::Grown },
    Kind { name: "growing-together", made: Plan::growing_evicting, make: menders::all_four, demand: Demand::AllGrown },
    Kind {
        name: "growing-behind",
        made: Plan::growing_evicting,
        make: menders::all_four_behind,
        demand: Demand::AllGrown,
    },
];

/// What came of the runs of one kind.
#[derive(Default)]
struct Sum {
    runs: u64,
    broken: Vec<(u64, &'static str)>,
    coverage: Coverage,
}

/// So many runs in all, each kind in its turn; those that break a rule, and what occurred.
fn all(from: u64, count: u64, threads: usize) -> Vec<Sum> {
    let next = AtomicU64::new(0);
    let sums: Mutex<Vec<Sum>> = Mutex::new(KINDS.iter().map(|_| Sum::default()).collect());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let (index, seed) = ((number % KINDS.len() as u64) as usize, from + number / KINDS.len() as u64);
                    let kind = KINDS[index];
                    let outcome = run(&(kind.made)(seed), &kind.make, kind.demand, false);
                    let sum = &mut sums.lock().unwrap_or_else(PoisonError::into_inner)[index];
                    sum.runs += 1;
                    sum.broken.extend(outcome.violation.map(|v| (seed, v.rule)));
                    for (what, times) in outcome.coverage {
                        *sum.coverage.entry(what).or_default() += times;
                    }
                }
            });
        }
    });
    sums.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The plan as small as it was found, and how to run it again.
fn failure(kind: Kind, seed: u64) -> String {
    let told = told(&(kind.made)(seed), &kind.make, kind.demand).unwrap_or_default();
    let name = kind.name;
    format!("{name}, seed {seed}: {told}\nKMEND_KIND={name} KMEND_SEED={seed} cargo test --lib simulation::runs\n")
}

fn report(from: u64, sums: &[Sum], took: Duration, threads: usize) -> String {
    let runs: u64 = sums.iter().map(|s| s.runs).sum();
    let broken: usize = sums.iter().map(|s| s.broken.len()).sum();
    let each = runs as f64 / took.as_secs_f64();
    let mut out = format!(
        "# Runs of the simulation\n\nWritten by `make simulate` (see [testing.md](testing.md#the-simulation)): {runs} runs from seed {from} on, {broken} \
         that break a rule; {:.0} s on {threads} thread(s), {each:.0} runs a second.\n\n| kind of plan | runs | that break a rule | rebalances | crashes | \
         evictions | replays accepted | members told to rejoin | growths | polls |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        took.as_secs_f64()
    );
    for (kind, sum) in KINDS.iter().zip(sums) {
        let of = |what: &str| sum.coverage.get(what).copied().unwrap_or(0);
        let columns =
            ["rebalances", "crashes", "evictions", "replays accepted", "members told to rejoin", "growths", "polls"]
                .map(of);
        let columns = columns.map(|n| n.to_string()).join(" | ");
        let _ = writeln!(out, "| {} | {} | {} | {columns} |", kind.name, sum.runs, sum.broken.len());
    }
    let mut occurred: BTreeMap<&str, u64> = BTreeMap::new();
    for (what, times) in sums.iter().flat_map(|s| &s.coverage) {
        *occurred.entry(what).or_default() += times;
    }
    out += "\n## What occurred\n\n| what | times |\n|---|---:|\n";
    for (what, times) in occurred {
        let _ = writeln!(out, "| {what} | {times} |");
    }
    out
}

#[test]
fn runs_of_all_kinds_keep_every_rule() {
    if let Ok(name) = std::env::var("KMEND_KIND") {
        let kind = KINDS.iter().find(|k| k.name == name).expect("a kind");
        let seed = set("KMEND_SEED").expect("KMEND_SEED");
        let found = told(&(kind.made)(seed), &kind.make, kind.demand);
        assert!(found.is_none(), "{}", found.unwrap_or_default());
        return;
    }
    let (from, count) = (set("KMEND_FROM").unwrap_or(0), set("KMEND_SIMULATE").unwrap_or(2 * KINDS.len() as u64));
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = set("KMEND_CORES").map_or_else(cores, |n| n as usize);
    let began = Instant::now();
    let sums = all(from, count, threads);
    let report = report(from, &sums, began.elapsed(), threads);
    if let Some(path) = std::env::var_os("KMEND_REPORT") {
        std::fs::write(path, &report).expect("the report is written");
    }
    let broken =
        KINDS.iter().zip(&sums).flat_map(|(kind, sum)| sum.broken.iter().map(|(seed, rule)| (*kind, *seed, *rule)));
    // One of each, or the page is full of one.
    let mut first: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for (kind, seed, rule) in broken {
        first.entry((kind.name, rule)).or_insert_with(|| failure(kind, seed));
    }
    assert!(first.is_empty(), "{}", first.into_values().collect::<Vec<_>>().join("\n"));
    assert_eq!(sums.iter().map(|s| s.runs).sum::<u64>(), count);
}

#[test]
fn the_report_names_what_is_broken_and_what_occurred() {
    let mut sums: Vec<_> = KINDS.iter().map(|_| Sum { runs: 3, ..Sum::default() }).collect();
    sums[8].broken.push((5, "E1"));
    sums[8].coverage.insert("evictions", 7);
    let report = report(0, &sums, Duration::from_secs(2), 2);
    assert!(
        report.contains("51 runs from seed 0 on, 1 that break a rule; 2 s on 2 thread(s), 26 runs a second"),
        "{report}"
    );
    assert!(report.contains("| evicted | 3 | 1 | 0 | 0 | 7 | 0 | 0 | 0 | 0 |"), "{report}");
    assert!(report.contains("| evictions | 7 |"), "{report}");
}
