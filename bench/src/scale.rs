//! What a request costs where there is more of everything: connections, partitions, topics, brokers.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::Outcome;
use crate::load::{self, Kind};
use crate::peers::{self, Canned, Peer, Setting, Tls};
use crate::process::Process;
use crate::report::{machine, median};
use crate::rounds::{Turns, number};

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    pub turns: Turns,
    /// As those of `run`.
    #[arg(long, value_delimiter = ',', default_value = "copy,kmend")]
    pub peers: Vec<String>,
    /// Of connections, partitions, topics, brokers; all where none is named.
    #[arg(long, value_delimiter = ',')]
    pub scales: Vec<String>,
}

/// One thing of which there is more and more.
struct Scale {
    name: &'static str,
    /// What is asked, for the table's head.
    title: &'static str,
    points: &'static [usize],
    /// One of it, where each request has to do with all of them; else the unit is the request.
    one: Option<&'static str>,
    canned: fn(usize) -> Canned,
    load: fn(&mut load::Options, usize),
}

fn scales() -> Vec<Scale> {
    let metadata = |o: &mut load::Options, _| (o.kind, o.depth) = (Kind::Metadata, 2);
    vec![
        Scale {
            name: "connections",
            title: "Produce requests of 100 bytes; each connection waits for its answer before it sends the next",
            points: &[1, 10, 100, 1000, 4000],
            one: None,
            canned: |_| Canned::default(),
            load: |o, n| (o.kind, o.conns) = (Kind::Produce, n),
        },
        Scale {
            name: "partitions",
            title: "Fetch, newest version, 100 bytes of records for each partition",
            points: &[1, 10, 100, 1000, 10_000],
            one: Some("partition"),
            canned: |n| Canned { partitions: n, ..Canned::default() },
            load: |o, n| (o.kind, o.depth, o.partitions, o.bytes) = (Kind::Fetch, 2, n, 100 * n),
        },
        Scale {
            name: "topics",
            title: "Metadata of all topics, each of one partition",
            points: &[10, 100, 1000, 10_000],
            one: Some("topic"),
            canned: |n| Canned { topics: n, partitions: 1, ..Canned::default() },
            load: metadata,
        },
        Scale {
            name: "brokers",
            title: "Metadata of one topic; kmend has a listener for each broker",
            points: &[1, 10, 100],
            one: Some("broker"),
            canned: |n| Canned { brokers: n, ..Canned::default() },
            load: metadata,
        },
    ]
}

/// A broker that has so many, and the peers before it.
struct Point {
    count: usize,
    _broker: Process,
    peers: Vec<Peer>,
}

/// What was measured of one peer at one point.
struct Sample {
    peer: String,
    count: usize,
    /// CPU, in microseconds a request.
    cost: f64,
    /// Resident, in MiB, while the connections still stand.
    memory: f64,
}

pub fn run(options: &Options) -> Outcome<()> {
    let wanted = |s: &Scale| options.scales.is_empty() || options.scales.iter().any(|n| n == s.name);
    let all: Vec<Scale> = scales().into_iter().filter(wanted).collect();
    if all.is_empty() {
        let names: Vec<&str> = scales().iter().map(|s| s.name).collect();
        return Err(format!("no such scale; there are {names:?}").into());
    }
    let folder = std::env::temp_dir().join(format!("kmend-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut text = format!("{}. Medians of {} rounds.\n", machine(), options.turns.rounds);
    for scale in &all {
        let samples = measure(options, scale, &folder).map_err(|e| format!("{}: {e}", scale.name))?;
        text += &table(scale, &samples);
    }
    println!("{text}");
    if let Some(out) = &options.turns.out {
        std::fs::write(out, text)?;
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// All points of a scale in turn, so that what the machine does meanwhile meets them alike.
fn measure(options: &Options, scale: &Scale, folder: &Path) -> Outcome<Vec<Sample>> {
    let mut points = Vec::new();
    for count in scale.points {
        points.push(point(options, (scale.canned)(*count), *count, folder)?);
    }
    let mut samples = Vec::new();
    for round in 0..options.turns.rounds {
        for point in &points {
            for n in 0..point.peers.len() {
                let Some(peer) = point.peers.get((n + round) % point.peers.len()) else { continue };
                let mut load = load::Options::new(Kind::Produce, &peer.address);
                load.secs = options.turns.secs;
                (scale.load)(&mut load, point.count);
                let what = format!("{} {}", point.count, scale.name);
                let Some(under) = peers::borne(&what, peer, peer.under(&load))? else { continue };
                let cost = under.cpu.as_secs_f64() / number(&under.figures, "requests") * 1e6;
                let memory = under.memory as f64 / 1024.0;
                samples.push(Sample { peer: peer.name.clone(), count: point.count, cost, memory });
            }
        }
        eprintln!("kmend-bench: {}, round {} of {}", scale.name, round + 1, options.turns.rounds);
    }
    Ok(samples)
}

fn point(options: &Options, canned: Canned, count: usize, folder: &Path) -> Outcome<Point> {
    let (broker, address) = peers::broker(folder, canned, None)?;
    let setting = Setting {
        folder,
        kmend: &options.turns.kmend,
        broker: &address,
        tls: Tls::None,
        cert: PathBuf::new(),
        key: PathBuf::new(),
    };
    let ports = u16::try_from(canned.brokers)?.saturating_add(1);
    let mut peers = Vec::new();
    for name in options.peers.iter().filter(|n| *n != "direct") {
        match Peer::start_at(name, peers::free_ports(ports)?, &setting)? {
            Some(peer) => peers.push(peer),
            None => eprintln!("kmend-bench: no {name} here"),
        }
    }
    Ok(Point { count, _broker: broker, peers })
}

fn table(scale: &Scale, samples: &[Sample]) -> String {
    let mut peers: Vec<&str> = Vec::new();
    for sample in samples {
        if !peers.contains(&sample.peer.as_str()) {
            peers.push(&sample.peer);
        }
    }
    let mut text = format!("\n{}.\n\n", scale.title);
    let unit = scale.one.unwrap_or("request");
    let a_unit = scale.one.map(|one| format!("us a {one} | ")).unwrap_or_default();
    let _ = writeln!(
        text,
        "| | {} | CPU us a request | {a_unit}RSS, MiB | times the first row's cost of a {unit} |",
        scale.name
    );
    let _ = writeln!(text, "|{}", "---|".repeat(if scale.one.is_some() { 6 } else { 5 }));
    for peer in peers {
        let mut first = None;
        for count in scale.points {
            let of = || samples.iter().filter(|s| s.peer == peer && s.count == *count);
            let (Some(cost), Some(memory)) = (median(of().map(|s| s.cost)), median(of().map(|s| s.memory))) else {
                continue;
            };
            let each = if scale.one.is_some() { cost / *count as f64 } else { cost };
            let times = each / *first.get_or_insert(each);
            let a_unit = scale.one.map(|_| format!("{each:.3} | ")).unwrap_or_default();
            let _ = writeln!(text, "| {peer} | {count} | {cost:.2} | {a_unit}{memory:.1} | {times:.3} |");
        }
    }
    text
}
