//! A consumer that reads from the replica in its rack (KIP-392) goes on doing so after a nudge.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use crate::growth::missed;
use crate::harness::tap::{Tap, tapped};
use crate::harness::{Admin, Client, ClusterSpec, Kafka, Opts, Over, eventually, slot, unique};

const FETCH: i16 = 1;
const PARTITIONS: i32 = 4;

/// Fetch requests by the port that they went to, since the tap was cleared.
fn fetches(tap: &Tap) -> BTreeMap<u16, usize> {
    let mut by_port = BTreeMap::new();
    for exchange in tap.exchanges().into_iter().filter(|e| e.api == FETCH) {
        *by_port.entry(exchange.port).or_default() += 1;
    }
    by_port
}

/// Nothing but the rack's broker is asked for records, for 3 s.
fn only_from(tap: &Tap, port: u16) -> bool {
    tap.clear();
    std::thread::sleep(Duration::from_secs(3));
    let found = fetches(tap);
    found.keys().all(|p| *p == port) && found.values().sum::<usize>() >= 3
}

#[test]
fn java_reads_on_in_its_rack() {
    let _slot = slot();
    let kafka = Kafka::start(ClusterSpec { nodes: 3, racks: true, ..ClusterSpec::default() });
    let (admin, other) = (kafka.admin(), kafka.admin());
    let topic = unique("racks");
    admin.create_replicated(&topic, 1, 3, &[]);
    let leader = admin.leader_id(&topic, 0);
    let near = leader % 3 + 1;
    let (kmend, tap, servers) = tapped(&kafka.bootstrap(), |config| {
        config["menders"]["partition_discovery"] = serde_json::json!({ "mode": "repair" });
    });
    let told = Admin::new(vec![servers.clone()]).try_metadata(&[]).expect("metadata through kmend");
    let port = |id: i32| told.brokers.iter().find(|b| b.node_id.0 == id).expect("that broker").port as u16;
    let (near_port, leader_port) = (port(near), port(leader));

    let opts = Opts::consume(&servers, &topic, &format!("{topic}-group")).with("CLIENT_ID", &topic);
    let app = Client::start("java", opts.with("PROPS", format!("client.rack=rack-{near}")));
    let (stop, count) = (AtomicBool::new(false), AtomicI32::new(1));
    std::thread::scope(|threads| {
        let _over = Over(&stop);
        threads.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                for p in 0..count.load(Ordering::SeqCst) {
                    other.produce(&topic, p, 1);
                }
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        app.wait("a steady run", Duration::from_secs(60), |c| c.progress() >= 10);
        let begun = eventually(Duration::from_secs(12), || only_from(&tap, near_port));
        assert!(begun, "it does not read in its rack ({near_port}; leader {leader_port}): {:?}", fetches(&tap));

        let began = Instant::now();
        admin.add_partitions(&topic, PARTITIONS);
        count.store(PARTITIONS, Ordering::SeqCst);
        let hits = || (1..PARTITIONS).map(|p| app.first_in(&topic, p)).collect::<Option<Vec<_>>>();
        let found = eventually(Duration::from_secs(12), || hits().is_some());
        assert!(found, "new partitions are not read\n{}", app.story());
        println!("all new partitions are read after {:?}", began.elapsed());
        println!("Fetch requests meanwhile, by port (rack {near_port}, leader {leader_port}): {:?}", fetches(&tap));
        let again = eventually(Duration::from_secs(9), || only_from(&tap, near_port));
        println!("and then: {:?}", fetches(&tap));
        assert!(again, "it does not read in its rack ({near_port}) any more: {:?}", fetches(&tap));
    });
    let nudged = kmend.metrics().sum("kmend_metadata_nudges_total", &[("how", "fetch"), ("outcome", "done")]);
    assert!(nudged >= 1.0, "it was not nudged by its Fetch");
    let complete = eventually(Duration::from_secs(5), || missed(&admin, &topic, &app, PARTITIONS) == 0);
    assert!(complete, "{} records were not handled\n{}", missed(&admin, &topic, &app, PARTITIONS), app.story());
    assert_eq!(app.errors(), Vec::<String>::new());
    assert_eq!(kmend.unexpected(), Vec::<String>::new());
}
