//! Groups with the newer protocol (KIP-848): the broker assigns the new partitions, and kmend keeps out of it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::growth::{Cell, Role, Row, Writer, missed};
use crate::harness::{Client, Kmend, Opts, eventually, slot, unique};
use crate::kafka;

const CLIENTS: [&str; 3] = ["java", "librdkafka", "franz-go"];
const PARTITIONS: i32 = 4;

struct Member {
    client: &'static str,
    topic: String,
    app: Client,
    kmend: Kmend,
}

impl Member {
    fn start(client: &'static str) -> Member {
        let topic = unique(&format!("broker-assigns-{client}"));
        kafka().admin().create(&topic, 1, &[]);
        let kmend = crate::kmend(&kafka().bootstrap(), "repair", 0);
        let opts = Opts::consume(&kmend.listen, &topic, &format!("{topic}-group")).with("PROTOCOL", "consumer");
        let app = Client::start(client, opts.with("CLIENT_ID", &topic));
        Member { client, topic, app, kmend }
    }

    fn first_in_new(&self) -> Vec<Option<Instant>> {
        (1..PARTITIONS).map(|p| self.app.first_in(&self.topic, p)).collect()
    }
}

/// Each row, and what kmend did to make its client look.
fn run() -> Vec<(Row, f64)> {
    let _slot = slot();
    let (admin, other) = (kafka().admin(), kafka().admin());
    let members: Vec<Member> = CLIENTS.into_iter().map(Member::start).collect();
    let topics = members.iter().map(|m| (m.topic.clone(), 1)).collect();
    let mut rows: Vec<(Row, f64)> = Writer::on(&other, topics, |writer| {
        for m in &members {
            m.app.wait("a steady run", Duration::from_secs(60), |c| c.progress() >= 6);
        }
        let began = Instant::now();
        members.iter().for_each(|m| admin.add_partitions(&m.topic, PARTITIONS));
        writer.grown(PARTITIONS);
        eventually(Duration::from_secs(15), || members.iter().all(|m| m.first_in_new().iter().all(Option::is_some)));
        // Time for kmend to do what it should not.
        std::thread::sleep((began + Duration::from_secs(10)).saturating_duration_since(Instant::now()));
        let row = |m: &Member| {
            let hits: Vec<Option<f64>> = m
                .first_in_new()
                .into_iter()
                .map(|t| t.map(|t| t.saturating_duration_since(began).as_secs_f64()))
                .collect();
            let row = Row {
                cell: Cell { client: m.client, role: Role::Consumer },
                from: 1,
                to: PARTITIONS,
                first: hits.iter().flatten().copied().reduce(f64::min),
                all: hits.iter().copied().collect::<Option<Vec<_>>>().and_then(|h| h.into_iter().reduce(f64::max)),
                errors: m.app.errors(),
                missed: 0,
                knew: false,
                kmend: m.kmend.unexpected(),
                story: m.app.story(),
            };
            let metrics = m.kmend.metrics();
            let nudges = |how| metrics.sum("kmend_metadata_nudges_total", &[("how", how)]);
            let closed = metrics.sum("kmend_disconnects_total", &[("cause", "nudged")]);
            // What was not done was not done on purpose.
            let seen = metrics.sum("kmend_partitions_added_total", &[("topic", &m.topic)]);
            assert!(seen >= 3.0, "{}: kmend has not seen the growth", m.client);
            (row, closed + ["fetch", "heartbeat", "close", "reject"].into_iter().map(nudges).sum::<f64>())
        };
        members.iter().map(row).collect()
    });
    for ((row, _), m) in rows.iter_mut().zip(&members) {
        eventually(Duration::from_secs(5), || missed(&admin, &m.topic, &m.app, PARTITIONS) == 0);
        row.missed = missed(&admin, &m.topic, &m.app, PARTITIONS);
        m.kmend.allow("");
    }
    rows
}

#[track_caller]
fn left_to_the_broker(client: &str) {
    static ROWS: OnceLock<Result<Vec<(Row, f64)>, String>> = OnceLock::new();
    let rows = crate::once(&ROWS, run);
    let (row, nudges) = rows.iter().find(|(row, _)| row.cell.client == client).expect("a row of that client");
    println!("the broker assigns: {}", row.text());
    row.check(5);
    assert_eq!(*nudges, 0.0, "kmend has nudged a client whose broker assigns\n{}", row.story);
}

#[test]
fn the_broker_assigns_for_java() {
    left_to_the_broker("java");
}

#[test]
fn the_broker_assigns_for_librdkafka() {
    left_to_the_broker("librdkafka");
}

#[test]
fn the_broker_assigns_for_franz_go() {
    left_to_the_broker("franz-go");
}
