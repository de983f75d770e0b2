//! A topic is deleted and made again, with more partitions, under running apps: that is no growth. The
//! apps get over it, or do not, as they do directly on the broker.

use std::time::{Duration, Instant};

use crate::growth::{Cell, Role, Writer};
use crate::harness::{Client, Opts, eventually, slot, unique};
use crate::kafka;

const PARTITIONS: i32 = 4;
/// Later than the direct twin, at most.
const LATER: f64 = 5.0;
/// librdkafka's consumer does not come back within it, directly or not.
const PATIENCE: Duration = Duration::from_secs(14);

const CELLS: [Cell; 4] = [
    Cell { client: "java", role: Role::Producer },
    Cell { client: "librdkafka", role: Role::Producer },
    Cell { client: "java", role: Role::Consumer },
    Cell { client: "librdkafka", role: Role::Consumer },
];

#[test]
fn apps_get_over_it_as_directly() {
    let _slot = slot();
    let (admin, other) = (kafka().admin(), kafka().admin());
    let topic = unique("recreated");
    admin.create(&topic, 1, &[]);
    let kmend = crate::kmend(&kafka().bootstrap(), "repair", 2);
    let start = |cell: &Cell, servers: &str, side: &str| {
        let id = format!("{topic}-{side}-{:?}", cell.role).to_lowercase();
        let opts = match cell.role {
            Role::Producer => Opts::produce(servers, &topic).with("IDEMPOTENCE", cell.client == "java"),
            Role::Consumer => Opts::consume(servers, &topic, &format!("{id}-{}", cell.client)),
        };
        Client::start(cell.client, opts.with("CLIENT_ID", id))
    };
    let servers = kafka().servers();
    let apps: Vec<(Cell, Client, Client)> =
        CELLS.iter().map(|c| (*c, start(c, &kmend.listen, "kmend"), start(c, &servers, "direct"))).collect();
    for app in apps.iter().flat_map(|(_, a, b)| [a, b]) {
        app.wait("a steady run", Duration::from_secs(60), |c| c.progress() >= 60);
    }
    // kmend has asked at least once, and knows the topic's id.
    std::thread::sleep(Duration::from_secs(4));
    admin.delete(&topic);
    std::thread::sleep(Duration::from_millis(500));
    admin.create(&topic, PARTITIONS, &[]);
    let again = Instant::now();
    let over = |app: &Client| {
        let first = (1..PARTITIONS).filter_map(|p| app.first_in(&topic, p)).min();
        first.map(|at| at.saturating_duration_since(again).as_secs_f64())
    };
    Writer::on(&other, vec![(topic.clone(), PARTITIONS)], |_| {
        eventually(PATIENCE, || {
            std::thread::sleep(Duration::from_millis(100));
            apps.iter().all(|(_, a, b)| over(a).is_some() && over(b).is_some())
        });
    });
    let metrics = kmend.metrics();
    for sample in metrics.all("kmend_metadata_nudges_total", &[]).filter(|s| s.value > 0.0) {
        println!("{:?} {}", sample.labels, sample.value);
    }
    let mut faults = Vec::new();
    for (cell, mended, direct) in &apps {
        let (a, b) = (over(mended), over(direct));
        println!("{cell:?}: new partitions after {a:?} s, directly {b:?} s");
        let records = |app: &Client| app.progress_since(again + Duration::from_secs(1));
        println!("  {} records since, directly {}", records(mended), records(direct));
        println!("  errors: {:?}, directly {:?}", mended.errors(), direct.errors());
        let late = b.is_some_and(|b| a.unwrap_or(PATIENCE.as_secs_f64()) > b + LATER)
            || (records(direct) > 20 && records(mended) == 0);
        let more = mended.errors().len() > direct.errors().len() + 3;
        if late || more || mended.alive() != direct.alive() {
            faults.push(format!("{cell:?}: {a:?} s, directly {b:?} s\n{}\n{}", mended.story(), direct.story()));
        }
    }
    let twins = apps.iter().filter(|(_, _, direct)| over(direct).is_some()).count();
    assert!(twins >= 3, "only {twins} of the direct apps got over it: nothing was compared");
    let unexpected = kmend.unexpected();
    assert_eq!(metrics.sum("kmend_mender_panics_total", &[]), 0.0);
    assert_eq!(unexpected, Vec::<String>::new());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
