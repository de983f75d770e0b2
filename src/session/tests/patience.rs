//! The driver over in-memory sockets: who does not go on is let go, and who reads nothing is not read.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::kit::*;
use super::script::{Scripted, WATCHED};
use crate::mend::Conn;
use crate::mend::peers::Message;
use crate::session::driver;
use crate::session::end::{End, Side};
use crate::session::limits::Limits;
use crate::session::shed;
use crate::tls::Transport;
use crate::wire::api::ApiKey;

const SHORT: Duration = Duration::from_millis(60);
/// Where it must not run out: a machine that is busy elsewhere for a moment is no client that stands still.
const STEADY: Duration = Duration::from_millis(600);
const IN_TIME: Duration = Duration::from_secs(10);

fn world(change: impl FnOnce(&mut Limits)) -> World {
    let mut limits = limits(64 << 20);
    change(&mut limits);
    World::with(Scripted::default().mender(), Default::default(), limits, Told::default())
}

fn start(world: &World, buffer: usize) -> (DuplexStream, DuplexStream, JoinHandle<End>) {
    let (client, ours) = duplex(buffer);
    let (broker, theirs) = duplex(buffer);
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let run = driver::run(world.env.clone(), Conn::new(1, local, None), local, ours, theirs, ways());
    (client, broker, tokio::spawn(run))
}

async fn end(task: JoinHandle<End>) -> End {
    timeout(IN_TIME, task).await.expect("in time").expect("no panic")
}

/// Writes the head of a request, then a byte at a time for as long as it is taken: longer than [`STEADY`] in all.
async fn trickle(mut client: DuplexStream, bytes: Vec<u8>) -> usize {
    client.write_all(&bytes[..20]).await.unwrap();
    for (n, byte) in bytes.iter().enumerate().skip(20) {
        if client.write_all(&[*byte]).await.is_err() {
            return n;
        }
        tokio::time::sleep(STEADY / 40).await;
    }
    bytes.len()
}

/// Ten thousand idle ones are not to take 100 MiB (docs/measurements.md).
#[tokio::test]
async fn a_connection_is_small() {
    let world = world(|_| {});
    let ((client, ours), (_, theirs)) = (duplex(10), duplex(10));
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let run = driver::run(world.env.clone(), Conn::new(1, local, None), local, ours, theirs, ways());
    drop(client);
    let (task, driver) = (size_of_val(&run), size_of::<driver::Driver<TcpStream, Transport>>());
    assert!(task < 512 && driver < 2300, "a task of {task} bytes, with {driver} of its state");
    assert!(size_of::<Message>() <= 16, "a mailbox has 32 places from the start");
}

#[tokio::test]
async fn a_request_that_stops_is_not_waited_for() {
    // Its head; its body, which nobody looks at; its body, which is held whole.
    let passes = request(ApiKey::LIST_GROUPS, 0, 1, &[0; 1000]);
    let whole = request(WATCHED, 2, 1, &[0; 1000]);
    for (frame, n) in [(&passes, 6), (&passes, 500), (&whole, 500)] {
        let world = world(|l| l.progress_timeout = SHORT);
        let (mut client, _broker, task) = start(&world, 4096);
        client.write_all(&request(ApiKey::LIST_GROUPS, 0, 0, &[])).await.unwrap();
        client.write_all(&frame[..n]).await.unwrap();
        let end = end(task).await;
        assert!(matches!(end, End::Progress), "{n}: {end:?}");
        assert_eq!((end.side(), end.cause()), (Side::Client, "progress_timeout"));
    }
}

#[tokio::test]
async fn byte_by_byte_is_progress_only_where_bytes_pass() {
    let world = world(|l| l.progress_timeout = STEADY);
    let (client, mut broker, task) = start(&world, 4096);
    let frame = request(ApiKey::LIST_GROUPS, 0, 1, &[0; 80]);
    let sent = tokio::spawn(trickle(client, frame.clone()));
    let mut got = vec![0; frame.len()];
    timeout(IN_TIME, broker.read_exact(&mut got)).await.expect("in time").expect("all of it");
    assert_eq!(sent.await.unwrap(), frame.len());
    drop(broker);
    end(task).await;

    let (client, _broker, task) = start(&world, 4096);
    let sent = tokio::spawn(trickle(client, request(WATCHED, 2, 1, &[0; 4000])));
    assert!(matches!(end(task).await, End::Progress));
    assert!(sent.await.unwrap() < 4000);
}

/// The broker's time is not the client's: what waits for its turn has begun nothing.
#[tokio::test]
async fn a_client_that_waits_is_left_alone() {
    let world = world(|l| (l.progress_timeout, l.idle_timeout) = (SHORT, SHORT));
    let (mut client, mut broker, task) = start(&world, 4096);
    let asks = request(ApiKey::LIST_GROUPS, 0, 1, &[]);
    client.write_all(&asks).await.unwrap();
    broker.read_exact(&mut vec![0; asks.len()]).await.unwrap();
    tokio::time::sleep(3 * SHORT).await;
    assert!(!task.is_finished());
    broker.write_all(&response(ApiKey::LIST_GROUPS, 0, 1, &[0; 6])).await.unwrap();
    timeout(IN_TIME, client.read_exact(&mut [0; 14])).await.expect("in time").expect("an answer");
    assert!(matches!(end(task).await, End::Idle));
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_let_go_and_one_that_reads_slowly_is_not() {
    let asks = request(ApiKey::LIST_GROUPS, 0, 1, &[]);
    let answer = response(ApiKey::LIST_GROUPS, 0, 1, &[0; 40_000]);
    for reads in [false, true] {
        let world = world(|l| l.idle_timeout = if reads { STEADY } else { SHORT });
        let (mut client, mut broker, task) = start(&world, 512);
        client.write_all(&asks).await.unwrap();
        broker.read_exact(&mut vec![0; asks.len()]).await.unwrap();
        let all = answer.clone();
        let sent = tokio::spawn(async move { broker.write_all(&all).await.map(|()| broker) });
        if reads {
            for _ in 0..answer.len() / 500 {
                timeout(IN_TIME, client.read_exact(&mut [0; 500])).await.expect("in time").expect("some of it");
                tokio::time::sleep(STEADY / 40).await;
            }
            assert!(!task.is_finished(), "it lives");
            continue;
        }
        assert!(matches!(end(task).await, End::Stalled(Side::Client)));
        sent.abort();
    }
}

#[tokio::test]
async fn a_broker_that_stops_in_the_middle_of_an_answer_is_not_waited_for() {
    for n in [3, 10] {
        let world = world(|l| l.idle_timeout = SHORT);
        let (mut client, mut broker, task) = start(&world, 4096);
        client.write_all(&request(ApiKey::LIST_GROUPS, 0, 1, &[])).await.unwrap();
        broker.write_all(&response(ApiKey::LIST_GROUPS, 0, 1, &[0; 60])[..n]).await.unwrap();
        let end = end(task).await;
        assert!(matches!(end, End::Stalled(Side::Upstream)), "{n}: {end:?}");
    }
}

/// Answers that are made here stand in nobody's way but their client's.
#[tokio::test]
async fn a_client_that_asks_and_does_not_read_is_not_read() {
    let world = world(|_| {});
    let (mut client, _broker, task) = start(&world, 4096);
    // Of a version that kmend answers itself.
    let asks = request(ApiKey::API_VERSIONS, 99, 1, &[0; 4]).repeat(1000);
    let mut sent = 0;
    while let Ok(wrote) = timeout(Duration::from_millis(300), client.write(&asks[sent % asks.len()..])).await {
        sent += wrote.unwrap();
        assert!(sent < 4 << 20, "it takes them without an end");
    }
    let held = world.held();
    assert!(held < 2 << 20, "{held} bytes are held");
    let mut got = vec![0; 100_000];
    timeout(IN_TIME, client.read_exact(&mut got)).await.expect("in time").expect("answers");
    let more = timeout(IN_TIME, client.write(&asks[sent % asks.len()..])).await;
    assert!(more.is_ok(), "it goes on when they are read");
    drop(client);
    end(task).await;
    assert_eq!(world.held(), 0);
}

#[tokio::test]
async fn without_room_nothing_is_read_until_there_is_some() {
    let world = world(|_| {});
    let memory = world.env.limits.load().memory.clone();
    let taken = memory.reserve(memory.limit() as usize).expect("free");
    let (mut client, mut broker, task) = start(&world, 4096);
    let asks = request(ApiKey::LIST_GROUPS, 0, 1, &[]);
    client.write_all(&asks).await.unwrap();
    let mut got = vec![0; asks.len()];
    assert!(timeout(2 * SHORT, broker.read_exact(&mut got)).await.is_err(), "it was read");
    drop(taken);
    timeout(IN_TIME, broker.read_exact(&mut got)).await.expect("in time").expect("the request");
    drop((client, broker));
    end(task).await;
}

#[tokio::test]
async fn whoever_stands_still_is_cut_when_memory_is_short() {
    let world = world(|_| {});
    let memory = world.env.limits.load().memory.clone();
    let (mut client, _broker, task) = start(&world, 4096);
    client.write_all(&request(WATCHED, 2, 1, &[0; 2000])[..1000]).await.unwrap();
    while memory.held() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(shed::cut(&memory, 1, Instant::now()), 0, "it has just moved");
    assert_eq!(shed::cut(&memory, 1, Instant::now() + Duration::from_secs(6)), 1);
    assert!(matches!(end(task).await, End::Shed));
    assert_eq!(memory.held(), 0);
}
