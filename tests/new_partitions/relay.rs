//! A relay between kmend and a broker: keeps the heads of the requests, and spoils the answers to what
//! kmend asks by itself (negative correlation ids) where a test wants it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{MetadataResponse, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

const METADATA: i16 = 3;

/// What becomes of the answer to an injected Metadata request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Each topic bears an error.
    Error,
    /// It comes 3 s later, and all that is behind it, too.
    Late,
    /// It never comes, nor does what is behind it; the first two times.
    Never,
    /// In its place the connection ends.
    Cut,
}

/// The head of a request.
#[derive(Debug, Clone)]
pub struct Asked {
    pub at: Instant,
    /// The first request's client id on that connection: whose it is.
    pub client: String,
    pub api: i16,
    pub correlation: i32,
}

impl Asked {
    /// Metadata that kmend asks for by itself.
    pub fn is_injected(&self) -> bool {
        self.api == METADATA && self.correlation < 0
    }

    pub fn is_metadata(&self) -> bool {
        self.api == METADATA
    }
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    faults: BTreeMap<String, (Fault, usize)>,
}

/// A running relay.
pub struct Relay {
    state: Arc<Mutex<State>>,
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

    /// From now on this happens to that client's injected requests.
    pub fn spoil(&self, client: &str, fault: Fault) {
        lock(&self.state).faults.insert(client.to_owned(), (fault, 0));
    }

    /// How often it has happened.
    pub fn spoiled(&self, client: &str) -> usize {
        lock(&self.state).faults.get(client).map_or(0, |f| f.1)
    }

    /// Requests of the clients whose ids begin so.
    pub fn asked(&self, client: &str) -> Vec<Asked> {
        lock(&self.state).asked.iter().filter(|a| a.client.starts_with(client)).cloned().collect()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|e| e.into_inner())
}

/// An answer that is to be spoiled: correlation id, version, how.
type Order = (i32, i16, Fault);

fn relay(client: TcpStream, server: TcpStream, state: &Arc<Mutex<State>>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let both = |s: &TcpStream| s.try_clone().expect("a second handle");
    let (orders, taken) = mpsc::channel();
    let (c, s, own) = (both(&client), both(&server), state.clone());
    std::thread::spawn(move || requests(c, s, &own, &orders));
    std::thread::spawn(move || responses(server, client, &taken));
}

fn requests(mut from: TcpStream, mut to: TcpStream, state: &Mutex<State>, orders: &Sender<Order>) {
    let mut client = None;
    while let Some(frame) = frame(&mut from) {
        let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
        let correlation = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
        let id = || String::from_utf8_lossy(&frame[10..10 + number(8).max(0) as usize]).into_owned();
        let client = client.get_or_insert_with(id);
        let asked = Asked { at: Instant::now(), client: client.clone(), api: number(0), correlation };
        {
            let mut state = lock(state);
            let fault = state.faults.get_mut(client).filter(|_| asked.is_injected());
            if let Some((fault, times)) = fault.filter(|(fault, times)| *fault != Fault::Never || *times < 2) {
                *times += 1;
                let _ = orders.send((correlation, number(2), *fault));
            }
            state.asked.push(asked);
        }
        if write(&mut to, &frame).is_none() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn responses(mut from: TcpStream, mut to: TcpStream, orders: &Receiver<Order>) {
    let mut open: Vec<Order> = Vec::new();
    while let Some(mut frame) = frame(&mut from) {
        open.extend(orders.try_iter());
        let correlation = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        if let Some(at) = open.iter().position(|(c, ..)| *c == correlation) {
            let (_, version, fault) = open.remove(at);
            match fault {
                Fault::Error => frame = with_errors(frame, version),
                Fault::Late => std::thread::sleep(Duration::from_secs(3)),
                Fault::Cut => {
                    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
                    return;
                }
                Fault::Never => {
                    // Read on and say nothing, until kmend gives up.
                    let _ = std::io::copy(&mut from, &mut std::io::sink());
                    return;
                }
            }
        }
        if write(&mut to, &frame).is_none() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// The same answer, but no topic is there: UNKNOWN_SERVER_ERROR.
fn with_errors(frame: Vec<u8>, version: i16) -> Vec<u8> {
    let mut bytes = Bytes::from(frame);
    let head = MetadataResponse::header_version(version);
    let header = ResponseHeader::decode(&mut bytes, head).expect("a header");
    let mut answer = MetadataResponse::decode(&mut bytes, version).expect("Metadata");
    for topic in &mut answer.topics {
        topic.error_code = -1;
        topic.partitions.clear();
    }
    let mut out = BytesMut::new();
    header.encode(&mut out, head).expect("a header");
    answer.encode(&mut out, version).expect("Metadata");
    out.to_vec()
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
