//! With its menders off, or only observing, kmend is a plain relay: real traffic of every client,
//! recorded on both sides of it, differs in the brokers' addresses and in nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../tapped/mod.rs"]
mod tapped;

mod compare;
mod seeds;

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use harness::admin::Batch;
use harness::client::ALL;
use harness::{Client, Opts};
use kmend::session::window::WINDOW;
use serde_json::json;
use tapped::{Connection, Tapped};

const RECORDS: usize = 50;
const LARGE: usize = 400;
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const JOIN_GROUP: i16 = 11;

/// One broker, and one test at a time: its recorder keeps what it hears.
fn tapped() -> &'static Mutex<Tapped> {
    static SHARED: OnceLock<Mutex<Tapped>> = OnceLock::new();
    SHARED.get_or_init(|| Mutex::new(Tapped::start()))
}

/// Every client produces, then consumes in a group, all at once.
fn traffic(tapped: &Tapped, servers: &str) {
    let limit = Duration::from_secs(60);
    let admin = tapped.kafka.admin();
    let topics = ALL.map(|name| (name, harness::unique(name)));
    topics.iter().for_each(|(_, topic)| admin.create(topic, 3, &[]));
    let produce = |(name, topic): &(&'static str, String)| {
        let opts = Opts::produce(servers, topic).with("CLIENT_ID", name).with("COUNT", RECORDS).with("RATE", 200);
        Client::start(name, opts)
    };
    let producers: Vec<Client> = topics.iter().map(produce).collect();
    for app in &producers {
        app.wait("all records sent", limit, |c| c.progress() >= RECORDS);
        assert_eq!(app.exit_code(limit), Some(0), "{}", app.story());
        assert_eq!(app.errors(), Vec::<String>::new(), "{}", app.name);
    }
    // More than a window holds, so that answers to Fetch are streamed, too.
    topics.iter().for_each(|(_, topic)| {
        admin.produce_batches(topic, 0, Batch { n: LARGE, bytes: 500, ..Batch::default() });
    });
    let consume = |(name, topic): &(&'static str, String)| {
        let opts = Opts::consume(servers, topic, &format!("{topic}-group")).with("CLIENT_ID", name);
        Client::start(name, opts.with("RESET", "earliest"))
    };
    let consumers: Vec<Client> = topics.iter().map(consume).collect();
    for app in &consumers {
        app.wait("all records handled", limit, |c| c.progress() >= RECORDS + LARGE);
        app.close();
        assert_eq!(app.errors(), Vec::<String>::new(), "{}", app.name);
    }
}

fn is_transparent(mode: &str) {
    let tapped = tapped().lock().unwrap_or_else(|e| e.into_inner());
    tapped.recorder.take(Duration::from_secs(10));
    let began = Instant::now();
    let (kmend, before) = tapped.kmend(|config| {
        for mender in ["offset_reset", "partition_discovery", "commit_buffer", "assignment_watchdog"] {
            config["menders"][mender]["mode"] = json!(mode);
        }
    });
    traffic(&tapped, &tapped::servers(&kmend));
    let at_client = before.take(Duration::from_secs(10));
    let at_broker = tapped.recorder.take(Duration::from_secs(10));
    // kmend's own question for the brokers, before any client comes.
    let at_broker: Vec<Connection> = at_broker.into_iter().filter(|c| c.client_id() != "kmend").collect();

    for name in ALL {
        let of = |api: i16| {
            let own = at_client.iter().filter(|c| c.client_id() == name || c.client_id().starts_with(name));
            own.flat_map(Connection::exchanges).filter(|e| e.api == api).count()
        };
        for api in [PRODUCE, FETCH, JOIN_GROUP] {
            assert!(of(api) > 0, "no request of API {api} by {name} was recorded");
        }
    }
    let streamed =
        at_client.iter().flat_map(Connection::exchanges).filter(|e| e.api == FETCH && e.response.len() > WINDOW);
    assert!(streamed.count() >= ALL.len(), "too few answers to Fetch are larger than a window");
    // What the broker said, before anybody changed it.
    seeds::write(&at_broker);
    compare::no_address_leaks(&at_client, tapped::BROKER);
    let frames = compare::same(&at_client, &at_broker);
    println!("{mode}: {} connections, {frames} answers in {:?}", at_client.len(), began.elapsed());
}

#[test]
fn with_menders_off() {
    is_transparent("off");
}

#[test]
fn while_observing() {
    is_transparent("observe");
}
