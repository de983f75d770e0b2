//! A hundred clients behind one kmend: no storm reaches the broker when their topic grows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::behind::behind;
use crate::harness::{Client, Opts, eventually, slot, unique};

const CLIENTS: usize = 100;
const INTERVAL: u64 = 5;
const PARTITIONS: i32 = 4;

#[test]
fn a_hundred_clients_make_no_storm() {
    let _slot = slot();
    let behind = behind();
    let admin = behind.kafka.admin();
    let topic = unique("many");
    admin.create(&topic, 1, &[]);
    let kmend = crate::kmend(&behind.upstream, "repair", INTERVAL);
    let opts = Opts::produce(&kmend.listen, &topic).with("CLIENT_ID", &topic).with("CLIENTS", CLIENTS).with("RATE", 2);
    // As franz-go does by default.
    let opts = opts.with("IDEMPOTENCE", "true");
    let app = Client::start("franz-go", opts);
    app.wait("a steady run", Duration::from_secs(60), |c| c.progress() > 4 * CLIENTS);

    let began = Instant::now();
    admin.add_partitions(&topic, PARTITIONS);
    let of = |wanted: fn(&crate::relay::Asked) -> bool| {
        let all = behind.relay.asked(&topic).into_iter();
        all.filter(move |a| a.at > began && wanted(a))
    };
    let informed = || of(|a| a.is_metadata() && !a.is_injected()).map(|a| a.client).collect::<BTreeSet<_>>().len();
    let limit = crate::limit("franz-go", crate::Producer, INTERVAL);
    eventually(limit, || informed() == CLIENTS);
    let took = began.elapsed();
    // To the end of the time that is promised, and an interval longer: what comes late counts, too.
    std::thread::sleep((limit + Duration::from_secs(INTERVAL)).saturating_sub(took));
    let (seconds, metadata) = (began.elapsed().as_secs(), of(|a| a.is_metadata()).count());
    let metrics = kmend.metrics();
    let done = metrics.sum("kmend_metadata_nudges_total", &[("outcome", "done")]);
    let again = metrics.sum("kmend_metadata_nudges_total", &[("outcome", "repeated")]);
    println!("{CLIENTS} clients asked after {took:?}; {metadata} Metadata requests in {seconds} s");
    println!("{done} nudges done, {again} repeated");
    assert_eq!(informed(), CLIENTS, "clients that asked for metadata within {limit:?}");
    let most = CLIENTS * (seconds as usize + 1) / INTERVAL as usize + 2 * CLIENTS;
    assert!(metadata <= most, "{metadata} Metadata requests in {seconds} s, at most {most}");
    assert!(done + again <= CLIENTS as f64, "{done} nudges done, {again} repeated, {CLIENTS} clients");
    assert_eq!(app.errors(), Vec::<String>::new());
    let hit = (1..PARTITIONS).all(|p| app.first_in(&topic, p).is_some());
    assert!(hit, "a new partition is not used\n{}", app.story());
}
