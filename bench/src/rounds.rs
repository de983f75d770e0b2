//! Workloads by peers, in turn: each round measures everybody, another one first each time.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::Outcome;
use crate::load::{self, Kind, Request};
use crate::peers::{self, Canned, Peer, Setting, Tls};
use crate::process::{self, Process};
use crate::report::{Figure, Report, Unit};
use crate::stream;

/// Whatever is measured in turn.
#[derive(Args, Debug)]
pub struct Turns {
    /// The kmend to measure.
    #[arg(long, default_value = "target/release/kmend")]
    pub kmend: String,
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// How long each measurement runs, in seconds.
    #[arg(long, default_value_t = 2.0)]
    pub secs: f64,
    /// Where the tables go; they are printed besides.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    pub turns: Turns,
    /// Of direct, copy, splice, haproxy, kmend, and NAME=COMMAND with {listen} and {upstream}.
    #[arg(long, value_delimiter = ',', default_value = "direct,copy,splice,haproxy,kmend")]
    pub peers: Vec<String>,
    /// Of these; all where none is named.
    #[arg(long, value_delimiter = ',')]
    pub workloads: Vec<String>,
}

/// How a workload is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kinds {
    /// CPU a gigabyte, and throughput.
    Bulk,
    /// CPU a request.
    Small,
    /// Round trips with everybody on core 0.
    Latency,
    /// Resident memory over what it is at rest, in a fresh process.
    Memory,
    /// A fresh process: start-up and memory at rest.
    Start,
}

struct Workload {
    name: &'static str,
    kind: Kinds,
    tls: Tls,
    load: fn(&mut load::Options),
}

fn workloads() -> Vec<Workload> {
    let w = |name, kind, tls, load| Workload { name, kind, tls, load };
    vec![
        w("produce 256 KiB", Kinds::Bulk, Tls::None, |o| (o.kind, o.depth, o.bytes) = (Kind::Produce, 5, 262_144)),
        w("fetch 1 MiB, v11", Kinds::Bulk, Tls::None, |o| {
            (o.kind, o.depth, o.bytes, o.version) = (Kind::Fetch, 2, 1 << 20, 11);
        }),
        w("fetch 1 MiB, v13", Kinds::Bulk, Tls::None, |o| {
            (o.kind, o.depth, o.bytes, o.version) = (Kind::Fetch, 2, 1 << 20, 13);
        }),
        w("fetch 1 MiB, newest", Kinds::Bulk, Tls::None, |o| (o.kind, o.depth, o.bytes) = (Kind::Fetch, 2, 1 << 20)),
        w("fetch 50 MB", Kinds::Bulk, Tls::None, |o| (o.kind, o.bytes) = (Kind::Fetch, 50_000_000)),
        w("small requests", Kinds::Small, Tls::None, |o| (o.kind, o.conns, o.depth) = (Kind::Produce, 4, 8)),
        w("round trip", Kinds::Latency, Tls::None, |o| o.request = Request::Produce),
        w("round trip, commit", Kinds::Latency, Tls::None, |o| o.request = Request::Commit),
        w("slow readers, 1", Kinds::Memory, Tls::None, |o| (o.kind, o.bytes) = (Kind::Slow, 50_000_000)),
        w("slow readers, 64", Kinds::Memory, Tls::None, |o| {
            (o.kind, o.conns, o.bytes) = (Kind::Slow, 64, 50_000_000);
        }),
        w("slow readers, 512", Kinds::Memory, Tls::None, |o| {
            (o.kind, o.conns, o.bytes) = (Kind::Slow, 512, 50_000_000);
        }),
        w("idle connections, 4000", Kinds::Memory, Tls::None, |o| (o.kind, o.conns) = (Kind::Idle, 4000)),
        w("start", Kinds::Start, Tls::None, |_| {}),
        w("TLS listener, produce", Kinds::Bulk, Tls::Listen, |o| {
            (o.kind, o.depth, o.bytes) = (Kind::Produce, 5, 262_144);
        }),
        w("TLS listener, fetch 1 MiB", Kinds::Bulk, Tls::Listen, |o| {
            (o.kind, o.depth, o.bytes) = (Kind::Fetch, 2, 1 << 20);
        }),
        w("TLS upstream, produce", Kinds::Bulk, Tls::Upstream, |o| {
            (o.kind, o.depth, o.bytes) = (Kind::Produce, 5, 262_144);
        }),
        w("TLS upstream, fetch 1 MiB", Kinds::Bulk, Tls::Upstream, |o| {
            (o.kind, o.depth, o.bytes) = (Kind::Fetch, 2, 1 << 20);
        }),
    ]
}

pub fn run(options: &Options) -> Outcome<()> {
    let wanted = |w: &Workload| options.workloads.is_empty() || options.workloads.iter().any(|n| w.name.contains(n));
    let all: Vec<Workload> = workloads().into_iter().filter(wanted).collect();
    if all.is_empty() {
        let names: Vec<&str> = workloads().iter().map(|w| w.name).collect();
        return Err(format!("no such workload; there are {names:?}").into());
    }
    let folder = std::env::temp_dir().join(format!("kmend-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let (cert_pem, key_pem) = stream::certificate()?;
    std::fs::write(&cert, cert_pem)?;
    std::fs::write(&key, key_pem)?;
    let mut report = Report::new(options.turns.rounds);
    for tls in [Tls::None, Tls::Listen, Tls::Upstream] {
        let some: Vec<&Workload> = all.iter().filter(|w| w.tls == tls).collect();
        if some.is_empty() {
            continue;
        }
        let with = (tls == Tls::Upstream).then_some((cert.as_path(), key.as_path()));
        let (broker, address) = peers::broker(&folder, Canned::default(), with)?;
        let setting = Setting {
            folder: &folder,
            kmend: &options.turns.kmend,
            broker: &address,
            tls,
            cert: cert.clone(),
            key: key.clone(),
        };
        in_turn(options, &setting, &broker, &some, &mut report)?;
    }
    let text = report.text();
    println!("{text}");
    if let Some(out) = &options.turns.out {
        std::fs::write(out, text)?;
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn in_turn(
    options: &Options,
    setting: &Setting<'_>,
    broker: &Process,
    workloads: &[&Workload],
    report: &mut Report,
) -> Outcome<()> {
    let mut peers = Vec::new();
    for name in &options.peers {
        if setting.tls != Tls::None && name == "direct" {
            continue;
        }
        match Peer::start(name, setting)? {
            Some(peer) => peers.push((name, peer)),
            None => eprintln!("kmend-bench: no {name} here"),
        }
    }
    for round in 0..options.turns.rounds {
        for workload in workloads {
            for n in 0..peers.len() {
                let Some((name, peer)) = peers.get((n + round) % peers.len()) else { continue };
                let figures =
                    peers::borne(workload.name, peer, measure(options, setting, broker, workload, name, peer))?;
                for (unit, value) in figures.unwrap_or_default() {
                    report.add(Figure { workload: workload.name, unit, peer: peer.name.clone(), round, value });
                }
            }
        }
        eprintln!("kmend-bench: round {} of {}", round + 1, options.turns.rounds);
    }
    Ok(())
}

fn measure(
    options: &Options,
    setting: &Setting<'_>,
    broker: &Process,
    workload: &Workload,
    name: &str,
    peer: &Peer,
) -> Outcome<Vec<(Unit, f64)>> {
    let mut load = load::Options::new(Kind::Latency, &peer.address);
    load.secs = options.turns.secs;
    (workload.load)(&mut load);
    if setting.tls == Tls::Listen {
        load.tls = Some(setting.cert.display().to_string());
    }
    match workload.kind {
        Kinds::Bulk | Kinds::Small => {
            let under = peer.under(&load)?;
            let spent = under.cpu.as_secs_f64();
            let (requests, bytes) = (number(&under.figures, "requests"), number(&under.figures, "bytes"));
            let mut all = vec![(Unit::Throughput, number(&under.figures, "mb_s"))];
            if peer.process.is_some() {
                all.push(match workload.kind {
                    Kinds::Small => (Unit::CpuPerRequest, spent / requests * 1e6),
                    _ => (Unit::CpuPerGigabyte, spent / bytes * 1e9),
                });
            }
            Ok(all)
        }
        Kinds::Latency => {
            broker.pin(&[0]);
            if let Some(process) = &peer.process {
                process.pin(&[0]);
            }
            let pinned = load.clone();
            let client = std::thread::spawn(move || {
                process::pin_self(&[0]);
                load::once(&pinned, &|| {})
            });
            let figures = client.join().map_err(|_| "the client panicked")?;
            broker.pin(&[]);
            if let Some(process) = &peer.process {
                process.pin(&[]);
            }
            let figures = figures?;
            Ok(vec![(Unit::Median, number(&figures, "p50_us")), (Unit::P99, number(&figures, "p99_us"))])
        }
        Kinds::Memory | Kinds::Start => {
            if peer.process.is_none() {
                return Ok(Vec::new());
            }
            // Memory of a process that has done nothing else.
            let Some(fresh) = Peer::start(name, setting)? else { return Ok(Vec::new()) };
            let Some(process) = &fresh.process else { return Ok(Vec::new()) };
            std::thread::sleep(Duration::from_millis(500));
            let rest = process.memory("VmRSS");
            if workload.kind == Kinds::Start {
                let started = fresh.started.as_secs_f64() * 1e3;
                return Ok(vec![(Unit::Start, started), (Unit::Rest, rest as f64 / 1024.0)]);
            }
            load.address.clone_from(&fresh.address);
            if load.kind == Kind::Slow {
                load.secs = load.secs.max(5.0);
            }
            let figures = load::once(&load, &|| {})?;
            if number(&figures, "cut") > 0.0 {
                return Err(format!("readers were cut: {figures}").into());
            }
            let peak = process.memory("VmHWM").saturating_sub(rest);
            let mut all = vec![(Unit::Peak, peak as f64 / 1024.0)];
            if load.kind == Kind::Idle {
                all.push((Unit::Start, number(&figures, "one_more_ms")));
            }
            Ok(all)
        }
    }
}

pub fn number(figures: &Value, key: &str) -> f64 {
    figures.get(key).and_then(Value::as_f64).unwrap_or(0.0)
}
