//! A login that the broker refuses: an app's own, and kmend's.

use std::time::{Duration, Instant};

use crate::harness::kafka::PASSWORD;
use crate::harness::{Client, Opts, Way, eventually, unique};
use crate::ours::{with_file, with_secret};
use crate::pair::PATIENCE;
use crate::{CLIENTS, Discreet, kafka, kmend, over_tls, tell, with_password};

const WRONG: &str = "never-a-password";

/// Each client, a mechanism, and the broker's own words.
const CASES: [(&str, Way, &str); 4] = [
    ("java", Way::Plain, "Invalid username or password"),
    ("librdkafka", Way::Scram256, "invalid credentials with SASL mechanism SCRAM-SHA-256"),
    ("franz-go", Way::Scram512, "invalid credentials with SASL mechanism SCRAM-SHA-512"),
    ("kafkajs", Way::Plain, "Invalid username or password"),
];

fn says(app: &Client, words: &str) -> bool {
    app.events().iter().any(|event| format!("{event:?}").contains(words))
}

pub const STORIES: &[(&str, fn())] =
    &[("the app's password", of_the_app), ("kmend's password", of_kmend), ("its password changes", changed)];

#[test]
fn a_wrong_password_of_the_app_gets_the_brokers_own_error() {
    tell("the app's password");
}

#[test]
fn a_wrong_password_of_kmends_is_told_in_its_log_and_nobody_gets_in() {
    tell("kmend's password");
}

#[test]
fn kmends_password_is_read_anew() {
    tell("its password changes");
}

fn of_the_app() {
    let topic = unique("alice-refused");
    kafka().admin().create(&topic, 1, &[]);
    let runs = CASES.map(|(client, way, words)| {
        let kmend = kmend(way, |_| {});
        let opts = |servers: &str| with_password(Opts::produce(servers, &topic), way, WRONG);
        let through = Client::start(client, opts(&kmend.listen));
        let directly = Client::start(client, over_tls(opts(&kafka().by(way)[0])));
        (kmend, words, [directly, through])
    });
    for (kmend, words, apps) in &runs {
        for app in apps {
            app.wait(words, PATIENCE, |c| says(c, words));
            assert_eq!(app.progress(), 0, "{}", app.story());
        }
        never_shows(kmend, WRONG);
    }
}

fn of_kmend() {
    let topic = unique("alice-refused");
    kafka().admin().create(&topic, 1, &[]);
    let wrong = [
        (Way::Plain, "Invalid username or password", &CLIENTS[..]),
        (Way::Scram512, "invalid credentials", &["franz-go"]),
    ];
    let runs = wrong.map(|(way, words, clients)| {
        let kmend = with_secret_that_fails(way);
        let start = |client: &&str| Client::start(client, Opts::produce(&kmend.listen, &topic));
        let apps: Vec<Client> = clients.iter().map(start).collect();
        (kmend, words, apps)
    });
    for (kmend, words, apps) in &runs {
        let told = || complaints(kmend).iter().any(|line| line.contains(words));
        assert!(eventually(PATIENCE, told), "kmend does not say why: {:?}", complaints(kmend));
        let some_get_in = || apps.iter().any(|app| app.progress() > 0);
        assert!(!eventually(Duration::from_secs(5), some_get_in));
        println!("{words}: {:#?}", complaints(kmend));
        never_shows(kmend, WRONG);
    }
}

/// The file holds another password, and then the right one again.
fn changed() {
    let topic = unique("alice-changed");
    kafka().admin().create(&topic, 1, &[]);
    let file = kafka().authority().keep(&unique("secret"), PASSWORD);
    let kmend = with_file(Way::Scram256, &file);
    kmend.allow("invalid credentials");
    let start = || Client::start("franz-go", Opts::produce(&kmend.listen, &topic));
    let before = start();
    before.wait("a record", PATIENCE, |c| c.progress() > 0);
    std::fs::write(&file, WRONG).unwrap();
    let refused = start();
    let told = || complaints(&kmend).iter().any(|line| line.contains("invalid credentials"));
    assert!(eventually(PATIENCE, told), "kmend does not say why: {:?}", kmend.log());
    assert_eq!(refused.progress(), 0);
    println!("another password: {:#?}", complaints(&kmend));
    std::fs::write(&file, PASSWORD).unwrap();
    for app in [&before, &refused] {
        let since = Instant::now();
        app.wait("more records", PATIENCE, |c| c.progress_since(since) > 100);
        assert_eq!(app.errors(), Vec::<String>::new(), "{}", app.story());
    }
    never_shows(&kmend, WRONG);
}

fn with_secret_that_fails(way: Way) -> Discreet {
    let kmend = with_secret(way, WRONG.to_owned(), |_| {});
    kmend.allow("");
    kmend
}

/// What kmend has logged as a warning or an error.
fn complaints(kmend: &Discreet) -> Vec<String> {
    kmend.log().into_iter().filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\"")).collect()
}

fn never_shows(kmend: &Discreet, secret: &str) {
    let log = kmend.log();
    assert!(log.iter().all(|line| !line.contains(secret)), "a secret is in the log: {log:?}");
}
