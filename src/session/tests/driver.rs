//! The driver over in-memory sockets: what only it knows of ends, drains and drops.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::kit::*;
use crate::mend::Conn;
use crate::session::driver;
use crate::session::end::End;
use crate::session::window::WINDOW;
use crate::wire::api::ApiKey;

/// The client's end, the broker's end, and the connection between them.
fn start(world: &World, buffer: usize) -> (DuplexStream, DuplexStream, JoinHandle<End>) {
    let (client, ours) = duplex(buffer);
    let (broker, theirs) = duplex(buffer);
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let conn = Conn::new(1, local, None);
    let task = tokio::spawn(driver::run(world.env.clone(), conn, local, ours, theirs));
    (client, broker, task)
}

fn list() -> (Vec<u8>, Vec<u8>) {
    (request(ApiKey::LIST_GROUPS, 0, 5, &[]), response(ApiKey::LIST_GROUPS, 0, 5, &[0; 6]))
}

async fn take(stream: &mut DuplexStream, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut bytes))
        .await
        .expect("in time")
        .expect("bytes");
    bytes
}

#[tokio::test]
async fn a_client_that_has_finished_still_gets_its_answers() {
    let (mut client, mut broker, task) = start(&World::plain(), 4096);
    let (asks, answer) = list();
    client.write_all(&asks).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(take(&mut broker, asks.len()).await, asks);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!task.is_finished());
    broker.write_all(&answer).await.unwrap();
    assert_eq!(take(&mut client, answer.len()).await, answer);
    assert!(matches!(task.await, Ok(End::ClientClosed)));
    assert_eq!(broker.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_that_has_finished_does_not_wait_for_ever_for_a_broker_that_hangs() {
    let mut limits = limits(64 << 20);
    limits.idle_timeout = Duration::from_millis(50);
    let world = World::with(Vec::new(), Default::default(), limits, Told::default());
    let (mut client, mut broker, task) = start(&world, 4096);
    let (asks, _) = list();
    client.write_all(&asks).await.unwrap();
    take(&mut broker, asks.len()).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(!task.is_finished(), "a client that waits is no idle one");
    client.shutdown().await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(5), task).await;
    assert!(matches!(end, Ok(Ok(End::Idle))), "{end:?}");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_let_go() {
    let mut limits = limits(64 << 20);
    limits.handshake_timeout = Duration::from_millis(50);
    let world = World::with(Vec::new(), Default::default(), limits, Told::default());
    let (mut client, _broker, task) = start(&world, 4096);
    client.write_all(&[0, 0]).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(5), task).await;
    assert!(matches!(end, Ok(Ok(End::Handshake))), "{end:?}");
}

#[tokio::test]
async fn a_broker_that_goes_away_in_the_middle_of_an_answer() {
    let (mut client, mut broker, task) = start(&World::plain(), 4096);
    let (asks, answer) = list();
    client.write_all(&asks).await.unwrap();
    take(&mut broker, asks.len()).await;
    broker.write_all(&answer[..10]).await.unwrap();
    drop(broker);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, answer[..10]);
    assert!(matches!(task.await, Ok(End::UpstreamClosed)));
}

#[tokio::test]
async fn a_slow_reader_holds_the_broker_back_and_every_byte_is_counted() {
    let world = World::plain();
    let (mut client, mut broker, task) = start(&world, 1024);
    let (asks, _) = list();
    client.write_all(&asks).await.unwrap();
    take(&mut broker, asks.len()).await;
    let answer = response(ApiKey::LIST_GROUPS, 0, 5, &vec![7; 1 << 20]);
    let all = answer.clone();
    let sent = tokio::spawn(async move {
        let mut n = 0;
        while n < all.len() {
            let more = tokio::time::timeout(Duration::from_millis(100), broker.write(&all[n..]));
            match more.await {
                Ok(more) => n += more.unwrap(),
                Err(_) => break,
            }
        }
        (broker, all, n)
    });
    let (mut broker, all, n) = sent.await.unwrap();
    assert!(n <= WINDOW + 3 * 1024, "{n} bytes are under way");
    assert_eq!(world.metric("kmend_reads_paused", &[("side", "upstream")]), 1.0);
    let rest = tokio::spawn(async move {
        broker.write_all(&all[n..]).await.unwrap();
        broker
    });
    assert!(take(&mut client, answer.len()).await == answer);
    drop(rest.await.unwrap());
    drop(client);
    task.await.unwrap();
    assert_eq!(world.metric("kmend_response_bytes_total", &[]), answer.len() as f64);
    assert_eq!(world.metric("kmend_reads_paused", &[]), 0.0);
}

/// At the end of a drain connections are dropped where they are.
#[tokio::test]
async fn a_connection_that_is_dropped_leaves_nothing_behind() {
    let world = World::plain();
    let (mut client, mut broker, task) = start(&world, 4096);
    let asks = request(ApiKey::API_VERSIONS, 3, 1, b"\x08librdfk\x042.3\0");
    client.write_all(&asks).await.unwrap();
    take(&mut broker, asks.len()).await;
    let clients = [("software", "librdfk"), ("version", "2.3")];
    assert_eq!(world.metric("kmend_clients", &clients), 1.0);
    task.abort();
    assert!(task.await.is_err());
    assert_eq!(world.metric("kmend_clients", &clients), 0.0);
}
