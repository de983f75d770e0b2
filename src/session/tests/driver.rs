//! The driver over in-memory sockets: what only it knows of ends, drains and drops.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::close::pair;
use super::kit::*;
use super::stay::{PATIENCE, SENDS, Stay};
use crate::mend::Conn;
use crate::session::driver;
use crate::session::end::End;
use crate::session::limits::Limits;
use crate::session::ways::{Phase, Ways};
use crate::session::window::WINDOW;
use crate::wire::api::ApiKey;

/// The client's end, the broker's end, and the connection between them.
fn start(world: &World, buffer: usize) -> (DuplexStream, DuplexStream, JoinHandle<End>) {
    let (client, ours) = duplex(buffer);
    let (broker, theirs) = duplex(buffer);
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let conn = Conn::new(1, local, None);
    let task = tokio::spawn(driver::run(world.env.clone(), conn, local, ours, theirs, ways()));
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

/// A place that tells when it is given back.
fn placed() -> (Ways, watch::Sender<Phase>, Arc<()>) {
    let (sender, phase) = watch::channel(Phase::Running);
    let place = Arc::new(());
    (Ways { accepted: Instant::now(), session: None, phase, place: Box::new(place.clone()) }, sender, place)
}

struct Leaving {
    client: TcpStream,
    broker: TcpStream,
    task: JoinHandle<End>,
    phase: watch::Sender<Phase>,
    place: Arc<()>,
    stay: Stay,
    world: World,
}

impl Leaving {
    /// A connection that has been used.
    async fn new(stay: Stay, change: impl FnOnce(&mut Limits)) -> Leaving {
        let mut limits = limits(64 << 20);
        change(&mut limits);
        let world = World::with(stay.mender(), Default::default(), limits, Told::default());
        let ((mut client, ours), (mut broker, theirs)) = (pair().await, pair().await);
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (ways, phase, place) = placed();
        let task = tokio::spawn(driver::run(world.env.clone(), Conn::new(1, local, None), local, ours, theirs, ways));
        let (asks, answer) = list();
        client.write_all(&asks).await.unwrap();
        broker.read_exact(&mut vec![0; asks.len()]).await.unwrap();
        broker.write_all(&answer).await.unwrap();
        client.read_exact(&mut vec![0; answer.len()]).await.unwrap();
        Leaving { client, broker, task, phase, place, stay, world }
    }

    /// What the mender sends comes when the client has gone, and its answer ends it.
    async fn goes_on(mut self) -> End {
        let mut sent = vec![0; request(SENDS, 0, 0, &[]).len()];
        timeout(PATIENCE, self.broker.read_exact(&mut sent)).await.expect("in time").expect("a request");
        assert_eq!(Arc::strong_count(&self.place), 1, "the client's place is free");
        assert!(!self.task.is_finished());
        self.broker
            .write_all(&response(SENDS, 0, i32::from_be_bytes(sent[8..12].try_into().unwrap()), &[0; 6]))
            .await
            .unwrap();
        let end = timeout(PATIENCE, self.task).await.expect("in time").unwrap();
        assert_eq!(self.broker.read(&mut [0; 8]).await.unwrap(), 0, "{end:?}");
        let heard = self.stay.heard();
        assert_eq!(heard[heard.len() - 3..], ["gone, 0 live", "answer 1", "closed"], "{end:?}");
        end
    }
}

async fn comes_true(condition: impl Fn() -> bool) {
    let waits = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), waits).await.expect("in time");
}

fn sends_one() -> Stay {
    Stay::new(|p| (p.stay, p.sends) = (Some(PATIENCE), 1))
}

#[tokio::test]
async fn whichever_way_the_client_goes_the_connection_lingers() {
    // It closes.
    let mut leaving = Leaving::new(sends_one(), |_| {}).await;
    leaving.client.shutdown().await.unwrap();
    assert_eq!(leaving.client.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(matches!(leaving.goes_on().await, End::ClientClosed));
    // It is killed: a reset.
    let mut leaving = Leaving::new(sends_one(), |_| {}).await;
    leaving.client.set_zero_linger().unwrap();
    leaving.client = pair().await.0;
    assert!(matches!(leaving.goes_on().await, End::ClientIo(_)));
    // It sends what is no request.
    let mut leaving = Leaving::new(sends_one(), |_| {}).await;
    leaving.client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(matches!(leaving.goes_on().await, End::BadRequest(_)));
    // It is idle.
    let leaving = Leaving::new(sends_one(), |l| l.idle_timeout = Duration::from_millis(100)).await;
    assert!(matches!(leaving.goes_on().await, End::Idle));
    // kmend ends.
    let leaving = Leaving::new(sends_one(), |_| {}).await;
    leaving.phase.send(Phase::Ending { until: Instant::now() + PATIENCE }).unwrap();
    assert!(matches!(leaving.goes_on().await, End::Shutdown));
    // A mender closes it.
    let mut leaving = Leaving::new(sends_one(), |_| {}).await;
    leaving.stay.0.lock().unwrap().close = true;
    leaving.world.env.shared.peers.wake(1);
    assert_eq!(leaving.client.read(&mut [0; 8]).await.unwrap(), 0);
    leaving.client.shutdown().await.unwrap();
    assert!(matches!(leaving.goes_on().await, End::Nudged { late: false }));
}

#[tokio::test]
async fn without_its_broker_nothing_lingers() {
    let leaving = Leaving::new(sends_one(), |_| {}).await;
    drop(leaving.broker);
    let end = timeout(PATIENCE, leaving.task).await.expect("in time").unwrap();
    assert!(matches!(end, End::UpstreamClosed), "{end:?}");
    assert_eq!(leaving.stay.heard(), ["closed"]);

    // It goes later.
    let mut leaving = Leaving::new(sends_one(), |_| {}).await;
    drop(leaving.client);
    leaving.broker.read_exact(&mut [0; 4]).await.unwrap();
    drop(leaving.broker);
    let end = timeout(PATIENCE, leaving.task).await.expect("in time").unwrap();
    assert!(matches!(end, End::ClientClosed), "{end:?}");
    assert_eq!(leaving.stay.heard(), ["gone, 0 live", "lost 1", "closed"]);
}

/// The time that a mender wishes for, and what kmend's own end leaves of it.
#[tokio::test]
async fn a_broker_that_hangs_keeps_nobody_longer_than_allowed() {
    let brief = Duration::from_millis(150);
    let leaving = Leaving::new(Stay::new(|p| (p.stay, p.sends) = (Some(brief), 1)), |_| {}).await;
    let began = Instant::now();
    drop(leaving.client);
    let end = timeout(PATIENCE, leaving.task).await.expect("in time").unwrap();
    assert!(matches!(end, End::ClientClosed) && began.elapsed() >= brief, "{end:?}");
    assert_eq!(leaving.stay.heard(), ["gone, 0 live", "lost 1", "closed"]);

    // The end of kmend comes while it lingers, or cuts the client.
    for lingers in [true, false] {
        let mut leaving = Leaving::new(sends_one(), |_| {}).await;
        if lingers {
            drop(leaving.client);
            leaving.broker.read_exact(&mut [0; 4]).await.unwrap();
        }
        let began = Instant::now();
        leaving.phase.send(Phase::Ending { until: began + brief }).unwrap();
        timeout(PATIENCE / 10, leaving.task).await.expect("in time").unwrap();
        assert!(began.elapsed() >= brief);
        let mut heard = leaving.stay.heard();
        heard.retain(|h| h != "draining");
        assert_eq!(heard, ["gone, 0 live", "lost 1", "closed"]);
    }
}

/// One that has closed counts no more, but is not cut off from its answers at once.
#[tokio::test]
async fn a_client_that_has_finished_delays_no_drain() {
    let brief = Duration::from_millis(200);
    for answered in [true, false] {
        let mut leaving = Leaving::new(Stay::default(), |_| {}).await;
        let (asks, answer) = list();
        leaving.client.write_all(&asks).await.unwrap();
        leaving.client.shutdown().await.unwrap();
        leaving.broker.read_exact(&mut vec![0; asks.len()]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(Arc::strong_count(&leaving.place), 2, "nobody has told kmend to stop");
        leaving.phase.send(Phase::Draining).unwrap();
        comes_true(|| Arc::strong_count(&leaving.place) == 1).await;
        let began = Instant::now();
        leaving.phase.send(Phase::Ending { until: began + brief }).unwrap();
        if answered {
            leaving.broker.write_all(&answer).await.unwrap();
            leaving.client.read_exact(&mut vec![0; answer.len()]).await.unwrap();
        }
        let end = timeout(PATIENCE, leaving.task).await.expect("in time").unwrap();
        match answered {
            true => assert!(matches!(end, End::ClientClosed), "{end:?}"),
            // There is time left for what a mender has to finish.
            false => assert!(matches!(end, End::Shutdown) && began.elapsed() >= brief / 2, "{end:?}"),
        }
        assert_eq!(leaving.stay.heard(), ["draining", "gone, 0 live", "closed"]);
    }
}

#[tokio::test]
async fn draining_is_told_to_a_connection_at_rest() {
    let mut leaving = Leaving::new(Stay::default(), |_| {}).await;
    leaving.phase.send(Phase::Draining).unwrap();
    comes_true(|| !leaving.stay.0.lock().unwrap().heard.is_empty()).await;
    // Everything goes on.
    let (asks, answer) = list();
    leaving.client.write_all(&asks).await.unwrap();
    leaving.broker.read_exact(&mut vec![0; asks.len()]).await.unwrap();
    leaving.broker.write_all(&answer).await.unwrap();
    leaving.client.read_exact(&mut vec![0; answer.len()]).await.unwrap();
    leaving.phase.send(Phase::Ending { until: Instant::now() }).unwrap();
    let end = timeout(PATIENCE, leaving.task).await.expect("in time").unwrap();
    assert!(matches!(end, End::Shutdown));
    assert_eq!(leaving.stay.heard(), ["draining", "gone, 0 live", "closed"]);
}

/// What was owed to the client is read on, however much it is.
#[tokio::test]
async fn an_answer_of_a_megabyte_does_not_stand_in_the_way() {
    let mut leaving = Leaving::new(sends_one(), |_| {}).await;
    let (asks, _) = list();
    leaving.client.write_all(&asks).await.unwrap();
    leaving.broker.read_exact(&mut vec![0; asks.len()]).await.unwrap();
    let answer = response(ApiKey::LIST_GROUPS, 0, 5, &vec![7; 1 << 20]);
    leaving.broker.write_all(&answer[..100]).await.unwrap();
    leaving.client.read_exact(&mut [0; 100]).await.unwrap();
    leaving.client.set_zero_linger().unwrap();
    leaving.client = pair().await.0;
    timeout(PATIENCE, leaving.broker.write_all(&answer[100..])).await.expect("in time").unwrap();
    assert!(matches!(leaving.goes_on().await, End::ClientIo(_)));
}
