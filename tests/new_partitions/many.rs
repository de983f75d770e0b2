//! A hundred clients behind one kmend, or one behind each of twenty: no storm reaches the broker when their topic grows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::behind::behind;
use crate::harness::{Client, Kmend, Opts, eventually, slot, unique};

const INTERVAL: u64 = 5;
const PARTITIONS: i32 = 4;

/// Producers at the same topic, so many behind each of so many kmends.
fn storm(kmends: usize, each: usize) {
    let _slot = slot();
    let clients = kmends * each;
    let behind = behind();
    let admin = behind.kafka.admin();
    let topic = unique("many");
    admin.create(&topic, 1, &[]);
    let kmends: Vec<Kmend> = (0..kmends).map(|_| crate::kmend(&behind.upstream, "repair", INTERVAL)).collect();
    let app = |(n, kmend): (usize, &Kmend)| {
        let opts = Opts::produce(&kmend.listen, &topic).with("CLIENT_ID", format!("{topic}-{n}"));
        // Idempotent, as franz-go is by default.
        Client::start("franz-go", opts.with("CLIENTS", each).with("RATE", 2).with("IDEMPOTENCE", "true"))
    };
    let apps: Vec<Client> = kmends.iter().enumerate().map(app).collect();
    for app in &apps {
        app.wait("a steady run", Duration::from_secs(60), |c| c.progress() > 4 * each);
    }

    let began = Instant::now();
    admin.add_partitions(&topic, PARTITIONS);
    let of = |wanted: fn(&crate::relay::Asked) -> bool| {
        let all = behind.relay.asked(&topic).into_iter();
        all.filter(move |a| a.at > began && wanted(a))
    };
    let informed = || of(|a| a.is_metadata() && !a.is_injected()).map(|a| a.client).collect::<BTreeSet<_>>().len();
    let limit = crate::limit("franz-go", crate::Producer, INTERVAL);
    eventually(limit, || informed() == clients);
    let took = began.elapsed();
    // To the end of the time that is promised, and an interval longer: what comes late counts, too.
    std::thread::sleep((limit + Duration::from_secs(INTERVAL)).saturating_sub(took));
    let (seconds, metadata) = (began.elapsed().as_secs(), of(|a| a.is_metadata()).count());
    let sum = |outcome: &str| -> f64 {
        let of = |k: &Kmend| k.metrics().sum("kmend_metadata_nudges_total", &[("outcome", outcome)]);
        kmends.iter().map(of).sum()
    };
    let (done, again) = (sum("done"), sum("repeated"));
    println!(
        "{} kmends, {clients} clients asked after {took:?}; {metadata} Metadata requests in {seconds} s",
        kmends.len()
    );
    println!("{done} nudges done, {again} repeated");
    assert_eq!(informed(), clients, "clients that asked for metadata within {limit:?}");
    let most = clients * (seconds as usize + 1) / INTERVAL as usize + 2 * clients;
    assert!(metadata <= most, "{metadata} Metadata requests in {seconds} s, at most {most}");
    assert!(done + again <= clients as f64, "{done} nudges done, {again} repeated, {clients} clients");
    for app in &apps {
        assert_eq!(app.errors(), Vec::<String>::new());
    }
    let hit = |p: i32| apps.iter().any(|app| app.first_in(&topic, p).is_some());
    assert!((1..PARTITIONS).all(hit), "a new partition is not used\n{}", apps[0].story());
}

#[test]
fn a_hundred_clients_make_no_storm() {
    storm(1, 100);
}

#[test]
fn twenty_kmends_make_no_storm() {
    storm(20, 1);
}
