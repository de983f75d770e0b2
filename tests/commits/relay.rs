//! A relay before the broker: keeps what each client asked and with which codes it was answered, and refuses a commit
//! in the broker's place where a test wants that.
//!
//! What it says of a client is what passed at the broker: through kmend the broker's own codes, not those that the
//! client was shown. An app that failed although no commit was refused here was refused by its own library.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{
    HeartbeatResponse, JoinGroupResponse, OffsetCommitRequest, OffsetCommitResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

use crate::harness::{ClusterSpec, Kafka, eventually, ports};

pub const OFFSET_COMMIT: i16 = 8;
pub const JOIN_GROUP: i16 = 11;
pub const HEARTBEAT: i16 = 12;
pub const TXN_OFFSET_COMMIT: i16 = 28;
const API_VERSIONS: i16 = 18;

/// A broker that is reached through a relay only.
pub struct Behind {
    pub kafka: Kafka,
    pub relay: Relay,
    /// The broker's address as clients and kmend learn it.
    pub upstream: Vec<String>,
}

/// One for all tests; they tell their clients apart by their ids.
pub fn behind() -> &'static Behind {
    static SHARED: OnceLock<Behind> = OnceLock::new();
    SHARED.get_or_init(|| {
        let port = ports::free();
        let kafka = Kafka::start(ClusterSpec { advertise: vec![port], ..ClusterSpec::default() });
        let relay = Relay::start(port, kafka.port(1));
        Behind { kafka, relay, upstream: vec![format!("127.0.0.1:{port}")] }
    })
}

/// One request of a client, with the error codes that its answer bore (empty: none yet, or not one of interest).
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub client: String,
    pub api: i16,
    pub version: i16,
    pub codes: Vec<i16>,
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    /// Client id to the code that its next commit as a member gets.
    refuse: HashMap<String, i16>,
}

/// A running relay.
pub struct Relay {
    state: Arc<Mutex<State>>,
}

/// An answer that is still to come: where it is kept, and what is said in its place.
struct Open {
    index: usize,
    api: i16,
    version: i16,
    instead: Option<Vec<u8>>,
}

impl Relay {
    /// Listens on one port and relays to another one, until the process ends.
    pub fn start(port: u16, target: u16) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the relay's port");
        let state: Arc<Mutex<State>> = Arc::default();
        let own = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", target)) {
                    relay(client, server, &own);
                }
            }
        });
        Relay { state }
    }

    /// The next commit of that client as a member is answered with `code`, and does not reach the broker.
    pub fn refuse_next(&self, client: &str, code: i16) {
        lock(&self.state).refuse.insert(client.to_owned(), code);
    }

    /// All requests of one API by one client.
    pub fn seen(&self, client: &str, api: i16) -> Vec<Seen> {
        lock(&self.state).seen.iter().filter(|s| s.client == client && s.api == api).cloned().collect()
    }

    /// The codes but 0 with which the commits of a client were answered.
    pub fn refused(&self, client: &str) -> Vec<i16> {
        self.seen(client, OFFSET_COMMIT).into_iter().flat_map(|s| s.codes).filter(|c| *c != 0).collect()
    }

    /// Waits until a client has sent `count` requests of an API.
    #[track_caller]
    pub fn wait_asked(&self, client: &str, api: i16, count: usize, limit: Duration) {
        let asked = || self.seen(client, api).len();
        assert!(eventually(limit, || asked() >= count), "{client}: {} of {count} requests of API {api}", asked());
    }

    /// Waits until a heartbeat of a client has been answered with an error; false where none was within `limit`.
    pub fn heartbeat_refused(&self, client: &str, since: Instant, limit: Duration) -> bool {
        let refused = |s: &Seen| s.at >= since && s.codes.iter().any(|c| *c != 0);
        eventually(limit, || self.seen(client, HEARTBEAT).iter().any(refused))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|e| e.into_inner())
}

fn relay(client: TcpStream, server: TcpStream, state: &Arc<Mutex<State>>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let both = |s: &TcpStream| s.try_clone().expect("a second handle");
    let open: Arc<Mutex<HashMap<i32, Open>>> = Arc::default();
    let (c, s, st, op) = (both(&client), both(&server), state.clone(), open.clone());
    std::thread::spawn(move || requests(c, s, &st, &op));
    let st = state.clone();
    std::thread::spawn(move || responses(server, client, &st, &open));
}

fn requests(mut from: TcpStream, mut to: TcpStream, state: &Mutex<State>, open: &Mutex<HashMap<i32, Open>>) {
    while let Some(mut frame) = frame(&mut from) {
        let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
        let (api, version) = (number(0), number(2));
        let correlation = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
        let client = String::from_utf8_lossy(&frame[10..10 + number(8).max(0) as usize]).into_owned();
        let mut instead = None;
        {
            let mut state = lock(state);
            if api == OFFSET_COMMIT
                && let Some(code) = state.refuse.get(&client).copied()
                && let Some(answer) = refusal(&frame, version, correlation, code)
            {
                state.refuse.remove(&client);
                // Asked in its place, so that the answer comes in its turn.
                frame.truncate(10 + client.len());
                frame[..4].copy_from_slice(&[0, API_VERSIONS as u8, 0, 0]);
                instead = Some(answer);
            }
            let index = state.seen.len();
            state.seen.push(Seen { at: Instant::now(), client, api, version, codes: Vec::new() });
            let all = &mut open.lock().unwrap_or_else(|e| e.into_inner());
            all.insert(correlation, Open { index, api, version, instead });
        }
        if write(&mut to, &frame).is_none() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn responses(mut from: TcpStream, mut to: TcpStream, state: &Mutex<State>, open: &Mutex<HashMap<i32, Open>>) {
    while let Some(mut frame) = frame(&mut from) {
        let correlation = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        let found = open.lock().unwrap_or_else(|e| e.into_inner()).remove(&correlation);
        if let Some(Open { index, api, version, instead }) = found {
            if let Some(answer) = instead {
                frame = answer;
            }
            lock(state).seen[index].codes = codes(api, version, &frame);
        }
        if write(&mut to, &frame).is_none() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// The error codes in an answer; none for APIs and versions that are not looked at.
fn codes(api: i16, version: i16, frame: &[u8]) -> Vec<i16> {
    fn body<T: Decodable + HeaderVersion>(version: i16, frame: &[u8]) -> Option<T> {
        let mut bytes = Bytes::copy_from_slice(frame);
        ResponseHeader::decode(&mut bytes, T::header_version(version)).ok()?;
        T::decode(&mut bytes, version).ok()
    }
    let commits = |r: OffsetCommitResponse| r.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code).collect();
    match api {
        OFFSET_COMMIT => body(version, frame).map(commits).unwrap_or_default(),
        HEARTBEAT => body(version, frame).map(|r: HeartbeatResponse| vec![r.error_code]).unwrap_or_default(),
        JOIN_GROUP => body(version, frame).map(|r: JoinGroupResponse| vec![r.error_code]).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// The answer that refuses each partition of a member's commit; none for an admin's, or one that cannot be read.
fn refusal(frame: &[u8], version: i16, correlation: i32, code: i16) -> Option<Vec<u8>> {
    let refused = |p: i32| OffsetCommitResponsePartition::default().with_partition_index(p).with_error_code(code);
    let topics: Vec<OffsetCommitResponseTopic> = if version == 10 {
        let of = |(id, all): ([u8; 16], Vec<i32>)| {
            let id = uuid::Uuid::from_bytes(id);
            OffsetCommitResponseTopic::default()
                .with_topic_id(id)
                .with_partitions(all.into_iter().map(refused).collect())
        };
        by_id(frame)?.into_iter().map(of).collect()
    } else {
        let mut bytes = Bytes::copy_from_slice(frame);
        RequestHeader::decode(&mut bytes, OffsetCommitRequest::header_version(version)).ok()?;
        let asked = OffsetCommitRequest::decode(&mut bytes, version).ok()?;
        if asked.generation_id_or_member_epoch < 0 {
            return None;
        }
        let of = |t: OffsetCommitRequestTopic| {
            let all = t.partitions.iter().map(|p| refused(p.partition_index)).collect();
            OffsetCommitResponseTopic::default().with_name(t.name).with_partitions(all)
        };
        asked.topics.into_iter().map(of).collect()
    };
    let answer = OffsetCommitResponse::default().with_topics(topics);
    let mut out = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut out, OffsetCommitResponse::header_version(version)).ok()?;
    answer.encode(&mut out, version).ok()?;
    Some(out.to_vec())
}

/// Topics and partitions of a member's OffsetCommit 10, which has topic ids and which kafka-protocol cannot read.
fn by_id(frame: &[u8]) -> Option<Vec<([u8; 16], Vec<i32>)>> {
    let mut bytes = Bytes::copy_from_slice(frame);
    RequestHeader::decode(&mut bytes, 2).ok()?;
    // A compact string or array: its length plus one, as a varint; all of them are short here.
    let length = |bytes: &mut Bytes| usize::from(bytes.get_u8()).saturating_sub(1);
    let skip = |bytes: &mut Bytes| {
        let n = length(bytes);
        bytes.advance(n);
    };
    skip(&mut bytes);
    let generation = bytes.get_i32();
    skip(&mut bytes);
    skip(&mut bytes);
    let mut topics = Vec::new();
    for _ in 0..length(&mut bytes) {
        let mut id = [0; 16];
        bytes.copy_to_slice(&mut id);
        let mut partitions = Vec::new();
        for _ in 0..length(&mut bytes) {
            partitions.push(bytes.get_i32());
            bytes.advance(8 + 4);
            skip(&mut bytes);
            bytes.advance(1);
        }
        bytes.advance(1);
        topics.push((id, partitions));
    }
    (generation >= 0).then_some(topics)
}

/// A frame without its size.
fn frame(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut size = [0; 4];
    from.read_exact(&mut size).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(size) as usize];
    from.read_exact(&mut frame).ok()?;
    (frame.len() >= 4).then_some(frame)
}

fn write(to: &mut TcpStream, frame: &[u8]) -> Option<()> {
    let mut all = (frame.len() as u32).to_be_bytes().to_vec();
    all.extend_from_slice(frame);
    to.write_all(&all).ok()
}
