//! FastStream 0.5.3 on aiokafka with `auto_commit=False`: one refused commit ends the task that consumes, in silence;
//! the process lives on, heartbeats, and keeps its partitions. 0.5.4 and 0.4.7 get over it by themselves.

use std::time::Duration;

use crate::commits;
use crate::harness::Together;
use crate::scenario::{Outcome, Party, Trouble, Verdict};

/// The case.
pub const CASE: &str = "faststream-0.5.3";
const DIRECT: Duration = Duration::from_secs(15);

/// Directly, or through a kmend of its own; what kmend buffered.
pub fn outcome(client: &str, commit: &str, trouble: Trouble, through: bool) -> (Outcome, f64) {
    let kmend = through.then(crate::repairing);
    let party = Party::start(client, kmend, |o| o.with("COMMIT", commit));
    let outcome = match commit {
        "each" => party.meet_for_sure(trouble, if through { super::mended::LIMIT } else { DIRECT }),
        // There is no commit in the handler that could be refused.
        _ => party.meet(trouble, super::mended::LIMIT),
    };
    let how = if through { "through kmend" } else { "directly" };
    println!("{client}, COMMIT={commit}, {trouble:?}, {how}: {}", outcome.text());
    assert_eq!(party.app.errors(), Vec::<String>::new(), "{}", outcome.story);
    let buffered = party.kmend.as_ref().map_or(0.0, |k| commits(k, "buffered"));
    (outcome, buffered)
}

fn stuck(trouble: Trouble) {
    let (outcome, _) = outcome(CASE, "each", trouble, false);
    assert_eq!(outcome.verdict, Verdict::Stuck, "{}\n{}", outcome.text(), outcome.story);
    assert!(outcome.refused.contains(&trouble.code()), "{}", outcome.text());
}

fn goes_on(trouble: Trouble) {
    let (outcome, buffered) = outcome(CASE, "each", trouble, true);
    assert_eq!(outcome.verdict, Verdict::GoesOn, "{}\n{}", outcome.text(), outcome.story);
    assert!(outcome.refused.contains(&trouble.code()) && buffered >= 1.0, "{}, {buffered} buffered", outcome.text());
}

/// A control goes on directly, and through kmend as well.
fn control(client: &str, commit: &str) {
    let half = |through| {
        let (outcome, _) = outcome(client, commit, Trouble::Queued, through);
        assert_eq!(outcome.verdict, Verdict::GoesOn, "{}\n{}", outcome.text(), outcome.story);
        let was = outcome.refused.contains(&22);
        assert!(was || commit == "default", "the control met no trouble: {}", outcome.text());
    };
    std::thread::scope(|threads| {
        let halves = [false, true].map(|through| threads.spawn(move || half(through)));
        for done in halves {
            done.join().unwrap_or_else(|e| std::panic::resume_unwind(e));
        }
    });
}

const STORIES: &[(&str, fn())] = &[
    ("stuck", || stuck(Trouble::Queued)),
    ("goes on", || goes_on(Trouble::Queued)),
    ("removed", || goes_on(Trouble::Removed)),
    ("0.5.4", || control("faststream-0.5.4", "each")),
    ("0.4.7", || control("faststream-0.4.7", "each")),
    ("auto", || control(CASE, "default")),
];

static TOLD: Together = Together::new();

#[test]
fn is_stuck_directly() {
    TOLD.tell("stuck", STORIES);
}

#[test]
fn goes_on_through_kmend() {
    TOLD.tell("goes on", STORIES);
}

#[test]
fn goes_on_through_kmend_when_its_member_is_removed() {
    TOLD.tell("removed", STORIES);
}

#[test]
fn its_successor_behaves_the_same_with_and_without() {
    TOLD.tell("0.5.4", STORIES);
}

#[test]
fn its_predecessor_behaves_the_same_with_and_without() {
    TOLD.tell("0.4.7", STORIES);
}

#[test]
fn auto_commit_behaves_the_same_with_and_without() {
    TOLD.tell("auto", STORIES);
}
