//! The apps log in by themselves, again and again, and kmend lets that pass while every mender may speak between.

use crate::harness::Way;
use crate::harness::kafka::USER;
use crate::pair::{Outcome, side_by_side};
use crate::{as_alice, kmend, tell};

/// Some clients with one mechanism.
pub fn all_with(way: Way, pairs: &[[&'static str; 2]]) -> Vec<Outcome> {
    let all = side_by_side(pairs, USER, || kmend(way, |_| {}), |opts| as_alice(opts, way));
    for one in &all {
        println!("{way:?}, through: {one:?}");
        // Producer and consumer, one busy connection at least of each, and twice at least on each of them.
        assert!(one.logins >= one.connections + 4.0, "who has logged in again? {one:?}");
    }
    all
}

// Each client logs in with each mechanism, as a producer with two of them and as a consumer with the others.
const ONE: &[[&str; 2]] = &[["java", "librdkafka"], ["franz-go", "kafkajs"]];
const OTHER: &[[&str; 2]] = &[["librdkafka", "java"], ["kafkajs", "franz-go"]];

pub const STORIES: &[(&str, fn())] = &[
    ("plain passes", || drop(all_with(Way::Plain, ONE))),
    ("scram-256 passes", || drop(all_with(Way::Scram256, OTHER))),
    ("scram-512 passes", || drop(all_with(Way::Scram512, ONE))),
    ("oauth passes", || drop(all_with(Way::Oauth, OTHER))),
];

#[test]
fn plain_passes() {
    tell("plain passes");
}

#[test]
fn scram_sha_256_passes() {
    tell("scram-256 passes");
}

#[test]
fn scram_sha_512_passes() {
    tell("scram-512 passes");
}

#[test]
fn oauthbearer_passes() {
    tell("oauth passes");
}
