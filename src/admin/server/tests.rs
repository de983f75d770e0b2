//! Over real sockets, with requests by hand.

use std::any::Any;
use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::admin::Check;
use crate::config::{Config, Diff, Loaded, Provenance};
use crate::mend::directory::Overview;
use crate::mend::{Assignment, ClientKey, Finding, Joined, Read, Reason, Stalled, Terms, Who};
use crate::menders::assignment_watchdog::AssignmentWatchdog;
use crate::telemetry::history::Totals;
use crate::telemetry::metrics::{self, Family};

struct Nowhere;

impl Directory for Nowhere {
    fn learn_cluster(&self, _: &str) {}

    fn advertise(&self, _: i32, _: &str, _: i32, _: IpAddr) -> Result<(String, u16), String> {
        Err("nowhere".into())
    }

    fn overview(&self) -> Overview {
        Overview { cluster_id: Some("c".into()), nodes: vec![(1, 9094)] }
    }
}

struct Nothing;

impl Counted for Nothing {
    fn totals(&self) -> Totals {
        Totals { connections: 3, ..Totals::default() }
    }
}

struct Server {
    address: SocketAddr,
    state: Arc<AdminState>,
    reload: watch::Sender<Option<Reloaded>>,
    /// While it lives the level can be changed.
    _filter: Box<dyn Any + Send>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

async fn server() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let running =
        Running::new(Loaded { config: Config::default(), provenance: Provenance::default(), notes: Vec::new() });
    let (registry, mend) = (metrics::registry(), Arc::default());
    let repairs = Family::counter(&registry, "repairs_total", "Repairs.", &["mender", "outcome"]);
    AssignmentWatchdog::new(&Config::default(), &registry, &repairs, &mend);
    let (stop, stopped) = watch::channel(false);
    let (logs, filter) = LogHandle::detached("info");
    let (reload, reloaded) = watch::channel(None);
    let state = Arc::new(AdminState {
        registry,
        repairs,
        readiness: Arc::default(),
        running,
        mend,
        directory: Arc::new(Nowhere),
        traffic: Arc::new(Nothing),
        history: Arc::default(),
        feed: Feed::default(),
        events: Events::new(stopped.clone()),
        logs,
        reloaded,
        started: Instant::now(),
    });
    let task = tokio::spawn(serve(listener, Arc::clone(&state), stopped));
    Server { address, state, reload, _filter: Box::new(filter), stop, task }
}

impl Server {
    async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// A member of the group `g` with the partitions 0 and 1 of `t`, three records behind in 0.
    fn has_member(&self, client_id: &str) {
        let (mend, now) = (&self.state.mend, Instant::now());
        let client = client(client_id);
        let who = Who { client: &client, group: "g", member: "m", now };
        let joined = Joined {
            generation: 1,
            is_leader: false,
            protocol_type: Arc::from("consumer"),
            protocol: Arc::from("range"),
        };
        mend.groups.joined(&who, joined.clone(), Terms::default());
        let by_name = [(Arc::from("t"), vec![0, 1])].into();
        mend.groups.synced(&who, joined, None, Some(Assignment { by_name, by_id: Default::default() }));
        let place = (Arc::from("t"), 0);
        let read = Read { position: 10, high_watermark: 10, last_stable: 10, asked: now, conn: 1 };
        mend.progress.reads(&client, now, [(place.clone(), read)]);
        mend.progress.committed("g", &client, &place, 7, now);
    }

    fn found(&self, client_id: &str, paused: &[i32], reason: Option<Reason>) {
        let since = Instant::now() - Duration::from_secs(90);
        let finding = Finding {
            client: client(client_id),
            unfetched: Vec::new(),
            paused: paused.iter().map(|p| (Arc::from("t"), *p)).collect(),
            stalled: reason.map(|reason| Stalled { reason, since, lag: 3 }),
        };
        self.state.mend.findings.set(&Arc::from("g"), &Arc::from("m"), finding);
    }

    async fn get(&self, path: &str) -> String {
        let rest = "Host: localhost\r\nConnection: close\r\n\r\n";
        self.ask(&format!("GET {path} HTTP/1.1\r\n{rest}")).await
    }
}

fn client(id: &str) -> ClientKey {
    ClientKey { client_id: Arc::from(id), peer: [127, 0, 0, 1].into() }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("")
}

#[tokio::test]
async fn health_and_readiness() {
    let server = server().await;
    assert_eq!(status(&server.get("/livez").await), "200");
    let answer = server.get("/readyz").await;
    assert_eq!(status(&answer), "503");
    assert!(answer.contains("[-] listeners\n"), "{answer}");
    for check in [Check::Configuration, Check::Listeners, Check::Journal] {
        server.state.readiness.set(check, true);
    }
    let answer = server.get("/readyz").await;
    assert!(answer.ends_with("\r\n\r\nready\n"), "{answer}");
    let answer = server.get("/readyz?verbose").await;
    assert!(answer.contains("[+] journal\n[-] upstream (does not count"), "{answer}");
}

#[tokio::test]
async fn metrics_in_both_formats() {
    let server = server().await;
    let answer = server.get("/metrics").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("kmend_build_info{"), "{answer}");
    let answer = server
        .ask(
            "GET /metrics HTTP/1.1\r\nHost: [::1]:1\r\nConnection: close\r\n\
             Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n\r\n",
        )
        .await;
    assert!(answer.contains("application/openmetrics-text; version=1.0.0"), "{answer}");
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn clients_are_healthy_unless_one_is_stalled() {
    let server = server().await;
    let ask = |path: &'static str| server.get(path);
    assert_eq!(body(&ask("/healthz/clients").await), "ok\n");
    server.has_member("app");
    server.found("app", &[1], None);
    let answer = ask("/healthz/clients").await;
    assert_eq!((status(&answer), body(&answer)), ("200", "ok\n"));
    let member = "member m, client app at 127.0.0.1";
    let all = |mark| {
        format!(
            "group g (classic, protocol range)\n  [{mark}] {member}: assigned 2, unfetched 0, paused 1 (t[1]), quiet 0\n"
        )
    };
    assert_eq!(body(&ask("/healthz/clients?verbose").await), all("+") + "ok\n");

    server.found("app", &[1], Some(Reason::CommitRefused(25)));
    let stalled = format!(
        "stalled: group g, {member}: its last commit was refused: error 25 (UNKNOWN_MEMBER_ID); for 90 s, lag 3\n"
    );
    let answer = ask("/healthz/clients").await;
    assert_eq!((status(&answer), body(&answer)), ("503", stalled.as_str()));
    let answer = ask("/healthz/clients?verbose").await;
    assert_eq!((status(&answer), body(&answer)), ("503", (stalled + &all("-")).as_str()));

    // Whoever is gone is stalled no more, whatever was found of it.
    server.state.mend.groups.left("g", "m");
    assert_eq!(status(&ask("/healthz/clients").await), "200");
}

#[tokio::test]
async fn a_name_with_a_line_break_makes_no_line() {
    let server = server().await;
    server.has_member("a\nstalled: b");
    server.found("a\nstalled: b", &[], Some(Reason::Quiet));
    let answer = server.get("/healthz/clients").await;
    assert_eq!(body(&answer).lines().count(), 1, "{answer}");
    assert!(body(&answer).contains("client a\\nstalled: b at"), "{answer}");
}

#[tokio::test]
async fn the_groups_as_json_and_as_metrics() {
    let server = server().await;
    server.has_member("app");
    let answer = server.get("/api/status").await;
    assert!(answer.contains("content-type: application/json"), "{answer}");
    let json: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
    let member = &json["groups"][0]["members"][0];
    assert_eq!((&json["groups"][0]["group"], &member["assigned"]), (&"g".into(), &2.into()));
    assert_eq!((&member["partitions"][0]["lag"], &member["partitions"][1]["state"]), (&3.into(), &"waiting".into()));
    let metrics = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let open = server.ask(&format!("{metrics}Accept: application/openmetrics-text\r\n\r\n")).await;
    let lag = "kmend_consumer_lag{group=\"g\",partition=\"0\",topic=\"t\"} 3\n";
    assert!(open.contains("# TYPE kmend_consumer_lag gauge\n# HELP kmend_consumer_lag "), "{open}");
    for line in [lag, "kmend_partitions_assigned{group=\"g\"} 2\n", "kmend_consumer_lag_series_dropped 0\n"] {
        assert!(open.contains(line), "{line}{open}");
        assert!(server.ask(&format!("{metrics}\r\n")).await.contains(line));
    }
}

#[tokio::test]
async fn the_configuration_with_its_origins() {
    let server = server().await;
    let answer = server.get("/api/config").await;
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["config"]["limits"]["max_frame"], "100MiB");
    assert_eq!(body["origins"]["limits.max_frame"], "default");
}

#[tokio::test]
async fn mistakes_are_answered_helpfully() {
    let server = server().await;
    let answer = server.get("/status").await;
    assert_eq!(status(&answer), "404");
    for path in
        ["/readyz           ?verbose", "/healthz/clients  ?verbose", "/api/status", "/api/events", "/api/log-level"]
    {
        assert!(answer.contains(path), "{answer}");
    }
    let post = "POST /healthz/clients HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = server.ask(post).await;
    assert_eq!(status(&answer), "405");
    assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    let foreign = "GET /api/config HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&server.ask(foreign).await), "421");
    assert_eq!(status(&server.ask("\x16\x03\x01\x02\r\n\r\n").await), "400");
    let long = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert_ne!(status(&server.ask(&long[..20_000]).await), "200");
}

#[tokio::test]
async fn one_connection_serves_many_requests_until_the_end() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = [0; 1024];
        let length = stream.read(&mut answer).await.unwrap();
        assert!(answer[..length].ends_with(b"ok\n"));
    }
    server.stop.send_replace(true);
    server.task.await.unwrap();
    // The idle connection is closed too.
    let rest = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut [0; 16])).await;
    assert_eq!(rest.unwrap().unwrap(), 0);
}

/// Connections that say nothing, or their request a byte at a time, keep nobody out.
#[tokio::test]
async fn all_places_taken_blinds_nobody() {
    let server = server().await;
    let mut idle = Vec::new();
    for _ in 0..MOST_CONNECTIONS + 8 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /metr").await.unwrap();
        idle.push(stream);
    }
    let asked = tokio::time::timeout(Duration::from_secs(5), server.get("/livez")).await;
    assert!(asked.expect("at once").starts_with("HTTP/1.1 200"));
    // Those that came first made room.
    let end = tokio::time::timeout(Duration::from_secs(5), idle[0].read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
}

#[tokio::test]
async fn the_page_comes_with_a_policy_of_its_own() {
    let server = server().await;
    let answer = server.get("/").await;
    assert_eq!(status(&answer), "200");
    let policy = answer.lines().find(|l| l.starts_with("content-security-policy: ")).expect("a policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("'sha256-"), "{policy}");
    assert!(body(&answer).starts_with("<!doctype html>"));
}

#[tokio::test]
async fn status_tells_all_that_the_page_shows() {
    let server = server().await;
    server.has_member("app");
    server.reload.send_replace(Some(Reloaded::new(Ok(&Diff::default()))));
    let told: serde_json::Value = serde_json::from_str(body(&server.get("/api/status").await)).unwrap();
    for key in ["version", "commit", "uptime_seconds", "menders", "clients", "groups", "traffic", "log_level"] {
        assert!(told.get(key).is_some(), "{key}");
    }
    assert_eq!((&told["cluster_id"], &told["upstream"]["up"]), (&"c".into(), &false.into()));
    assert_eq!(told["listeners"][1], serde_json::json!({ "address": "127.0.0.1:9094", "node": 1 }));
    assert_eq!(told["connections"]["clients"], 3);
    assert_eq!(told["menders"][0], serde_json::json!({ "name": "offset_reset", "mode": "repair", "outcomes": {} }));
    assert_eq!(told["groups"][0]["members"][0]["partitions"][0]["committed"], 7);
    assert_eq!((&told["reload"]["ok"], &told["reload"]["error"]), (&true.into(), &serde_json::Value::Null));
}

/// What comes until `end` has been seen.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut seen = String::new();
    let mut some = [0; 4096];
    while !seen.contains(end) {
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut some)).await;
        let n = read.unwrap_or_else(|_| panic!("no {end} in {seen}")).unwrap();
        assert!(n > 0, "it ended with {seen}");
        seen += &String::from_utf8_lossy(&some[..n]);
    }
    seen
}

#[tokio::test]
async fn events_come_as_they_happen_and_again_from_where_a_page_left() {
    let server = server().await;
    let tell = |text: &'static str| {
        let subscriber = tracing_subscriber::registry().with(server.state.feed.layer());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "kmend::menders::commit_buffer", "{text}");
        });
    };
    tell("first");
    let listen = async |last: &str| {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let ask = format!("GET /api/events HTTP/1.1\r\nHost: localhost\r\n{last}\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        stream
    };
    let mut page = listen("").await;
    let seen = until(&mut page, "first").await;
    assert!(seen.contains("content-type: text/event-stream") && seen.contains("event: repair\nid: "), "{seen}");
    tell("second");
    let seen = until(&mut page, "second").await;
    let id = seen.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id").to_owned();
    drop(page);
    tell("third");
    let seen = until(&mut listen(&format!("Last-Event-ID: {id}\r\n")).await, "third").await;
    assert!(!seen.contains("second"), "{seen}");
    // Of another run nothing is known here: all comes.
    until(&mut listen("Last-Event-ID: 1-7\r\n").await, "first").await;

    let mut pages = Vec::new();
    for _ in 0..16 {
        let mut page = listen("").await;
        until(&mut page, "HTTP/1.1 ").await;
        pages.push(page);
    }
    let mut last = String::new();
    for _ in 0..2 {
        last = until(&mut listen("").await, "\r\n\r\n").await;
    }
    assert!(last.starts_with("HTTP/1.1 503"), "{last}");
    // kmend goes, and does not wait for them.
    server.stop.send_replace(true);
    for mut page in pages {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), page.read_to_end(&mut rest)).await;
        assert!(ended.is_ok());
    }
}

#[tokio::test]
async fn the_log_level_is_changed_by_put() {
    let server = server().await;
    let put = async |level: &str| {
        let head = format!("PUT /api/log-level HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", level.len());
        server.ask(&format!("{head}Connection: close\r\n\r\n{level}")).await
    };
    assert_eq!(body(&server.get("/api/log-level").await), "info\n");
    let answer = put("info,kmend::session=debug\n").await;
    assert_eq!((status(&answer), body(&answer)), ("200", "info,kmend::session=debug\n"));
    let answer = put("kmend=loud").await;
    assert_eq!(status(&answer), "400");
    assert!(body(&answer).contains("`kmend=loud` is not a filter"), "{answer}");
    assert_eq!(status(&put(" ").await), "400");
    assert_eq!(status(&put(&"x".repeat(5000)).await), "413");
    assert_eq!(body(&server.get("/api/log-level").await), "info,kmend::session=debug\n");
    let post = "POST /api/log-level HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&server.ask(post).await), "405");
}
