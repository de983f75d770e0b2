//! A mender closes a connection at rest: over real sockets, for only they know of bytes that come late.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::kit::*;
use super::produce::produce;
use super::watch::Watch;
use crate::mend::Conn;
use crate::session::driver;
use crate::session::end::{End, Side};
use crate::wire::api::ApiKey;

/// Two ends of one connection.
pub async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (far, near) = tokio::join!(TcpStream::connect(address), listener.accept());
    (far.unwrap(), near.unwrap().0)
}

/// How long after a Produce request the mender wishes to close.
const AFTER: Duration = Duration::from_millis(40);

struct Link {
    client: TcpStream,
    broker: TcpStream,
    task: JoinHandle<End>,
    watch: Watch,
}

impl Link {
    async fn new() -> Link {
        let watch = Watch::new(|p| (p.close, p.wake_after, p.wake_again) = (true, Some(AFTER), Some(AFTER)));
        let world = World::new(watch.mender(), Default::default());
        let ((client, ours), (broker, theirs)) = (pair().await, pair().await);
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let conn = Conn::new(1, local, None);
        let task = tokio::spawn(driver::run(world.env.clone(), conn, local, ours, theirs, ways()));
        Link { client, broker, task, watch }
    }

    async fn send(&mut self, correlation: i32) {
        let frame = produce(9, correlation, 1, &[(0, None)]);
        self.client.write_all(&frame).await.unwrap();
        let mut got = vec![0; frame.len()];
        self.broker.read_exact(&mut got).await.unwrap();
        assert_eq!(got, frame);
    }

    async fn answer(&mut self, correlation: i32) {
        let frame = response(ApiKey::PRODUCE, 9, correlation, b"done");
        self.broker.write_all(&frame).await.unwrap();
        let mut got = vec![0; frame.len()];
        self.client.read_exact(&mut got).await.unwrap();
        assert_eq!(got, frame);
    }

    async fn has_closed(&mut self) {
        let read = timeout(Duration::from_secs(10), self.client.read(&mut [0; 8])).await;
        assert_eq!(read.expect("in time").expect("no reset"), 0);
    }

    async fn end(self) -> (End, Vec<u8>) {
        let Link { client, mut broker, task, .. } = self;
        drop(client);
        let mut rest = Vec::new();
        broker.read_to_end(&mut rest).await.unwrap();
        (timeout(Duration::from_secs(10), task).await.expect("in time").unwrap(), rest)
    }
}

#[tokio::test]
async fn a_connection_at_rest_is_closed() {
    let mut link = Link::new().await;
    link.send(1).await;
    link.answer(1).await;
    link.has_closed().await;
    sleep(AFTER).await;
    assert!(!link.task.is_finished(), "the client has not finished yet");
    let (end, rest) = link.end().await;
    assert!(matches!(end, End::Nudged { late: false }) && rest.is_empty(), "{end:?}");
    assert_eq!((end.side(), end.cause(), end.is_frame_error()), (Side::Proxy, "nudged", false));
}

#[tokio::test]
async fn what_comes_after_the_close_goes_nowhere_and_is_known() {
    let mut link = Link::new().await;
    link.send(1).await;
    link.answer(1).await;
    link.has_closed().await;
    link.client.write_all(&produce(9, 2, 1, &[(0, Some(vec![1; 5000]))])).await.unwrap();
    // In the meantime nothing is forwarded, nor read of the broker.
    link.broker.write_all(b"noise").await.unwrap();
    sleep(AFTER).await;
    let (end, rest) = link.end().await;
    assert!(matches!(end, End::Nudged { late: true }) && rest.is_empty(), "{end:?}");
}

impl Link {
    /// The mender has wished for a close more than once, and does so no longer.
    async fn wishes(&self) {
        self.watch.heard();
        self.watch.0.lock().unwrap().close = true;
        while self.watch.0.lock().unwrap().heard.len() < 3 {
            assert!(!self.task.is_finished());
            sleep(AFTER).await;
        }
        self.watch.0.lock().unwrap().close = false;
        sleep(AFTER).await;
        assert!(!self.task.is_finished());
    }
}

#[tokio::test]
async fn a_request_in_flight_keeps_it_open() {
    let mut link = Link::new().await;
    link.send(1).await;
    link.wishes().await;
    // The wish is not kept for later.
    link.answer(1).await;
    sleep(AFTER).await;
    link.send(2).await;
    link.answer(2).await;
    let (end, _) = link.end().await;
    assert!(matches!(end, End::ClientClosed), "{end:?}");
}

#[tokio::test]
async fn half_a_request_keeps_it_open() {
    let mut link = Link::new().await;
    link.watch.0.lock().unwrap().close = false;
    link.send(1).await;
    link.answer(1).await;
    let frame = produce(9, 2, 1, &[(0, None)]);
    link.client.write_all(&frame[..1]).await.unwrap();
    sleep(AFTER).await;
    link.wishes().await;
    link.client.write_all(&frame[1..]).await.unwrap();
    let mut got = vec![0; frame.len()];
    link.broker.read_exact(&mut got).await.unwrap();
    assert_eq!(got, frame);
    link.answer(2).await;
}

/// One that never closes its side is not waited for.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_finish_is_let_go() {
    let watch = Watch::new(|p| (p.close, p.wake_after, p.wake_again) = (true, Some(AFTER), Some(AFTER)));
    let world = World::new(watch.mender(), Default::default());
    let (mut client, ours) = tokio::io::duplex(4096);
    let (mut broker, theirs) = tokio::io::duplex(4096);
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let env = world.env.clone();
    let task = tokio::spawn(driver::run(env, Conn::new(1, local, None), local, ours, theirs, ways()));
    // acks=0: at rest as soon as it is written.
    let frame = produce(9, 1, 0, &[(0, None)]);
    client.write_all(&frame).await.unwrap();
    broker.read_exact(&mut vec![0; frame.len()]).await.unwrap();
    std::thread::sleep(AFTER);
    let began = tokio::time::Instant::now();
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(matches!(task.await, Ok(End::Nudged { late: false })));
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
}
