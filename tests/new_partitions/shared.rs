//! Apps that do not name themselves: by default all of a library bear one client id, and behind one kmend
//! they look like one client that both sends and reads.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::growth::{Cell, Role, Row, Writer, missed};
use crate::harness::{Client, Opts, eventually, slot, unique};
use crate::kafka;

const PARTITIONS: i32 = 4;

/// Two producers and a consumer of each library, on one topic behind one kmend.
fn run() -> Vec<Row> {
    let _slot = slot();
    let (admin, other) = (kafka().admin(), kafka().admin());
    let topic = unique("shared");
    admin.create(&topic, 1, &[]);
    let kmend = crate::kmend(&kafka().bootstrap(), "repair", 0);
    let produce = || Opts::produce(&kmend.listen, &topic).with("CLIENT_ID", "-");
    let start = |client: &'static str, role: Role| {
        let opts = match role {
            // As franz-go does by default, and librdkafka does not.
            Role::Producer => produce().with("IDEMPOTENCE", client == "franz-go"),
            Role::Consumer => Opts::consume(&kmend.listen, &topic, &format!("{topic}-{client}")).with("CLIENT_ID", "-"),
        };
        (Cell { client, role }, Client::start(client, opts))
    };
    let apps: Vec<(Cell, Client)> = ["franz-go", "librdkafka"]
        .into_iter()
        .flat_map(|c| [(c, Role::Producer), (c, Role::Producer), (c, Role::Consumer)])
        .map(|(client, role)| start(client, role))
        .collect();
    let mut rows: Vec<Row> = Writer::on(&other, vec![(topic.clone(), 1)], |writer| {
        for (_, app) in &apps {
            app.wait("a steady run", Duration::from_secs(60), |c| c.progress() >= 60);
        }
        let began = Instant::now();
        admin.add_partitions(&topic, PARTITIONS);
        writer.grown(PARTITIONS);
        let hits = |app: &Client| (1..PARTITIONS).map(|p| app.first_in(&topic, p)).collect::<Vec<_>>();
        eventually(Duration::from_secs(25), || apps.iter().all(|(_, app)| hits(app).iter().all(Option::is_some)));
        let row = |(cell, app): &(Cell, Client)| {
            let hits = hits(app).into_iter().map(|t| t.map(|t| t.saturating_duration_since(began).as_secs_f64()));
            let hits: Vec<Option<f64>> = hits.collect();
            Row {
                cell: *cell,
                from: 1,
                to: PARTITIONS,
                first: hits.iter().flatten().copied().reduce(f64::min),
                all: hits.iter().copied().collect::<Option<Vec<_>>>().and_then(|h| h.into_iter().reduce(f64::max)),
                errors: app.errors(),
                missed: 0,
                knew: false,
                kmend: kmend.unexpected(),
                story: app.story(),
            }
        };
        apps.iter().map(row).collect()
    });
    for sample in kmend.metrics().all("kmend_metadata_nudges_total", &[]).filter(|s| s.value > 0.0) {
        println!("{:?} {}", sample.labels, sample.value);
    }
    for line in kmend.log().iter().filter(|l| l.contains("made to look")) {
        println!("{line}");
    }
    for (_, app) in apps.iter().filter(|(cell, _)| cell.role == Role::Producer) {
        app.tell("close");
        app.exit_code(Duration::from_secs(20));
    }
    for (row, (cell, app)) in rows.iter_mut().zip(&apps) {
        if cell.role == Role::Consumer {
            eventually(Duration::from_secs(5), || missed(&admin, &topic, app, PARTITIONS) == 0);
            row.missed = missed(&admin, &topic, app, PARTITIONS);
        }
    }
    kmend.allow("");
    rows
}

#[track_caller]
fn all_find(client: &str) {
    static ROWS: OnceLock<Result<Vec<Row>, String>> = OnceLock::new();
    let rows = crate::once(&ROWS, run);
    let rows: Vec<&Row> = rows.iter().filter(|r| r.cell.client == client).collect();
    rows.iter().for_each(|row| println!("one id for all: {}", row.text()));
    rows.iter().for_each(|row| row.check(5));
}

#[test]
fn franz_go_apps_that_share_an_id_all_find_them() {
    all_find("franz-go");
}

#[test]
fn librdkafka_apps_that_share_an_id_all_find_them() {
    all_find("librdkafka");
}
