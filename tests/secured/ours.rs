//! kmend logs in, and logs in again; the apps know of no login. What they may do is what Alice may do.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::kafka::{PASSWORD, USER};
use crate::harness::secured::token;
use crate::harness::{Client, Opts, Way, eventually, unique};
use crate::pair::{Outcome, PATIENCE, side_by_side};
use crate::{CLIENTS, Discreet, kafka, kmend, over_tls, tell};

/// kmend with a login of its own.
pub fn logging_in(way: Way, change: impl FnOnce(&mut Value)) -> Discreet {
    with_secret(way, if way == Way::Oauth { token(USER) } else { PASSWORD.to_owned() }, change)
}

/// The same with another password (or token).
pub fn with_secret(way: Way, secret: String, change: impl FnOnce(&mut Value)) -> Discreet {
    from_file(way, &kafka().authority().keep(&unique("secret"), &secret), change)
}

/// The same with the password (or token) that stands in this file.
pub fn with_file(way: Way, file: &Path) -> Discreet {
    from_file(way, file, |_| {})
}

fn from_file(way: Way, file: &Path, change: impl FnOnce(&mut Value)) -> Discreet {
    kmend(way, |config| {
        config["upstream"]["sasl"] = match way {
            Way::Oauth => json!({ "mechanism": way.mechanism(), "oauth": { "token_file": file } }),
            _ => json!({ "mechanism": way.mechanism(), "username": USER, "password_file": file }),
        };
        change(config);
    })
}

/// Some clients with one mechanism of kmend's.
pub fn all_with(way: Way, pairs: &[[&'static str; 2]]) -> Vec<Outcome> {
    let all = side_by_side(pairs, USER, || logging_in(way, |_| {}), |opts| opts);
    for one in &all {
        println!("{way:?}, by kmend: {one:?}");
        assert_eq!(one.logins, 0.0, "no app has logged in by itself: {one:?}");
        assert!(one.renewed >= 4.0, "has kmend logged in again? {one:?}");
    }
    all
}

/// Each client is a producer once and a consumer once.
fn some(way: usize) -> [[&'static str; 2]; 1] {
    [[CLIENTS[way], CLIENTS[(way + 1) % CLIENTS.len()]]]
}

pub const STORIES: &[(&str, fn())] = &[
    ("plain", || drop(all_with(Way::Plain, &some(0)))),
    ("scram-256", || drop(all_with(Way::Scram256, &some(1)))),
    ("scram-512", || drop(all_with(Way::Scram512, &some(2)))),
    ("oauth", || drop(all_with(Way::Oauth, &some(3)))),
    ("nobody", nobody_gets_in_without),
    ("acls", || are_taken_for(USER, "bob", &CLIENTS, &logging_in(Way::Scram256, |_| {}))),
];

#[test]
fn kmend_logs_in_with_plain() {
    tell("plain");
}

#[test]
fn kmend_logs_in_with_scram_sha_256() {
    tell("scram-256");
}

#[test]
fn kmend_logs_in_with_scram_sha_512() {
    tell("scram-512");
}

#[test]
fn kmend_logs_in_with_oauthbearer() {
    tell("oauth");
}

#[test]
fn without_a_login_no_app_gets_in() {
    tell("nobody");
}

#[test]
fn acls_are_those_of_the_user_that_kmend_logs_in_as() {
    tell("acls");
}

/// The same apps directly at the broker's listener.
fn nobody_gets_in_without() {
    let admin = kafka().admin();
    let topic = unique("alice-nobody");
    admin.create(&topic, 1, &[]);
    let at = &kafka().by(Way::Plain)[0];
    let apps = CLIENTS.map(|client| Client::start(client, over_tls(Opts::produce(at, &topic))));
    let some_get_in = || apps.iter().any(|app| app.progress() > 0);
    assert!(!eventually(Duration::from_secs(12), some_get_in), "somebody got in without a login");
    assert_eq!(admin.log_end(&topic, 0), 0);
    let control = Client::start("franz-go", over_tls(crate::as_alice(Opts::produce(at, &topic), Way::Plain)));
    control.wait("a record", PATIENCE, |c| c.progress() > 0);
}

/// Apps without a login, behind this kmend, meet the ACLs of `user`: they may use a topic of hers, and hear of it when
/// they try another's.
pub fn are_taken_for(user: &str, other: &str, clients: &[&str], kmend: &Discreet) {
    let admin = kafka().admin();
    let [own, foreign] = [user, other].map(|prefix| {
        let topic = unique(&format!("{prefix}-acl"));
        admin.create(&topic, 1, &[]);
        topic
    });
    let start = |client: &str, topic: &str| Client::start(client, Opts::produce(&kmend.listen, topic));
    let refused: Vec<Client> = clients.iter().map(|client| start(client, &foreign)).collect();
    let allowed = start("franz-go", &own);
    allowed.wait("a record", PATIENCE, |c| c.progress() > 0);
    let group = Client::start("librdkafka", Opts::consume(&kmend.listen, &own, &format!("{other}-group")));
    for app in refused.iter().chain([&group]) {
        let told = |c: &Client| c.errors().iter().any(|e| e.to_lowercase().contains("authoriz"));
        app.wait("an authorization error", PATIENCE, told);
        assert_eq!(app.progress(), 0, "{}", app.story());
    }
    assert_eq!(admin.log_end(&foreign, 0), 0);
    assert_eq!(allowed.errors(), Vec::<String>::new());
}
