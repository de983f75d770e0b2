//! An app with its client's own auto commit is stopped without warning: what it had handled since its last commit is
//! read again. With `delivered`, kmend commits what its fetch positions prove.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::behind;
use crate::harness::admin::Batch;
use crate::harness::{Client, Kmend, Opts, caught, eventually, once, slot, unique};

const PARTITIONS: i32 = 2;
/// Records a second, of all partitions together.
pub const RATE: i64 = 200;
const CHUNK: usize = 20;
/// Two whole intervals of 5 s, and half of the third.
const RUN: Duration = Duration::from_millis(12_500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Directly,
    /// `delivered` and write-behind.
    Delivered,
    /// The same, also for clients that fetch far ahead of what is handled.
    Unsafe,
}

#[derive(Debug, Clone, Copy)]
pub struct Cell {
    pub client: &'static str,
    pub how: How,
    /// `kill -9`, else Ctrl+C.
    pub kill: bool,
}

/// What was lost of one app.
#[derive(Debug, Clone)]
pub struct Row {
    pub cell: Cell,
    pub handled: i64,
    pub committed: i64,
    /// Of each partition: handled minus committed.
    pub behind: Vec<i64>,
}

impl Row {
    pub fn text(&self) -> String {
        let Cell { client, how, kill } = self.cell;
        let signal = if kill { "SIGKILL" } else { "SIGINT" };
        let lost = self.handled - self.committed;
        format!("{client}, {how:?}, {signal}: {} handled, {} committed, {lost} behind", self.handled, self.committed)
    }
}

struct Running {
    app: Client,
    /// Behind the app: it ends after it.
    _kmend: Option<Kmend>,
    topic: String,
    group: String,
}

fn start(cell: Cell, more: impl FnOnce(Opts) -> Opts) -> Running {
    let topic = unique(&format!("ended-{}-{:?}", cell.client, cell.how).to_lowercase());
    let group = format!("{topic}-group");
    behind().kafka.admin().create(&topic, PARTITIONS, &[]);
    let kmend = (cell.how != How::Directly).then(|| {
        let delivered = json!({ "enabled": true, "unsafe": cell.how == How::Unsafe });
        crate::kmend(&behind().upstream, json!({ "write_behind": { "enabled": true }, "delivered": delivered }))
    });
    let servers = kmend.as_ref().map_or_else(|| behind().upstream[0].clone(), |k| k.listen.clone());
    let opts = Opts::consume(&servers, &topic, &group).with("CLIENT_ID", &topic);
    let app = Client::start(cell.client, more(opts.with("COMMIT", "default").with("SIGNALS", "default")));
    Running { app, _kmend: kmend, topic, group }
}

/// All cells side by side, each with a clock of its own: its client's interval begins with its group.
pub fn run(cells: &[Cell]) -> Vec<Row> {
    std::thread::scope(|threads| {
        let rows: Vec<_> = cells.iter().map(|c| threads.spawn(|| run_one(*c))).collect();
        rows.into_iter().map(|r| r.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    })
}

/// A steady stream of records, the signal, and what the broker has 4 s later.
fn run_one(cell: Cell) -> Row {
    let admin = behind().kafka.admin();
    let r = start(cell, |o| o);
    let produce = |n| (0..PARTITIONS).map(|p| admin.produce(&r.topic, p, n)).max();
    produce(1);
    let handled = |p: i32| r.app.handled(&r.topic, p).last().map_or(0, |o| o + 1);
    r.app.wait("the first records", Duration::from_secs(90), |_| (0..PARTITIONS).all(|p| handled(p) > 0));
    let began = Instant::now();
    let each = Duration::from_millis(1000 * CHUNK as u64 * PARTITIONS as u64 / RATE as u64);
    for n in 1.. {
        produce(CHUNK);
        std::thread::sleep((began + each * n).saturating_duration_since(Instant::now()));
        if began.elapsed() >= RUN {
            break;
        }
    }
    let all = || (0..PARTITIONS).all(|p| handled(p) == admin.log_end(&r.topic, p));
    assert!(eventually(Duration::from_secs(10), all), "{} does not keep up\n{}", cell.client, r.app.story());
    assert_eq!(r.app.errors(), Vec::<String>::new(), "{}", r.app.story());
    r.app.signal(if cell.kill { Signal::KILL } else { Signal::INT });
    r.app.exit_code(Duration::from_secs(10));
    // Room for what kmend does once the client has gone.
    std::thread::sleep(Duration::from_secs(4));
    let committed: Vec<i64> = (0..PARTITIONS).map(|p| admin.committed(&r.group, &r.topic, p).unwrap_or(0)).collect();
    let behind: Vec<i64> = committed.iter().zip(0..).map(|(c, p)| handled(p) - c).collect();
    let handled = (0..PARTITIONS).map(handled).sum();
    let row = Row { cell, handled, committed: committed.iter().sum(), behind };
    println!("{} {:?}", row.text(), row.behind);
    row
}

/// The hardest for `delivered`: a backlog, of which each handler takes a while, so that a client may fetch far ahead. Killed
/// in the middle of it; of each partition, handled minus committed.
pub fn backlog(client: &'static str, how: How) -> Vec<i64> {
    let admin = behind().kafka.admin();
    // Where nothing is promised the client may fetch as far ahead as it does by itself.
    let small = |o: Opts| if how == How::Unsafe { o } else { o.with("FETCH_BYTES", 25_000) };
    let r = start(Cell { client, how, kill: true }, |o| small(o.with("HANDLER_MS", 4)));
    (0..PARTITIONS).for_each(|p| {
        admin.produce_batches(&r.topic, p, Batch { n: 4_000, bytes: 1_000, ..Batch::default() });
    });
    // Past its client's own first commit, without which nothing is known.
    let limit = Duration::from_secs(60);
    let committed = |p| admin.committed(&r.group, &r.topic, p).unwrap_or(0);
    r.app.wait("the first commit", limit, |_| (0..PARTITIONS).any(|p| committed(p) > 0));
    let from = r.app.progress();
    r.app.wait("some more records", limit, |c| c.progress() > from + 150);
    r.app.signal(Signal::KILL);
    r.app.exit_code(Duration::from_secs(10));
    std::thread::sleep(Duration::from_secs(4));
    let handled = |p: i32| r.app.handled(&r.topic, p).last().map_or(0, |o| o + 1);
    let behind: Vec<i64> = (0..PARTITIONS).map(|p| handled(p) - committed(p)).collect();
    println!("{client}, {how:?}, killed in a backlog: {} handled, behind {behind:?}", r.app.progress());
    behind
}

/// Behind transactions: while the app handles what one brought, others end whose markers and aborted records no app is given. Killed
/// meanwhile; the first record that was not handled, and what is committed.
pub fn marked(client: &'static str, how: How) -> (i64, i64) {
    let admin = behind().kafka.admin();
    let slow = |o: Opts| o.with("ISOLATION", "read_committed").with("HANDLER_MS", 40);
    let r = start(Cell { client, how, kill: true }, slow);
    let limit = Duration::from_secs(60);
    let mut data: Vec<i64> = Vec::new();
    let mut produce = |n: i64| {
        let first = admin.produce_transaction(&r.topic, 0, n as usize, true);
        data.extend(first..first + n);
    };
    produce(10);
    let committed = || admin.committed(&r.group, &r.topic, 0).unwrap_or(0);
    r.app.wait("the first commit", limit, |_| committed() > 0);
    let from = r.app.progress();
    for _ in 0..3 {
        produce(50);
        for _ in 0..3 {
            admin.produce_transaction(&r.topic, 0, 2, false);
        }
    }
    r.app.wait("some more records", limit, |c| c.progress() > from + 20);
    r.app.signal(Signal::KILL);
    r.app.exit_code(Duration::from_secs(10));
    std::thread::sleep(Duration::from_secs(4));
    let handled = r.app.handled(&r.topic, 0);
    let open = data.iter().copied().find(|o| !handled.contains(o)).expect("killed before the end");
    println!("{client}, {how:?}, killed behind transactions: next record {open}, committed {}", committed());
    (open, committed())
}

/// Those whose fetch position is at most a poll ahead of what is handled.
pub const SAFE: [&str; 3] = ["java", "aiokafka", "kafka-python"];

/// What the tests share: the safe ones, directly and with `delivered`, and in a backlog.
type Shared = (Vec<Row>, Vec<(&'static str, Result<Vec<i64>, String>)>);

fn shared() -> Shared {
    static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
    once(&SHARED, || {
        let _slot = slot();
        let each = |how| SAFE.map(|client| Cell { client, how, kill: client != "java" });
        std::thread::scope(|threads| {
            let backlogs = SAFE.map(|c| (c, threads.spawn(move || caught(|| backlog(c, How::Delivered)))));
            let rows = run(&[each(How::Directly), each(How::Delivered)].concat());
            let done = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<i64>, String>>| {
                thread.join().unwrap_or_else(|_| Err("a panic".to_owned()))
            };
            (rows, backlogs.into_iter().map(|(c, thread)| (c, done(thread))).collect())
        })
    })
}

fn row(client: &str, how: How) -> Row {
    shared().0.into_iter().find(|r| r.cell.client == client && r.cell.how == how).expect("a row")
}

/// Directly the half interval since the last commit is lost; commits may be a second late or early.
fn loses(client: &str) {
    let row = row(client, How::Directly);
    let lost = row.handled - row.committed;
    assert!((RATE * 3 / 2..=RATE * 4).contains(&lost), "{}", row.text());
}

/// With `delivered` never more than was handled, and all but the last two fetches of it: on a busy machine those are large.
fn keeps(client: &str) {
    let row = row(client, How::Delivered);
    assert!(row.behind.iter().all(|b| (0..=7 * CHUNK as i64).contains(b)), "{} {:?}", row.text(), row.behind);
}

macro_rules! clients {
    ($($name:ident: $client:literal;)*) => {
        $(mod $name {
            #[test]
            fn loses_directly() {
                super::loses($client);
            }

            #[test]
            fn keeps_with_delivered() {
                super::keeps($client);
            }

            #[test]
            fn is_never_ahead_in_a_backlog() {
                super::never_ahead($client);
            }

            #[test]
            fn is_never_ahead_behind_transactions() {
                let (open, committed) = super::marked($client, super::How::Delivered);
                assert!(committed <= open, "record {open} was not handled, {committed} is committed");
            }
        })*
    };
}

clients! {
    java: "java";
    aiokafka: "aiokafka";
    kafka_python: "kafka-python";
}

/// What was not handled is not committed, whatever was fetched.
fn never_ahead(client: &str) {
    let found = shared().1.into_iter().find(|(c, _)| *c == client).expect("a backlog").1;
    let behind = found.unwrap_or_else(|e| panic!("{e}"));
    assert!(behind.iter().all(|b| *b >= 0), "{client} has committed what it has not handled: {behind:?}");
}
