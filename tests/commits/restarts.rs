//! The journal's folder: a second kmend on it, another cluster, a topic that is made anew, a disk that fails.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::away::{PATIENCE, PROMISE, Pending, RECORDS, app, configure, promised, with_login, writing_behind};
use crate::harness::{Kafka, Kmend, Together, eventually};
use crate::{behind, commits};

fn shared(client: &str) -> Pending {
    Pending::start(&behind().kafka, writing_behind(&behind().upstream, |_| {}), client)
}

/// A second kmend with the folder of a first one does not start, and the first one keeps what it has promised.
///
/// Fails without the lock on the folder.
fn second_kmend() {
    let run = shared("franz-go");
    let folder = run.kmend.state();
    let second = Kmend::prepare(&[], "127.0.0.1", &behind().upstream, |config| {
        configure(config, |c| c["menders"]["commit_buffer"]["journal"]["dir"] = folder.display().to_string().into());
    });
    second.allow("");
    second.launch();
    assert_eq!(second.exit_code(PATIENCE), Some(78), "{:?}", second.log());
    let named = || second.log().iter().any(|line| line.contains(&*folder.display().to_string()));
    assert!(eventually(PATIENCE, named), "the folder is not named: {:?}", second.log());
    run.is_pending();
    // The first one still writes, and still brings what it has written.
    run.write(5);
    run.acknowledged(RECORDS + 5);
    let began = Instant::now();
    run.app.signal(Signal::KILL);
    run.arrives(RECORDS + 5, began, PROMISE);
    run.is_settled(&run.kmend);
}

/// The folder comes before another cluster with the same names of topic and group, whose commit has come as far as the
/// one that kmend found on its own: only the cluster's id speaks against it.
///
/// Fails where promises are not bound to their cluster.
fn other_cluster(from: &Kafka, to: &Kafka, upstream: [Vec<String>; 2], client: &str) {
    let [first, then] = upstream;
    let run = Pending::start(from, writing_behind(&first, |_| {}), client);
    run.kmend.kill();
    run.app.signal(Signal::KILL);
    run.is_pending();
    let admin = to.admin();
    let base = run.at_broker();
    admin.create(&run.topic, 1, &[]);
    admin.produce(&run.topic, 0, base as usize + 1);
    admin.commit(&run.group, &run.topic, 0, base);
    let kmend = writing_behind(&then, |c| {
        c["menders"]["commit_buffer"]["journal"]["dir"] = run.kmend.state().display().to_string().into();
    });
    kmend.allow("");
    let at = || admin.committed(&run.group, &run.topic, 0);
    if !to.spec().sasl {
        // Nobody is there yet: it would be sent at once.
        let settled = || commits(&kmend, "superseded") == 1.0;
        assert!(eventually(PROMISE, settled), "{:?}", kmend.log());
        assert_eq!(at(), Some(base));
    }
    let app = app(to, &kmend, client, &run.topic, &run.group);
    app.wait("the record there", PATIENCE, |c| c.committed(&run.topic, 0) == Some(base + 1));
    assert_eq!(app.handled(&run.topic, 0), [base], "{}", app.story());
    assert_eq!(app.errors(), Vec::<String>::new(), "{}", app.story());
    assert!(eventually(PATIENCE, || commits(&kmend, "superseded") == 1.0), "{:?}", kmend.log());
    app.close();
    assert!(eventually(PROMISE, || at() == Some(base + 1)), "{:?}", at());
    run.is_settled(&kmend);
    let why = "it was made for another cluster";
    assert!(kmend.log().iter().any(|line| line.contains(why)), "{:?}", kmend.log());
    // The first one's was not touched by any of this.
    assert_eq!(run.at_broker(), base);
}

fn to_another_cluster() {
    let upstream = [with_login().bootstrap(), behind().upstream.clone()];
    other_cluster(with_login(), &behind().kafka, upstream, "aiokafka");
}

fn to_another_cluster_with_a_login() {
    let upstream = [behind().upstream.clone(), with_login().bootstrap()];
    other_cluster(&behind().kafka, with_login(), upstream, "franz-go");
}

/// The topic is deleted and made again, with fewer records than the promise is of; a commit of the new one looks like
/// what kmend had found of the old one.
fn make_anew(run: &Pending, base: i64) {
    run.admin.delete(&run.topic);
    run.admin.create(&run.topic, 1, &[]);
    run.write(base as usize + 1);
}

/// While kmend is down.
///
/// Fails where promises are not bound to their topic's id. A client whose Metadata has none (aiokafka): where the
/// commit that went with the old topic is not missed.
fn new_topic_meanwhile(client: &str, has_ids: bool) {
    let run = shared(client);
    run.kmend.kill();
    run.app.signal(Signal::KILL);
    let base = run.at_broker();
    run.admin.remove_member(&run.group, &run.topic);
    run.is_pending();
    make_anew(&run, base);
    if has_ids {
        run.admin.commit(&run.group, &run.topic, 0, base);
    }
    let before = run.at_broker();
    run.kmend.launch();
    run.kmend.wait_ready();
    run.is_settled(&run.kmend);
    assert_eq!(run.at_broker(), before, "{:?}", run.kmend.log());
    assert_eq!(commits(&run.kmend, "superseded"), 1.0);
}

/// While kmend runs, and before its client is killed.
///
/// Fails where promises are not bound to their topic's id; without one, where kmend does not look at what is committed.
fn new_topic_while_it_runs(client: &str) {
    let run = shared(client);
    let base = run.at_broker();
    // Whatever it does with its topic gone is its own business.
    run.app.freeze();
    make_anew(&run, base);
    run.is_pending();
    run.app.signal(Signal::KILL);
    run.is_settled(&run.kmend);
    let (at, end) = (run.at_broker(), run.admin.log_end(&run.topic, 0));
    assert!(at <= end, "committed {at} of {end}\n{:?}", run.kmend.log());
    assert_eq!(commits(&run.kmend, "superseded"), 1.0);
}

/// The journal takes nothing any more: each commit goes to the broker before the app is told, and nothing else stops.
#[track_caller]
fn goes_on_without_a_journal(run: &Pending, already: i64, reason: &str) {
    let errors = || run.kmend.metrics().sum("kmend_journal_errors_total", &[("reason", reason)]);
    assert_eq!(errors(), 0.0);
    let began = Instant::now();
    let mut end = already;
    // One by one: what was pending is covered by the first that goes through.
    while errors() < 3.0 || end < already + 20 {
        assert!(began.elapsed() < PATIENCE, "{} errors with reason {reason}: {:?}", errors(), run.kmend.log());
        run.write(1);
        end += 1;
        run.acknowledged(end);
        if errors() > 0.0 {
            assert_eq!(run.at_broker(), end, "acknowledged, not in the journal, and not at the broker");
        }
    }
    assert_eq!(run.app.handled(&run.topic, 0), (0..end).collect::<Vec<_>>());
    println!("{}: {} errors with reason {reason}, {end} commits", run.topic, errors());
}

/// Fails where a commit is acknowledged that the journal refused, and where a broken journal ends a connection.
fn folder_removed() {
    let run = shared("franz-go");
    run.kmend.allow("");
    std::fs::remove_dir_all(run.kmend.state()).expect("the folder is removed");
    goes_on_without_a_journal(&run, RECORDS, "gone");
    // It is made again by whoever removed it: the journal works once more, with all that is promised.
    std::fs::create_dir_all(run.kmend.state()).expect("the folder is made");
    let before = run.app.committed(&run.topic, 0).unwrap_or(0);
    let mut end = before;
    let works = eventually(Duration::from_secs(15), || {
        run.write(1);
        end += 1;
        run.acknowledged(end);
        promised(&run.kmend.state()).contains(&(run.group.clone(), end))
    });
    assert!(works, "the journal has not come back: {:?}", run.kmend.log());
    assert!(run.at_broker() < end);
    run.kmend.kill();
    run.app.signal(Signal::KILL);
    run.kmend.launch();
    run.kmend.wait_ready();
    run.arrives(end, Instant::now(), PROMISE);
}

/// A file that may not grow any more, as on a disk that is full.
///
/// Fails as the one above does.
fn disk_full() {
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 512; exec \"$@\"", "sh"].map(String::from);
    let kmend = Kmend::start_in(&limited, "127.0.0.1", &behind().upstream, |config| configure(config, |_| {}));
    let run = Pending::start(&behind().kafka, kmend, "aiokafka");
    run.kmend.allow("");
    let errors = || run.kmend.metrics().sum("kmend_journal_errors_total", &[]);
    let mut end = RECORDS;
    // To the last bytes of it.
    while errors() == 0.0 {
        assert!(end < 3_000, "the file has no limit: {} bytes", run.kmend.metrics().sum("kmend_journal_bytes", &[]));
        run.write(50);
        end += 50;
        run.acknowledged(end);
    }
    // What is acknowledged is at the broker or in the journal.
    for _ in 0..20 {
        run.write(1);
        end += 1;
        run.acknowledged(end);
        let kept = promised(&run.kmend.state()).contains(&(run.group.clone(), end));
        assert!(kept || run.at_broker() == end, "{end} is neither at the broker nor in the journal");
    }
    println!("{}: {} errors, {end} commits", run.topic, errors());
    run.kmend.kill();
    run.app.signal(Signal::KILL);
    run.kmend.launch();
    run.kmend.wait_ready();
    run.arrives(end, Instant::now(), PROMISE);
}

const STORIES: &[(&str, fn())] = &[
    ("second", second_kmend),
    ("cluster", to_another_cluster),
    ("cluster, login", to_another_cluster_with_a_login),
    ("topic", || new_topic_meanwhile("franz-go", true)),
    ("topic without an id", || new_topic_meanwhile("aiokafka", false)),
    ("topic, running", || new_topic_while_it_runs("franz-go")),
    ("topic without an id, running", || new_topic_while_it_runs("aiokafka")),
    ("removed", folder_removed),
    ("full", disk_full),
];

static TOLD: Together = Together::new();

#[test]
fn second_kmend_on_a_folder() {
    TOLD.tell("second", STORIES);
}

#[test]
fn folder_of_another_cluster() {
    TOLD.tell("cluster", STORIES);
}

#[test]
fn folder_of_another_cluster_that_wants_a_login() {
    TOLD.tell("cluster, login", STORIES);
}

#[test]
fn topic_made_anew_while_kmend_is_down() {
    TOLD.tell("topic", STORIES);
}

#[test]
fn topic_made_anew_for_a_client_without_ids() {
    TOLD.tell("topic without an id", STORIES);
}

#[test]
fn topic_made_anew_while_kmend_runs() {
    TOLD.tell("topic, running", STORIES);
}

#[test]
fn topic_made_anew_while_kmend_runs_for_a_client_without_ids() {
    TOLD.tell("topic without an id, running", STORIES);
}

#[test]
fn folder_that_is_removed() {
    TOLD.tell("removed", STORIES);
}

#[test]
fn disk_that_is_full() {
    TOLD.tell("full", STORIES);
}
