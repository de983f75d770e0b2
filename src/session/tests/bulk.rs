//! Large frames over real sockets: what nobody looks at goes from one to the other past the window.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::close::pair;
use super::kit::*;
use super::script::Scripted;
use super::streams::{fetch, fetched, produce};
use crate::mend::Conn;
use crate::session::bulk::{DENIED, MOVED};
use crate::session::driver;
use crate::session::end::End;
use crate::session::window::WINDOW;
use crate::wire::api::ApiKey;

const PATIENCE: Duration = Duration::from_secs(20);
/// What a pipe holds.
const PIPE: u64 = 256 << 10;

struct Line {
    world: World,
    client: TcpStream,
    broker: TcpStream,
    task: JoinHandle<End>,
}

impl Line {
    async fn new(watched: bool) -> Line {
        let menders = if watched { Scripted::default().mender() } else { Vec::new() };
        let world = World::new(menders, Default::default());
        let ((client, ours), (broker, theirs)) = (pair().await, pair().await);
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let conn = Conn::new(1, local, None);
        let task = tokio::spawn(driver::run(world.env.clone(), conn, local, ours, theirs, ways()));
        Line { world, client, broker, task }
    }
}

/// So many bytes went past a window on this thread so far.
fn moved() -> usize {
    MOVED.get()
}

/// Sends in pieces, with pauses.
async fn send(to: &mut TcpStream, bytes: &[u8], rng: &mut StdRng) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let most = *[3, 300, 20_000, 200_000, 3_000_000].get(rng.random_range(0..5)).unwrap();
        let (piece, more) = rest.split_at(rng.random_range(1..=most).min(rest.len()));
        to.write_all(piece).await.unwrap();
        rest = more;
        if rng.random_ratio(1, 8) {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Takes so many bytes, now and then slowly.
async fn take(from: &mut TcpStream, n: usize, rng: &mut StdRng) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buf = vec![0; 400_000];
    while all.len() < n {
        let most = rng.random_range(1..=buf.len());
        let read = timeout(PATIENCE, from.read(&mut buf[..most])).await.expect("in time").unwrap();
        assert!(read > 0, "{} of {n}", all.len());
        all.extend_from_slice(&buf[..read]);
        if rng.random_ratio(1, 16) {
            sleep(Duration::from_millis(1)).await;
        }
    }
    all
}

/// Requests, and their answers.
fn talk(rng: &mut StdRng) -> (Vec<u8>, Vec<u8>) {
    let (mut asks, mut answers) = (Vec::new(), Vec::new());
    for correlation in 1..12 {
        let size = *[10, 5_000, WINDOW, 40_000, 700_000, 2 << 20].get(rng.random_range(0..6)).unwrap();
        match rng.random_range(0..3) {
            0 => {
                asks.extend(fetch(correlation));
                answers.extend(fetched(size, correlation));
            }
            1 => {
                asks.extend(produce(size, correlation));
                answers.extend(response(ApiKey::PRODUCE, 3, correlation, &[0; 8]));
            }
            _ => {
                let body: Vec<u8> = (0..size).map(|i| (i / 5) as u8).collect();
                asks.extend(request(ApiKey::CREATE_TOPICS, 0, correlation, &body));
                answers.extend(response(ApiKey::CREATE_TOPICS, 0, correlation, &body));
            }
        }
    }
    (asks, answers)
}

async fn all_arrives(seed: u64, watched: bool) {
    let mut rng = StdRng::seed_from_u64(seed);
    let Line { world, mut client, mut broker, task } = Line::new(watched).await;
    let (asks, answers) = talk(&mut rng);
    let (mut a, mut b) = (StdRng::seed_from_u64(seed + 1), StdRng::seed_from_u64(seed + 2));
    let ((), got) = tokio::join!(send(&mut client, &asks, &mut a), take(&mut broker, asks.len(), &mut b));
    assert!(got == asks, "requests, seed {seed}");
    let ((), got) = tokio::join!(send(&mut broker, &answers, &mut a), take(&mut client, answers.len(), &mut b));
    assert!(got == answers, "responses, seed {seed}");
    client.shutdown().await.unwrap();
    assert!(matches!(timeout(PATIENCE, task).await, Ok(Ok(End::ClientClosed))));
    assert_eq!(world.held(), 0);
}

#[tokio::test]
async fn every_byte_arrives_in_its_place() {
    let before = moved();
    for seed in 0..40 {
        all_arrives(seed, seed % 2 == 0).await;
    }
    assert_eq!(moved() - before > 20 << 20, cfg!(target_os = "linux"), "{}", moved() - before);
}

#[tokio::test]
async fn without_a_pipe_it_goes_through_the_window() {
    DENIED.set(true);
    let before = moved();
    for seed in 0..10 {
        all_arrives(seed, seed % 2 == 0).await;
    }
    DENIED.set(false);
    assert_eq!(moved(), before);
}

#[tokio::test]
async fn a_reader_that_stops_is_waited_for() {
    let Line { world, mut client, mut broker, task } = Line::new(true).await;
    let asks = fetch(1);
    client.write_all(&asks).await.unwrap();
    broker.read_exact(&mut vec![0; asks.len()]).await.unwrap();
    let answer = fetched(30 << 20, 1);
    let sent = answer.clone();
    let sending = tokio::spawn(async move {
        broker.write_all(&sent).await.unwrap();
        broker
    });
    sleep(Duration::from_millis(300)).await;
    assert!(!sending.is_finished() && !task.is_finished());
    // A pipe at most, and a window in each direction.
    assert!(world.held() <= PIPE + 2 * WINDOW as u64, "{}", world.held());
    let mut got = vec![0; answer.len()];
    timeout(PATIENCE, client.read_exact(&mut got)).await.expect("in time").unwrap();
    assert!(got == answer);
    sending.await.unwrap();
}

#[tokio::test]
async fn a_broker_that_breaks_off_is_told_of_after_its_last_byte() {
    let Line { world, mut client, mut broker, task } = Line::new(true).await;
    let asks = fetch(1);
    client.write_all(&asks).await.unwrap();
    broker.read_exact(&mut vec![0; asks.len()]).await.unwrap();
    let answer = fetched(3 << 20, 1);
    let part = &answer[..2 << 20];
    let got = tokio::join!(
        async {
            broker.write_all(part).await.unwrap();
            drop(broker);
        },
        async {
            let mut got = Vec::new();
            timeout(PATIENCE, client.read_to_end(&mut got)).await.expect("in time").map(|_| got)
        }
    );
    assert!(got.1.unwrap() == part);
    assert!(matches!(timeout(PATIENCE, task).await, Ok(Ok(End::UpstreamClosed))));
    assert_eq!(world.held(), 0);
}

#[tokio::test]
async fn a_client_that_breaks_off_leaves_nothing_behind() {
    for seed in 0..8 {
        let mut rng = StdRng::seed_from_u64(seed);
        let Line { world, mut client, mut broker, task } = Line::new(true).await;
        let asks = produce(3 << 20, 1);
        let part = rng.random_range(100_000..asks.len() - 1);
        let (_, got) = tokio::join!(
            async {
                client.write_all(&asks[..part]).await.unwrap();
                drop(client);
            },
            async {
                let mut got = Vec::new();
                let end = timeout(PATIENCE, broker.read_to_end(&mut got)).await.expect("in time");
                (end.is_ok(), got)
            }
        );
        assert!(asks.starts_with(&got.1));
        let end = timeout(PATIENCE, task).await;
        assert!(matches!(end, Ok(Ok(End::ClientClosed | End::ClientIo(_)))), "{end:?}");
        assert_eq!(world.held(), 0);
    }
}
