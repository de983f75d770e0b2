//! Three members of one group, each behind a kmend of its own: no kmend sees the whole group, and yet
//! all new partitions are read. (Assignors differ, so the members of a group are of one client.)

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::growth::{self, Cell, Role, Row, Writer};
use crate::harness::{Client, Kmend, Opts, eventually, slot, unique};
use crate::kafka;

const CLIENTS: [&str; 7] = ["java", "librdkafka", "franz-go", "sarama", "aiokafka", "kafka-python", "kafkajs"];
/// At first two of the three members have nothing, perhaps also the one that leads the group.
const PARTITIONS: [i32; 3] = [1, 3, 12];

struct Group {
    client: &'static str,
    topic: String,
    members: Vec<(Client, Kmend)>,
}

impl Group {
    fn start(client: &'static str) -> Group {
        let topic = unique(&format!("three-{client}"));
        kafka().admin().create(&topic, PARTITIONS[0], &[]);
        let member = |n: i32| {
            let kmend = crate::kmend(&kafka().bootstrap(), "repair", 0);
            let opts = Opts::consume(&kmend.listen, &topic, &format!("{topic}-group"));
            (Client::start(client, opts.with("CLIENT_ID", format!("{topic}-{n}"))), kmend)
        };
        let members = (0..3).map(member).collect();
        Group { client, topic, members }
    }

    /// When somebody has first handled a record of a partition.
    fn first_in(&self, partition: i32) -> Option<Instant> {
        self.members.iter().filter_map(|(app, _)| app.first_in(&self.topic, partition)).min()
    }

    /// All have joined, and what there is gets handled.
    fn is_settled(&self) -> bool {
        let since = Instant::now().checked_sub(Duration::from_secs(3)).expect("a moment ago");
        let beats = |kmend: &Kmend| kmend.metrics().sum("kmend_requests_total", &[("api", "Heartbeat")]);
        self.members.iter().any(|(app, _)| app.progress_since(since) > 2)
            && self.members.iter().all(|(_, kmend)| beats(kmend) >= 2.0)
    }
}

fn run(clients: &[&'static str]) -> Vec<Row> {
    let _slot = slot();
    let (admin, other) = (kafka().admin(), kafka().admin());
    let groups: Vec<Group> = clients.iter().map(|client| Group::start(client)).collect();
    let topics = groups.iter().map(|g| (g.topic.clone(), PARTITIONS[0])).collect();
    let patience = Duration::from_secs(25);
    let mut rows = Vec::new();
    Writer::on(&other, topics, |writer| {
        for group in &groups {
            let story = || group.members.iter().map(|(app, _)| app.story()).collect::<String>();
            assert!(
                eventually(Duration::from_secs(60), || group.is_settled()),
                "the group is not complete\n{}",
                story()
            );
        }
        for (from, to) in PARTITIONS.into_iter().zip(PARTITIONS.into_iter().skip(1)) {
            let began: Vec<Instant> = groups
                .iter()
                .map(|g| {
                    let began = Instant::now();
                    admin.add_partitions(&g.topic, to);
                    began
                })
                .collect();
            writer.grown(to);
            eventually(patience, || groups.iter().all(|g| (from..to).all(|p| g.first_in(p).is_some())));
            for (group, began) in groups.iter().zip(began) {
                let hits: Vec<_> = (from..to).map(|p| group.first_in(p).map(|t| (t - began).as_secs_f64())).collect();
                rows.push(Row {
                    cell: Cell { client: group.client, role: Role::Consumer },
                    from,
                    to,
                    first: hits.iter().flatten().copied().reduce(f64::min),
                    all: hits.iter().copied().collect::<Option<Vec<_>>>().and_then(|h| h.into_iter().reduce(f64::max)),
                    errors: group.members.iter().flat_map(|(app, _)| app.errors()).collect(),
                    missed: 0,
                    knew: group.members.iter().any(|(_, kmend)| growth::knew(kmend, to)),
                    kmend: group.members.iter().flat_map(|(_, kmend)| kmend.unexpected()).collect(),
                    story: group.members.iter().map(|(app, _)| app.story() + "\n").collect(),
                });
            }
            std::thread::sleep(Duration::from_secs(2));
        }
    });
    for (_, kmend) in groups.iter().flat_map(|g| &g.members) {
        kmend.allow("");
    }
    rows
}

fn finds(client: &str) {
    static ROWS: OnceLock<Result<Vec<Row>, String>> = OnceLock::new();
    let rows = crate::once(&ROWS, || growth::forgiving(run(&CLIENTS), |cell| run(&[cell.client])));
    for row in rows.iter().filter(|r| r.cell.client == client) {
        println!("three members: {}", row.text());
        row.check(5);
    }
}

#[test]
fn three_members_of_java() {
    finds("java");
}

#[test]
fn three_members_of_librdkafka() {
    finds("librdkafka");
}

#[test]
fn three_members_of_franz_go() {
    finds("franz-go");
}

#[test]
fn three_members_of_sarama() {
    finds("sarama");
}

#[test]
fn three_members_of_aiokafka() {
    finds("aiokafka");
}

#[test]
fn three_members_of_kafka_python() {
    finds("kafka-python");
}

#[test]
fn three_members_of_kafkajs() {
    finds("kafkajs");
}
