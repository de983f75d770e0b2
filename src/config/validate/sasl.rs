//! kmend's own login: everything there that its mechanism needs, and nothing that it ignores.

use std::path::Path;

use super::Findings;
use super::files::readable;
use crate::config::model::Config;
use crate::config::sasl::{OAuth, Sasl, SaslMechanism};
use crate::config::units::HostPort;

/// RFC 7628: a key is letters, and this one is the token's own.
const RESERVED_EXTENSION: &str = "auth";

pub(super) fn check(config: &Config, findings: &mut Findings<'_>) {
    let sasl = &config.upstream.sasl;
    match sasl.mechanism {
        None => {}
        Some(SaslMechanism::OauthBearer) => oauth(&sasl.oauth, findings),
        Some(mechanism) => password(sasl, mechanism, findings),
    }
}

fn password(sasl: &Sasl, mechanism: SaslMechanism, findings: &mut Findings<'_>) {
    let name = mechanism.name();
    if sasl.username.as_deref().unwrap_or_default().is_empty() {
        findings.add("upstream.sasl.username", format!("{name} needs a user name"));
    } else if sasl.username.as_deref().is_some_and(|u| u.contains('\0')) {
        findings.add("upstream.sasl.username", "a user name holds no NUL");
    }
    match &sasl.password_file {
        None => {
            findings.add("upstream.sasl.password_file", format!("{name} needs a password: name the file that holds it"))
        }
        Some(file) => readable("upstream.sasl.password_file", file, findings),
    }
}

fn oauth(oauth: &OAuth, findings: &mut Findings<'_>) {
    let key = |name: &str| format!("upstream.sasl.oauth.{name}");
    match (&oauth.token_file, &oauth.token_url) {
        (None, None) => {
            findings.add(&key("token_file"), "OAUTHBEARER needs a token: set token_file, or token_url and a client")
        }
        (Some(_), Some(_)) => findings.add(&key("token_url"), "a token comes from token_file or token_url, not both"),
        (Some(file), None) => readable(&key("token_file"), file, findings),
        (None, Some(url)) => {
            if let Err(why) = check_url(url) {
                findings.add(&key("token_url"), why);
            }
            client(oauth, findings);
        }
    }
    for (name, value) in &oauth.extensions {
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic());
        if !is_name || name == RESERVED_EXTENSION {
            findings.add(&key("extensions"), format!("`{name}`: expected letters only, and not `auth` (RFC 7628)"));
        }
        if value.chars().any(|c| !matches!(c, ' '..='~' | '\t' | '\r' | '\n')) {
            findings.add(&key("extensions"), format!("the value of `{name}` holds characters that no token may hold"));
        }
    }
}

fn client(oauth: &OAuth, findings: &mut Findings<'_>) {
    let key = |name: &str| format!("upstream.sasl.oauth.{name}");
    if oauth.client_id.as_deref().unwrap_or_default().is_empty() {
        findings.add(&key("client_id"), "the token endpoint wants to know the client's id");
    }
    let files: [(&str, Option<&Path>); 2] =
        [("client_secret_file", oauth.client_secret_file.as_deref()), ("ca_file", oauth.ca_file.as_deref())];
    for (name, file) in files {
        match file {
            Some(file) => readable(&key(name), file, findings),
            None if name == "ca_file" => {}
            None => {
                findings.add(&key(name), "the token endpoint wants the client's secret: name the file that holds it")
            }
        }
    }
}

/// Secrets go over TLS, or stay on this host.
fn check_url(url: &str) -> Result<(), String> {
    let uri: hyper::Uri = url.parse().map_err(|_| format!("`{url}` is no URL: expected https://host/path"))?;
    let host = uri.host().unwrap_or_default();
    match uri.scheme_str() {
        _ if uri.authority().is_some_and(|a| a.as_str().contains('@')) => {
            Err("a URL with a login in it: use client_id and client_secret_file".to_owned())
        }
        Some("https") if !host.is_empty() => Ok(()),
        Some("http") if HostPort::new(host.trim_matches(['[', ']']), 80).is_loopback() => Ok(()),
        Some("http") => Err(format!("{url} would send the client's secret in plain text: expected https://")),
        _ => Err(format!("`{url}`: expected https://host/path")),
    }
}

pub(super) fn notes(config: &Config) -> Vec<String> {
    let sasl = &config.upstream.sasl;
    let named = Sasl { mechanism: None, ..sasl.clone() } != Sasl::default();
    let mut notes = Vec::new();
    if sasl.mechanism.is_none() && named {
        notes.push(
            "upstream.sasl has settings, but no mechanism: kmend does not log in, the client's own login passes through"
                .to_owned(),
        );
    }
    if !config.upstream.tls.enabled && matches!(sasl.mechanism, Some(SaslMechanism::Plain | SaslMechanism::OauthBearer))
    {
        let off_host = config.upstream.bootstrap.iter().any(|address| !address.is_loopback());
        if off_host {
            notes.push(
                "upstream.sasl sends its secret as it is, and upstream.tls.enabled is false: whoever sees the network sees it"
                    .to_owned(),
            );
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use crate::config::tests::Case;

    #[test]
    fn a_login_has_all_that_its_mechanism_needs() {
        let said = |sets: &[&str]| {
            let case = Case::good("").set("upstream.sasl.mechanism=OAUTHBEARER");
            sets.iter().fold(case, |case, set| case.set(&format!("upstream.sasl.{set}"))).error()
        };
        let plain = Case::good("").set("upstream.sasl.mechanism=PLAIN").error();
        assert_eq!(
            plain,
            "upstream.sasl.username: PLAIN needs a user name\n\
             upstream.sasl.password_file: PLAIN needs a password: name the file that holds it"
        );
        assert!(said(&[]).ends_with("OAUTHBEARER needs a token: set token_file, or token_url and a client"));
        assert!(said(&["oauth.token_file=/none"]).contains("/none cannot be read"));
        assert!(said(&["oauth.token_file=/dev/null", "oauth.token_url=https://a/b"]).contains("not both"));
        let client = "oauth.client_id=a";
        let secret = "oauth.client_secret_file=/dev/null";
        for (url, expected) in [
            ("http://login.example/token", "would send the client's secret in plain text: expected https://"),
            ("ftp://a/", "expected https://host/path"),
            ("login", "expected https://host/path"),
            ("https://user:pass@a/", "a URL with a login in it"),
        ] {
            let said = said(&[&format!("oauth.token_url={url}"), client, secret]);
            assert!(said.contains(expected) && !said.contains("pass@"), "{said}");
        }
        let said = said(&["oauth.token_url=https://a/b", "oauth.extensions={auth: x, b1: y, c: \"z\\u0001\"}"]);
        for part in ["client_id: the token", "client_secret_file: the token", "`auth`", "`b1`", "the value of `c`"] {
            assert!(said.contains(part), "{said}");
        }
        for url in ["https://a:8443/b?c=d", "http://127.0.0.1:8080/", "http://[::1]/t", "http://localhost/t"] {
            Case::good("")
                .set("upstream.sasl.mechanism=OAUTHBEARER")
                .set(&format!("upstream.sasl.oauth.token_url={url}"))
                .set("upstream.sasl.oauth.client_id=a")
                .set("upstream.sasl.oauth.client_secret_file=/dev/null")
                .ok();
        }
    }
}
