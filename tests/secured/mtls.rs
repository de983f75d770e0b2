//! kmend shows a client certificate: the broker takes whoever stands behind it for the name in there.

use std::time::Duration;

use serde_json::json;

use crate::harness::secured::BEARER;
use crate::harness::{Client, Opts, Way, eventually, unique};
use crate::ours::are_taken_for;
use crate::pair::PATIENCE;
use crate::{kafka, kmend, over_tls, tell};

pub const STORIES: &[(&str, fn())] = &[("bearer", takes_it_for_carol), ("no certificate", nobody_gets_in_without)];

#[test]
fn kmends_certificate_is_the_principal() {
    tell("bearer");
}

#[test]
fn without_a_certificate_no_app_gets_in() {
    tell("no certificate");
}

fn takes_it_for_carol() {
    let kmend = kmend(Way::Mtls, |config| {
        let own = kafka().authority().bearer();
        config["upstream"]["tls"]["cert_file"] = json!(own.cert);
        config["upstream"]["tls"]["key_file"] = json!(own.key);
    });
    are_taken_for(BEARER, "alice", &["franz-go", "kafkajs"], &kmend);
}

/// The same apps directly at the broker's listener.
fn nobody_gets_in_without() {
    let admin = kafka().admin();
    let topic = unique("carol-nobody");
    admin.create(&topic, 1, &[]);
    let at = &kafka().by(Way::Mtls)[0];
    let apps = ["franz-go", "kafkajs"].map(|client| Client::start(client, over_tls(Opts::produce(at, &topic))));
    let own = kafka().authority().bearer();
    let with = |opts: Opts| opts.with("CERT", own.cert.display()).with("KEY", own.key.display());
    let control = Client::start("librdkafka", with(over_tls(Opts::produce(at, &topic))));
    control.wait("a record", PATIENCE, |c| c.progress() > 0);
    let some_get_in = || apps.iter().any(|app| app.progress() > 0);
    assert!(!eventually(Duration::from_secs(8), some_get_in), "somebody got in without a certificate");
}
