//! `docs/soak_runs.md`.

use std::time::Duration;

use crate::harness::setup::{pinned, root};
use crate::probe::{Latencies, SPAN};
use crate::statistics::Slope;
use crate::{SLOWER, Sample};

/// Points of the regression: means over so long.
const BLOCK: Duration = Duration::from_secs(300);
const KIB: f64 = 1024.0;

pub struct Shown<'a> {
    latencies: &'a Latencies,
    /// For each span: resident KiB, descriptors, tasks, threads, clients (means).
    spans: Vec<[f64; 5]>,
    /// KiB an hour.
    resident: Option<Slope>,
    /// Descriptors beyond two for each client, an hour.
    descriptors: Option<Slope>,
    /// Tasks beyond one for each client, an hour.
    tasks: Option<Slope>,
    rest: Sample,
    churned: usize,
    handled: usize,
}

fn mean(samples: &[&Sample], pick: impl Fn(&Sample) -> f64) -> f64 {
    samples.iter().map(|s| pick(s)).sum::<f64>() / samples.len().max(1) as f64
}

fn blocks(samples: &[Sample], block: Duration) -> Vec<Vec<&Sample>> {
    let mut all: Vec<Vec<&Sample>> = Vec::new();
    for sample in samples {
        let index = (sample.at.as_secs() / block.as_secs()) as usize;
        if all.len() <= index {
            all.resize_with(index + 1, Vec::new);
        }
        all[index].push(sample);
    }
    all
}

fn slope(samples: &[Sample], pick: impl Fn(&Sample) -> f64 + Copy) -> Option<Slope> {
    let hours = |b: &[&Sample]| mean(b, |s| s.at.as_secs_f64() / 3600.0);
    let points: Vec<(f64, f64)> =
        blocks(samples, BLOCK).iter().filter(|b| b.len() > 5).map(|b| (hours(b), mean(b, pick))).collect();
    Slope::of(&points)
}

impl<'a> Shown<'a> {
    pub fn new(
        samples: &[Sample],
        latencies: &'a Latencies,
        rest: Sample,
        churned: usize,
        handled: usize,
    ) -> Shown<'a> {
        let row = |b: &Vec<&Sample>| {
            [
                mean(b, |s| s.resident as f64 / KIB),
                mean(b, |s| s.descriptors),
                mean(b, |s| s.tasks),
                mean(b, |s| s.threads),
                mean(b, |s| s.clients),
            ]
        };
        Shown {
            latencies,
            spans: blocks(samples, SPAN).iter().map(row).collect(),
            resident: slope(samples, |s| s.resident as f64 / KIB),
            descriptors: slope(samples, |s| s.descriptors - 2.0 * s.clients),
            tasks: slope(samples, |s| s.tasks - s.clients),
            rest,
            churned,
            handled,
        }
    }

    /// How the last span's p99 compares with the first's: of Metadata and Produce, directly and through kmend.
    fn growth(&self) -> [(f64, f64); 2] {
        let last = self.latencies.spans().saturating_sub(1);
        [0, 1].map(|kind| {
            let (first, now) = (self.latencies.percentile(0, kind, 0.99), self.latencies.percentile(last, kind, 0.99));
            let ratio = |now: u32, first: u32| f64::from(now) / f64::from(first.max(1));
            (ratio(now.0, first.0), ratio(now.1, first.1))
        })
    }

    pub fn problems(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut say = |is_wrong: bool, text: String| all.extend(is_wrong.then_some(text));
        let grows = |slope: Option<Slope>| slope.is_none_or(|s| !s.is_zero() && s.slope > 0.0);
        say(grows(self.resident), format!("resident memory: {}", told(self.resident, "KiB")));
        say(grows(self.descriptors), format!("descriptors: {}", told(self.descriptors, "descriptors")));
        say(grows(self.tasks), format!("tasks: {}", told(self.tasks, "tasks")));
        for (name, (direct, through)) in ["Metadata", "Produce"].into_iter().zip(self.growth()) {
            say(through > SLOWER, format!("{name}: the last p99 is {through:.2} of the first (directly {direct:.2})"));
        }
        all
    }

    pub fn text(&self) -> String {
        let kafka = pinned("KAFKA_VERSION");
        let (minutes, churned, handled) = (self.spans.len() * 10, self.churned, self.handled);
        let mut text = format!(
            "# An hour of churn\n\nWritten by `make soak`: one broker of Kafka {kafka}, one kmend with every mender in `repair`, {minutes} minutes after five to warm up. \
             Steady: 350 records a second by 22 producers (franz-go, librdkafka, Java), read by four groups of two (Java classic and KIP-848, librdkafka, franz-go): {handled} records handled. \
             Each minute ({churned} times, with the warm-up) one consumer restarts or is killed, a hundred clients come for a moment, a consumer's records are evicted while it is paused, \
             a topic with a group of its own comes and goes.\n\n\
             | minutes | resident KiB | descriptors | tasks | threads | clients | Metadata p50, p99 (µs) directly | through kmend | Produce p50, p99 (µs) directly | through kmend |\n|---|---|---|---|---|---|---|---|---|---|\n"
        );
        for (n, [resident, descriptors, tasks, threads, clients]) in self.spans.iter().enumerate() {
            let pair = |kind: usize| {
                let (p50, p99) = (self.latencies.percentile(n, kind, 0.5), self.latencies.percentile(n, kind, 0.99));
                format!("{}, {} | {}, {}", p50.0, p99.0, p50.1, p99.1)
            };
            let to = (n + 1) * 10;
            text.push_str(&format!(
                "| {}-{to} | {resident:.0} | {descriptors:.1} | {tasks:.1} | {threads:.1} | {clients:.1} | {} | {} |\n",
                n * 10,
                pair(0),
                pair(1)
            ));
        }
        let requests: usize = (0..self.latencies.spans()).map(|n| self.latencies.count(n)).sum();
        let [metadata, produce] = self.growth();
        text.push_str(&format!(
            "\nLatencies: {requests} requests of each kind each way, directly and through kmend in turn.\n\n| | |\n|---|---|\n\
             | resident memory, slope | {} |\n| descriptors beyond two for each client | {} |\n| tasks beyond one for each client | {} |\n\
             | p99 of Metadata, last ten minutes against the first | through kmend {:.2}, directly {:.2} |\n| p99 of Produce | through kmend {:.2}, directly {:.2} |\n\
             | when everybody has gone | {:.0} KiB, {} descriptors, {} tasks, {} threads |\n\n\
             Slopes: least squares over means of five minutes, with the 95 % interval.\n",
            told(self.resident, "KiB"),
            told(self.descriptors, "descriptors"),
            told(self.tasks, "tasks"),
            metadata.1,
            metadata.0,
            produce.1,
            produce.0,
            self.rest.resident as f64 / KIB,
            self.rest.descriptors,
            self.rest.tasks,
            self.rest.threads,
        ));
        text
    }

    pub fn write(&self) {
        std::fs::write(root().join("docs/soak_runs.md"), self.text()).expect("docs/soak_runs.md");
    }
}

fn told(slope: Option<Slope>, unit: &str) -> String {
    slope.map_or("too short a run".to_owned(), |s| {
        let verdict = if s.is_zero() { "not distinguishable from 0" } else { "not 0" };
        format!("{:+.1} ± {:.1} {unit} an hour: {verdict}", s.slope, s.margin)
    })
}
