//! The runs.

use std::collections::BTreeSet;

use super::bad::{How, bad};
use super::check::Coverage;
use super::leads::{Leading, leads};
use super::menders::{self, Make};
use super::nudges::{Nudging, nudges};
use super::plan::Plan;
use super::shrink::shrink;
use super::tells::{Telling, tells};
use super::world::{Demand, run};

/// Seeds that `cargo test` runs.
const SEEDS: u64 = 250;
/// The same, where logs lose what they hold.
const LOST: u64 = 80;

pub fn set(name: &str) -> Option<u64> {
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
pub fn told(plan: &Plan, make: Make<'_>, demand: Demand) -> Option<String> {
    let violation = run(plan, make, demand, false).violation?;
    let (plan, outcome) = shrink(plan, violation.rule, make, demand);
    let again = outcome.violation.unwrap_or(violation);
    Some(format!("{} broken: {}\n{}{}\n", again.rule, again.what, plan.tell(), outcome.trace.join("\n")))
}

/// How a seed becomes a plan.
type Made = fn(u64) -> Plan;

fn hold(usual: u64, make: Make<'_>, demand: Demand) -> Coverage {
    hold_in(Plan::new, usual, make, demand)
}

/// Runs them all; panics with the first that breaks a rule.
fn hold_in(made: Made, usual: u64, make: Make<'_>, demand: Demand) -> Coverage {
    let mut coverage = Coverage::new();
    for seed in seeds(usual) {
        let outcome = run(&made(seed), make, demand, false);
        if outcome.violation.is_some() {
            panic!("seed {seed}: {}", told(&made(seed), make, demand).unwrap_or_default());
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

/// Where a group's protocol changes.
const WATCHED: &[&str] = &[
    "Fetch requests that forget partitions",
    "fetch sessions that were gone",
    "full Fetch requests",
    "incremental Fetch requests",
    "members that are slow",
    "members that only commit",
    "members that pause at assignment",
    "members that paused later",
    "members with the fault, in the end",
    "partitions that dangle",
    "switches to cooperative",
];

/// Where logs lose what they hold.
const EVICTED: &[&str] = &[
    "Fetch above the log end",
    "Fetch below the log start",
    "ListOffsets of members",
    "evictions",
    "fetch sessions that were gone",
    "incremental Fetch requests",
    "leaders that move",
    "logs that lost their end",
    "members that died of their position",
    "members that hear that they are above the end",
    "resets forwards",
];

/// The same, where offset_reset mends.
const RESET: &[&str] = &[
    "ListOffsets that are answered late",
    "ListOffsets that are never answered",
    "ListOffsets that are refused",
    "gaps in what was handled",
    "gaps that were crossed",
    "starts behind what is gone",
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
    occurred(&hold(SEEDS, &menders::none, Demand::Transparent), SITUATIONS);
}

#[test]
fn menders_that_observe_change_nothing() {
    hold(20, &menders::observing, Demand::Transparent);
}

#[test]
fn buffered_commits_keep_every_rule() {
    let coverage = hold(SEEDS, &menders::buffering, Demand::Usual);
    // Commits of dead clients are rare here: they are looked for where commits are written behind.
    let here: Vec<_> = MENDED.iter().copied().filter(|s| *s != "rounds without a client").collect();
    occurred(&coverage, &here);
}

#[test]
fn commits_written_behind_keep_every_rule() {
    let coverage = hold(SEEDS, &menders::behind, Demand::Usual);
    occurred(&coverage, MENDED);
}

/// A seed is a run: what passes, and when.
#[test]
fn a_seed_is_reproduced_exactly() {
    let makes: [(&str, Make<'_>); 3] =
        [("none", &menders::none), ("buffering", &menders::buffering), ("behind", &menders::behind)];
    for (name, make) in makes {
        for seed in 0..8 {
            let plan = Plan::new(seed);
            let prints: BTreeSet<u64> = (0..2).map(|_| run(&plan, make, Demand::Usual, false).print).collect();
            assert_eq!(prints.len(), 1, "{name}, seed {seed}");
        }
    }
    for seed in 0..8 {
        let plan = Plan::growing(seed);
        let again = || run(&plan, &menders::discovering, Demand::Grown, false).print;
        assert_eq!(again(), again(), "discovering, seed {seed}");
    }
}

/// Whether runs with this mender break each of these rules, sooner or later.
fn caught(how: How, demand: Demand, rules: &[&'static str]) {
    let missing = not_caught(Plan::new, &bad(how), demand, rules);
    assert!(missing.is_empty(), "{how:?} is not caught by {missing:?}");
}

fn not_caught<'r>(made: Made, make: Make<'_>, demand: Demand, rules: &[&'r str]) -> BTreeSet<&'r str> {
    let mut missing = BTreeSet::from_iter(rules.iter().copied());
    for seed in 0..200 {
        if let Some(found) = run(&made(seed), make, demand, false).violation {
            missing.remove(found.rule);
        }
        if missing.is_empty() {
            break;
        }
    }
    missing
}

#[test]
fn menders_that_are_wrong_are_caught() {
    caught(How::Forgets, Demand::Usual, &["I3"]);
    caught(How::Replays, Demand::Usual, &["I1", "I4"]);
    caught(How::Invents, Demand::Usual, &["I1"]);
    caught(How::Lifts, Demand::Usual, &["I2"]);
    caught(How::Interrupts, Demand::Usual, &["I5"]);
    caught(How::Holds, Demand::Usual, &["I5"]);
    caught(How::Lifts, Demand::Transparent, &["I6"]);
}

#[test]
fn menders_that_tell_members_wrongly_are_caught() {
    let all: [(Telling, Made, &str); 4] = [
        (Telling::Everybody, Plan::switching, "W1"),
        (Telling::Amid, Plan::switching, "W2"),
        (Telling::Again, Plan::dangling, "W3"),
        (Telling::Flood, Plan::dangling, "W4"),
    ];
    for (telling, made, rule) in all {
        let missing = not_caught(made, &tells(telling), Demand::Usual, &[rule]);
        assert!(missing.is_empty(), "{telling:?} is not caught by {missing:?}");
    }
}

/// Rule W5 holds with a mender that tells well, and without one it does not.
#[test]
fn what_is_left_unread_is_seen_and_can_be_mended() {
    assert!(not_caught(Plan::switching, &menders::none, Demand::AllRead, &["W5"]).is_empty());
    if !menders::watchdog_mends() {
        // Then the watchdog is as good as nobody.
        assert!(not_caught(Plan::switching, &menders::watching, Demand::AllRead, &["W5"]).is_empty());
    }
    let coverage = hold_in(Plan::switching, 60, &tells(Telling::Well), Demand::AllRead);
    hold(10, &tells(Telling::Well), Demand::AllRead);
    occurred(&coverage, &["members told to rejoin", "partitions that dangled and are read"]);
}

/// Rule W5 is asked for once the watchdog mends.
fn watched() -> Demand {
    if menders::watchdog_mends() { Demand::AllRead } else { Demand::Usual }
}

fn occurred_where_watched(coverage: &Coverage) {
    occurred(coverage, WATCHED);
    if menders::watchdog_mends() {
        occurred(coverage, &["members told to rejoin"]);
    }
}

#[test]
fn watched_groups_keep_every_rule() {
    occurred_where_watched(&hold_in(Plan::switching, SEEDS / 2, &menders::watching, watched()));
}

#[test]
fn watched_groups_with_buffered_commits_keep_every_rule() {
    occurred_where_watched(&hold_in(Plan::switching, SEEDS / 2, &menders::all, watched()));
    // Where everything goes wrong.
    hold(SEEDS / 12, &menders::all, watched());
}

#[test]
fn watched_groups_with_commits_written_behind_keep_every_rule() {
    occurred_where_watched(&hold_in(Plan::switching, SEEDS / 2, &menders::all_behind, watched()));
    hold(SEEDS / 12, &menders::all_behind, watched());
}

#[test]
fn evicted_offsets_without_menders_are_the_clients_own_affair() {
    let coverage = hold_in(Plan::evicting, LOST, &menders::none, Demand::Transparent);
    occurred(&coverage, EVICTED);
    occurred(&coverage, &["members that hear of an eviction", "resets backwards"]);
}

#[test]
fn evicted_offsets_keep_every_rule() {
    let coverage = hold_in(Plan::evicting, LOST, &menders::resetting, Demand::Mended);
    occurred(&coverage, EVICTED);
    occurred(&coverage, RESET);
    let coverage = hold_in(Plan::evicting, LOST, &menders::steering, Demand::Steered);
    occurred(&coverage, RESET);
    occurred(&coverage, &["resets that were steered"]);
}

/// Groups of which nothing is left out: evicted offsets, refused commits, partitions that dangle.
#[test]
fn menders_together_keep_every_rule() {
    let coverage = hold_in(Plan::evicting, LOST, &menders::every, Demand::All);
    occurred(&coverage, RESET);
    occurred(&coverage, &["replays accepted"]);
    hold_in(Plan::evicting, LOST / 4, &menders::every_behind, Demand::All);
}

#[test]
fn menders_that_reset_wrongly_are_caught() {
    assert!(not_caught(Plan::evicting, &menders::none, Demand::Mended, &["E2"]).is_empty());
    let all = [
        (Leading::Past, "E1"),
        (Leading::Lifts, "I2"),
        (Leading::Silences, "E3"),
        (Leading::Silences, "E4"),
        (Leading::Steers, "E5"),
        (Leading::Invents, "E6"),
    ];
    for (leading, rule) in all {
        let missing = not_caught(Plan::evicting, &leads(leading), Demand::Usual, &[rule]);
        assert!(missing.is_empty(), "{leading:?} is not caught by {missing:?}");
    }
}

#[test]
fn a_plan_is_made_smaller() {
    let make = bad(How::Forgets);
    let found = (0..60).map(Plan::new).find_map(|p| run(&p, &make, Demand::Usual, false).violation.map(|v| (p, v)));
    let (plan, violation) = found.expect("a plan that shows it");
    let (small, outcome) = shrink(&plan, violation.rule, &make, Demand::Usual);
    assert_eq!(outcome.violation.map(|v| v.rule), Some(violation.rule));
    assert!(small.faults.len() <= 6 && small.faults.len() <= plan.faults.len(), "{}", small.tell());
    let last = outcome.trace.last().map(String::as_str).unwrap_or_default();
    assert!(last.contains("BROKEN"), "{last}");
}

/// Where topics grow, and where they are made anew.
const GROWING: u64 = 12;

/// What growing topics bring about.
const GROWN: &[&str] = &[
    "Fetch requests that kmend answers",
    "batches refused by kmend",
    "batches refused by the broker",
    "connections closed at rest",
    "consumers told of another leader",
    "consumers told to rejoin",
    "groups that had to know",
    "growths",
    "polls",
    "producers refused",
    "producers that had to know",
];

#[test]
fn growing_topics_without_menders_are_the_clients_own_affair() {
    hold_in(Plan::growing, GROWING / 2, &menders::none, Demand::Transparent);
    hold_in(Plan::remade, GROWING / 2, &menders::none, Demand::Transparent);
    hold_in(Plan::growing, GROWING / 2, &menders::observing, Demand::Transparent);
}

#[test]
fn growing_topics_keep_every_rule() {
    occurred(&hold_in(Plan::growing, 2 * GROWING, &menders::discovering, Demand::Grown), GROWN);
    let coverage = hold_in(Plan::remade, GROWING, &menders::discovering, Demand::Grown);
    occurred(&coverage, &["topics made anew", "growths", "producers that had to know"]);
}

#[test]
fn all_menders_keep_every_rule_where_topics_grow() {
    let coverage = hold_in(Plan::growing_evicting, GROWING, &menders::all_four, Demand::AllGrown);
    occurred(&coverage, &["replays accepted", "growths", "evictions", "groups that had to know"]);
    hold_in(Plan::growing_evicting, GROWING / 3, &menders::all_four_behind, Demand::AllGrown);
}

#[test]
fn menders_that_make_look_wrongly_are_caught() {
    let all = [
        (Nudging::One, "N1"),
        (Nudging::Swallows, "N2"),
        (Nudging::Refuses, "N2"),
        (Nudging::Closes, "N3"),
        (Nudging::Closes, "N4"),
        (Nudging::Rejoins, "N4"),
        (Nudging::Answers, "N7"),
        (Nudging::All, "N8"),
        (Nudging::Often, "N8"),
    ];
    for (nudging, rule) in all {
        let missing = not_caught(Plan::growing, &nudges(nudging), Demand::Usual, &[rule]);
        assert!(missing.is_empty(), "{nudging:?} is not caught by {missing:?}");
    }
    assert!(not_caught(Plan::growing, &menders::none, Demand::Grown, &["N5", "N6"]).is_empty());
}
