//! Certificates in words: for whom, by whom, for how long.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;

use crate::cli::text::utc;
use crate::tls::Facts;

/// A certificate that ends sooner is warned about.
const SOON: i64 = 14 * 86_400;
/// Names that are told of a certificate that holds many.
const MOST_TOLD: usize = 8;

/// Where now is in the life of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    NotYet,
    Good,
    /// Days that are left.
    Ending(i64),
    Over,
}

pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

pub(super) fn life(facts: &Facts, now: i64) -> Life {
    match facts.ends - now {
        _ if now < facts.begins => Life::NotYet,
        left if left < 0 => Life::Over,
        left if left < SOON => Life::Ending(left / 86_400),
        _ => Life::Good,
    }
}

/// Seconds since 1970 as a date with its time.
pub(super) fn date(seconds: i64) -> String {
    utc(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}

pub(super) fn facts(certificates: &[CertificateDer<'_>]) -> Vec<Facts> {
    certificates.iter().filter_map(Facts::read).collect()
}

/// The hosts that a certificate holds.
pub(super) fn hosts(facts: &Facts) -> String {
    let (told, rest) = facts.hosts.split_at(facts.hosts.len().min(MOST_TOLD));
    match (told, rest.len()) {
        ([], _) => "no host at all".to_owned(),
        (told, 0) => told.join(", "),
        (told, more) => format!("{} and {more} more", told.join(", ")),
    }
}

/// Whose certificate it is: its name, or where it has none its hosts.
pub(super) fn whose(facts: &Facts) -> String {
    if facts.subject.starts_with('(') { hosts(facts) } else { facts.subject.clone() }
}

pub(super) fn days(left: i64) -> String {
    match left {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        n => format!("{n} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_weeks_are_warned_about() {
        let facts = |begins, ends| Facts {
            subject: "(no name)".into(),
            issuer: "CN=a".into(),
            begins,
            ends,
            hosts: (0..10).map(|n| format!("h{n}")).collect(),
        };
        let day = 86_400;
        assert_eq!(life(&facts(0, 100 * day), 50 * day), Life::Good);
        assert_eq!(life(&facts(0, 100 * day), 86 * day), Life::Good);
        assert_eq!(life(&facts(0, 100 * day), 86 * day + 1), Life::Ending(13));
        assert_eq!(life(&facts(0, 100 * day), 100 * day), Life::Ending(0));
        assert_eq!(life(&facts(0, 100 * day), 100 * day + 1), Life::Over);
        assert_eq!(life(&facts(10, 100 * day), 9), Life::NotYet);
        assert_eq!(whose(&facts(0, 1)), "h0, h1, h2, h3, h4, h5, h6, h7 and 2 more");
        assert_eq!(date(1_795_226_400), "2026-11-21T02:00:00Z");
    }
}
