//! Certificates, keys and secrets. That they can be read and fit together is known when this begins: what is left are
//! their times, and the secrets, which are read at each login.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::cli::check::certificates::{self, Life, date, days, hosts, life, whose};
use crate::cli::check::explain;
use crate::cli::check::report::{Fault, Scope, Step};
use crate::cli::check::sessions::CLOCK;
use crate::config::Config;
use crate::tls::{Client, Facts, Server, files};
use crate::upstream::sasl::{Account, Secret};

/// Clocks that differ by less are no reason to say anything.
const SKEW: i64 = 30;

pub(super) fn upstream(config: &Config, client: Option<&Client>) -> Vec<Step> {
    let Some(client) = client else {
        return Vec::new();
    };
    let trusted = match &config.upstream.tls.ca_file {
        None => Step::ok(Scope::Kmend, "upstream.tls", "the system's authorities are trusted"),
        Some(path) => {
            let held = files::certificates("upstream.tls.ca_file", path).unwrap_or_default();
            let facts = certificates::facts(&held);
            let names: Vec<_> = facts.iter().map(whose).collect();
            let says = format!("trusted besides the system's authorities: {}", names.join("; "));
            let now = certificates::now();
            match facts.iter().find(|facts| life(facts, now) == Life::Over) {
                None => Step::ok(Scope::Kmend, "upstream.tls", says),
                Some(over) => Step::warn(
                    Scope::Kmend,
                    "upstream.tls",
                    Fault::ours(
                        "ca_expired",
                        format!("upstream.tls.ca_file: {} has expired on {}", whose(over), date(over.ends)),
                        "replace it there by the authority's new certificate",
                    ),
                ),
            }
        }
    };
    let own = client.own().and_then(Facts::read);
    std::iter::once(trusted).chain(own.map(|facts| dated("upstream.tls.cert_file", &facts, ""))).collect()
}

pub(super) fn listen(config: &Config, server: Option<&Server>) -> Vec<Step> {
    let own = server.and_then(|server| Facts::read(server.own()));
    let clients = config.listen.tls.client_ca_file.as_ref().filter(|_| server.is_some()).map(|path| {
        let held = files::certificates("listen.tls.client_ca_file", path).unwrap_or_default();
        let names: Vec<_> = certificates::facts(&held).iter().map(whose).collect();
        Step::ok(Scope::Kmend, "listen.tls.client_ca_file", format!("only clients of {} come in", names.join("; ")))
    });
    own.map(|facts| dated("listen.tls.cert_file", &facts, &format!(" for {}", hosts(&facts))))
        .into_iter()
        .chain(clients)
        .collect()
}

/// A certificate of kmend's own, and its time. `held`: the hosts that count, in words.
fn dated(key: &'static str, facts: &Facts, held: &str) -> Step {
    let now = certificates::now();
    let (whose, begins, ends) = (whose(facts), date(facts.begins), date(facts.ends));
    match life(facts, now) {
        Life::Good => Step::ok(Scope::Kmend, key, format!("{whose}{held}, valid until {ends}, fits its key")),
        Life::Ending(left) => Step::warn(
            Scope::Kmend,
            key,
            Fault::ours(
                "tls_expires_soon",
                format!("the certificate {whose} expires in {}, on {ends}", days(left)),
                "renew it before that: kmend takes the new files by itself",
            ),
        ),
        Life::Over => Step::fail(
            Scope::Kmend,
            key,
            Fault::ours(
                "tls_expired",
                format!("the certificate {whose} has expired since {ends} (this host's clock says {})", date(now)),
                format!("renew it; if that has been done, {CLOCK}"),
            ),
        ),
        Life::NotYet => Step::fail(
            Scope::Kmend,
            key,
            Fault::ours(
                "tls_not_yet_valid",
                format!("the certificate {whose} is not valid before {begins} (this host's clock says {})", date(now)),
                format!("{CLOCK}: it is likely to be slow"),
            ),
        ),
    }
}

/// The password or the token, as a login reads it.
pub(super) async fn secrets(config: &Config) -> Option<Step> {
    let account = match Account::new(&config.upstream.sasl) {
        Ok(account) => account?,
        Err(error) => {
            let fault = Fault::ours("credentials", error.to_string(), "complete upstream.sasl");
            return Some(Step::fail(Scope::Kmend, "credentials", fault));
        }
    };
    Some(match account.secret().await {
        Err(error) => Step::fail(Scope::Kmend, "credentials", explain::credentials(&error)),
        Ok(Secret::Password { username, .. }) => {
            Step::ok(Scope::Kmend, "credentials", format!("the password of {username} can be read"))
        }
        Ok(Secret::Token { token, .. }) => match times(&token) {
            Some(times) => token_step(&times, certificates::now()),
            None => Step::ok(Scope::Kmend, "credentials", "there is a token; it does not say until when it is valid"),
        },
    })
}

/// What a JWT (RFC 7519) says of its time.
#[derive(Debug, Default, PartialEq, Eq)]
struct Times {
    issued: Option<i64>,
    begins: Option<i64>,
    ends: Option<i64>,
}

/// `None`: it is no JWT, or says nothing of it. It is not verified: that is the broker's part.
fn times(token: &str) -> Option<Times> {
    let payload = token.split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?).ok()?;
    // NumericDate may have a fraction.
    let time = |name: &str| claims.get(name)?.as_f64().map(|seconds| seconds as i64);
    let times = Times { issued: time("iat"), begins: time("nbf"), ends: time("exp") };
    (times != Times::default()).then_some(times)
}

fn token_step(times: &Times, now: i64) -> Step {
    let clock = date(now);
    if let Some(ends) = times.ends.filter(|ends| *ends < now) {
        let fault = Fault::ours(
            "token_expired",
            format!("the token has expired since {} (this host's clock says {clock})", date(ends)),
            format!("look at whoever writes upstream.sasl.oauth.token_file: it should be renewed in time; {CLOCK}"),
        );
        return Step::fail(Scope::Kmend, "credentials", fault);
    }
    let early = [times.issued, times.begins].into_iter().flatten().max().filter(|begins| *begins > now + SKEW);
    if let Some(begins) = early {
        let fault = Fault::new(
            "clock_skew",
            format!("the token begins at {}, and this host's clock says {clock}", date(begins)),
            format!("{CLOCK}, and that of the server that gave the token"),
        );
        return Step::warn(Scope::Kmend, "credentials", fault);
    }
    let until = times.ends.map_or_else(String::new, |ends| format!(", valid until {}", date(ends)));
    Step::ok(Scope::Kmend, "credentials", format!("there is a token{until}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::report::Verdict;

    #[test]
    fn a_tokens_times_are_read_as_far_as_it_tells_them() {
        let token = |claims: &str| format!("e30.{}.", URL_SAFE_NO_PAD.encode(claims));
        let found = times(&token(r#"{"iat":10,"exp":20.9,"nbf":"x"}"#)).unwrap();
        assert_eq!(found, Times { issued: Some(10), begins: None, ends: Some(20) });
        for nothing in ["opaque", "a.b.c", &token(r#"{"sub":"alice"}"#), &token("[]")] {
            assert_eq!(times(nothing), None, "{nothing}");
        }
        let verdict = |issued, ends, now| {
            let step = token_step(&Times { issued: Some(issued), begins: None, ends: Some(ends) }, now);
            (step.verdict, step.fault.map(|f| f.id))
        };
        assert_eq!(verdict(100, 200, 150), (Verdict::Ok, None));
        assert_eq!(verdict(100, 200, 201), (Verdict::Fail, Some("token_expired")));
        assert_eq!(verdict(100, 200, 70), (Verdict::Ok, None));
        assert_eq!(verdict(100, 200, 69), (Verdict::Warn, Some("clock_skew")));
    }
}
