//! A relay that records: it stands between two parties, changes nothing, and keeps every frame.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// One request with its answer, as seen on one connection.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub connection: usize,
    /// The port that was dialled.
    pub port: u16,
    pub api: i16,
    pub version: i16,
    /// Whole frames without their size: correlation ids are at 4..8 and at 0..4.
    pub request: Vec<u8>,
    /// None: no answer (yet).
    pub response: Option<Vec<u8>>,
}

#[derive(Default)]
struct Record {
    connections: usize,
    exchanges: Vec<Exchange>,
}

/// A running relay on some ports. It ends when it is dropped; its connections with their parties.
pub struct Tap {
    record: Arc<Mutex<Record>>,
    stop: Arc<AtomicBool>,
    ports: Vec<SocketAddr>,
    doors: Vec<std::thread::JoinHandle<()>>,
}

impl Tap {
    /// Listens at each first address and relays to each second one, dialled anew per connection.
    pub fn start(pairs: &[(String, String)]) -> Tap {
        let mut tap = Tap { record: Arc::default(), stop: Arc::default(), ports: Vec::new(), doors: Vec::new() };
        for (listen, target) in pairs {
            let listener = TcpListener::bind(listen).unwrap_or_else(|e| panic!("tap on {listen}: {e}"));
            let address = listener.local_addr().expect("an address");
            let port = address.port();
            tap.ports.push(address);
            let (record, stop, target) = (tap.record.clone(), tap.stop.clone(), target.clone());
            tap.doors.push(std::thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    // A refused upstream is a refused client: the connection just ends.
                    if let Ok(server) = TcpStream::connect(&target) {
                        relay(client, server, &record, port);
                    }
                }
            }));
        }
        tap
    }

    /// Forgets what was recorded.
    pub fn clear(&self) {
        self.record.lock().unwrap_or_else(|e| e.into_inner()).exchanges.clear();
    }

    /// All exchanges so far.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.record.lock().unwrap_or_else(|e| e.into_inner()).exchanges.clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept loops, and waits until their ports are free again.
        for port in &self.ports {
            let _ = TcpStream::connect(port);
        }
        for door in self.doors.drain(..) {
            let _ = door.join();
        }
    }
}

/// kmend with a tap on every port that clients are told: kmend listens on 127.0.0.2, the tap on the same
/// ports of 127.0.0.1, and that is the host that kmend advertises. Returns what clients bootstrap from, too.
pub fn tapped(upstream: &[String], change: impl FnOnce(&mut serde_json::Value)) -> (super::Kmend, Tap, String) {
    let kmend = super::Kmend::start_at("127.0.0.2", upstream, |config| {
        config["listen"]["advertised_host"] = "127.0.0.1".into();
        change(config);
    });
    let first: u16 = kmend.listen.rsplit_once(':').and_then(|(_, p)| p.parse().ok()).expect("a port");
    let pairs: Vec<_> = (first..first + 24).map(|p| (format!("127.0.0.1:{p}"), format!("127.0.0.2:{p}"))).collect();
    let tap = Tap::start(&pairs);
    (kmend, tap, format!("127.0.0.1:{first}"))
}

fn relay(client: TcpStream, server: TcpStream, record: &Arc<Mutex<Record>>, port: u16) {
    let connection = {
        let mut record = record.lock().unwrap_or_else(|e| e.into_inner());
        record.connections += 1;
        record.connections
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let both = |s: &TcpStream| s.try_clone().expect("a second handle");
    let (c, s, r) = (both(&client), both(&server), record.clone());
    std::thread::spawn(move || pump(c, s, |frame| asked(&r, connection, port, frame)));
    let r = record.clone();
    std::thread::spawn(move || pump(server, client, |frame| answered(&r, connection, frame)));
}

/// Relays bytes as they come, and hands over each frame once it is whole.
fn pump(mut from: TcpStream, mut to: TcpStream, mut keep: impl FnMut(Vec<u8>)) {
    let mut buffer = vec![0; 64 << 10];
    let mut pending: Vec<u8> = Vec::new();
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        // Kept before it is passed on: whoever has seen a frame's effect finds it in the record.
        pending.extend_from_slice(&buffer[..n]);
        while let Some(size) = pending.first_chunk::<4>().map(|s| u32::from_be_bytes(*s) as usize) {
            if pending.len() < size + 4 {
                break;
            }
            keep(pending[4..size + 4].to_vec());
            pending.drain(..size + 4);
        }
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

fn number(bytes: &[u8], at: usize) -> i16 {
    bytes.get(at..at + 2).map_or(-1, |b| i16::from_be_bytes([b[0], b[1]]))
}

fn asked(record: &Arc<Mutex<Record>>, connection: usize, port: u16, request: Vec<u8>) {
    let (api, version) = (number(&request, 0), number(&request, 2));
    let exchange = Exchange { connection, port, api, version, request, response: None };
    record.lock().unwrap_or_else(|e| e.into_inner()).exchanges.push(exchange);
}

/// Answers belong to requests by correlation id; raw SASL tokens (no ids) by their order.
fn answered(record: &Arc<Mutex<Record>>, connection: usize, response: Vec<u8>) {
    let mut record = record.lock().unwrap_or_else(|e| e.into_inner());
    let mut open = record.exchanges.iter_mut().filter(|e| e.connection == connection && e.response.is_none());
    let found = open.find(|e| e.request.get(4..8) == response.get(..4));
    if let Some(exchange) = found {
        exchange.response = Some(response);
    }
}
