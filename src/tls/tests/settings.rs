//! Settings that cannot work, what is noted of those that can, and what counts as new.

use std::path::Path;

use super::kit::{Authority, server};
use crate::config::Config;
use crate::config::model::{ListenTls, UpstreamTls};
use crate::config::units::Auto;
use crate::tls::{Client, Server, notes, watched};
use crate::upstream::chain;

#[test]
fn what_cannot_be_used_is_said_with_its_key() {
    let authority = Authority::new();
    let (leaf, other) = (authority.leaf(&["localhost"]), authority.leaf(&["localhost"]));
    let said = |settings: ListenTls| chain(&Server::new(&settings).unwrap_err());
    let good = || leaf.settings();
    let null = Some(Path::new("/dev/null").to_owned());
    let text = |path: &Path, rest: &str| format!("{}{rest}", path.display());

    assert_eq!(said(ListenTls { key_file: None, ..good() }), "listen.tls: set both cert_file and key_file");
    assert_eq!(
        said(ListenTls { cert_file: null.clone(), ..good() }),
        "listen.tls.cert_file: /dev/null holds no certificate"
    );
    assert_eq!(
        said(ListenTls { key_file: Some(leaf.file("tls.crt")), ..good() }),
        format!(
            "listen.tls.key_file: {}",
            text(&leaf.file("tls.crt"), " holds no private key (encrypted ones are not read)")
        )
    );
    assert_eq!(
        said(ListenTls { client_ca_file: null, ..good() }),
        "listen.tls.client_ca_file: /dev/null holds no certificate"
    );
    let error = said(ListenTls { key_file: Some(other.file("tls.key")), ..good() });
    assert!(error.starts_with("listen.tls.cert_file and listen.tls.key_file: they cannot be used together"), "{error}");

    let upstream = UpstreamTls {
        enabled: true,
        ca_file: Some(leaf.file("ca.crt")),
        cert_file: Some(leaf.file("tls.crt")),
        key_file: Some(other.file("tls.key")),
        server_name: None,
    };
    let error = chain(&Client::new(&upstream).unwrap_err());
    assert!(error.starts_with("upstream.tls.cert_file and upstream.tls.key_file: they cannot"), "{error}");
    let half = UpstreamTls { key_file: None, ..upstream };
    assert_eq!(Client::new(&half).unwrap_err().to_string(), "upstream.tls: set both cert_file and key_file, or none");
}

#[test]
fn off_means_that_no_file_is_read() {
    let none = Some("/none.pem".into());
    let listen = ListenTls { enabled: false, cert_file: none.clone(), key_file: none.clone(), client_ca_file: None };
    assert!(Server::new(&listen).unwrap().is_none());
    let upstream = UpstreamTls { ca_file: none, ..UpstreamTls::default() };
    assert!(Client::new(&upstream).unwrap().is_none());
    let mut config = Config::default();
    (config.listen.tls, config.upstream.tls) = (listen, upstream);
    assert!(watched(&config).is_empty());
    config.listen.tls.enabled = true;
    assert_eq!(watched(&config).len(), 2);
}

#[test]
fn the_same_contents_are_nothing_new() {
    let authority = Authority::new();
    let (leaf, other) = (authority.leaf(&["localhost"]), authority.leaf(&["localhost"]));
    let with_ca = |file| ListenTls { client_ca_file: Some(file), ..leaf.settings() };
    let contents = |settings: &ListenTls| server(settings).contents();
    assert_eq!(contents(&leaf.settings()), contents(&leaf.settings()));
    assert_ne!(contents(&leaf.settings()), contents(&other.settings()));
    assert_ne!(contents(&leaf.settings()), contents(&with_ca(leaf.file("ca.crt"))));
    assert_eq!(contents(&with_ca(leaf.file("ca.crt"))), contents(&with_ca(other.file("ca.crt"))));
}

#[test]
fn names_that_clients_will_look_for_are_noted() {
    let authority = Authority::new();
    let leaf = authority.leaf(&["kmend.example", "127.0.0.1"]);
    let server = server(&leaf.settings());
    let said = |listen: &str, advertised: Option<&str>| {
        let mut config = Config::default();
        config.listen.address = vec![listen.parse().unwrap()];
        config.listen.advertised_host = advertised.map_or(Auto::Auto, |host| Auto::Set(host.to_owned()));
        notes(&config, None, Some(&server)).join("\n")
    };
    assert_eq!(said("127.0.0.1:9092", None), "");
    assert_eq!(said("localhost:9092", None), "");
    assert_eq!(said("0.0.0.0:9092", Some("kmend.example")), "");
    assert!(said("10.0.0.1:9092", None).contains("does not hold 10.0.0.1"));
    assert!(said("0.0.0.0:9092", None).contains("advertised_host is auto"));
    assert!(said("0.0.0.0:9092", Some("other.example")).contains("does not hold other.example"));
}

#[test]
fn a_certificate_that_is_over_is_noted() {
    let authority = Authority::new();
    let leaf = authority.leaf_with(&["127.0.0.1"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let upstream = UpstreamTls {
        enabled: true,
        ca_file: Some(leaf.file("ca.crt")),
        cert_file: Some(leaf.file("tls.crt")),
        key_file: Some(leaf.file("tls.key")),
        server_name: None,
    };
    let client = Client::new(&upstream).unwrap();
    let notes = notes(&Config::default(), client.as_ref(), Some(&server(&leaf.settings())));
    assert_eq!(
        notes,
        ["upstream.tls.cert_file: the certificate has expired", "listen.tls.cert_file: the certificate has expired"]
    );
}
