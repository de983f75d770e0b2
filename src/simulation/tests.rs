//! The runs.

use std::collections::BTreeSet;

use super::bad::{How, bad};
use super::check::Coverage;
use super::menders::{self, Make};
use super::plan::Plan;
use super::shrink::shrink;
use super::world::run;

/// Seeds that `cargo test` runs.
const SEEDS: u64 = 250;

fn set(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|v| v.parse().expect("a number"))
}

/// `KMEND_SEED=n`: only that one; `KMEND_SEEDS=n`: so many, from `KMEND_FROM` on.
fn seeds(usual: u64) -> Vec<u64> {
    let from = set("KMEND_FROM").unwrap_or(0);
    match set("KMEND_SEED") {
        Some(seed) => vec![seed],
        None => (from..from + set("KMEND_SEEDS").unwrap_or(usual)).collect(),
    }
}

/// Tells what went wrong, from its smallest plan on.
fn told(seed: u64, make: Make<'_>, transparent: bool) -> Option<String> {
    let plan = Plan::new(seed);
    let violation = run(&plan, make, transparent, false).violation?;
    let (plan, outcome) = shrink(&plan, violation.rule, make, transparent);
    let again = outcome.violation.unwrap_or(violation);
    Some(format!("{} broken: {}\n{}{}\n", again.rule, again.what, plan.tell(), outcome.trace.join("\n")))
}

/// Runs them all; panics with the first that breaks a rule.
fn hold(usual: u64, make: Make<'_>, transparent: bool) -> Coverage {
    let mut coverage = Coverage::new();
    for seed in seeds(usual) {
        let outcome = run(&Plan::new(seed), make, transparent, false);
        if outcome.violation.is_some() {
            panic!("seed {seed}: {}", told(seed, make, transparent).unwrap_or_default());
        }
        for (what, count) in outcome.coverage {
            *coverage.entry(what).or_default() += count;
        }
    }
    if std::env::var_os("KMEND_COVERAGE").is_some() {
        let lines: String = coverage.iter().map(|(what, count)| format!("{count:>9} {what}\n")).collect();
        std::io::Write::write_all(&mut std::io::stderr(), lines.as_bytes()).expect("writes");
    }
    coverage
}

/// What the usual seeds must bring about, or they show nothing.
const SITUATIONS: &[&str] = &[
    "acknowledged",
    "apps that died",
    "apps that left",
    "apps that stood still",
    "apps that were killed",
    "commits accepted",
    "commits accepted while a rebalance is prepared",
    "commits refused with 22",
    "commits refused with 25",
    "commits refused with 27",
    "commits while the coordinator moves",
    "connections that broke",
    "coordinator moves",
    "crashes",
    "group empty",
    "handlers that were stuck",
    "members expired",
    "members unknown (25)",
    "members with an old generation (22)",
    "rebalances",
    "resets by an operator",
    "rewinds",
    "stalls",
    "starts",
    "zombies that commit",
];

/// The same, where commit_buffer mends.
const MENDED: &[&str] = &[
    "crashes in the middle of something",
    "errands",
    "journal writes lost in a crash",
    "journal writes refused",
    "replays accepted",
    "replays refused",
    "rounds without a client",
];

fn occurred(coverage: &Coverage, situations: &[&str]) {
    // A single seed, or a few, are asked for by hand.
    if set("KMEND_SEED").is_none() && set("KMEND_SEEDS").is_none_or(|n| n >= SEEDS) {
        let missing: Vec<_> = situations.iter().filter(|s| !coverage.contains_key(*s)).collect();
        assert!(missing.is_empty(), "never occurred: {missing:?}");
    }
}

#[test]
fn without_menders_nothing_changes_and_nothing_is_lost() {
    occurred(&hold(SEEDS, &menders::none, true), SITUATIONS);
}

#[test]
fn menders_that_observe_change_nothing() {
    hold(40, &menders::observing, true);
}

#[test]
fn buffered_commits_keep_every_rule() {
    let coverage = hold(SEEDS, &menders::buffering, false);
    // Commits of dead clients are rare here: they are looked for where commits are written behind.
    let here: Vec<_> = MENDED.iter().copied().filter(|s| *s != "rounds without a client").collect();
    occurred(&coverage, &here);
}

#[test]
fn commits_written_behind_keep_every_rule() {
    let coverage = hold(SEEDS, &menders::behind, false);
    occurred(&coverage, MENDED);
}

/// A seed is a run: what passes, and when.
#[test]
fn a_seed_is_reproduced_exactly() {
    let makes: [(&str, Make<'_>); 3] =
        [("none", &menders::none), ("buffering", &menders::buffering), ("behind", &menders::behind)];
    for (name, make) in makes {
        for seed in 0..12 {
            let plan = Plan::new(seed);
            let prints: BTreeSet<u64> = (0..2).map(|_| run(&plan, make, false, false).print).collect();
            assert_eq!(prints.len(), 1, "{name}, seed {seed}");
        }
    }
}

/// Whether runs with this mender break each of these rules, sooner or later.
fn caught(how: How, transparent: bool, rules: &[&'static str]) {
    let make = bad(how);
    let mut missing = BTreeSet::from_iter(rules.iter().copied());
    for seed in 0..200 {
        if let Some(found) = run(&Plan::new(seed), &make, transparent, false).violation {
            missing.remove(found.rule);
        }
        if missing.is_empty() {
            return;
        }
    }
    panic!("{how:?} is not caught by {missing:?}");
}

#[test]
fn menders_that_are_wrong_are_caught() {
    caught(How::Forgets, false, &["I3"]);
    caught(How::Replays, false, &["I1", "I4"]);
    caught(How::Invents, false, &["I1"]);
    caught(How::Lifts, false, &["I2"]);
    caught(How::Interrupts, false, &["I5"]);
    caught(How::Holds, false, &["I5"]);
    caught(How::Lifts, true, &["I6"]);
}

#[test]
fn a_plan_is_made_smaller() {
    let make = bad(How::Forgets);
    let found = (0..60).map(Plan::new).find_map(|p| run(&p, &make, false, false).violation.map(|v| (p, v)));
    let (plan, violation) = found.expect("a plan that shows it");
    let (small, outcome) = shrink(&plan, violation.rule, &make, false);
    assert_eq!(outcome.violation.map(|v| v.rule), Some(violation.rule));
    assert!(small.faults.len() <= 6 && small.faults.len() <= plan.faults.len(), "{}", small.tell());
    let last = outcome.trace.last().map(String::as_str).unwrap_or_default();
    assert!(last.contains("BROKEN"), "{last}");
}
