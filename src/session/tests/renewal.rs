//! kmend's own login on a client's connection, and its renewal (KIP-368).

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::SaslAuthenticateRequest;
use kafka_protocol::protocol::Decodable;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use zeroize::Zeroizing;

use super::kit::*;
use super::script::{Do, Scripted, WATCHED};
use crate::config::sasl::{Sasl, SaslMechanism};
use crate::mend::Conn;
use crate::session::driver;
use crate::session::end::End;
use crate::session::ways::Ways;
use crate::upstream::sasl::{Account, LoginError, Secret, Session};
use crate::wire::api::ApiKey;

const LIFETIME: Duration = Duration::from_secs(10);
/// A session of [`LIFETIME`] is due by then, and not over.
const DUE: Duration = Duration::from_millis(7_600);

fn account(password_file: &str) -> Arc<Account> {
    let sasl = Sasl {
        mechanism: Some(SaslMechanism::Plain),
        username: Some("alice".into()),
        password_file: Some(password_file.into()),
        ..Sasl::default()
    };
    Arc::new(Account::new(&sasl).unwrap().unwrap())
}

fn logged_in(world: &World, cuts: Cuts) -> Rig {
    let mut rig = world.connect(cuts);
    rig.core.logged_in(Session::new(account("/nowhere"), 2, Some(LIFETIME), rig.now));
    rig
}

/// The driver's part: brings the secret, where one is wanted.
fn bring_secret(rig: &mut Rig) {
    assert!(rig.core.wants_secret().is_some());
    let password = Zeroizing::new("alice-secret".to_owned());
    rig.core.renew(Ok(Secret::Password { username: "alice".into(), password })).unwrap();
    assert!(rig.core.wants_secret().is_none());
    rig.settle();
}

fn list(correlation: i32) -> Vec<u8> {
    request(ApiKey::LIST_GROUPS, 0, correlation, &[])
}

fn listed(correlation: i32) -> Vec<u8> {
    response(ApiKey::LIST_GROUPS, 0, correlation, &[0; 6])
}

/// The only frame that the broker has got: its API, version, correlation id, and what follows the client id.
fn one(bytes: &[u8]) -> (ApiKey, i16, i32, Vec<u8>) {
    let all = frames(bytes);
    let [frame] = &all[..] else {
        panic!("{} frames", all.len());
    };
    let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
    let correlation = i32::from_be_bytes(frame[8..12].try_into().unwrap());
    let (api, version) = (ApiKey(number(4)), number(6));
    let tags = usize::from(api.is_flexible(version));
    (api, version, correlation, frame[14 + CLIENT_ID.len() + tags..].to_vec())
}

/// The broker's part of a renewal, from its first request to its last answer.
fn renewed(rig: &mut Rig, error: i16) {
    let (api, version, correlation, body) = one(&rig.at_broker());
    assert_eq!((api, version, &body[..]), (ApiKey::SASL_HANDSHAKE, 1, &b"\0\x05PLAIN"[..]));
    assert!(correlation < 0);
    rig.broker(&response(
        ApiKey::SASL_HANDSHAKE,
        1,
        correlation,
        &[0, 0, 0, 0, 0, 1, 0, 5, b'P', b'L', b'A', b'I', b'N'],
    ));
    let (api, version, correlation, body) = one(&rig.at_broker());
    assert_eq!((api, version), (ApiKey::SASL_AUTHENTICATE, 2));
    let token = SaslAuthenticateRequest::decode(&mut bytes::Bytes::from(body), 2).unwrap().auth_bytes;
    assert_eq!(&token[..], b"\0alice\0alice-secret");
    let message: &[u8] = if error == 0 { &[0] } else { &[6, b's', b'o', b'r', b'r', b'y'] };
    let lifetime = (LIFETIME.as_millis() as i64).to_be_bytes();
    let body = [&error.to_be_bytes()[..], message, &[1], &lifetime, &[0]].concat();
    rig.broker(&response(ApiKey::SASL_AUTHENTICATE, 2, correlation, &body));
}

#[test]
fn a_session_is_renewed_before_the_next_request() {
    in_all_cuts(|cuts| {
        let world = World::plain();
        let mut rig = logged_in(&world, cuts);
        // One that is being answered.
        rig.client(&list(1));
        assert_eq!(rig.at_broker(), list(1));
        rig.later(DUE);
        assert!(rig.core.wants_secret().is_none() && rig.at_broker().is_empty(), "without a need");
        rig.client(&[list(2), list(3)].concat());
        assert!(rig.at_broker().is_empty());
        bring_secret(&mut rig);
        // A broker takes one request after the other.
        rig.broker(&listed(1));
        renewed(&mut rig, 0);
        assert_eq!(rig.at_broker(), [list(2), list(3)].concat());
        rig.broker(&[listed(2), listed(3)].concat());
        assert_eq!(rig.at_client(), [listed(1), listed(2), listed(3)].concat());
        assert_eq!(world.metric("kmend_logins_renewed_total", &[]), 1.0);
        // And again.
        rig.later(DUE);
        rig.client(&list(4));
        bring_secret(&mut rig);
        renewed(&mut rig, 0);
        assert_eq!(rig.at_broker(), list(4));
        assert!(rig.end.is_none());
    });
}

#[test]
fn a_request_that_has_begun_goes_to_its_end_first() {
    in_all_cuts(|cuts| {
        let mut rig = logged_in(&World::plain(), cuts);
        let produce = request(ApiKey::CREATE_TOPICS, 1, 1, &[7; 40_000]);
        let (front, rest) = produce.split_at(20_000);
        rig.client(front);
        rig.later(DUE);
        rig.client(rest);
        assert_eq!(rig.at_broker(), produce);
        assert!(rig.core.wants_secret().is_none());
        rig.client(&list(2)[..3]);
        assert!(rig.core.wants_secret().is_none(), "nobody knows yet what it is");
        rig.client(&list(2)[3..]);
        bring_secret(&mut rig);
        rig.broker(&response(ApiKey::CREATE_TOPICS, 1, 1, &[0; 4]));
        renewed(&mut rig, 0);
        assert_eq!(rig.at_broker(), list(2));
    });
}

#[test]
fn the_brokers_refusal_ends_the_connection_in_its_words() {
    let world = World::plain();
    let mut rig = logged_in(&world, Cuts::Whole);
    proven(&mut rig);
    rig.later(DUE);
    rig.client(&list(1));
    bring_secret(&mut rig);
    renewed(&mut rig, 58);
    let end = rig.end.take().unwrap();
    assert!(end.to_string().contains("sorry"), "{end}");
    assert_eq!((end.side().label(), end.cause()), ("proxy", "login"));
    assert!(rig.at_broker().is_empty(), "the request was not sent");
}

#[test]
fn without_a_secret_the_session_is_used_to_its_end() {
    let world = World::plain();
    let mut rig = logged_in(&world, Cuts::Whole);
    proven(&mut rig);
    let away = || LoginError::Exchange("away".into());
    rig.later(DUE);
    rig.client(&list(1));
    rig.core.renew(Err(away())).unwrap();
    rig.settle();
    assert_eq!(rig.at_broker(), list(1));
    // Not at once again.
    rig.client(&list(2));
    assert_eq!(rig.at_broker(), list(2));
    rig.later(Duration::from_millis(600));
    rig.client(&list(3));
    assert!(rig.at_broker().is_empty());
    bring_secret(&mut rig);
    rig.broker(&[listed(1), listed(2)].concat());
    renewed(&mut rig, 0);
    assert_eq!(rig.at_broker(), list(3));
    rig.broker(&listed(3));
    // The end of the session is the end of that.
    rig.later(LIFETIME);
    rig.client(&list(4));
    assert!(rig.core.renew(Err(away())).is_err());
    assert!(rig.at_broker().is_empty());
}

#[test]
fn what_menders_send_waits_for_it_too() {
    in_all_cuts(|cuts| {
        let script = Scripted::new(|p| p.on_request = Do::Inject);
        let mut rig = logged_in(&World::new(script.mender(), Default::default()), cuts);
        proven(&mut rig);
        let commit = request(WATCHED, 2, 3, b"a commit");
        rig.later(DUE);
        rig.client(&commit);
        assert!(rig.at_broker().is_empty());
        bring_secret(&mut rig);
        renewed(&mut rig, 0);
        let sent = frames(&rig.at_broker());
        assert_eq!((sent.len(), &sent[1]), (2, &commit));
    });
}

#[test]
fn a_client_that_logs_in_itself_is_told_that_it_need_not() {
    in_all_cuts(|cuts| {
        let mut rig = logged_in(&World::plain(), cuts);
        for (correlation, version) in [(1, 0), (2, 1)] {
            rig.client(&request(ApiKey::SASL_HANDSHAKE, version, correlation, b"\0\x05PLAIN"));
            let refused = response(ApiKey::SASL_HANDSHAKE, version, correlation, &[0, 34, 0, 0, 0, 0]);
            assert_eq!(rig.at_client(), refused);
        }
        rig.client(&request(ApiKey::SASL_AUTHENTICATE, 1, 3, b"\0\0\0\x05\0a\0b\0"));
        assert_eq!(rig.at_client()[8..10], [0, 34]);
        assert!(rig.at_broker().is_empty());
        rig.client(&list(4));
        assert_eq!(rig.at_broker(), list(4));
    });
}

#[test]
fn without_a_login_of_its_own_a_clients_passes() {
    let mut rig = World::plain().connect(Cuts::Whole);
    let handshake = request(ApiKey::SASL_HANDSHAKE, 1, 1, b"\0\x05PLAIN");
    rig.client(&handshake);
    assert_eq!(rig.at_broker(), handshake);
}

/// The secret comes from a file, while nothing else moves.
#[tokio::test]
async fn the_driver_brings_the_secret_without_another_byte() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "alice-secret\n").unwrap();
    let world = World::plain();
    let (mut client, ours) = duplex(4096);
    let (mut broker, theirs) = duplex(4096);
    let local = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    let account = account(file.to_str().unwrap());
    let session = Session::new(account, 2, Some(Duration::from_millis(1)), std::time::Instant::now());
    tokio::time::sleep(Duration::from_millis(5)).await;
    let ways = Ways { session: Some(session), ..ways() };
    let task = tokio::spawn(driver::run(world.env.clone(), Conn::new(1, local, None), local, ours, theirs, ways));
    client.write_all(&list(1)).await.unwrap();
    let mut got = vec![0; 200];
    let n = tokio::time::timeout(Duration::from_secs(10), broker.read(&mut got)).await.expect("in time").unwrap();
    assert_eq!(one(&got[..n]).0, ApiKey::SASL_HANDSHAKE);
    drop(broker);
    assert!(matches!(task.await, Ok(End::UpstreamClosed | End::UpstreamIo(_))));
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_ends_the_connection() {
    let world = World::plain();
    let (mut client, ours) = duplex(4096);
    let (_broker, theirs) = duplex(4096);
    let local = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    let session = Session::new(account("/nowhere/at/all"), 2, Some(Duration::ZERO), std::time::Instant::now());
    let ways = Ways { session: Some(session), ..ways() };
    let task = tokio::spawn(driver::run(world.env.clone(), Conn::new(1, local, None), local, ours, theirs, ways));
    client.write_all(&list(1)).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    assert!(end.to_string().contains("upstream.sasl.password_file"), "{end}");
}
