//! Figures as tables: medians, and the median of what each round's figure is to the copy relay's of that round.

use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    CpuPerGigabyte,
    CpuPerRequest,
    Throughput,
    Median,
    P99,
    Peak,
    Start,
    Rest,
}

impl Unit {
    fn title(self) -> &'static str {
        match self {
            Unit::CpuPerGigabyte => "CPU s/GB",
            Unit::CpuPerRequest => "CPU us a request",
            Unit::Throughput => "MB/s",
            Unit::Median => "p50, us",
            Unit::P99 => "p99, us",
            Unit::Peak => "peak RSS over rest, MiB",
            Unit::Start => "first Metadata, ms",
            Unit::Rest => "RSS at rest, MiB",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Figure {
    pub workload: &'static str,
    pub unit: Unit,
    pub peer: String,
    pub round: usize,
    pub value: f64,
}

pub struct Report {
    rounds: usize,
    figures: Vec<Figure>,
}

/// The yardstick.
const BASE: &str = "copy";

impl Report {
    pub fn new(rounds: usize) -> Report {
        Report { rounds, figures: Vec::new() }
    }

    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    pub fn text(&self) -> String {
        let mut peers: Vec<&str> = Vec::new();
        let mut rows: Vec<(&str, Unit)> = Vec::new();
        for f in &self.figures {
            if !peers.contains(&f.peer.as_str()) {
                peers.push(&f.peer);
            }
            if !rows.contains(&(f.workload, f.unit)) {
                rows.push((f.workload, f.unit));
            }
        }
        peers.sort_by_key(|p| ["direct", BASE].iter().position(|b| b == p).unwrap_or(usize::from(*p == "kmend") + 2));
        let mut text = format!(
            "{}. Medians of {} rounds; in brackets the median ratio to `{BASE}` in the same round.\n\n",
            machine(),
            self.rounds
        );
        let _ = writeln!(text, "| workload | | {} |", peers.join(" | "));
        let _ = writeln!(text, "|{}", "---|".repeat(peers.len() + 2));
        for (workload, unit) in rows {
            let cells: Vec<String> = peers.iter().map(|p| self.cell(workload, unit, p)).collect();
            let _ = writeln!(text, "| {workload} | {} | {} |", unit.title(), cells.join(" | "));
        }
        text
    }

    fn of(&self, workload: &str, unit: Unit, peer: &str) -> BTreeMap<usize, f64> {
        let is = |f: &&Figure| f.workload == workload && f.unit == unit && f.peer == peer;
        self.figures.iter().filter(is).map(|f| (f.round, f.value)).collect()
    }

    fn cell(&self, workload: &str, unit: Unit, peer: &str) -> String {
        let (own, base) = (self.of(workload, unit, peer), self.of(workload, unit, BASE));
        let Some(middle) = median(own.values().copied()) else {
            return "-".into();
        };
        // Of a round trip only what is added counts.
        let direct = match unit {
            Unit::Median | Unit::P99 => self.of(workload, unit, "direct"),
            _ => BTreeMap::new(),
        };
        let added = |round: &usize, value: f64| value - direct.get(round).copied().unwrap_or(0.0);
        let ratio = |(round, value): (&usize, &f64)| Some(added(round, *value) / added(round, *base.get(round)?));
        let ratio = median(own.iter().filter_map(ratio)).filter(|_| peer != BASE && peer != "direct");
        let digits = if middle < 10.0 { 2 } else { 1 };
        match ratio {
            Some(ratio) => format!("{middle:.digits$} ({ratio:.2})"),
            None => format!("{middle:.digits$}"),
        }
    }
}

pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut all: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    match all.len() {
        0 => None,
        n if n % 2 == 1 => all.get(middle).copied(),
        _ => Some((all.get(middle - 1)? + all.get(middle)?) / 2.0),
    }
}

/// Date, processor and kernel.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, m)| m);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let date = std::process::Command::new("date").arg("+%F").output().map(|o| o.stdout).unwrap_or_default();
    let date = String::from_utf8_lossy(&date).trim().to_owned();
    format!("{date}, {cores} cores of {}, Linux {}", model.trim(), kernel.trim().split('-').next().unwrap_or("?"))
}
