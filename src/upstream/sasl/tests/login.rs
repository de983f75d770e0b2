//! A login from its first request to its end.

use std::time::{Duration, Instant};

use super::broker::{Manners, account, log_in};
use crate::config::sasl::SaslMechanism::{OauthBearer, Plain};
use crate::upstream::sasl::LoginError;

const GOOD: Manners =
    Manners { newest: 2, lifetime_ms: 0, other_mechanism: false, plaintext: false, hangs_up: false, endless: false };

#[tokio::test]
async fn plain_sends_one_token_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    for newest in 0..=3 {
        let (session, seen) =
            log_in(Manners { newest, lifetime_ms: 10_000, ..GOOD }, &account(&dir, Plain, "right\n")).await;
        let session = session.unwrap();
        assert_eq!(seen, [b"\0alice\0right"]);
        // Version 0 tells no lifetime.
        let now = Instant::now();
        assert_eq!(session.is_due(now + Duration::from_millis(8_000)), newest > 0);
        assert!(!session.is_due(now + Duration::from_millis(7_000)));
    }
}

#[tokio::test]
async fn a_session_without_an_end_is_never_due() {
    let dir = tempfile::tempdir().unwrap();
    for lifetime_ms in [0, -1, i64::MAX] {
        let (session, _) = log_in(Manners { lifetime_ms, ..GOOD }, &account(&dir, Plain, "right")).await;
        assert!(!session.unwrap().is_due(Instant::now() + Duration::from_secs(1_000_000)), "{lifetime_ms}");
    }
}

#[tokio::test]
async fn a_token_goes_with_its_extensions_and_its_refusal_is_told_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut sasl = account(&dir, OauthBearer, "good.token");
    let (session, seen) = log_in(GOOD, &sasl).await;
    assert!(session.is_ok());
    assert_eq!(seen, [b"n,,\x01auth=Bearer good.token\x01\x01".to_vec()]);
    sasl.oauth.extensions = [("logicalCluster".into(), "lkc-1".into())].into();
    let (session, seen) = log_in(GOOD, &sasl).await;
    assert!(session.is_ok());
    assert_eq!(seen, [b"n,,\x01logicalCluster=lkc-1\x01auth=Bearer good.token\x01\x01".to_vec()]);
    let (refused, seen) = log_in(GOOD, &account(&dir, OauthBearer, "bad.token")).await;
    assert_eq!((seen.len(), &seen[1][..]), (2, &b"\x01"[..]));
    assert!(matches!(refused, Err(LoginError::Refused(why)) if why == "it is not you"));
}

#[tokio::test]
async fn what_goes_wrong_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (GOOD, "wrong", "refused the login: it is not you"),
        (Manners { other_mechanism: true, ..GOOD }, "right", "knows no PLAIN (it knows GSSAPI)"),
        (Manners { plaintext: true, ..GOOD }, "right", "set upstream.sasl.mechanism to null"),
        (Manners { hangs_up: true, ..GOOD }, "right", "is this port one with SASL"),
    ];
    for (manners, password, expected) in cases {
        let (outcome, _) = log_in(manners, &account(&dir, Plain, password)).await;
        let said = outcome.unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains(password) || password == "right", "{said}");
    }
    let (outcome, seen) = log_in(Manners { endless: true, ..GOOD }, &account(&dir, OauthBearer, "t")).await;
    assert!(outcome.is_err() && seen.len() <= 4, "{seen:?}");
    let (empty, _) = log_in(GOOD, &account(&dir, Plain, "")).await;
    assert!(empty.unwrap_err().to_string().contains("is empty"));
}
