//! Idempotent producers at a high rate, several requests in flight, while partitions are added again and again:
//! each record that was acknowledged is there once, in the order in which it was sent.
//!
//! `KMEND_MATRIX=1` makes it three minutes at 10,000 records a second.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::harness::{Client, ClusterSpec, Kafka, Kmend, Opts, eventually, slot, unique};
use crate::truth::Truth;

const EVERY: Duration = Duration::from_secs(5);
const INTERVAL: u64 = 2;
const TXN_SIZE: u64 = 100;
const TRANSACTIONS: &str = "java-transactions";

/// A broker of its own: its log is looked through.
fn kafka() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| Kafka::start(ClusterSpec::default()))
}

#[derive(Debug, Clone)]
struct Outcome {
    name: &'static str,
    sent: usize,
    there: usize,
    faults: Vec<String>,
    errors: Vec<String>,
    /// Partitions that hold something, and how many there were long enough.
    used: usize,
    due: i32,
    kmend: Vec<String>,
    metrics: Vec<String>,
    story: String,
}

/// What became of each producer, and the lines of the broker's log about sequences.
type Outcomes = (Vec<Outcome>, Vec<String>);

struct Running {
    name: &'static str,
    topic: String,
    app: Client,
    kmend: Kmend,
}

fn start(name: &'static str, rate: u64) -> Running {
    let topic = unique(&format!("idempotent-{name}"));
    kafka().admin().create(&topic, 1, &[]);
    let kmend = crate::kmend(&kafka().bootstrap(), "repair", INTERVAL);
    let opts =
        Opts::produce(&kmend.listen, &topic).with("IDEMPOTENCE", "true").with("RATE", rate).with("CLIENT_ID", &topic);
    let app = match name {
        TRANSACTIONS => Client::start(
            "java",
            opts.with("MODE", "transact").with("TRANSACTIONAL", &topic).with("TXN_SIZE", TXN_SIZE),
        ),
        name => Client::start(name, opts),
    };
    Running { name, topic, app, kmend }
}

fn run() -> Outcomes {
    let _slot = slot();
    let (rate, seconds) = if std::env::var("KMEND_MATRIX").is_ok() { (10_000, 180) } else { (2_000, 30) };
    let admin = kafka().admin();
    let names = ["java", "librdkafka", "franz-go", TRANSACTIONS];
    // Transactions wait for their commits: a rate that they keep.
    let running: Vec<Running> = names.map(|n| start(n, if n == TRANSACTIONS { rate / 4 } else { rate })).into();
    for r in &running {
        r.app.wait("a steady run", Duration::from_secs(60), |c| c.progress() > 2_000);
    }
    let (began, mut partitions, mut due) = (Instant::now(), 1, 1);
    while began.elapsed() < Duration::from_secs(seconds) {
        due = partitions;
        partitions += 3;
        running.iter().for_each(|r| admin.add_partitions(&r.topic, partitions));
        std::thread::sleep(EVERY);
    }
    // The last growth but one was so long ago that it should have been found.
    let slowest = crate::limit("franz-go", crate::Producer, INTERVAL);
    std::thread::sleep(slowest.saturating_sub(EVERY));
    running.iter().for_each(|r| r.app.tell("close"));
    let outcome = |r: &Running| {
        let ended = eventually(Duration::from_secs(30), || !r.app.alive());
        let truth = Truth::read(&admin, &r.topic, partitions);
        let mut faults = truth.faults(&r.app, &r.topic);
        if r.name == TRANSACTIONS {
            faults.extend(not_committed(&r.topic, truth.len()));
        }
        if !ended {
            faults.push("the app does not end".to_owned());
        }
        let nudges = r.kmend.metrics();
        let nudges = nudges.all("kmend_metadata_nudges_total", &[]).map(|s| format!("{:?} {}", s.labels, s.value));
        Outcome {
            name: r.name,
            sent: r.app.sent(&r.topic).len(),
            there: truth.len(),
            used: truth.used(),
            due,
            faults,
            errors: r.app.errors(),
            kmend: r.kmend.unexpected(),
            metrics: nudges.collect(),
            story: r.app.story(),
        }
    };
    let outcomes: Vec<Outcome> = running.iter().map(outcome).collect();
    for r in &running {
        r.kmend.allow("");
    }
    let refused = out_of_order();
    // The control: what is looked for in the broker's log can be found there.
    assert_eq!(admin.produce_out_of_order(&running[0].topic), 45);
    assert!(
        eventually(Duration::from_secs(5), || out_of_order().len() > refused.len()),
        "the broker does not log what is looked for"
    );
    (outcomes, refused)
}

/// A consumer that reads only what is committed gets all that is there.
fn not_committed(topic: &str, there: usize) -> Option<String> {
    let opts = Opts::consume(&kafka().servers(), topic, &format!("{topic}-group")).with("ISOLATION", "read_committed");
    let app = Client::start("franz-go", opts);
    eventually(Duration::from_secs(20), || app.progress() >= there);
    let got = app.progress();
    (got != there).then(|| format!("{got} of {there} records are committed"))
}

/// Lines of the broker's log about sequences. The first batch of a transaction may find the transaction before
/// it still ending (CONCURRENT_TRANSACTIONS), and the one pipelined behind it finds no state: that is between the
/// Java client and the broker (KIP-890), also where no mender looks, and the client sends both again.
fn out_of_order() -> Vec<String> {
    let log = kafka().log(1);
    let own = |l: &&str| l.contains(TRANSACTIONS) && l.contains("idempotent producer with no existing state");
    log.lines().filter(|l| l.contains("OutOfOrderSequence") && !own(l)).map(str::to_owned).collect()
}

fn result() -> Outcomes {
    static ALL: OnceLock<Result<Outcomes, String>> = OnceLock::new();
    crate::once(&ALL, run)
}

fn keeps_order(name: &str) {
    let (all, _) = result();
    let o = all.iter().find(|o| o.name == name).expect("an outcome");
    println!("{name}: {} sent, {} there, {} partitions used, {:?}", o.sent, o.there, o.used, o.metrics);
    assert_eq!(o.errors, Vec::<String>::new(), "{}", o.story);
    assert_eq!(o.faults, Vec::<String>::new(), "{}", o.story);
    assert!(o.there >= o.sent, "{} sent, {} there", o.sent, o.there);
    assert!(o.used >= o.due as usize, "{} of {} partitions used; {:?}\n{}", o.used, o.due, o.metrics, o.story);
    assert_eq!(o.kmend, Vec::<String>::new(), "kmend said what nobody expected");
}

#[test]
fn java_keeps_order() {
    keeps_order("java");
}

#[test]
fn librdkafka_keeps_order() {
    keeps_order("librdkafka");
}

#[test]
fn franz_go_keeps_order() {
    keeps_order("franz-go");
}

#[test]
fn java_transactions_keep_order() {
    keeps_order(TRANSACTIONS);
}

#[test]
fn no_sequence_is_refused_by_the_broker() {
    assert_eq!(result().1, Vec::<String>::new());
}
