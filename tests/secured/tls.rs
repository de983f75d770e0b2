//! TLS from the clients.

use serde_json::{Value, json};

use crate::harness::kafka::USER;
use crate::harness::secured::{BEARER, Pair as Certificate};
use crate::harness::{Client, Opts, Way, unique};
use crate::pair::{PATIENCE, side_by_side};
use crate::{CLIENTS, Discreet, as_alice, kafka, kmend, over_tls, tell};

pub const STORIES: &[(&str, fn())] =
    &[("both sides", tls_and_sasl_on_both_sides), ("their certificates", clients_show_certificates)];

#[test]
fn apps_speak_tls_and_log_in_through_kmend() {
    tell("both sides");
}

#[test]
fn kmend_wants_certificates_of_its_clients() {
    tell("their certificates");
}

/// A certificate for kmend's own listeners.
pub fn own() -> Certificate {
    let dir = kafka().authority().ca().with_file_name(unique("own"));
    std::fs::create_dir_all(&dir).unwrap();
    kafka().authority().pair(&dir, "kmend", &["localhost", "127.0.0.1"])
}

/// Has clients speak TLS.
pub fn listen(config: &mut Value, own: &Certificate) {
    config["listen"]["tls"] = json!({ "enabled": true, "cert_file": own.cert, "key_file": own.key });
}

/// kmend before the listener that wants a certificate: its own is Carol's, and no session ends there.
pub fn bearing(own: &Certificate, change: impl FnOnce(&mut Value)) -> Discreet {
    kmend(Way::Mtls, |config| {
        config["upstream"]["tls"]["cert_file"] = json!(own.cert);
        config["upstream"]["tls"]["key_file"] = json!(own.key);
        change(config);
    })
}

fn tls_and_sasl_on_both_sides() {
    let own = own();
    let start = || kmend(Way::Scram512, |config| listen(config, &own));
    let pairs = [["java", "librdkafka"], ["franz-go", "kafkajs"]];
    for one in side_by_side(&pairs, USER, start, |opts| over_tls(as_alice(opts, Way::Scram512))) {
        println!("TLS on both sides: {one:?}");
        assert!(one.logins >= one.connections + 4.0, "who has logged in again? {one:?}");
    }
}

fn clients_show_certificates() {
    let admin = kafka().admin();
    let topic = unique(&format!("{BEARER}-shown"));
    admin.create(&topic, 1, &[]);
    let own = own();
    let kmend = bearing(&kafka().authority().bearer(), |config| {
        listen(config, &own);
        config["listen"]["tls"]["client_ca_file"] = json!(kafka().authority().ca());
    });
    kmend.allow("certificate");
    let theirs = kafka().authority().bearer();
    let with = |opts: Opts| opts.with("CERT", theirs.cert.display()).with("KEY", theirs.key.display());
    let opts = || over_tls(Opts::produce(&kmend.listen, &topic));
    let without = ["franz-go", "kafkajs"].map(|client| Client::start(client, opts()));
    for client in CLIENTS {
        let app = Client::start(client, with(opts()));
        app.wait("a record", PATIENCE, |c| c.progress() > 0);
        app.close();
        assert_eq!(app.errors(), Vec::<String>::new(), "{}", app.story());
    }
    for app in &without {
        assert_eq!(app.progress(), 0, "{}", app.story());
    }
}
