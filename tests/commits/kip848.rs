//! A control: in a group that the broker assigns (KIP-848) a commit in the middle of a rebalance is accepted as long as the
//! partition is still the member's (Kafka 4.4), so a naive loop goes on directly; through kmend it does the same.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::{Client, Opts, eventually, unique};
use crate::{behind, commits};

const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// A second member joins while the handler of the first one runs.
pub fn goes_on(through: bool) {
    let admin = behind().kafka.admin();
    let topic = unique("commit-848");
    let group = format!("{topic}-group");
    admin.create(&topic, PARTITIONS, &[]);
    let kmends = through.then(|| [crate::repairing(), crate::repairing()]);
    let start = |n: usize| {
        let servers = kmends.as_ref().map_or_else(|| behind().upstream[0].clone(), |k| k[n].listen.clone());
        let opts = Opts::consume(&servers, &topic, &group).with("CLIENT_ID", format!("{topic}-{n}"));
        Client::start("java-consumer", opts.with("COMMIT", "each"))
    };
    let write = |n| (0..PARTITIONS).map(|p| admin.produce(&topic, p, n)).max();
    write(1);
    let first = start(0);
    first.wait("the first commits", PATIENCE, |c| c.commits() >= PARTITIONS as usize);
    first.hold_handler(PATIENCE, || {
        write(1);
    });
    let second = start(1).ready();
    // The broker has told the first one by now what it is to give up.
    std::thread::sleep(Duration::from_secs(6));
    first.resume_handler();
    write(3);
    let apps = [&first, &second];
    let is_done = || {
        (0..PARTITIONS).all(|p| {
            let end = admin.log_end(&topic, p);
            let handled: BTreeSet<i64> = apps.iter().flat_map(|a| a.handled(&topic, p)).collect();
            (0..end).all(|o| handled.contains(&o)) && admin.committed(&group, &topic, p).unwrap_or(0) == end
        })
    };
    let done = eventually(PATIENCE, is_done);
    for app in apps {
        assert_eq!(app.errors(), Vec::<String>::new(), "{}", app.story());
    }
    assert!(done, "{}\n{}", first.story(), second.story());
    assert!(second.progress() > 0, "the second member has no part in it\n{}", second.story());
    for kmend in kmends.iter().flatten() {
        assert_eq!(commits(kmend, "buffered"), 0.0, "there was nothing to buffer");
    }
}

#[test]
fn a_second_member_joins_directly() {
    crate::three::tell("KIP-848 directly");
}

#[test]
fn a_second_member_joins_through_kmend() {
    crate::three::tell("KIP-848 through kmend");
}
