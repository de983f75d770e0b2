//! `kmend_consumer_lag` is what `kafka-consumer-groups.sh` computes: the log end (ListOffsets, read_uncommitted) minus
//! what the group has committed (OffsetFetch). Within one poll, for three clients and both isolation levels; gone when
//! the member has left.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Client, Kmend, Opts, Together, eventually};
use crate::team::Team;
use crate::{PATIENCE, behind, kmend};

const PARTITIONS: i32 = 3;
/// The longest poll of the apps is half a second; the rest is for two cores that are busy.
const POLL: Duration = Duration::from_millis(2500);

/// What the broker's own tools would say, partition by partition.
fn truth(team: &Team) -> Vec<Option<i64>> {
    let lag = |p| Some(team.admin.log_end(&team.topic, p) - team.admin.committed(&team.group, &team.topic, p)?);
    (0..PARTITIONS).map(lag).collect()
}

/// What kmend says.
fn told(kmend: &Kmend, team: &Team) -> Vec<Option<i64>> {
    let metrics = kmend.metrics();
    let one = |p: i32| {
        let p = p.to_string();
        let labels = [("group", team.group.as_str()), ("topic", team.topic.as_str()), ("partition", p.as_str())];
        let found: Vec<_> = metrics.all("kmend_consumer_lag", &labels).map(|s| s.value as i64).collect();
        assert!(found.len() < 2, "{found:?}");
        found.first().copied()
    };
    (0..PARTITIONS).map(one).collect()
}

/// Waits until both say the same of every partition.
#[track_caller]
fn agree(kmend: &Kmend, team: &Team, what: &str) -> Vec<Option<i64>> {
    let same = || {
        let truth = truth(team);
        truth.iter().all(Option::is_some) && truth == told(kmend, team)
    };
    let agreed = eventually(POLL, same);
    let (truth, told) = (truth(team), told(kmend, team));
    assert!(agreed, "{what}: the broker says {truth:?}, kmend {told:?}\n{}", team.story());
    truth
}

/// While the log grows: what kmend says is what the broker said at some time within the last poll.
fn follows(kmend: &Kmend, team: &Team, during: Duration) {
    let mut past: VecDeque<(Instant, Vec<Option<i64>>)> = VecDeque::new();
    let began = Instant::now();
    while began.elapsed() < during {
        past.push_back((Instant::now(), truth(team)));
        let told = told(kmend, team);
        past.push_back((Instant::now(), truth(team)));
        // One from before the poll stays: the lag was no less than that.
        while past.get(1).is_some_and(|(at, _)| at.elapsed() > POLL) {
            past.pop_front();
        }
        if began.elapsed() > POLL {
            for (p, lag) in told.iter().enumerate() {
                let of: Vec<i64> = past.iter().filter_map(|(_, all)| all[p]).collect();
                let (least, most) = (of.iter().min(), of.iter().max());
                let within = lag.is_some_and(|l| least.is_some_and(|x| *x <= l) && most.is_some_and(|x| l <= *x));
                assert!(within, "{} [{p}]: kmend says {lag:?}, the broker {least:?} to {most:?}", team.topic);
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A group that has committed a little and reads on without committing.
fn reader(client: &str, kmend: &Kmend, isolation: &str) -> Team {
    let mut team = Team::new("lag", PARTITIONS);
    team.grow(6);
    for p in 0..PARTITIONS {
        team.admin.commit(&team.group, &team.topic, p, 2);
    }
    team.join("one", client, &kmend.listen, |o| o.with("COMMIT", "none").with("ISOLATION", isolation));
    let app = &team.members[0].app;
    app.wait("a record of each partition", PATIENCE, |c| {
        (0..PARTITIONS).all(|p| !c.handled(&team.topic, p).is_empty())
    });
    team
}

fn equals(client: &str) {
    let kmend = kmend(json!({ "mode": "observe" }));
    let mut team = reader(client, &kmend, "read_uncommitted");
    assert!(eventually(PATIENCE, || told(&kmend, &team).iter().all(Option::is_some)), "{:?}", told(&kmend, &team));
    follows(&kmend, &team, Duration::from_secs(6));
    team.feed.only(0);
    let at_rest = agree(&kmend, &team, "at rest");
    assert!(at_rest.iter().all(|l| l.is_some_and(|l| l > 4)), "there is no lag to see: {at_rest:?}");
    team.leave(0);
    let gone = || told(&kmend, &team).iter().all(Option::is_none);
    assert!(eventually(Duration::from_secs(15), gone), "still there: {:?}", told(&kmend, &team));
    // One that commits as it goes comes to nothing.
    team.join("two", client, &kmend.listen, |o| o.with("COMMIT", "auto"));
    let none = || truth(&team).iter().all(|l| *l == Some(0));
    assert!(eventually(PATIENCE, none), "{:?}\n{}", truth(&team), team.story());
    agree(&kmend, &team, "all committed");
}

/// A transaction is open: the members see nothing of it, and it is lag all the same, as for the broker's tools.
fn equals_committed(client: &str) {
    let kmend = kmend(json!({ "mode": "observe" }));
    let team = reader(client, &kmend, "read_committed");
    let opts = Opts::produce(&behind().upstream[0], &team.topic).with("MODE", "transact").with("TXN_SIZE", 1_000_000);
    let opts = opts.with("TRANSACTIONAL", &team.topic).with("CLIENT_ID", format!("{}-writer", team.topic));
    let writer = Client::start("java", opts.with("PROPS", "transaction.timeout.ms=300000").with("RATE", 30));
    writer.wait("records in an open transaction", PATIENCE, |w| w.progress() > 40);
    follows(&kmend, &team, Duration::from_secs(5));
    team.feed.only(0);
    // Killed: the coordinator keeps its transaction open.
    drop(writer);
    let stable = |p: i32| team.admin.list_offset(&team.topic, p, -1, 1);
    let open = (0..PARTITIONS).all(|p| stable(p) + 3 < team.admin.log_end(&team.topic, p));
    assert!(open, "no transaction is open");
    let at_rest = agree(&kmend, &team, "with an open transaction");
    // Nobody has read what is in the transaction.
    let beyond = (0..PARTITIONS).filter(|p| team.members[0].app.handled(&team.topic, *p).last() >= Some(&stable(*p)));
    assert_eq!(beyond.count(), 0, "{at_rest:?}");
}

const STORIES: &[(&str, fn())] = &[
    ("java", || equals("java")),
    ("librdkafka", || equals("librdkafka")),
    ("franz-go", || equals("franz-go")),
    ("java committed", || equals_committed("java")),
    ("librdkafka committed", || equals_committed("librdkafka")),
    ("franz-go committed", || equals_committed("franz-go")),
    ("causes", crate::rebalances::causes),
];

static TOLD: Together = Together::new();

#[test]
fn of_java_it_is_the_brokers() {
    TOLD.tell("java", STORIES);
}

#[test]
fn of_librdkafka_it_is_the_brokers() {
    TOLD.tell("librdkafka", STORIES);
}

#[test]
fn of_franz_go_it_is_the_brokers() {
    TOLD.tell("franz-go", STORIES);
}

#[test]
fn of_java_read_committed_it_is_the_brokers() {
    TOLD.tell("java committed", STORIES);
}

#[test]
fn of_librdkafka_read_committed_it_is_the_brokers() {
    TOLD.tell("librdkafka committed", STORIES);
}

#[test]
fn of_franz_go_read_committed_it_is_the_brokers() {
    TOLD.tell("franz-go committed", STORIES);
}

#[test]
fn rebalances_are_counted_with_their_causes() {
    TOLD.tell("causes", STORIES);
}
