//! Clients by script: raw tokens after SaslHandshake v0, which the libraries no longer send, and sessions that end.

use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    MetadataRequest, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use rsasl::prelude::{Mechname, SASLClient, SASLConfig};

use crate::harness::kafka::{PASSWORD, USER};
use crate::harness::secured::SESSION_MS;
use crate::harness::{Way, slot, unique};
use crate::ours::logging_in;
use crate::scripted::{Raw, read_frame, versions};
use crate::{Discreet, kafka, kmend};

/// Goes through the exchange of a mechanism: `ask` takes a token there and brings the answer.
fn exchange(way: Way, password: &str, mut ask: impl FnMut(&[u8]) -> Option<Vec<u8>>) -> bool {
    let config = SASLConfig::with_credentials(None, USER.to_owned(), password.to_owned()).unwrap();
    let name = Mechname::parse(way.mechanism().as_bytes()).unwrap();
    let mut session = SASLClient::new(config).start_suggested_iter([name]).unwrap();
    let mut answer: Option<Vec<u8>> = None;
    loop {
        let mut token = Vec::new();
        let Ok(state) = session.step(answer.as_deref(), &mut token) else { return false };
        if state.has_sent_message() {
            let Some(got) = ask(&token) else { return false };
            answer = Some(got);
        }
        if state.is_finished() {
            return true;
        }
    }
}

fn handshake(raw: &mut Raw, way: Way, version: i16) {
    raw.ask(3, &versions()).unwrap();
    let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(way.mechanism()));
    let answer = raw.ask(version, &request).unwrap();
    assert_eq!(answer.error_code, 0);
}

/// With frames that are tokens and nothing else.
fn login_v0(raw: &mut Raw, way: Way, password: &str) -> bool {
    handshake(raw, way, 0);
    exchange(way, password, |token| {
        let frame = [&(token.len() as i32).to_be_bytes(), token].concat();
        raw.stream.write_all(&frame).ok()?;
        read_frame(&mut raw.stream).ok()
    })
}

/// With SaslAuthenticate; its last answer.
fn login_v1(raw: &mut Raw, way: Way, password: &str) -> SaslAuthenticateResponse {
    handshake(raw, way, 1);
    let mut last = None;
    exchange(way, password, |token| {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::copy_from_slice(token));
        let answer = raw.ask(2, &request).unwrap();
        let bytes = (answer.error_code == 0).then(|| answer.auth_bytes.to_vec());
        last = Some(answer);
        bytes
    });
    last.unwrap()
}

/// The error code of a topic in a Metadata answer; none where the connection has ended.
pub fn asks_for(raw: &mut Raw, topic: &str) -> Option<i16> {
    let name = TopicName(StrBytes::from_string(topic.to_owned()));
    let topics = vec![MetadataRequestTopic::default().with_name(Some(name))];
    let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
    Some(raw.ask(12, &request).ok()?.topics[0].error_code)
}

const NOT_ALLOWED: i16 = 29;
const FAILED: i16 = 58;
const ILLEGAL_STATE: i16 = 34;

/// A topic of Alice's, and one that is not.
pub fn topics() -> [String; 2] {
    ["alice-raw", "bob-raw"].map(|prefix| {
        let topic = unique(prefix);
        kafka().admin().create(&topic, 1, &[]);
        topic
    })
}

/// Is taken for Alice, and for nobody else.
pub fn is_alice(raw: &mut Raw, [own, other]: &[String; 2]) {
    for _ in 0..3 {
        assert_eq!(asks_for(raw, own), Some(0));
        assert_eq!(asks_for(raw, other), Some(NOT_ALLOWED));
    }
}

#[test]
fn raw_tokens_after_handshake_v0_pass() {
    let _slot = slot();
    let topics = topics();
    for way in [Way::Plain, Way::Scram256, Way::Scram512] {
        let kmend = kmend(way, |_| {});
        let mut raw = Raw::open(&kmend.listen);
        assert!(login_v0(&mut raw, way, PASSWORD), "{way:?}");
        is_alice(&mut raw, &topics);
        refuses_v0(&kmend, way);
    }
}

/// In this version there is no error message: the broker closes.
fn refuses_v0(kmend: &Discreet, way: Way) {
    let mut raw = Raw::open(&kmend.listen);
    assert!(!login_v0(&mut raw, way, "wrong"), "{way:?}");
    assert_eq!(raw.stream.read(&mut [0]).unwrap_or(0), 0, "{way:?}: the connection is still there");
}

#[test]
fn without_a_login_the_broker_ends_the_connection() {
    let _slot = slot();
    let [own, _] = topics();
    let kmend = kmend(Way::Plain, |_| {});
    let mut raw = Raw::open(&kmend.listen);
    assert_eq!(asks_for(&mut raw, &own), None);
}

#[test]
fn a_session_ends_in_time_and_lives_on_where_the_client_logs_in_again() {
    let _slot = slot();
    let topics = topics();
    let kmend = kmend(Way::Scram512, |_| {});
    let [mut idle, mut busy] = [(); 2].map(|()| Raw::open(&kmend.listen));
    for raw in [&mut idle, &mut busy] {
        let answer = login_v1(raw, Way::Scram512, PASSWORD);
        assert_eq!((answer.error_code, answer.session_lifetime_ms), (0, SESSION_MS as i64));
        is_alice(raw, &topics);
    }
    // What is tested is time itself.
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(SESSION_MS * 2 / 3));
        assert_eq!(login_v1(&mut busy, Way::Scram512, PASSWORD).error_code, 0);
        is_alice(&mut busy, &topics);
    }
    assert_eq!(asks_for(&mut idle, &topics[0]), None, "the session was over");
}

#[test]
fn the_brokers_own_words_refuse_a_wrong_password() {
    let _slot = slot();
    for (way, words) in [(Way::Plain, "Invalid username or password"), (Way::Scram256, "invalid credentials")] {
        let kmend = kmend(way, |_| {});
        let answer = login_v1(&mut Raw::open(&kmend.listen), way, "wrong");
        assert_eq!(answer.error_code, FAILED);
        let text = answer.error_message.map_or(String::new(), |m| m.to_string());
        assert!(text.contains(words), "{text}");
    }
}

/// As at a listener of the broker's that wants no login.
#[test]
fn who_logs_in_where_kmend_has_done_so_is_refused_as_by_a_broker_without_sasl() {
    let _slot = slot();
    let kmend = logging_in(Way::Plain, |_| {});
    kmend.allow("a client wants to log in");
    let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN"));
    let ask = |address: &str| {
        let mut raw = Raw::open(address);
        raw.ask(3, &versions()).unwrap();
        let codes = [(); 2].map(|()| raw.ask(1, &request).map(|answer| answer.error_code).ok());
        // What comes afterwards is answered, too.
        (codes, asks_for(&mut raw, "alice-nothing").is_some())
    };
    let (by_broker, by_kmend) = (ask(&kafka().bootstrap()[0]), ask(&kmend.listen));
    assert_eq!(by_broker.0[0], Some(ILLEGAL_STATE));
    assert_eq!(by_kmend, by_broker);
}
