//! A relay that keeps every byte of every connection, in both directions.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::harness::eventually;

/// The bytes of one connection.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    pub requests: Vec<u8>,
    pub responses: Vec<u8>,
    ended: u8,
}

/// A request and its answer: frames without their sizes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchange {
    pub api: i16,
    pub version: i16,
    pub request: Vec<u8>,
    pub response: Vec<u8>,
}

impl Connection {
    pub fn request_frames(&self) -> Vec<&[u8]> {
        frames(&self.requests)
    }

    pub fn response_frames(&self) -> Vec<&[u8]> {
        frames(&self.responses)
    }

    /// The client id of the first request.
    pub fn client_id(&self) -> String {
        let first = self.request_frames().first().copied().unwrap_or_default().to_vec();
        let len = first.get(8..10).map_or(0, |b| i16::from_be_bytes([b[0], b[1]]).max(0) as usize);
        first.get(10..10 + len).map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default()
    }

    /// Answers in their order, each with its request. Produce with acks=0 has none.
    pub fn exchanges(&self) -> Vec<Exchange> {
        let mut asked = self.request_frames().into_iter();
        let pair = |response: &[u8]| {
            let request = asked.find(|r| r.get(4..8) == response.get(..4)).expect("an answer to some request");
            let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
            Exchange { api: number(0), version: number(2), request: request.to_vec(), response: response.to_vec() }
        };
        self.response_frames().into_iter().map(pair).collect()
    }
}

/// Frames without their sizes; what is left of the last one stays as it is.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some(size) = bytes.first_chunk::<4>().map(|s| u32::from_be_bytes(*s) as usize) {
        let end = (size + 4).min(bytes.len());
        found.push(&bytes[4..end]);
        bytes = &bytes[end..];
    }
    found
}

/// A running recorder.
pub struct Recorder {
    connections: Arc<Mutex<Vec<Connection>>>,
    stop: Arc<AtomicBool>,
    ports: Vec<SocketAddr>,
}

impl Recorder {
    /// Listens at each first address and relays to each second one, dialled anew per connection.
    pub fn start(pairs: &[(String, String)]) -> Recorder {
        let mut recorder = Recorder { connections: Arc::default(), stop: Arc::default(), ports: Vec::new() };
        for (listen, target) in pairs {
            let listener = TcpListener::bind(listen).unwrap_or_else(|e| panic!("recorder on {listen}: {e}"));
            recorder.ports.push(listener.local_addr().expect("an address"));
            let (connections, stop, target) = (recorder.connections.clone(), recorder.stop.clone(), target.clone());
            std::thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    // A refused upstream is a refused client: the connection just ends.
                    if let Ok(server) = TcpStream::connect(&target) {
                        relay(client, server, &connections);
                    }
                }
            });
        }
        recorder
    }

    /// What was recorded since the last call, once all connections have ended (or `limit` has passed).
    pub fn take(&self, limit: Duration) -> Vec<Connection> {
        let quiet = eventually(limit, || self.lock().iter().all(|c| c.ended == 2));
        assert!(quiet, "{} connections are still open", self.lock().iter().filter(|c| c.ended < 2).count());
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for port in &self.ports {
            let _ = TcpStream::connect(port);
        }
    }
}

fn relay(client: TcpStream, server: TcpStream, connections: &Arc<Mutex<Vec<Connection>>>) {
    let number = {
        let mut all = connections.lock().unwrap_or_else(|e| e.into_inner());
        all.push(Connection::default());
        all.len() - 1
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let both = |s: &TcpStream| s.try_clone().expect("a second handle");
    let (c, s, kept) = (both(&client), both(&server), connections.clone());
    std::thread::spawn(move || pump(c, s, &kept, number, |c| &mut c.requests));
    let kept = connections.clone();
    std::thread::spawn(move || pump(server, client, &kept, number, |c| &mut c.responses));
}

fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    connections: &Mutex<Vec<Connection>>,
    number: usize,
    side: fn(&mut Connection) -> &mut Vec<u8>,
) {
    let with = |f: &mut dyn FnMut(&mut Connection)| {
        f(&mut connections.lock().unwrap_or_else(|e| e.into_inner())[number]);
    };
    let mut buffer = vec![0; 64 << 10];
    let mut writable = true;
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        // Kept even where the receiver has gone: what was sent to it is what counts.
        with(&mut |c| side(c).extend_from_slice(&buffer[..n]));
        writable = writable && to.write_all(&buffer[..n]).is_ok();
    }
    let _ = to.shutdown(Shutdown::Write);
    with(&mut |c| c.ended += 1);
}
