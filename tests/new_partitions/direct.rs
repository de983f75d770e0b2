//! Seen to fail first: the same apps directly on the broker.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::growth::{Cell, Role, Running, Writer, grow, start, steady};
use crate::harness::{Client, Opts, eventually};
use crate::{CELLS, kafka};

const PATIENCE: Duration = Duration::from_secs(60);

/// For a minute nobody uses a new partition, though fresh producers do so at once and the records for the
/// consumers are there.
fn run() {
    let (admin, other) = (kafka().admin(), kafka().admin());
    let servers = kafka().servers();
    let running: Vec<Running> = CELLS.iter().map(|c| start(&admin, *c, || (servers.clone(), None))).collect();
    let (rows, fresh) = Writer::around(&other, &running, |writer| {
        steady(&running);
        // Beside the wait: producers that start after the growth.
        let fresh = std::thread::scope(|threads| {
            let fresh = threads.spawn(|| {
                eventually(Duration::from_secs(20), || false);
                fresh_producers(&running)
            });
            let rows = grow(&admin, &running, writer, 1, 12, PATIENCE);
            (rows, fresh.join().expect("fresh producers"))
        });
        let since = Instant::now();
        let goes_on = |r: &Running| r.app.progress_since(since) > 0;
        assert!(eventually(Duration::from_secs(10), || running.iter().all(goes_on)), "an app has stopped");
        fresh
    });
    for (client, seconds) in &fresh {
        println!(
            "{client}: a fresh producer has hit 3 of 12 partitions after {:.1} s, all after {:.1} s",
            seconds.0, seconds.1
        );
    }
    for row in &rows {
        println!("{}", row.text());
    }
    let found: Vec<String> = rows.iter().filter(|r| r.first.is_some()).map(|r| r.text()).collect();
    assert!(found.is_empty(), "found without kmend: {found:#?}");
    for r in running.iter().filter(|r| r.cell.role == Role::Consumer) {
        assert!(admin.log_end(&r.topic, 11) > 50, "nothing was written to the new partitions of {}", r.topic);
    }
}

/// The one run, begun by whoever wants it first. The half with promises has the machine before it: both have every
/// client, and side by side each takes the other's cores.
pub fn outcome() {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    crate::once(&DONE, || {
        if crate::is_all() {
            let _ = crate::harness::caught(crate::rows);
        }
        run();
    });
}

#[test]
fn nobody_uses_new_partitions_within_a_minute() {
    outcome();
}

/// A fresh producer of each client on its topic of 12 partitions: seconds until 3 and until all were hit.
fn fresh_producers(running: &[Running]) -> Vec<(&'static str, (f64, f64))> {
    let producers = running.iter().filter(|r| r.cell.role == Role::Producer);
    let apps: Vec<(Cell, &str, Client)> = producers
        .map(|r| {
            let opts = Opts::produce(&kafka().servers(), &r.topic).with("CLIENT_ID", "fresh");
            (r.cell, r.topic.as_str(), Client::start(r.cell.client, opts))
        })
        .collect();
    let hits = |topic: &str, app: &Client| {
        let mut hits: Vec<Instant> = (0..12).filter_map(|p| app.first_in(topic, p)).collect();
        hits.sort_unstable();
        hits
    };
    let done = || apps.iter().all(|(_, topic, app)| hits(topic, app).len() == 12);
    assert!(eventually(Duration::from_secs(30), done), "a fresh producer does not use all partitions");
    let seconds = |topic: &str, app: &Client| {
        let hits = hits(topic, app);
        ((hits[2] - hits[0]).as_secs_f64(), (hits[11] - hits[0]).as_secs_f64())
    };
    apps.iter().map(|(cell, topic, app)| (cell.client, seconds(topic, app))).collect()
}
