//! Consume, transform, produce in transactions, with the mender on: exactly once, also where a member is removed while
//! its transaction runs. The refused TxnOffsetCommit passes: the app must abort.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::{Client, Opts, eventually, unique};
use crate::relay::TXN_OFFSET_COMMIT;
use crate::{behind, commits};

const PARTITIONS: i32 = 2;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn consume_transform_produce_is_exactly_once() {
    let _slot = crate::harness::slot();
    let admin = behind().kafka.admin();
    let (input, output) = (unique("ctp-in"), unique("ctp-out"));
    let group = format!("{input}-group");
    admin.create(&input, PARTITIONS, &[]);
    admin.create(&output, 1, &[]);
    let kmend = crate::repairing();
    let mut wanted = BTreeMap::new();
    let mut write = || {
        for p in 0..PARTITIONS {
            for (n, commit) in [(40, true), (10, false), (40, true)] {
                let first = admin.produce_transaction(&input, p, n, commit);
                let committed = (first..first + n as i64).filter(|_| commit);
                wanted.extend(committed.map(|o| (format!("{input}/{p}/{o}"), 1)));
            }
        }
        wanted.len()
    };
    let opts = Opts::consume(&kmend.listen, &input, &group).with("MODE", "ctp").with("OUT", &output);
    let opts = opts.with("CLIENT_ID", &input).with("TRANSACTIONAL", &input).with("TXN_SIZE", 20);
    let app = Client::start("java", opts);
    let reader = Opts::consume(&behind().upstream[0], &output, &format!("{output}-group"));
    let reader = Client::start("librdkafka", reader.with("ISOLATION", "read_committed").with("COMMIT", "none"));
    let mut total = write();
    reader.wait("the first transactions", PATIENCE, |r| r.progress() >= total);
    let aborted = || app.events().iter().any(|e| format!("{e:?}").contains("aborted: "));
    for _ in 0..5 {
        app.hold_handler(PATIENCE, || total = write());
        admin.remove_member(&group, &input);
        app.resume_handler();
        let all = || reader.progress() >= total || !app.alive();
        assert!(eventually(PATIENCE, all), "{} of {total}\n{}", reader.progress(), app.story());
        if aborted() || !app.alive() {
            break;
        }
    }
    assert!(aborted(), "no transaction was refused\n{}", app.story());
    assert_eq!(app.errors(), Vec::<String>::new(), "{}", app.story());
    let mut found = BTreeMap::new();
    for event in reader.events() {
        if let crate::harness::client::Event::Handled { key, .. } = event {
            *found.entry(key).or_insert(0) += 1;
        }
    }
    assert_eq!(found, wanted, "each record once");
    assert!(!behind().relay.seen(&input, TXN_OFFSET_COMMIT).is_empty());
    assert_eq!(commits(&kmend, "buffered"), 0.0, "kmend has touched a transaction");
    app.close();
}
