//! Suites that nobody here wrote, directly on a cluster and through kmend with every mender in `repair`, side by side: what
//! passes directly passes through kmend. `make conformance`, half an hour; it writes `docs/conformance_runs.md`.
//!
//! `CONFORMANCE=franz-go,3.9` runs the cases whose names have all these parts, and writes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

mod franz_go;
mod front;
mod java;
mod report;
mod verifiable;

use std::time::Instant;

use harness::{ClusterSpec, Kafka, caught};

use crate::front::Way;
use crate::java::Program;
use crate::verifiable::{Fault, Groups};

/// What a case has shown: a row for the report, or why it failed.
type Shown = Result<String, String>;

struct Case {
    suite: &'static str,
    name: String,
    run: Box<dyn Fn(&Kafka) -> String>,
}

fn cases(version: &str) -> Vec<Case> {
    let mut all = Vec::new();
    let mut case = |suite, name: String, run: Box<dyn Fn(&Kafka) -> String>| all.push(Case { suite, name, run });
    for (way, chaos) in [(Way::Plain, false), (Way::Plain, true), (Way::Tls, false)] {
        let name = format!("{}{}", way.name(), if chaos { ", its connections die" } else { "" });
        case(franz_go::NAME, name, Box::new(move |kafka| franz_go::compare(kafka, way, chaos)));
    }
    for (groups, fault, way) in [
        (Groups::Classic, Fault::None, Way::Plain),
        (Groups::Consumer, Fault::None, Way::Tls),
        (Groups::Classic, Fault::ConsumerKilled, Way::Plain),
        (Groups::Consumer, Fault::ConsumerKilled, Way::Plain),
        (Groups::Classic, Fault::KmendKilled, Way::Plain),
        (Groups::Consumer, Fault::KmendKilled, Way::Plain),
    ] {
        let name = format!("{}, {}, {}", way.name(), groups.name(), fault.name());
        case(verifiable::NAME, name, Box::new(move |kafka| verifiable::compare(kafka, way, groups, fault)));
    }
    for (program, way) in [
        (Program::Admin, Way::Plain),
        (Program::Admin, Way::Tls),
        (Program::Share, Way::Plain),
        (Program::Streams, Way::Plain),
        (Program::Streams, Way::Tls),
        (Program::StreamsByBroker, Way::Plain),
    ] {
        if version == "kafka" || !program.is_new() {
            let name = format!("{}, {}", way.name(), program.name());
            case(java::NAME, name, Box::new(move |kafka| java::compare(kafka, way, program)));
        }
    }
    all
}

#[test]
fn what_passes_directly_passes_through_kmend() {
    let wanted = std::env::var("CONFORMANCE").unwrap_or_default();
    let mut shown: Vec<(String, &'static str, String, Shown)> = Vec::new();
    for version in ["kafka", "kafka-old"] {
        let line = harness::setup::pinned(if version == "kafka" { "KAFKA_VERSION" } else { "KAFKA_OLD_VERSION" });
        let full = |case: &Case| format!("{} {line} {}", case.suite, case.name);
        let is_wanted = |case: &Case| wanted.split(',').all(|part| full(case).contains(part));
        let cases: Vec<Case> = cases(version).into_iter().filter(is_wanted).collect();
        if cases.is_empty() {
            continue;
        }
        // As brokers come: some of franz-go's tests need it.
        let mut extra = vec!["auto.create.topics.enable=true".to_owned()];
        if version == "kafka" {
            extra.push("group.coordinator.rebalance.protocols=classic,consumer,share,streams".to_owned());
        }
        let kafka = Kafka::start(ClusterSpec { nodes: 3, version, extra, ..ClusterSpec::default() });
        for case in cases {
            let began = Instant::now();
            println!("{} ...", full(&case));
            let result = caught(|| (case.run)(&kafka));
            let told = result.as_ref().map_or_else(|error| format!("FAILED: {error}"), Clone::clone);
            println!("{}: {:.0} s: {told}", full(&case), began.elapsed().as_secs_f64());
            shown.push((line.clone(), case.suite, case.name, result));
        }
    }
    assert!(!shown.is_empty(), "no case is called {wanted}");
    if wanted.is_empty() {
        report::write(&shown);
    }
    let failed: Vec<String> = shown
        .iter()
        .filter_map(|(line, suite, name, result)| Some(format!("{suite} {line} {name}:\n{}", result.as_ref().err()?)))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
