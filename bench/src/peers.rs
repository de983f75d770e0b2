//! Who is measured: how each is started, and where it listens.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::Outcome;
use crate::load;
use crate::process::Process;

/// Where TLS is, in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    None,
    Listen,
    Upstream,
}

/// What all peers of a run share.
pub struct Setting<'a> {
    /// Scratch files.
    pub folder: &'a Path,
    pub kmend: &'a str,
    pub broker: &'a str,
    pub tls: Tls,
    pub cert: PathBuf,
    pub key: PathBuf,
}

pub struct Peer {
    pub name: String,
    pub address: String,
    /// `None`: no proxy at all.
    pub process: Option<Process>,
    /// From its start until Metadata was answered through it.
    pub started: Duration,
}

/// Those that are known; a further one is `NAME=COMMAND` with `{listen}` and `{upstream}`.
pub const KNOWN: [&str; 5] = ["direct", "copy", "splice", "haproxy", "kmend"];

impl Peer {
    /// Starts one and waits until it answers. `None`: it is not installed here.
    pub fn start(name: &str, setting: &Setting<'_>) -> Outcome<Option<Peer>> {
        Peer::start_at(name, free_port()?, setting)
    }

    /// The same, on a given port.
    pub fn start_at(name: &str, port: u16, setting: &Setting<'_>) -> Outcome<Option<Peer>> {
        let listen = format!("127.0.0.1:{port}");
        let (name, command) = match name.split_once('=') {
            Some((name, command)) => {
                let command = command.replace("{listen}", &listen).replace("{upstream}", setting.broker);
                (name, Some(command.split_whitespace().map(str::to_owned).collect()))
            }
            None => (name, command(name, &listen, setting)?),
        };
        if name == "direct" {
            let address = setting.broker.to_owned();
            return Ok(Some(Peer { name: name.to_owned(), address, process: None, started: Duration::ZERO }));
        }
        let Some(command) = command else {
            return Ok(None);
        };
        let log = setting.folder.join(format!("{name}-{port}.log"));
        let process = Process::start(&command, &log)?;
        let tls = (setting.tls == Tls::Listen).then(|| setting.cert.display().to_string());
        let started = load::first_metadata(&listen, tls, Duration::from_secs(10))
            .map_err(|e| format!("{name} does not answer at {listen}: {e}; {}", log.display()))?;
        Ok(Some(Peer { name: name.to_owned(), address: listen, process: Some(process), started }))
    }

    /// CPU time so far; none where there is no proxy.
    pub fn cpu(&self) -> Duration {
        self.process.as_ref().map_or(Duration::ZERO, Process::cpu)
    }

    /// Puts it under a load: its connections stand when counting begins, and still do when it ends.
    pub fn under(&self, load: &load::Options) -> Outcome<Under> {
        let marks = RefCell::new(Vec::new());
        let memory = || self.process.as_ref().map_or(0, |p| p.memory("VmRSS"));
        let figures = load::once(load, &|| marks.borrow_mut().push((self.cpu(), memory())))?;
        let marks = marks.into_inner();
        let (first, last) = (marks.first().copied().unwrap_or_default(), marks.last().copied().unwrap_or_default());
        Ok(Under { figures, cpu: last.0.saturating_sub(first.0), memory: last.1 })
    }
}

/// What a load was to a peer.
pub struct Under {
    /// The load's own.
    pub figures: Value,
    /// What the peer spent on it.
    pub cpu: Duration,
    /// Resident at its end, in KiB.
    pub memory: u64,
}

/// What cannot be measured ends everything if it is kmend; a relay that cannot bear a load (with splice, the descriptors of
/// its pipes) has no figures of it.
pub fn borne<T>(workload: &str, peer: &Peer, outcome: Outcome<T>) -> Outcome<Option<T>> {
    match outcome {
        Ok(figures) => Ok(Some(figures)),
        Err(error) if peer.name == "kmend" || peer.name == "direct" => {
            Err(format!("{workload}, {}: {error}", peer.name).into())
        }
        Err(error) => {
            eprintln!("kmend-bench: {workload}, {}: {error}", peer.name);
            Ok(None)
        }
    }
}

/// What a canned broker says it has.
#[derive(Debug, Clone, Copy)]
pub struct Canned {
    pub brokers: usize,
    pub topics: usize,
    pub partitions: usize,
}

impl Default for Canned {
    fn default() -> Canned {
        Canned { brokers: 1, topics: 1, partitions: 12 }
    }
}

/// Starts a canned broker, with TLS where there are a certificate and a key, and says where it listens.
pub fn broker(folder: &Path, canned: Canned, tls: Option<(&Path, &Path)>) -> Outcome<(Process, String)> {
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let own = std::env::current_exe()?.display().to_string();
    let mut command = vec![own, "broker".into(), "--listen".into(), address.clone()];
    let counts = [("--brokers", canned.brokers), ("--topics", canned.topics), ("--partitions", canned.partitions)];
    for (option, count) in counts {
        command.extend([option.to_owned(), count.to_string()]);
    }
    if let Some((cert, key)) = tls {
        command.extend(["--tls".to_owned(), cert.display().to_string(), key.display().to_string()]);
    }
    let process = Process::start(&command, &folder.join(format!("broker-{port}.log")))?;
    let there = |_| {
        std::net::TcpStream::connect(&address).is_ok() || {
            std::thread::sleep(Duration::from_millis(5));
            false
        }
    };
    if !(0..1000).any(there) {
        return Err("the canned broker does not come up".into());
    }
    Ok((process, address))
}

fn command(name: &str, listen: &str, setting: &Setting<'_>) -> Outcome<Option<Vec<String>>> {
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<String>>();
    let (cert, key) = (setting.cert.display().to_string(), setting.key.display().to_string());
    let relay = |mode: &str| -> Outcome<Vec<String>> {
        let mode = match setting.tls {
            Tls::None => mode,
            Tls::Listen => "tls-listen",
            Tls::Upstream => "tls-upstream",
        };
        let own = std::env::current_exe()?.display().to_string();
        let mut all = words(&[&own, "relay", "--listen", listen, "--upstream", setting.broker, "--mode", mode]);
        if setting.tls != Tls::None {
            all.extend(words(&["--tls", &cert]));
        }
        if setting.tls == Tls::Listen {
            all.push(key.clone());
        }
        Ok(all)
    };
    Ok(match name {
        "direct" => None,
        "copy" => Some(relay("copy")?),
        "splice" if setting.tls == Tls::None => Some(relay("splice")?),
        "haproxy" if setting.tls == Tls::None => {
            let found = std::env::var_os("PATH")
                .is_some_and(|path| std::env::split_paths(&path).any(|p| p.join("haproxy").exists()));
            let file = setting.folder.join("haproxy.cfg");
            let text = format!(
                "global\n  nbthread 2\n  maxconn 4500\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
                 timeout client 1h\n  timeout server 1h\nlisten kafka\n  bind {listen}\n  server broker {}\n",
                setting.broker
            );
            std::fs::write(&file, text)?;
            found.then(|| words(&["haproxy", "-db", "-f", &file.display().to_string()]))
        }
        "kmend" => {
            let file = setting.folder.join(format!("kmend-{}.yaml", listen.replace(':', "-")));
            std::fs::write(&file, kmend_config(listen, setting, &cert, &key))?;
            Some(words(&[setting.kmend, "run", "--config", &file.display().to_string()]))
        }
        "splice" | "haproxy" => None,
        other => return Err(format!("no peer is called {other}; there are {KNOWN:?}, and NAME=COMMAND").into()),
    })
}

/// All menders as they are by default, which is `repair`.
fn kmend_config(listen: &str, setting: &Setting<'_>, cert: &str, key: &str) -> String {
    let mut text = format!("upstream:\n  bootstrap: [\"{}\"]\n", setting.broker);
    if setting.tls == Tls::Upstream {
        text += &format!("  tls:\n    enabled: true\n    ca_file: {cert}\n");
    }
    text += &format!("listen:\n  address: {listen}\n");
    if setting.tls == Tls::Listen {
        text += &format!("  tls:\n    enabled: true\n    cert_file: {cert}\n    key_file: {key}\n");
    }
    text += "admin:\n  address: 127.0.0.1:0\n";
    text += &format!(
        "menders:\n  commit_buffer:\n    journal:\n      dir: {}\n",
        setting.folder.join(listen.replace(':', "-")).display()
    );
    text
}

pub fn free_port() -> Outcome<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The first of so many free ports in a row, below those that connections get: for a proxy that opens one a broker.
pub fn free_ports(count: u16) -> Outcome<u16> {
    let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut firsts = (12_000..32_000 - count).step_by(usize::from(count.max(1)));
    firsts.find(|first| (*first..*first + count).all(free)).ok_or_else(|| format!("no {count} free ports").into())
}
