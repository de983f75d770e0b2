//! The network before the brokers: a relay for each, whose address the broker tells its clients, so that nobody but the
//! other brokers and the test itself gets around it. It can stall, delay, break, refuse and cut. All of it lies in a network
//! namespace, where the kernel can be told to lose packets.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
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
pub struct Network {
    shared: Arc<Shared>,
    /// Where the relays listen.
    ports: String,
}

/// In a network namespace of this process's own there is only a loopback, and it is down at first.
pub fn raise_loopback() {
    run("ip", &["link", "set", "lo", "up"]);
}

fn run(program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).env("XTABLES_LOCKFILE", "/dev/null").output();
    let out = out.unwrap_or_else(|e| panic!("{program} (packages iproute2, iptables): {e}"));
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}, in a namespace as `make chaos` makes one: {error}");
}

impl Network {
    /// Relays each first port to the second.
    pub fn new(relays: &[(u16, u16)]) -> Network {
        let state = State { weather: Weather::Clear, open: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let ports: Vec<String> = relays.iter().map(|(port, _)| port.to_string()).collect();
        let network = Network { shared, ports: ports.join(",") };
        relays.iter().for_each(|(port, target)| network.relay(*port, *target));
        network
    }

    fn relay(&self, port: u16, target: u16) {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the relay's port");
        let shared = self.shared.clone();
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
        self.shared.lock().weather = weather;
        self.shared.changed.notify_all();
    }

    /// The kernel drops this share of the packets from and to the relays: 1 is all of them, also those that open connections.
    pub fn lose(&self, share: f64) {
        let mut rule = vec!["-w", "-I", "INPUT", "-p", "tcp", "-m", "multiport", "--ports", &self.ports];
        let chance = share.to_string();
        if share < 1.0 {
            rule.extend(["-m", "statistic", "--mode", "random", "--probability", &chance]);
        }
        rule.extend(["-j", "DROP"]);
        run("iptables", &rule);
    }

    /// Breaks every connection.
    pub fn reset(&self) {
        self.shared.lock().open.drain(..).for_each(|pair| pair.reset());
    }

    /// Every connection ends in the middle of what passes next.
    pub fn cut(&self) {
        for pair in &self.shared.lock().open {
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

/// No packet is dropped any more.
pub fn lose_nothing() {
    run("iptables", &["-w", "-F", "INPUT"]);
}
