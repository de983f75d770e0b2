//! The network before the brokers: a relay for each, whose address the broker tells its clients, so that nobody but the
//! other brokers and the test itself gets around it. It can stall, delay, break, refuse and cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use socket2::SockRef;

/// How it treats what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Clear,
    /// Nothing passes, and no connection ends.
    Stalled,
    /// Requests reach the broker, its answers do not come back.
    AnswersStalled,
    /// Some kilobytes a second, a tenth of a second late.
    Slow,
    /// New connections are refused; those that there are stay.
    Refusing,
}

const CHUNK: usize = 64 * 1024;
/// With [`Weather::Slow`]: so much, so often.
const SIP: usize = 8 * 1024;
const PAUSE: Duration = Duration::from_millis(100);

struct State {
    weather: Weather,
    /// Of each connection that lives: how to break it.
    open: Vec<Arc<Pair>>,
}

struct Pair {
    client: TcpStream,
    server: TcpStream,
    /// The next bytes are passed in half, and then it is over.
    cut: Mutex<bool>,
}

impl Pair {
    /// RST to both sides, at once.
    fn reset(&self) {
        for stream in [&self.client, &self.server] {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits until bytes may pass; whether they pass slowly.
    fn admits(&self, answers: bool) -> bool {
        let mut state = self.lock();
        while state.weather == Weather::Stalled || answers && state.weather == Weather::AnswersStalled {
            state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        state.weather == Weather::Slow
    }
}

/// All relays of one cluster; they end with the process.
pub struct Network(Arc<Shared>);

impl Network {
    pub fn new() -> Network {
        let state = State { weather: Weather::Clear, open: Vec::new() };
        Network(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// Relays one port to another one.
    pub fn relay(&self, port: u16, target: u16) {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the relay's port");
        let shared = self.0.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let refused = shared.lock().weather == Weather::Refusing;
                let server = (!refused).then(|| TcpStream::connect(("127.0.0.1", target)).ok()).flatten();
                match server {
                    Some(server) => join(&shared, client, server),
                    None => drop(SockRef::from(&client).set_linger(Some(Duration::ZERO))),
                }
            }
        });
    }

    pub fn set(&self, weather: Weather) {
        self.0.lock().weather = weather;
        self.0.changed.notify_all();
    }

    /// Breaks every connection.
    pub fn reset(&self) {
        self.0.lock().open.drain(..).for_each(|pair| pair.reset());
    }

    /// Every connection ends in the middle of what passes next.
    pub fn cut(&self) {
        for pair in &self.0.lock().open {
            *pair.cut.lock().unwrap_or_else(|e| e.into_inner()) = true;
        }
    }
}

fn join(shared: &Arc<Shared>, client: TcpStream, server: TcpStream) {
    let copies = || Some((client.try_clone().ok()?, server.try_clone().ok()?));
    let (Some(there), Some(back)) = (copies(), copies()) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let pair = Arc::new(Pair { client, server, cut: Mutex::new(false) });
    shared.lock().open.push(pair.clone());
    for (from, to, answers) in [(there.0, there.1, false), (back.1, back.0, true)] {
        let (shared, pair) = (shared.clone(), pair.clone());
        std::thread::spawn(move || {
            copy(&shared, &pair, from, to, answers);
            shared.lock().open.retain(|other| !Arc::ptr_eq(other, &pair));
        });
    }
}

fn copy(shared: &Shared, pair: &Pair, mut from: TcpStream, mut to: TcpStream, answers: bool) {
    let mut bytes = vec![0; CHUNK];
    loop {
        let slow = shared.admits(answers);
        let most = if slow { SIP } else { CHUNK };
        let Ok(n) = from.read(&mut bytes[..most]) else { break };
        if n == 0 {
            break;
        }
        // The weather may have changed while nothing came.
        if shared.admits(answers) {
            std::thread::sleep(PAUSE);
        }
        if *pair.cut.lock().unwrap_or_else(|e| e.into_inner()) {
            let _ = to.write_all(&bytes[..n / 2]);
            // Else the reset overtakes what was written.
            std::thread::sleep(Duration::from_millis(20));
            pair.reset();
            return;
        }
        if to.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
