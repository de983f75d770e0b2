//! A topic that is deleted stays deleted, on a broker that makes every topic that somebody asks for.

use std::time::{Duration, Instant};

use crate::behind::behind;
use crate::harness::{Client, Opts, eventually, slot, unique};

const INTERVAL: u64 = 2;

#[test]
fn a_deleted_topic_stays_deleted() {
    let _slot = slot();
    let behind = behind();
    let admin = behind.kafka.admin();
    let topic = unique("deleted");
    admin.create(&topic, 1, &[]);
    admin.produce(&topic, 0, 20);
    let kmend = crate::kmend(&behind.upstream, "repair", INTERVAL);
    // franz-go itself asks without creating; it lives on, so that kmend has connections to ask on.
    let opts = Opts::consume(&kmend.listen, &topic, &format!("{topic}-group")).with("CLIENT_ID", &topic);
    let app = Client::start("franz-go", opts);
    app.wait("all records", Duration::from_secs(30), |c| c.progress() >= 20);
    let polls = || behind.relay.asked(&topic).iter().filter(|a| a.is_injected()).count();
    let limit = Duration::from_secs(2 * INTERVAL + 2);
    assert!(eventually(limit, || polls() >= 2), "kmend does not ask for the topic by itself");

    admin.delete(&topic);
    let (since, asked) = (Instant::now(), behind.relay.asked(&topic).len());
    while since.elapsed() < Duration::from_secs(4 * INTERVAL) {
        assert!(!admin.exists(&topic), "the topic is back after {:?}", since.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(behind.relay.asked(&topic).len() > asked, "the app's connections are gone: nothing was tested");
    assert!(app.alive());

    // The control: this broker would have made it for anybody who asks carelessly.
    admin.ask_carelessly(&topic);
    assert!(eventually(Duration::from_secs(10), || admin.exists(&topic)), "the broker makes no topics");
}
