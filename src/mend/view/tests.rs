//! What is shown of groups.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::mend::{Beat, Joined, Stalled, Terms, Unfetched, Who};

fn client(id: &str) -> ClientKey {
    ClientKey { client_id: Arc::from(id), peer: IpAddr::V4(Ipv4Addr::LOCALHOST) }
}

fn place(topic: &str, partition: i32) -> Place {
    (Arc::from(topic), partition)
}

/// Member; partitions with their lag.
type Row = (String, Vec<(i32, Option<i64>)>);

struct Rig {
    shared: Shared,
    now: Instant,
}

impl Rig {
    fn new() -> Rig {
        Rig { shared: Shared::default(), now: Instant::now() + Duration::from_secs(1000) }
    }

    fn assigned(&self, id: &str, member: &str, partitions: &[i32]) {
        let client = client(id);
        let who = Who { client: &client, group: "g", member, now: self.now };
        let joined = Joined {
            generation: 7,
            is_leader: false,
            protocol_type: Arc::from("consumer"),
            protocol: Arc::from("cooperative-sticky"),
        };
        self.shared.groups.joined(&who, joined.clone(), Terms::default());
        let by_name = HashMap::from([(Arc::from("t"), partitions.to_vec())]);
        let assignment = Assignment { by_name, by_id: HashMap::new() };
        self.shared.groups.synced(&who, joined, None, Some(assignment));
    }

    fn heard(&self, group: &str, id: &str, member: &str) {
        let client = client(id);
        let who = Who { client: &client, group, member, now: self.now };
        self.shared.groups.heard(&who, 3, None);
    }

    fn reads(&self, id: &str, partition: i32, end: i64, ago: u64) {
        let asked = self.now - Duration::from_secs(ago);
        let read = Read { position: end - 1, high_watermark: end, last_stable: end, asked, conn: 1 };
        self.shared.progress.reads(&client(id), asked, [(place("t", partition), read)]);
    }

    fn commits(&self, group: &str, id: &str, partition: i32, offset: i64) {
        self.shared.progress.committed(group, &client(id), &place("t", partition), offset, self.now);
    }

    fn status(&self) -> Status {
        status(&self.shared, self.now)
    }

    fn rows(&self) -> Vec<Row> {
        let members = self.status().groups.into_iter().flat_map(|g| {
            let name = g.group.clone();
            g.members.into_iter().map(move |m| (name.clone(), m))
        });
        let row = |(group, m): (Arc<str>, MemberStatus)| {
            let partitions = m.partitions.iter().map(|p| (p.partition, p.lag)).collect();
            (format!("{group}/{}/{}", m.member.as_deref().unwrap_or("-"), m.client_id), partitions)
        };
        members.map(row).collect()
    }
}

#[test]
fn a_member_with_what_it_reads_and_what_it_does_not() {
    let rig = Rig::new();
    rig.assigned("app", "m", &[3, 2, 1, 0]);
    rig.reads("app", 0, 100, 1);
    rig.reads("app", 1, 50, 30);
    rig.commits("g", "app", 0, 90);
    rig.commits("g", "app", 1, -1);
    // What another connection has shown since.
    rig.commits("g", "app", 2, 5);
    let since = rig.now - Duration::from_secs(61);
    let finding = Finding {
        client: client("app"),
        // A partition that it holds no more is not shown, whatever was found of it.
        unfetched: [2, 9].map(|p| Unfetched { place: place("t", p), since, lag: None }).to_vec(),
        paused: vec![place("t", 3)],
        stalled: Some(Stalled { reason: Reason::CommitRefused(25), since, lag: 10 }),
    };
    rig.shared.findings.set(&Arc::from("g"), &Arc::from("m"), finding);
    let json = serde_json::to_value(rig.status()).unwrap();
    let expected = serde_json::json!({
        "groups": [{
            "group": "g", "protocol": "cooperative-sticky", "kind": "classic",
            "members": [{
                "member": "m", "client_id": "app", "address": "127.0.0.1", "instance": null,
                "generation": 7, "phase": "stable", "assigned": 4, "unfetched": 1, "paused": 1,
                "partitions": [
                    { "topic": "t", "partition": 0, "position": 99, "committed": 90, "end": 100, "lag": 10,
                      "state": "fetched" },
                    { "topic": "t", "partition": 1, "position": 49, "committed": null, "end": 50, "lag": null,
                      "state": "waiting" },
                    { "topic": "t", "partition": 2, "position": null, "committed": 5, "end": null, "lag": null,
                      "state": "unfetched" },
                    { "topic": "t", "partition": 3, "position": null, "committed": null, "end": null, "lag": null,
                      "state": "paused" },
                ],
                "stalled": { "reason": "its last commit was refused: error 25 (UNKNOWN_MEMBER_ID)",
                             "for_seconds": 61, "lag": 10 },
            }],
        }],
        "partitions_omitted": 0,
    });
    assert_eq!(json, expected, "{json:#}");
}

#[test]
fn a_stale_end_is_no_negative_lag() {
    let rig = Rig::new();
    rig.assigned("app", "m", &[0]);
    rig.reads("app", 0, 100, 1);
    rig.commits("g", "app", 0, 120);
    assert_eq!(rig.rows(), [("g/m/app".to_owned(), vec![(0, Some(0))])]);
}

#[test]
fn what_is_revoked_is_gone() {
    let rig = Rig::new();
    rig.assigned("app", "m", &[0, 1]);
    for p in [0, 1] {
        rig.reads("app", p, 10, 1);
        rig.commits("g", "app", p, 7);
    }
    assert_eq!(rig.rows()[0].1, [(0, Some(3)), (1, Some(3))]);
    rig.assigned("app", "m", &[1]);
    assert_eq!(rig.rows()[0].1, [(1, Some(3))]);
}

#[test]
fn ids_have_their_names_where_they_are_known() {
    let rig = Rig::new();
    let client = client("app");
    let who = Who { client: &client, group: "g", member: "m", now: rig.now };
    let by_id = HashMap::from([([1; 16], vec![0]), ([2; 16], vec![4])]);
    let assignment = Some(Assignment { by_name: HashMap::new(), by_id });
    rig.shared.groups.beat(&who, Beat { epoch: 5, joins: true, assignment, ..Beat::default() });
    rig.shared.catalog.learn_name("t", [1; 16]);
    let status = rig.status();
    assert_eq!(status.groups[0].kind, "consumer");
    let topics: Vec<_> = status.groups[0].members[0].partitions.iter().map(|p| &*p.topic).collect();
    assert_eq!(topics, ["02020202-0202-0202-0202-020202020202", "t"]);
}

#[test]
fn who_joined_before_kmend_saw_it_has_what_it_reads() {
    let rig = Rig::new();
    rig.heard("g", "app", "m");
    for (p, ago) in [(0, 1), (1, 1), (2, 200)] {
        rig.reads("app", p, 10, ago);
    }
    // Partition 1 is not the group's, 2 is not read any more, 3 never was.
    for p in [0, 2, 3] {
        rig.commits("g", "app", p, 4);
    }
    assert_eq!(rig.rows(), [("g/m/app".to_owned(), vec![(0, Some(6))])]);
    assert_eq!(rig.status().groups[0].members[0].assigned, None);
    // Another member's is not its own.
    rig.assigned("other", "n", &[0]);
    assert_eq!(rig.rows()[0].1, []);
}

#[test]
fn a_slow_reader_keeps_what_it_reads() {
    let rig = Rig::new();
    rig.heard("g", "app", "m");
    rig.reads("app", 0, 10, 300);
    rig.commits("g", "app", 0, 4);
    assert_eq!(rig.rows()[0].1, [(0, Some(6))]);
    assert_eq!(rig.status().groups[0].members[0].partitions[0].state, State::Waiting);
}

#[test]
fn several_of_one_client_share_what_nobody_can_tell_apart() {
    let rig = Rig::new();
    rig.heard("g", "app", "m");
    rig.heard("g", "app", "n");
    rig.reads("app", 0, 10, 1);
    rig.commits("g", "app", 0, 4);
    let expected = [("g/-/app", vec![(0, Some(6))]), ("g/m/app", vec![]), ("g/n/app", vec![])];
    assert_eq!(rig.rows(), expected.map(|(row, partitions)| (row.to_owned(), partitions)));
    // In two groups: whose is it?
    rig.heard("h", "app", "o");
    assert!(rig.rows().iter().all(|(_, partitions)| partitions.is_empty()));
}

#[test]
fn who_only_commits_has_a_row_while_it_reads() {
    let rig = Rig::new();
    rig.reads("app", 0, 10, 1);
    rig.reads("app", 1, 10, 1);
    rig.commits("tool", "app", 0, 4);
    rig.commits("tool", "gone", 1, 4);
    assert_eq!(rig.rows(), [("tool/-/app".to_owned(), vec![(0, Some(6))])]);
    assert_eq!(rig.status().groups[0].kind, "none");
    // It has moved to another group: what it reads it reads for that one.
    rig.assigned("app", "m", &[0]);
    assert_eq!(rig.rows(), [("g/m/app".to_owned(), vec![(0, None)])]);
}

#[test]
fn rows_are_bounded_and_counts_are_not() {
    let rig = Rig::new();
    let many: Vec<i32> = (0..MAX_ROWS as i32 + 5).collect();
    rig.assigned("app", "m", &many);
    let status = rig.status();
    let member = &status.groups[0].members[0];
    assert_eq!((member.assigned, member.partitions.len()), (Some(MAX_ROWS + 5), MAX_ROWS));
    assert_eq!(status.partitions_omitted, 5);
}
