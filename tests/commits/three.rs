//! Three members of one group, each behind a kmend of its own: one of them is removed while its handler runs, and its
//! partitions go to the others. Nobody sees an error, each record is handled, and no committed offset ever goes back.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Client, Kmend, Opts, Together, caught, eventually, unique};
use crate::{behind, commits};

const PARTITIONS: i32 = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// The committed offsets of one group, watched by a connection of its own: what went back.
fn watched<T>(topic: &str, group: &str, story: impl FnOnce() -> T) -> (T, Vec<String>) {
    let (stop, back) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let result = std::thread::scope(|threads| {
        threads.spawn(|| {
            let admin = behind().kafka.admin();
            let mut last = [0; PARTITIONS as usize];
            while !stop.load(Ordering::SeqCst) {
                for (p, last) in last.iter_mut().enumerate() {
                    let now = admin.committed(group, topic, p as i32).unwrap_or(0);
                    if now < *last {
                        back.lock().unwrap_or_else(|e| e.into_inner()).push(format!("{p}: {last} -> {now}"));
                    }
                    *last = now;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let result = caught(story);
        stop.store(true, Ordering::SeqCst);
        result
    });
    (result.unwrap_or_else(|e| panic!("{e}")), back.into_inner().unwrap_or_else(|e| e.into_inner()))
}

/// One run: how many commits kmend buffered, replayed and superseded in the place of the member that was removed.
pub fn run(client: &str, through: bool) -> Result<String, String> {
    let admin = behind().kafka.admin();
    let topic = unique(&format!("commit-three-{client}"));
    let group = format!("{topic}-group");
    admin.create(&topic, PARTITIONS, &[]);
    let write = |n| (0..PARTITIONS).map(|p| admin.produce(&topic, p, n)).max();
    let kmends: Vec<Kmend> = if through { (0..3).map(|_| crate::repairing()).collect() } else { Vec::new() };
    let id = |n: usize| format!("{topic}-{n}");
    let member = |n: usize| {
        let servers = kmends.get(n).map_or_else(|| behind().upstream[0].clone(), |k| k.listen.clone());
        let opts = Opts::consume(&servers, &topic, &group).with("CLIENT_ID", id(n)).with("COMMIT", "each");
        Client::start(client, opts)
    };
    let apps: Vec<Client> = (0..3).map(member).collect();
    admin.wait_stable(&group, 3);
    write(2);
    let story = || apps.iter().map(|a| a.story() + "\n").collect::<String>();
    let is_done = || {
        (0..PARTITIONS).all(|p| {
            let end = admin.log_end(&topic, p);
            let handled: BTreeSet<i64> = apps.iter().flat_map(|a| a.handled(&topic, p)).collect();
            (0..end).all(|o| handled.contains(&o)) && admin.committed(&group, &topic, p).unwrap_or(0) == end
        })
    };
    assert!(eventually(PATIENCE, is_done), "the group does not come to rest\n{}", story());
    let relay = &behind().relay;
    let (refused, back) = watched(&topic, &group, || {
        for _ in 0..3 {
            // Whoever holds a record is the one that is removed.
            apps[0].hold_handler(PATIENCE, || {
                write(1);
            });
            admin.remove_member(&group, &id(0));
            apps[0].resume_handler();
            let began = Instant::now();
            write(3);
            let settled = eventually(PATIENCE, || apps.iter().any(|a| !a.alive()) || is_done());
            println!("three members of {client}: {settled}, {:.1} s", began.elapsed().as_secs_f64());
            if !settled || !relay.refused(&id(0)).is_empty() || apps.iter().any(|a| !a.alive()) {
                break;
            }
            // A heartbeat was quicker: once more.
            admin.wait_stable(&group, 3);
        }
        relay.refused(&id(0))
    });
    let errors: Vec<String> = apps.iter().flat_map(|a| a.errors()).collect();
    if refused.is_empty() {
        return Err(format!("no commit was refused\n{}", story()));
    }
    if !errors.is_empty() || !is_done() || !back.is_empty() {
        return Err(format!("errors {errors:?}, done: {}, went back: {back:?}\n{}", is_done(), story()));
    }
    let left = || kmends.iter().map(|k| k.metrics().sum("kmend_commits_buffered", &[])).sum::<f64>();
    if !eventually(Duration::from_secs(15), || left() == 0.0) {
        return Err(format!("{} promises are still kept", left()));
    }
    let all = |outcome: &str| kmends.iter().map(|k| commits(k, outcome)).sum::<f64>();
    let (buffered, replayed, superseded) = (all("buffered"), all("replayed"), all("superseded"));
    let text = format!("refused {refused:?}, {buffered} buffered, {replayed} replayed, {superseded} superseded");
    if through && buffered < 1.0 { Err(text) } else { Ok(text) }
}

fn goes_on(client: &str) {
    match run(client, true) {
        Ok(text) => println!("three members of {client}, each through a kmend: {text}"),
        Err(text) => panic!("three members of {client}: {text}"),
    }
}

fn dies(client: &str) {
    let text = run(client, false).expect_err("directly one of the three fails");
    println!("three members of {client}, directly: {}", text.lines().next().unwrap_or_default());
    assert!(text.contains("DIED"), "{text}");
}

const STORIES: &[(&str, fn())] = &[
    ("directly", || dies("aiokafka")),
    ("aiokafka", || goes_on("aiokafka")),
    ("franz-go", || goes_on("franz-go")),
    ("KIP-848 directly", || crate::kip848::goes_on(false)),
    ("KIP-848 through kmend", || crate::kip848::goes_on(true)),
];

/// With what else waits for rebalances most of the time.
pub fn tell(name: &str) {
    static TOLD: Together = Together::new();
    TOLD.tell(name, STORIES);
}

#[test]
fn one_dies_directly() {
    tell("directly");
}

#[test]
fn three_of_aiokafka_go_on() {
    tell("aiokafka");
}

#[test]
fn three_of_franz_go_go_on() {
    tell("franz-go");
}
