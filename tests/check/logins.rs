//! Logins, before the listeners of a real broker.

use crate::certificates::secured;
use crate::harness::kafka::{PASSWORD, USER};
use crate::harness::secured::token;
use crate::harness::{Way, ports, slot, unique};
use crate::kit::Check;
use crate::script::Script;

/// Over TLS, before the listener for `way`.
fn at(way: Way) -> Check {
    let ca = secured().kafka.authority().ca().display().to_string();
    Check::new(&secured().kafka.by(way)).set("upstream.tls.enabled", true).set("upstream.tls.ca_file", ca)
}

/// kmend logs in by `mechanism`.
fn login(way: Way, mechanism: &str, secret: &str) -> Check {
    let file = secured().kafka.authority().keep(&unique("secret"), secret).display().to_string();
    let check = at(way).set("upstream.sasl.mechanism", mechanism);
    match mechanism {
        "OAUTHBEARER" => check.set("upstream.sasl.oauth.token_file", file),
        _ => check.set("upstream.sasl.username", USER).set("upstream.sasl.password_file", file),
    }
}

#[test]
fn good_logins_by_each_mechanism() {
    let _slot = slot();
    for way in Way::LOGINS {
        let secret = if way == Way::Oauth { token(USER) } else { PASSWORD.to_owned() };
        let found = login(way, way.mechanism(), &secret).run();
        found.faultless().good(&[
            "kmend credentials",
            "bootstrap tls",
            "bootstrap protocol",
            "bootstrap login",
            "bootstrap metadata",
            "broker login",
        ]);
        assert!(!found.table.contains(&secret) && !found.value.to_string().contains(&secret), "a secret is shown");
    }
}

#[test]
fn a_wrong_password() {
    let _slot = slot();
    let cases = [(Way::Plain, "Invalid username or password"), (Way::Scram512, "invalid credentials")];
    for (way, words) in cases {
        let found = login(way, way.mechanism(), "wrong-secret").run();
        let says = ["the broker refuses the login", words];
        let todo = ["upstream.sasl.username and the content of upstream.sasl.password_file"];
        found.only_fault(69, "bootstrap login", "login_refused", &says, &todo);
        found.good(&["kmend credentials", "bootstrap tcp", "bootstrap tls", "bootstrap protocol"]);
        assert!(!found.table.contains("wrong-secret"), "a secret is shown");
    }
}

#[test]
fn a_mechanism_that_the_listener_does_not_have() {
    let _slot = slot();
    let found = login(Way::Plain, "SCRAM-SHA-256", PASSWORD).run();
    let says = ["does not know the mechanism SCRAM-SHA-256", "it knows PLAIN"];
    found.only_fault(69, "bootstrap login", "sasl_mechanism", &says, &["upstream.sasl.mechanism"]);
    found.good(&["bootstrap tls", "bootstrap protocol"]);
}

#[test]
fn a_password_file_that_is_empty() {
    let _slot = slot();
    let found = login(Way::Plain, "PLAIN", "\n").run();
    assert_eq!(found.code, 78, "{}", found.table);
    let fails: Vec<_> = found.table.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(fails[0].starts_with("FAIL  kmend ") && fails[0].contains("credentials"), "{}", found.table);
    assert!(fails.iter().all(|line| line.contains("is empty")), "{}", found.table);
    found.good(&["bootstrap tls"]);
}

#[test]
fn a_token_that_has_expired() {
    let _slot = slot();
    // An unsigned JWT of 2024 for alice, as the harness makes them.
    let old = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImlhdCI6MTcwOTE2NDgwMCwiZXhwIjoxNzA5MTY4NDAwfQ.";
    let found = login(Way::Oauth, "OAUTHBEARER", old).run();
    assert_eq!(found.code, 78, "{}", found.table);
    let line = found.table.lines().find(|line| line.starts_with("FAIL")).unwrap();
    assert!(line.contains("the token has expired since 2024-02-29T01:00:00Z"), "{line}");
    assert!(found.table.contains("clock"), "{}", found.table);
    assert!(found.table.contains("the broker refuses the login"), "{}", found.table);
    assert!(!found.table.contains(old), "a secret is shown");
}

#[test]
fn a_token_endpoint_that_nobody_serves() {
    let _slot = slot();
    let check = at(Way::Oauth);
    let secret = check.dir.path().join("secret");
    std::fs::write(&secret, "hidden").unwrap();
    let url = format!("http://127.0.0.1:{}/token", ports::free());
    let check = check
        .set("upstream.sasl.mechanism", "OAUTHBEARER")
        .set("upstream.sasl.oauth.token_url", url.clone())
        .set("upstream.sasl.oauth.client_id", "kmend")
        .set("upstream.sasl.oauth.client_secret_file", secret.display().to_string());
    let found = check.run();
    assert_eq!(found.code, 69, "{}", found.table);
    let line = found.table.lines().find(|line| line.starts_with("FAIL")).unwrap();
    assert!(line.contains("credentials") && line.contains(&url) && line.contains("cannot be reached"), "{line}");
    assert!(found.table.contains("to do: look at upstream.sasl.oauth.token_url"), "{}", found.table);
}

/// Most clusters: the clients bring their own login, and what can be known without one is.
#[test]
fn a_login_that_the_clients_bring() {
    let _slot = slot();
    let found = at(Way::Scram256).run();
    found.faultless().good(&["bootstrap tls", "bootstrap protocol"]);
    found.skips(
        "bootstrap login",
        "the clients' own logins pass through, and are not tried here; it knows SCRAM-SHA-256",
    );
    found.skips("bootstrap metadata", "not told without a login");
}

#[test]
fn kerberos_only() {
    let only = Script { mechanisms: vec!["GSSAPI"], ..Script::default() }.serve("127.0.0.1");
    let found = Check::new(&[format!("127.0.0.1:{only}")]).run();
    found.only_warning(
        "bootstrap login",
        "sasl_gssapi",
        &["GSSAPI (Kerberos)"],
        &["another mechanism", "docs/sasl.md"],
    );
    let both = Script { mechanisms: vec!["PLAIN", "GSSAPI"], ..Script::default() }.serve("127.0.0.1");
    let found = Check::new(&[format!("127.0.0.1:{both}")]).run();
    found.faultless().skips("bootstrap login", "it knows PLAIN, GSSAPI; GSSAPI works through kmend only where");
}
