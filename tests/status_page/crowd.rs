//! A page that shows much: a group on 1,000 partitions that all move, and 200 clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, RequestHeader};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};
use serde_json::Value;

use crate::harness::{Client, Kmend, Opts, Over, unique, wait_for};
use crate::page::Page;
use crate::stories::PATIENCE;
use crate::{ALONE, kafka, kmend, told};

const PARTITIONS: i32 = 1000;
const CLIENTS: usize = 200;
/// Of the page's own CPU time.
const LONGEST_TASK: f64 = 100.0;

/// A connection of a client with a name and a software of its own, which has asked its first question.
fn client(kmend: &Kmend, n: usize) -> TcpStream {
    let text = |text: String| StrBytes::from_string(text);
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::ApiVersions as i16)
        .with_request_api_version(3)
        .with_client_id(Some(text(format!("crowd-{n}"))));
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text(format!("software-{}", n % 7)))
        .with_client_software_version(text(format!("1.{}.0", n % 5)));
    let mut body = BytesMut::new();
    header.encode(&mut body, ApiVersionsRequest::header_version(3)).expect("a header");
    request.encode(&mut body, 3).expect("a request");
    let mut frame = BytesMut::new();
    frame.put_u32(body.len() as u32);
    frame.put(body);
    let mut stream = TcpStream::connect(&kmend.listen).expect("kmend listens");
    stream.set_read_timeout(Some(Duration::from_secs(15))).expect("a limit");
    stream.write_all(&frame).expect("kmend reads");
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("an answer");
    let mut answer = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer).expect("an answer");
    stream
}

/// Clients and partitions that `/api/status` has.
fn shown(kmend: &Kmend) -> (usize, usize) {
    let status: Value = serde_json::from_str(&kmend.get("/api/status").1).expect("JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let members = list(&status["groups"]).into_iter().flat_map(|group| list(&group["members"]));
    (list(&status["clients"]).len(), members.map(|member| list(&member["partitions"]).len()).sum())
}

#[test]
fn a_thousand_partitions_and_two_hundred_clients_make_no_long_task() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let admin = kafka().admin();
    let topic = unique("page-crowd");
    admin.create(&topic, PARTITIONS, &[]);
    let kmend = kmend("repair");
    let mut page = Page::open_traced(&kmend);
    let over = AtomicBool::new(false);
    let saw = std::thread::scope(|threads| {
        let _over = Over(&over);
        threads.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                admin.produce_everywhere(&topic, PARTITIONS);
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        let _clients: Vec<TcpStream> = (0..CLIENTS).map(|n| client(&kmend, n)).collect();
        let opts = Opts::consume(&kmend.listen, &topic, &format!("{topic}-group"));
        let consumer = Client::start("librdkafka", opts);
        consumer.wait("5,000 records", PATIENCE, |c| c.progress() >= 5_000);
        wait_for("all of it in /api/status", PATIENCE, || {
            let (clients, partitions) = shown(&kmend);
            (clients > CLIENTS && partitions == PARTITIONS as usize).then_some(())
        });
        page.evaluate("document.querySelector('#groups-fold').click()");
        // Some updates of all of it, and from one end to the other.
        std::thread::sleep(Duration::from_secs(5));
        page.evaluate(
            "(async () => { const box = document.querySelector('#groups-scroll'); \
             for (let y = 0; y <= box.scrollHeight; y += 400) { box.scrollTop = y; await new Promise(requestAnimationFrame); } })()",
        );
        page.close()
    });
    told::check(&kmend, &saw);
    let tasks = saw.tasks.expect("it was traced");
    println!(
        "{} rows of groups ({}), clients: {}; {} tasks, the longest {:.0} ms of CPU time",
        saw.group_rows, saw.sections.groups, saw.sections.clients, tasks.count, tasks.longest_cpu_ms,
    );
    assert!(saw.group_rows > PARTITIONS as usize, "{} rows", saw.group_rows);
    assert!(tasks.count > 100 && tasks.longest_cpu_ms < LONGEST_TASK, "{tasks:?}");
}
