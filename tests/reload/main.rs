//! The configuration is changed a hundred times under load, in every way that files change: each change is in force
//! soon, no connection is dropped, and a file that cannot be used changes nothing and says why.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

mod bad;
mod changes;
mod file;
mod load;

use std::time::{Duration, Instant};

use harness::{ClusterSpec, Kafka, Kmend, slot, wait_for};
use serde_json::{Value, json};

use bad::Bad;
use changes::{CHANGES, Change};
use file::{Way, Written};
use load::{Load, Pings, span};

/// Two looks at the files, and what a machine takes that others use.
const PATIENCE: Duration = Duration::from_secs(15);

/// kmend with a configuration laid out as Kubernetes does it.
fn kmend(kafka: &Kafka) -> (Kmend, Written) {
    let kmend = Kmend::prepare(&[], "127.0.0.1", &kafka.bootstrap(), |config| {
        // A rule that is there, so that each change is one of one key.
        config["menders"]["offset_reset"] = json!({ "clients": { "other": { "mode": "repair" } } });
    });
    let written = Written::take_over(kmend.config_file());
    kmend.launch();
    kmend.wait_ready();
    (kmend, written)
}

fn json_of(kmend: &Kmend, path: &str) -> Value {
    let (status, body) = kmend.get(path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

fn reloads(kmend: &Kmend, outcome: &str) -> f64 {
    kmend.metrics().sum("kmend_config_reloads_total", &[("outcome", outcome)])
}

/// Makes a change and waits until it is in force; how long that took.
fn change(kmend: &Kmend, written: &mut Written, change: &Change, way: Way) -> Duration {
    let before = reloads(kmend, "reloaded");
    let at = written.set(&change.pointer(), change.value.clone(), way, kmend);
    let in_force =
        || (json_of(kmend, "/api/config")["config"].pointer(&change.pointer()) == Some(&change.value)).then_some(());
    wait_for(&format!("{change:?} by {way:?}"), PATIENCE, in_force);
    let took = at.elapsed();
    // Counted once all that hangs on it is done.
    wait_for("the counter", PATIENCE, || (reloads(kmend, "reloaded") == before + 1.0).then_some(()));
    let metrics = kmend.metrics();
    assert_eq!(metrics.sum("kmend_config_last_reload_successful", &[]), 1.0, "{change:?}");
    let said = json_of(kmend, "/api/status")["reload"].clone();
    assert_eq!(
        (&said["ok"], &said["error"], &said["needs_restart"]),
        (&json!(true), &Value::Null, &json!([])),
        "{said}"
    );
    let changed: Vec<&str> = said["changed"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(changed.len() == 1 && changed[0].starts_with(&format!("{}: ", change.key)), "{change:?}: {changed:?}");
    took
}

#[test]
fn a_hundred_changes_under_load_and_no_connection_is_dropped() {
    let _slot = slot();
    let kafka = Kafka::start(ClusterSpec::default());
    let (kmend, mut written) = kmend(&kafka);
    kmend.allow("not reloaded: nothing has changed").allow("limits.max_connections is reached");
    let pings = Pings::start(&kmend);
    let mut load = Load::start(&kafka, &kmend, &["java", "librdkafka"]);
    let quiet = Instant::now();
    std::thread::sleep(Duration::from_secs(5));
    let began = Instant::now();
    let mut took: Vec<(Way, Duration)> = Vec::new();
    for (n, one) in (1..).zip(changes::all(&kafka)) {
        let way = Way::of(n);
        took.push((way, change(&kmend, &mut written, &one, way)));
        load.check_effect(&kmend, &one);
        if n % 10 == 0 {
            Bad::of(n / 10).meet(&kmend, &mut written, Way::ALL[n / 10 % 3]);
            assert_eq!(load.dropped(&kmend, false), Vec::<String>::new(), "after {one:?}\n{}", kmend.log_text());
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!((took.len(), reloads(&kmend, "failed")), (CHANGES, Bad::refused() as f64));
    assert_eq!(load.dropped(&kmend, true), Vec::<String>::new(), "{}", kmend.log_text());
    let (calm, during) = pings.split(quiet, began);
    let (records, connections) = (load.finish(&kafka), load.connections());
    for way in Way::ALL {
        let of_it: Vec<_> = took.iter().filter(|(w, _)| *w == way).map(|(_, t)| *t).collect();
        println!("{} by {way:?}: in force after {}", of_it.len(), span(of_it));
    }
    println!("a Metadata request: {} before, {} during the changes", span(calm), span(during));
    println!("{records} records, {connections} connections in {seconds:.0} s; none was dropped");
}

/// The control: where connections are dropped, all that looks for it says so.
#[test]
fn a_restart_in_between_is_noticed() {
    let _slot = slot();
    let kafka = Kafka::start(ClusterSpec::default());
    let (kmend, mut written) = kmend(&kafka);
    kmend.allow("");
    let mut load = Load::start(&kafka, &kmend, &["librdkafka"]);
    change(&kmend, &mut written, &changes::all(&kafka)[0], Way::ConfigMap);
    assert_eq!(load.dropped(&kmend, false), Vec::<String>::new());
    kmend.kill_and_restart();
    let restarted = Instant::now();
    load.producer().wait("that it goes on", PATIENCE, |c| c.progress_since(restarted) > 0);
    let dropped = load.dropped(&kmend, true);
    for what in ["accepted:", "open:", "asking now and then: 6 ", "silent: 6 "] {
        assert!(dropped.iter().any(|d| d.starts_with(what)), "{what}: {dropped:?}");
    }
}
