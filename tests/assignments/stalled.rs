//! FastStream 0.5.3 with `auto_commit=False` after one refused commit: it lives, heartbeats, keeps its partitions, and does
//! nothing. With commit_buffer off nothing mends that; it is reported. Who is paused, idle or slow is not.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Kmend, Together, eventually};
use crate::relay::HEARTBEAT;
use crate::team::Team;
use crate::{PATIENCE, SLACK, behind, kmend_with, outcomes, repairs};

const CASE: &str = "faststream-0.5.3";
const SUCCESSOR: &str = "faststream-0.5.4";
const STALLED_AFTER: Duration = Duration::from_secs(5);
const REPORT: &str = "a consumer is stalled: it lives and does nothing";
const PARTITIONS: i32 = 2;
const SYNC_GROUP: i16 = 14;

fn watching() -> Kmend {
    kmend_with("off", json!({ "mode": "repair", "stalled_after": "5s" }))
}

/// The app in a group of its own, with one commit that the broker has refused because the group had gone on in the
/// member's name; and when the group was at rest again. Where the app has come through it without another heartbeat
/// (its heartbeats, too, die at times), the broker takes it for dead: another one then, in another group.
fn troubled(client: &str, servers: &str) -> (Team, Instant) {
    let mut stories = String::new();
    for _ in 0..3 {
        let mut team = Team::new("stalled", PARTITIONS);
        team.join("one", client, servers, |o| o.with("COMMIT", "each"));
        if refused_once(&team) {
            return (team, Instant::now());
        }
        stories += &team.story();
    }
    panic!("no commit of it was refused, or it never joined again\n{stories}");
}

/// Whether the team's one member has joined again, and lives, after a commit of it was refused.
fn refused_once(team: &Team) -> bool {
    let (app, id) = (&team.members[0].app, &team.members[0].id);
    app.wait("its first records", PATIENCE, |c| c.progress() > 4);
    // Refused before its first heartbeat has been answered (after 3 s), it never sends another.
    let relay = &behind().relay;
    relay.wait_asked(id, HEARTBEAT, 2, PATIENCE);
    // Its heartbeat may be quicker than its handler.
    for _ in 0..5 {
        team.admin.wait_stable(&team.group, 1);
        app.hold_handler(PATIENCE, || {});
        let (joins, syncs) = (team.members[0].joins(), relay.seen(id, SYNC_GROUP).len());
        team.admin.rejoin_as(&team.group, id);
        app.resume_handler();
        if eventually(Duration::from_secs(4), || !relay.refused(id).is_empty()) {
            // It joins under another id, and consumes again or does not. Its old id is a member until that one's
            // session ends, 30 s later: only then is the group at rest.
            let joined = eventually(Duration::from_secs(10), || team.members[0].joins() > joins)
                && eventually(PATIENCE, || relay.seen(id, SYNC_GROUP).len() > syncs);
            let beats = relay.seen(id, HEARTBEAT).len();
            return joined && eventually(Duration::from_secs(10), || relay.seen(id, HEARTBEAT).len() > beats);
        }
    }
    false
}

/// Whether the app handles anything within so many records of each partition.
fn goes_on(team: &Team, records: i64) -> bool {
    let before = team.members[0].app.progress();
    team.grow(records);
    team.members[0].app.progress() > before
}

fn stalled(kmend: &Kmend, group: &str) -> f64 {
    kmend.metrics().sum("kmend_consumer_stalled", &[("group", group)])
}

/// What says that nothing is wrong.
fn check_fine(kmend: &Kmend) {
    assert_eq!(kmend.metrics().sum("kmend_consumer_stalled", &[]), 0.0);
    assert_eq!(outcomes(kmend), [], "{:?}", kmend.said(REPORT));
    assert_eq!(kmend.said(REPORT), Vec::<serde_json::Value>::new());
    let (status, body) = kmend.get("/healthz/clients");
    assert_eq!(status, 200, "{body}");
}

fn directly() {
    let (team, _) = troubled(CASE, &behind().upstream[0]);
    team.grow(10);
    assert!(!goes_on(&team, 40), "it went on by itself\n{}", team.story());
    let app = &team.members[0].app;
    assert!(app.alive() && app.errors().is_empty(), "{}", team.story());
    assert!(!team.admin.membership(&team.group).members.is_empty(), "it is no member any more");
}

fn reported() {
    let kmend = watching();
    kmend.allow(REPORT);
    check_fine(&kmend);
    let (mut team, at) = troubled(CASE, &kmend.listen);
    let group = team.group.clone();
    let there = || {
        let (status, body) = kmend.get("/healthz/clients");
        status == 503 && body.contains(&group) && stalled(&kmend, &group) == 1.0
    };
    let limit = (STALLED_AFTER + SLACK).saturating_sub(at.elapsed());
    let in_time = eventually(limit, there);
    println!("reported {:.1} s after the group was at rest", at.elapsed().as_secs_f64());
    let seen = kmend.get("/api/status");
    assert!(in_time, "{:?}, {seen:?}\n{}", outcomes(&kmend), team.story());
    assert_eq!(repairs(&kmend, "stalled"), 1.0);
    let said = kmend.said(REPORT);
    let names = said.iter().any(|l| l["group"] == group.as_str() && l["client_id"] == team.members[0].id.as_str());
    assert!(names, "{said:?}");
    assert_eq!(repairs(&kmend, "told"), 0.0, "a stalled member is only reported");
    // It is what it looks like: the app does nothing more.
    assert!(!goes_on(&team, 20), "{}", team.story());
    // What a liveness probe does then: another one in its place. Its session ends only after 10 s.
    team.members[0].app.signal(rustix::process::Signal::KILL);
    team.members[0].left = true;
    team.join("two", CASE, &kmend.listen, |o| o.with("COMMIT", "each"));
    team.members[1].app.wait("it goes on", PATIENCE, |c| c.progress() > 20);
    let fine = || kmend.get("/healthz/clients").0 == 200 && stalled(&kmend, &group) == 0.0;
    assert!(eventually(PATIENCE, fine), "{:?}", kmend.get("/healthz/clients"));
}

/// The next release gets over the same by itself.
fn successor() {
    let kmend = watching();
    let (team, _) = troubled(SUCCESSOR, &kmend.listen);
    let ends = team.ends();
    let caught = || team.missing(&ends).is_empty();
    assert!(eventually(PATIENCE, caught), "{:?}\n{}", team.missing(&ends), team.story());
    check_fine(&kmend);
    assert!(goes_on(&team, (3 * STALLED_AFTER.as_millis() / 200) as i64), "{}", team.story());
    check_fine(&kmend);
}

/// One that is paused, one that has read all, one whose handler takes longer than `stalled_after`, each in a group of
/// its own.
fn quiet() {
    let kmend = watching();
    let team = |tag: &str, client: &str, handler: &str, commit: &str| {
        let mut team = Team::new("quiet", PARTITIONS);
        team.join(tag, client, &kmend.listen, |o| o.with("HANDLER_MS", handler).with("COMMIT", commit));
        team
    };
    let paused = team("paused", "java", "0", "auto");
    let idle = team("idle", "franz-go", "0", "auto");
    let slow = team("slow", "librdkafka", "8000", "each");
    for some in [&paused, &idle] {
        some.members[0].app.wait("its first records", PATIENCE, |c| c.progress() > 4);
    }
    slow.members[0].app.wait("its first record", PATIENCE, |c| c.progress() > 0);
    paused.members[0].app.tell("pause");
    idle.feed.only(0);
    idle.catch_up();
    let handled = slow.members[0].app.progress();
    paused.grow((4 * STALLED_AFTER.as_millis() / 200) as i64);
    slow.members[0].app.wait("the next record", PATIENCE, |c| c.progress() > handled);
    check_fine(&kmend);
    paused.members[0].app.tell("resume");
    paused.catch_up();
    check_fine(&kmend);
}

const STORIES: &[(&str, fn())] =
    &[("directly", directly), ("reported", reported), ("successor", successor), ("quiet", quiet)];

static TOLD: Together = Together::new();

#[test]
fn directly_it_does_nothing_for_ever() {
    TOLD.tell("directly", STORIES);
}

#[test]
fn it_is_reported_in_time_and_named() {
    TOLD.tell("reported", STORIES);
}

#[test]
fn its_successor_is_not_reported() {
    TOLD.tell("successor", STORIES);
}

#[test]
fn paused_idle_and_slow_ones_are_not_reported() {
    TOLD.tell("quiet", STORIES);
}
