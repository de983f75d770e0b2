//! The log of kmend beside the feed of the page: what is in one has to be in the other, once, and soon.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::WITHIN;
use crate::harness::Kmend;
use crate::page::{Line, Saw};

/// A log line of a mender.
#[derive(Debug, Clone)]
struct Told {
    /// Seconds since 1970.
    at: f64,
    mender: String,
    message: String,
    is_observed: bool,
}

/// One of them on the page.
#[derive(Debug, Clone)]
pub struct Shown {
    pub mender: String,
    pub text: String,
    pub message: String,
    pub tags: String,
    /// Seconds from the log line to the page.
    pub after: f64,
}

impl Shown {
    pub fn is_observed(&self) -> bool {
        self.tags.contains("observed")
    }
}

const MENDERS: &str = "kmend::menders::";

/// What menders have logged, from INFO on.
fn told(kmend: &Kmend) -> Vec<Told> {
    let log = kmend.log();
    let parsed = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of = |line: Value| {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let room = text("target").strip_prefix(MENDERS)?.to_owned();
        let mender = room.split("::").next().unwrap_or_default().to_owned();
        let is_told = matches!(text("level").as_str(), "INFO" | "WARN" | "ERROR");
        let at = seconds(&text("timestamp"));
        is_told.then(|| Told { at, mender, message: text("message"), is_observed: line["observed"] == true })
    };
    parsed.filter_map(of).collect()
}

/// `2026-11-22T07:53:35.935040Z` as seconds since 1970.
fn seconds(timestamp: &str) -> f64 {
    let number = |from: usize, to: usize| timestamp[from..to].parse::<i64>().expect("a timestamp");
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    // Years that begin in March have their leap day at the end.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let fraction: f64 = timestamp[17..].trim_end_matches('Z').parse().expect("seconds");
    (days * 86_400 + number(11, 13) * 3600 + number(14, 16) * 60) as f64 + fraction
}

/// Nothing that a page must not do was done, and every line of a mender is on it once, soon.
#[track_caller]
pub fn check(kmend: &Kmend, saw: &Saw) -> Vec<Shown> {
    assert_eq!((saw.state.as_str(), &saw.banner, &saw.notice), ("Live", &None, &None));
    assert_eq!(saw.console_errors, Vec::<String>::new(), "on the console");
    assert_eq!(saw.csp_violations, Vec::<String>::new(), "against the policy");
    assert_eq!(saw.outside_requests, Vec::<String>::new(), "asked of somebody else");
    assert!(saw.requests.len() > 3, "nothing was asked at all: {:?}", saw.requests);
    assert!(saw.document_is_current && saw.policy_is_current, "the page is not that of this checkout");
    let ids: BTreeSet<&str> = saw.feed.iter().map(|line| line.id.as_str()).collect();
    assert_eq!(ids.len(), saw.feed.len(), "a line was added twice: {:#?}", saw.feed);
    let mut left = saw.feed.clone();
    let shown: Vec<Shown> = told(kmend).into_iter().map(|told| find(&mut left, &told, saw)).collect();
    assert!(left.is_empty(), "on the page, and not in the log (or twice): {left:#?}");
    assert_eq!(saw.rows_in_feed, shown.len(), "rows on the page");
    let late: Vec<&Shown> = shown.iter().filter(|s| !(-0.1..WITHIN).contains(&s.after)).collect();
    assert!(late.is_empty(), "not within {WITHIN} s: {late:#?}");
    shown
}

/// Takes the first line of the feed that says what the log line says.
#[track_caller]
fn find(left: &mut Vec<Line>, told: &Told, saw: &Saw) -> Shown {
    let says = |line: &Line| line.mender == told.mender && line.text.ends_with(&told.message);
    let Some(at) = left.iter().position(says) else {
        panic!("not on the page: {told:?}\n{:#?}", saw.feed);
    };
    let Line { mender, text, tags, appeared_at, .. } = left.remove(at);
    assert_eq!(tags.contains("observed"), told.is_observed, "{told:?}: {tags}");
    Shown { mender, text, message: told.message.clone(), tags, after: appeared_at - told.at }
}
