//! `mode: observe` changes no byte and asks for nothing; it counts what the client finds by itself.

use std::time::Duration;

use serde_json::json;

use crate::compare;
use crate::harness::{Client, Opts, eventually, slot, unique};
use crate::tapped::{self, Connection, Tapped};

#[test]
fn observing_changes_nothing_and_counts() {
    let _slot = slot();
    let tapped = Tapped::start();
    let admin = tapped.kafka.admin();
    let topic = unique("observed");
    admin.create(&topic, 1, &[]);
    tapped.recorder.take(Duration::from_secs(10));
    let (kmend, before) = tapped.kmend(|config| {
        config["menders"]["offset_reset"] = json!({ "mode": "observe" });
        config["menders"]["partition_discovery"] = json!({ "mode": "observe", "interval": "1s" });
    });
    // It looks for itself, every two seconds.
    let opts = Opts::produce(&tapped::servers(&kmend), &topic).with("PROPS", "metadata.max.age.ms=2000");
    let app = Client::start("java", opts.with("CLIENT_ID", &topic));
    app.wait("a steady run", Duration::from_secs(30), |c| c.progress() > 60);
    admin.add_partitions(&topic, 3);
    app.wait("a record in a new partition", Duration::from_secs(10), |c| c.first_in(&topic, 2).is_some());
    let observed = || kmend.metrics().sum("kmend_metadata_nudges_total", &[("outcome", "observed")]);
    let counted = eventually(Duration::from_secs(5), || observed() > 0.0);
    let others = kmend.metrics();
    let others: Vec<_> = others
        .all("kmend_metadata_nudges_total", &[])
        .filter(|s| s.value > 0.0 && s.labels.get("outcome").is_none_or(|o| o != "observed"))
        .collect();
    app.close();
    assert_eq!(app.errors(), Vec::<String>::new());

    let at_client = before.take(Duration::from_secs(10));
    let at_broker: Vec<Connection> =
        tapped.recorder.take(Duration::from_secs(10)).into_iter().filter(|c| c.client_id() != "kmend").collect();
    compare::no_address_leaks(&at_client, tapped::BROKER);
    let frames = compare::same(&at_client, &at_broker);
    let asked: Vec<i32> = at_broker
        .iter()
        .flat_map(Connection::request_frames)
        .map(|f| i32::from_be_bytes([f[4], f[5], f[6], f[7]]))
        .collect();
    println!("{frames} answers and {} requests are the same on both sides; observed {}", asked.len(), observed());
    assert!(asked.iter().all(|id| *id >= 0), "kmend has asked by itself: {asked:?}");
    assert!(others.is_empty(), "{others:?}");
    assert!(counted, "kmend has not counted what the client found by itself");
    assert!(kmend.metrics().sum("kmend_partitions_added_total", &[("topic", &topic)]) >= 2.0);
}
