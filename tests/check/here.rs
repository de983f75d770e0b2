//! What is wrong on this host.

use std::net::TcpListener;

use crate::certificates::{OF_2020, OF_2024, OF_2090, Office};
use crate::kit::Check;
use crate::script::Script;

fn cluster() -> Check {
    let port = Script::brokers(&[(1, "127.0.0.1", 0)]).serve("127.0.0.1");
    Check::new(&[format!("127.0.0.1:{port}")])
}

#[test]
fn nothing() {
    cluster().run().faultless();
}

#[test]
fn a_port_that_another_process_has() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    for (key, flag) in [("listen.address", "--listen"), ("admin.address", "--admin")] {
        let found = cluster().set(key, taken.clone()).run();
        let says = [taken.as_str(), "kmend cannot listen here: Address already in use"];
        let step = format!("kmend {key}");
        found.only_fault(78, &step, "port_taken", &says, &["the other process that has the port", flag]);
        found.good(&["bootstrap metadata", "broker identity"]);
    }
}

#[test]
fn an_address_of_another_host() {
    let found = cluster().set("listen.address", "198.51.100.7:9092").run();
    let todo = ["this host has no such address"];
    found.only_fault(78, "kmend listen.address", "listen", &["198.51.100.7:9092"], &todo);
}

#[test]
fn a_state_folder_that_cannot_be_written() {
    let check = cluster();
    let file = check.dir.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let folder = file.join("state").display().to_string();
    let found = check.set("menders.commit_buffer.journal.dir", folder.clone()).run();
    let says = [folder.as_str(), "cannot be written"];
    found.only_fault(78, "kmend state_folder", "state_folder", &says, &["fsGroup", "journal.dir"]);
    found.good(&["bootstrap metadata"]);
}

#[test]
fn too_few_descriptors() {
    let check = || cluster().behind(&["sh", "-c", "ulimit -n 400; exec \"$0\" \"$@\""]);
    check().run().faultless();
    let found = check().set("limits.max_connections", 1000).run();
    let says = ["the limit of 400 is enough for 168 clients, limits.max_connections is 1000"];
    found.only_warning("kmend descriptors", "descriptors", &says, &["ulimit -Hn", "limits.max_connections"]);
}

#[test]
fn a_listeners_certificate() {
    let office = Office::new();
    let with = |until: u64, name: &str| {
        let pair = office.issue(name, &["127.0.0.1"], OF_2020, until);
        let check = cluster().set("listen.tls.enabled", true).set("listen.tls.client_ca_file", office.ca());
        let check = check.set("listen.tls.cert_file", pair.cert.display().to_string());
        check.set("listen.tls.key_file", pair.key.display().to_string()).run()
    };
    let found = with(OF_2090, "kmend");
    found.faultless().good(&["kmend listen.tls.cert_file", "kmend listen.tls.client_ca_file"]);
    assert!(found.table.contains("CN=kmend for 127.0.0.1, valid until 2090-01-01T00:00:00Z, fits its key"));
    assert!(found.table.contains("only clients of CN=the office come in"), "{}", found.table);
    let found = with(OF_2024, "late");
    let says = ["the certificate CN=late has expired since 2024-02-29T00:00:00Z"];
    found.only_fault(78, "kmend listen.tls.cert_file", "tls_expired", &says, &["renew it", "clock"]);
    found.good(&["bootstrap metadata"]);
}

#[test]
fn mistakes_in_the_configuration() {
    let check = cluster().set("upstream.bootstrp", "a:1");
    let value: serde_json::Value = serde_json::from_slice(&check.command(true).output().unwrap().stdout).unwrap();
    assert_eq!((&value["exit_code"], &value["steps"][0]["fault"]), (&78.into(), &"configuration".into()));
    let says = value["steps"][0]["says"].as_str().unwrap();
    assert!(says.contains("upstream.bootstrp: unknown key; did you mean upstream.bootstrap?"), "{says}");
}
