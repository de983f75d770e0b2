//! A long run at a steady load with churn every minute: does kmend grow, leak or get slower? `make soak`, 65 minutes; it writes
//! `docs/soak_runs.md`. `SOAK_MINUTES=5` is shorter, and then nothing is written.
//!
//! It measures time: nothing else may run on the machine. The same latencies are measured directly on the broker, in turn with those
//! through kmend: where both rise it was the machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

mod churn;
mod probe;
mod report;
mod statistics;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use churn::Load;
use harness::wait::wait_for;
use harness::{ClusterSpec, Kafka, Kmend, Over};
use probe::{Latencies, Probe};

/// Before it counts: clients start, buffers find their size.
const WARM_UP: Duration = Duration::from_secs(300);
const EVERY: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);
/// Against the first ten minutes.
const SLOWER: f64 = 1.2;

/// Of kmend, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Since the warm-up ended.
    pub at: Duration,
    /// Bytes.
    pub resident: u64,
    pub descriptors: f64,
    pub tasks: f64,
    pub threads: f64,
    pub clients: f64,
}

fn sample(kmend: &Kmend, began: Instant) -> Sample {
    let metrics = kmend.metrics();
    let of = |name| metrics.sum(name, &[]);
    Sample {
        at: began.elapsed(),
        resident: kmend.memory().0,
        descriptors: of("process_open_fds"),
        tasks: of("kmend_tasks"),
        threads: of("process_threads"),
        clients: of("kmend_client_connections"),
    }
}

#[test]
fn an_hour_of_churn_leaves_nothing_behind() {
    let minutes: u64 = std::env::var("SOAK_MINUTES").ok().and_then(|v| v.parse().ok()).unwrap_or(60);
    let warm_up = if minutes >= 60 { WARM_UP } else { WARM_UP * minutes as u32 / 60 };
    let kafka = Kafka::start(ClusterSpec::default());
    let kmend = Kmend::start(&kafka, |_| {});
    for churn_does_that in ["evicted", "refused", "rebalance"] {
        kmend.allow(churn_does_that);
    }
    let load = Load::start(&kafka, &kmend);
    let over = AtomicBool::new(false);
    let samples = Mutex::new(Vec::new());
    let latencies = Mutex::new(Latencies::default());
    let began = Instant::now() + warm_up;
    let churned = std::thread::scope(|threads| {
        let stop = Over(&over);
        threads.spawn(|| {
            let mut probe = Probe::new(&kafka, &kmend);
            while !over.load(Ordering::SeqCst) {
                if let (Some(taken), Some(at)) = (probe.take(), Instant::now().checked_duration_since(began)) {
                    latencies.lock().expect("not poisoned").add(at, taken);
                }
                std::thread::sleep(Duration::from_millis(25));
            }
        });
        threads.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                if Instant::now() >= began {
                    samples.lock().expect("not poisoned").push(sample(&kmend, began));
                }
                std::thread::sleep(EVERY);
            }
        });
        let mut churned = 0;
        let end = began + MINUTE * minutes as u32;
        while Instant::now() < end {
            let next = Instant::now() + MINUTE;
            churned += 1;
            load.churn(churned);
            std::thread::sleep(next.min(end).saturating_duration_since(Instant::now()));
        }
        drop(stop);
        churned
    });
    let handled = load.stop();
    // What is left when everybody has gone.
    let rest = wait_for("all clients to be gone", Duration::from_secs(60), || {
        let now = sample(&kmend, began);
        (now.clients == 0.0).then_some(now)
    });
    let samples = samples.into_inner().expect("not poisoned");
    let latencies = latencies.into_inner().expect("not poisoned");
    let shown = report::Shown::new(&samples, &latencies, rest, churned, handled);
    println!("{}", shown.text());
    if minutes >= 60 {
        shown.write();
    }
    let problems = shown.problems();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
