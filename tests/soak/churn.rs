//! The steady load, and what comes and goes each minute.

use std::time::Duration;

use crate::harness::admin::conn::Conn;
use crate::harness::{Admin, Client, Kafka, Kmend, Opts, eventually};
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest};
use kafka_protocol::protocol::StrBytes;
use std::sync::Mutex;

const TOPIC: &str = "steady";
const PARTITIONS: i32 = 12;
/// Its consumers are stopped each minute while its records are evicted.
const EVICTED: &str = "evicted";
/// Clients that come for a moment each minute.
const GUESTS: usize = 100;

struct Member {
    client: &'static str,
    opts: Opts,
    runs: Client,
}

impl Member {
    fn start(client: &'static str, opts: Opts) -> Member {
        let runs = Client::start(client, opts.clone());
        Member { client, opts, runs }
    }

    fn again(&mut self) {
        self.runs = Client::start(self.client, self.opts.clone());
    }
}

/// Producers and consumers of several clients, in four groups.
pub struct Load {
    admin: Admin,
    listen: String,
    producers: Vec<Client>,
    members: Mutex<Vec<Member>>,
    slow: Client,
    handled: Mutex<usize>,
}

impl Load {
    pub fn start(kafka: &Kafka, kmend: &Kmend) -> Load {
        let admin = kafka.admin();
        for topic in [TOPIC, EVICTED] {
            admin.create(topic, PARTITIONS, &[("retention.bytes", "4000000"), ("segment.bytes", "1000000")]);
        }
        let at = kmend.listen.clone();
        let produce = |client, topic, clients: u32, rate: u32| {
            let opts =
                Opts::produce(&at, topic).with("IDEMPOTENCE", "true").with("CLIENTS", clients).with("RATE", rate);
            Client::start(client, opts.with("CLIENT_ID", format!("{client}-{topic}")))
        };
        let producers = vec![
            produce("franz-go", TOPIC, 20, 10),
            produce("librdkafka", TOPIC, 1, 50),
            produce("java", TOPIC, 1, 50),
            produce("franz-go", EVICTED, 1, 50),
        ];
        let mut members = Vec::new();
        for (group, client, commit) in [
            ("a", "java", "auto"),
            ("b", "java-consumer", "auto"),
            ("c", "librdkafka", "manual"),
            ("d", "franz-go", "auto"),
        ] {
            for n in 0..2 {
                let opts =
                    Opts::consume(&at, TOPIC, group).with("COMMIT", commit).with("CLIENT_ID", format!("{group}-{n}"));
                members.push(Member::start(client, opts));
            }
        }
        let slow = Client::start("librdkafka", Opts::consume(&at, EVICTED, "e").with("RESET", "latest"));
        for (client, wants) in producers.iter().zip([20, 20, 20, 20]).chain(members.iter().map(|m| (&m.runs, 5))) {
            client.wait("its first records", Duration::from_secs(120), |c| c.progress() >= wants);
        }
        Load { admin, listen: at, producers, members: Mutex::new(members), slow, handled: Mutex::new(0) }
    }

    /// One minute's coming and going.
    pub fn churn(&self, minute: usize) {
        let mut members = self.members.lock().expect("not poisoned");
        let count = members.len();
        let member = &mut members[minute % count];
        *self.handled.lock().expect("not poisoned") += member.runs.progress();
        // In turn: in order, or at once.
        if minute.is_multiple_of(2) {
            member.runs.close();
        }
        member.again();
        drop(members);
        self.guests();
        self.slow.tell("pause");
        std::thread::sleep(Duration::from_secs(3));
        for p in 0..PARTITIONS {
            let end = self.admin.log_end(EVICTED, p);
            self.admin.delete_records(EVICTED, p, (end - 1).max(0));
        }
        self.slow.tell("resume");
        let passing = format!("passing-{minute}");
        self.admin.create(&passing, 3, &[]);
        for p in 0..3 {
            self.admin.produce(&passing, p, 10);
        }
        let reader = Client::start("franz-go", Opts::consume(&self.listen, &passing, &passing));
        reader.wait("what is there", Duration::from_secs(40), |c| c.progress() >= 30);
        if minute.is_multiple_of(2) {
            reader.close();
        }
        drop(reader);
        self.admin.delete(&passing);
    }

    /// Connections that ask something, each under a name of its own, and go.
    fn guests(&self) {
        let mut open: Vec<Conn> = (0..GUESTS).filter_map(|_| Conn::open(&self.listen)).collect();
        assert_eq!(open.len(), GUESTS);
        for (n, conn) in open.iter_mut().enumerate() {
            let name = StrBytes::from_string(format!("guest-{n}"));
            let hello = ApiVersionsRequest::default()
                .with_client_software_name(name.clone())
                .with_client_software_version(name);
            conn.call(3, &hello).expect("ApiVersions");
            conn.call(12, &MetadataRequest::default()).expect("Metadata");
        }
    }

    /// Everybody goes; how many records were handled.
    pub fn stop(self) -> usize {
        let mut handled = self.handled.into_inner().expect("not poisoned");
        let members = self.members.into_inner().expect("not poisoned");
        for client in self.producers.iter().chain(members.iter().map(|m| &m.runs)).chain([&self.slow]) {
            client.signal(rustix::process::Signal::TERM);
        }
        for client in members.iter().map(|m| &m.runs).chain([&self.slow]) {
            eventually(Duration::from_secs(20), || !client.alive());
            handled += client.progress();
        }
        handled
    }
}
