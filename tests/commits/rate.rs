//! A commit per record, synchronous: how many a second, directly and with write-behind. A figure, not a test: it runs
//! with `KMEND_MATRIX=1`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{GroupId, JoinGroupRequest, OffsetCommitRequest, SyncGroupRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use serde_json::json;

use crate::harness::admin::conn::Conn;
use crate::harness::{Client, ClusterSpec, Kafka, Kmend, Opts, ports, unique};
use crate::{commits, kmend};

const RECORDS: usize = 60_000;
const RUN: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker, where it is reached from, and where kmend and clients are told that it is.
struct Site {
    kafka: &'static Kafka,
    address: String,
}

/// On this very machine: past the relay of the other tests, which has a price of its own.
fn near() -> Site {
    static NEAR: OnceLock<Kafka> = OnceLock::new();
    let kafka = NEAR.get_or_init(|| Kafka::start(ClusterSpec::default()));
    Site { kafka, address: kafka.servers() }
}

/// A millisecond away, as another zone of a cloud is: there and back it takes two.
fn far() -> Site {
    static FAR: OnceLock<(Kafka, String)> = OnceLock::new();
    let (kafka, address) = FAR.get_or_init(|| {
        let port = ports::free();
        let kafka = Kafka::start(ClusterSpec { advertise: vec![port], ..ClusterSpec::default() });
        let (target, listener) = (kafka.port(1), TcpListener::bind(("127.0.0.1", port)).expect("a port"));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let both = |s: &TcpStream| s.try_clone().expect("a second handle");
                let (c, s) = (both(&client), both(&server));
                std::thread::spawn(move || slowly(c, s));
                std::thread::spawn(move || slowly(server, client));
            }
        });
        (kafka, format!("127.0.0.1:{port}"))
    });
    Site { kafka, address: address.clone() }
}

/// Relays bytes a millisecond late.
fn slowly(mut from: TcpStream, mut to: TcpStream) {
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        std::thread::sleep(Duration::from_millis(1));
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Before a site, with write-behind.
fn mended(site: &Site) -> Kmend {
    kmend(std::slice::from_ref(&site.address), json!({ "write_behind": { "enabled": true } }))
}

/// Commits a second of one app, one by one.
fn rate(client: &str, site: &Site, write_behind: bool) -> f64 {
    let admin = site.kafka.admin();
    let topic = unique(&format!("rate-{client}"));
    admin.create(&topic, 1, &[]);
    admin.produce_batches(&topic, 0, crate::harness::admin::Batch { n: RECORDS, size: 1_000, ..Default::default() });
    let mended = write_behind.then(|| mended(site));
    let servers = mended.as_ref().map_or_else(|| site.address.clone(), |k| k.listen.clone());
    let opts = Opts::consume(&servers, &topic, &format!("{topic}-group")).with("CLIENT_ID", &topic);
    let app = Client::start(client, opts.with("COMMIT", "each"));
    app.wait("a steady run", PATIENCE, |c| c.commits() >= 20);
    let (began, before) = (Instant::now(), app.commits());
    std::thread::sleep(RUN);
    let rate = (app.commits() - before) as f64 / began.elapsed().as_secs_f64();
    assert_eq!(app.errors(), Vec::<String>::new(), "{}", app.story());
    rate
}

/// Commits a second near (directly, with write-behind) and far (the same), right after each other.
pub type Rates = [(f64, f64); 2];

pub fn all(client: &str) -> Rates {
    let rates = [near(), far()].map(|site| (rate(client, &site, false), rate(client, &site, true)));
    println!("{client}: commits/s directly and with write-behind, near and far: {rates:.0?}");
    rates
}

/// The same by a client that does nothing else: a member of a group on one connection. What is left is the way there.
fn bare_rate(site: &Site, address: &str) -> f64 {
    let admin = site.kafka.admin();
    let topic = unique("rate-bare");
    admin.create(&topic, 1, &[]);
    let text = |s: &str| StrBytes::from_string(s.to_owned());
    let group = GroupId(text(&format!("{topic}-group")));
    let mut conn = Conn::open(address).expect("a connection");
    let protocol =
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(consumer_of(&topic, None));
    let join = |id: &StrBytes| {
        JoinGroupRequest::default()
            .with_group_id(group.clone())
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(60_000)
            .with_member_id(id.clone())
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol.clone()])
    };
    let id = conn.call(5, &join(&StrBytes::default())).expect("a member id").member_id;
    let joined = conn.call(5, &join(&id)).expect("an answer to JoinGroup");
    assert_eq!(joined.error_code, 0);
    let own = SyncGroupRequestAssignment::default()
        .with_member_id(id.clone())
        .with_assignment(consumer_of(&topic, Some(&[0])));
    let sync = SyncGroupRequest::default()
        .with_group_id(group.clone())
        .with_generation_id(joined.generation_id)
        .with_member_id(id.clone())
        .with_assignments(vec![own]);
    assert_eq!(conn.call(3, &sync).expect("an answer to SyncGroup").error_code, 0);
    let (began, mut done) = (Instant::now(), 0);
    while began.elapsed() < RUN {
        done += 1;
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(done)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(StrBytes::default()));
        let topic =
            OffsetCommitRequestTopic::default().with_name(TopicName(text(&topic))).with_partitions(vec![partition]);
        let commit = OffsetCommitRequest::default()
            .with_group_id(group.clone())
            .with_generation_id_or_member_epoch(joined.generation_id)
            .with_member_id(id.clone())
            .with_topics(vec![topic]);
        let answer = conn.call(7, &commit).expect("an answer to OffsetCommit");
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    }
    done as f64 / began.elapsed().as_secs_f64()
}

/// [`Rates`] of the client that does nothing else.
pub fn bare() -> Rates {
    let rates = [near(), far()].map(|site| {
        let mended = mended(&site);
        let directly = bare_rate(&site, &site.address);
        let rates = (directly, bare_rate(&site, &mended.listen));
        assert!(commits(&mended, "behind") > 100.0, "nothing was written behind");
        rates
    });
    println!("bare: commits/s directly and with write-behind, near and far: {rates:.0?}");
    rates
}

/// A subscription or an assignment, version 0, of one topic.
fn consumer_of(topic: &str, partitions: Option<&[i32]>) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(1);
    bytes.put_i16(topic.len() as i16);
    bytes.put_slice(topic.as_bytes());
    if let Some(partitions) = partitions {
        bytes.put_i32(partitions.len() as i32);
        partitions.iter().for_each(|p| bytes.put_i32(*p));
    }
    bytes.put_i32(-1);
    bytes.freeze()
}
