//! What a scrape shows, and what it shows no more.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use prometheus::TextEncoder;

use super::super::AssignmentWatchdog;
use super::*;
use crate::config::Config;
use crate::config::model::Mode;
use crate::mend::{Assignment, ClientKey, Finding, Joined, Mender, Read, Reason, Stalled, Terms, Unfetched, Who};

struct Rig {
    mender: AssignmentWatchdog,
    mend: Arc<mend::Shared>,
    registry: Registry,
    client: ClientKey,
    now: Instant,
}

fn config(mode: Mode) -> Config {
    let mut config = Config::default();
    config.menders.assignment_watchdog.mode = mode;
    config
}

impl Rig {
    fn new() -> Rig {
        let (mend, registry) = (Arc::default(), Registry::new());
        let repairs = Family::counter(&registry, "repairs_total", "Repairs.", &["mender", "outcome"]);
        let mender = AssignmentWatchdog::new(&config(Mode::Observe), &registry, &repairs, &mend);
        let client = ClientKey { client_id: Arc::from("app"), peer: IpAddr::V4(Ipv4Addr::LOCALHOST) };
        Rig { mender, mend, registry, client, now: Instant::now() }
    }

    fn assigned(&self, group: &str, partitions: impl IntoIterator<Item = i32>) {
        let who = Who { client: &self.client, group, member: "m", now: self.now };
        let joined = Joined {
            generation: 1,
            is_leader: false,
            protocol_type: Arc::from("consumer"),
            protocol: Arc::from("range"),
        };
        self.mend.groups.joined(&who, joined.clone(), Terms::default());
        let by_name = HashMap::from([(Arc::from("t"), partitions.into_iter().collect())]);
        self.mend.groups.synced(&who, joined, None, Some(Assignment { by_name, by_id: HashMap::new() }));
    }

    /// Three records behind.
    fn lags(&self, group: &str, partition: i32) {
        let place = (Arc::from("t"), partition);
        let read = Read { position: 10, high_watermark: 10, last_stable: 10, asked: self.now, conn: 1 };
        self.mend.progress.reads(&self.client, self.now, [(place.clone(), read)]);
        self.mend.progress.committed(group, &self.client, &place, 7, self.now);
    }

    fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }

    fn samples(&self) -> Vec<String> {
        self.text().lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect()
    }
}

#[test]
fn all_that_is_found_is_counted_by_group() {
    let rig = Rig::new();
    assert_eq!(rig.samples(), ["kmend_consumer_lag_series_dropped 0"]);
    rig.assigned("g", 0..5);
    rig.assigned("idle", [9]);
    rig.lags("g", 0);
    let place = |p| (Arc::from("t"), p);
    let finding = Finding {
        client: rig.client.clone(),
        unfetched: vec![Unfetched { place: place(1), since: rig.now, lag: None }],
        paused: vec![place(2), place(3)],
        stalled: Some(Stalled { reason: Reason::Quiet, since: rig.now, lag: 3 }),
    };
    rig.mend.findings.set(&Arc::from("g"), &Arc::from("m"), finding);
    let expected = [
        r#"kmend_consumer_lag{group="g",partition="0",topic="t"} 3"#,
        "kmend_consumer_lag_series_dropped 0",
        r#"kmend_consumer_stalled{group="g"} 1"#,
        r#"kmend_consumer_stalled{group="idle"} 0"#,
        r#"kmend_partitions_assigned{group="g"} 5"#,
        r#"kmend_partitions_assigned{group="idle"} 1"#,
        r#"kmend_partitions_paused{group="g"} 2"#,
        r#"kmend_partitions_paused{group="idle"} 0"#,
        r#"kmend_partitions_unfetched{group="g"} 1"#,
        r#"kmend_partitions_unfetched{group="idle"} 0"#,
    ];
    assert_eq!(rig.samples(), expected);
}

#[test]
fn what_is_revoked_or_gone_has_no_series_at_the_next_scrape() {
    let rig = Rig::new();
    rig.assigned("g", [0, 1]);
    for p in [0, 1] {
        rig.lags("g", p);
    }
    let lag = |p: i32| format!("kmend_consumer_lag{{group=\"g\",partition=\"{p}\",topic=\"t\"}} 3");
    assert!(rig.samples().contains(&lag(0)) && rig.samples().contains(&lag(1)));
    rig.assigned("g", [1]);
    assert!(!rig.text().contains("partition=\"0\"") && rig.samples().contains(&lag(1)));
    rig.mend.groups.forget_client(&rig.client);
    rig.mend.progress.forget_client(&rig.client);
    assert_eq!(rig.samples(), ["kmend_consumer_lag_series_dropped 0"]);
}

#[test]
fn a_mender_that_is_off_shows_nothing() {
    let rig = Rig::new();
    rig.assigned("g", [0]);
    rig.lags("g", 0);
    rig.mender.reload(&config(Mode::Off));
    assert_eq!(rig.text(), "");
    rig.mender.reload(&config(Mode::Repair));
    assert!(rig.text().contains("kmend_consumer_lag{"));
}

#[test]
fn lag_beyond_the_cap_is_counted() {
    let rig = Rig::new();
    rig.assigned("g", 0..MAX_LAGS as i32 + 7);
    for p in 0..MAX_LAGS as i32 + 7 {
        rig.lags("g", p);
    }
    let samples = rig.samples();
    assert_eq!(samples.iter().filter(|s| s.starts_with("kmend_consumer_lag{")).count(), MAX_LAGS);
    assert!(samples.contains(&"kmend_consumer_lag_series_dropped 7".to_owned()));
}

#[test]
fn groups_beyond_the_cap_are_other() {
    let rig = Rig::new();
    for n in 0..MAX_GROUPS + 3 {
        rig.assigned(&format!("g{n:05}"), [0, 1]);
    }
    rig.lags(&format!("g{MAX_GROUPS:05}"), 0);
    let samples = rig.samples();
    assert_eq!(samples.iter().filter(|s| s.starts_with("kmend_partitions_assigned{")).count(), MAX_GROUPS + 1);
    assert!(samples.contains(&r#"kmend_partitions_assigned{group="other"} 6"#.to_owned()));
    assert!(samples.contains(&"kmend_consumer_lag_series_dropped 1".to_owned()));
}

#[test]
fn of_two_who_say_that_it_is_theirs_the_newer_end_counts() {
    let rig = Rig::new();
    rig.assigned("g", [0]);
    let place = (Arc::from("t"), 0);
    let read = Read { position: 30, high_watermark: 30, last_stable: 30, asked: rig.now, conn: 1 };
    rig.mend.progress.reads(&rig.client, rig.now, [(place, read)]);
    let other = Rig { client: ClientKey { client_id: Arc::from("other"), ..rig.client.clone() }, ..rig };
    let who = Who { client: &other.client, group: "g", member: "n", now: other.now };
    let by_name = HashMap::from([(Arc::from("t"), vec![0])]);
    let joined =
        Joined { generation: 1, is_leader: false, protocol_type: Arc::from("consumer"), protocol: Arc::from("range") };
    other.mend.groups.synced(&who, joined, None, Some(Assignment { by_name, by_id: HashMap::new() }));
    other.lags("g", 0);
    let samples = other.samples();
    let lags: Vec<_> = samples.iter().filter(|s| s.starts_with("kmend_consumer_lag{")).collect();
    assert_eq!(lags, [r#"kmend_consumer_lag{group="g",partition="0",topic="t"} 23"#]);
}

#[test]
fn a_scrape_with_many_partitions_is_quick() {
    let rig = Rig::new();
    rig.assigned("g", 0..20_000);
    for p in 0..20_000 {
        rig.lags("g", p);
    }
    let began = Instant::now();
    rig.registry.gather();
    // 0.1 s without optimizations; a walk over all for each one would take minutes.
    assert!(began.elapsed() < Duration::from_secs(10));
}
