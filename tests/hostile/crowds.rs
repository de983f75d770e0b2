//! Crowds: floods, clients that never finish, descriptors that run out. Behind kmend stands a broker by script, so
//! that what is measured is kmend.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;

use super::harness::{Kmend, Over, eventually};
use super::scripted::{self, Asked, Broker, Raw};
use super::{header, warnings};

const PATIENCE: Duration = Duration::from_secs(10);

/// A broker that answers questions for its versions, and a kmend before it.
pub fn start(limits: serde_json::Value) -> (Broker, Kmend) {
    let broker = Broker::start(|asked: Asked, stream| match asked.api {
        18 => scripted::answer_versions(asked, stream, &[(8, 2, 8), (18, 0, 3)]),
        _ => Err(ErrorKind::ConnectionAborted.into()),
    });
    let kmend = Kmend::start_at("127.0.0.1", std::slice::from_ref(&broker.address), |c| c["limits"] = limits);
    (broker, kmend)
}

/// The 99th percentile of a well-behaved client's questions while `meanwhile` runs, or of 300 of them.
pub fn p99(kmend: &Kmend, meanwhile: impl FnOnce() + Send) -> Duration {
    let mut raw = Raw::open(&kmend.listen);
    let mut took = Vec::new();
    let mut ask = || {
        let began = Instant::now();
        raw.ask(3, &scripted::versions()).expect("a well-behaved client is served");
        took.push(began.elapsed());
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let _over = Over(&done);
            meanwhile();
        });
        let mut asked = 0;
        while asked < 300 || !done.load(Ordering::SeqCst) {
            ask();
            asked += 1;
        }
    });
    took.sort();
    took[took.len() * 99 / 100]
}

#[test]
fn garbage_by_the_thousand_is_counted_told_once_and_hurts_nobody() {
    const MANY: usize = 2000;
    let (_broker, kmend) = start(json!({}));
    kmend.allow("a client was cut off").allow("more were cut");
    let before = p99(&kmend, || {});
    let lines = kmend.log().len();
    let during = p99(&kmend, || {
        for n in 0..MANY {
            let mut stream = TcpStream::connect(&kmend.listen).expect("it listens");
            let bytes: &[u8] = match n % 4 {
                0 => b"GET / HTTP/1.1\r\n\r\n",
                1 => b"\x16\x03\x01\x02\0\x01\0\x01",
                2 => &[0xff; 32],
                _ => &[],
            };
            let _ = stream.write_all(bytes);
        }
    });
    println!("p99 {before:?} before, {during:?} under {MANY} connections of garbage");
    // Twice as long, and what a machine that others use, too, may add.
    assert!(during < 2 * before + Duration::from_secs(1), "{before:?} before, {during:?} during");
    // A connection that was closed before anybody read of it said nothing.
    let bad = || kmend.metrics().sum("kmend_frame_errors_total", &[]);
    assert!(eventually(PATIENCE, || bad() > MANY as f64 / 2.0), "{} were counted", bad());
    let told = warnings(&kmend, lines);
    assert!((3..=16).contains(&told.len()), "{} lines: {told:#?}", told.len());
    assert!(
        eventually(2 * PATIENCE, || kmend.log().iter().any(|l| l.contains("more were cut"))),
        "no count in the log"
    );
    let open = || kmend.metrics().sum("kmend_client_connections", &[]);
    assert!(eventually(PATIENCE, || open() == 0.0), "{} are open", open());
}

#[test]
fn a_flood_over_the_limit_is_refused_at_once_and_it_recovers() {
    const MOST: usize = 20;
    let (_broker, kmend) = start(json!({ "max_connections": MOST }));
    kmend.allow("refused");
    let mut clients: Vec<Raw> = (0..MOST).map(|_| Raw::open(&kmend.listen)).collect();
    clients.iter_mut().for_each(|c| drop(c.ask(3, &scripted::versions()).expect("within the limit")));
    let (lines, began) = (kmend.log().len(), Instant::now());
    for _ in 0..1000 {
        let mut late = TcpStream::connect(&kmend.listen).expect("it listens");
        late.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        assert!(!matches!(late.read(&mut [0]), Ok(1..)), "it is not refused");
    }
    let took = began.elapsed();
    println!("1000 refused in {took:?}");
    assert!(took < PATIENCE, "{took:?}");
    let refused = || kmend.metrics().sum("kmend_connections_refused_total", &[("limit", "connections")]);
    assert!(eventually(PATIENCE, || refused() == 1000.0), "{} were counted", refused());
    let told = || warnings(&kmend, lines);
    assert!(eventually(PATIENCE, || told().iter().any(|l| l.contains("more clients were refused"))), "{:#?}", told());
    assert!(told().len() as u64 <= 3 + took.as_secs() * 2, "{:#?}", told());
    clients.iter_mut().for_each(|c| drop(c.ask(3, &scripted::versions()).expect("the others go on")));
    drop(clients);
    let served = || Raw::open(&kmend.listen).ask(3, &scripted::versions()).is_ok();
    assert!(eventually(PATIENCE, served), "nobody is served when they have gone");
}

#[test]
fn whoever_never_ends_a_request_is_let_go() {
    let (_broker, kmend) = start(json!({ "progress_timeout": "1s", "handshake_timeout": "1s" }));
    kmend.allow("limits.progress_timeout").allow("limits.handshake_timeout").allow("more were cut");
    let mut other = Raw::open(&kmend.listen);
    let mut slow: Vec<TcpStream> = Vec::new();
    for n in 0..40 {
        let mut raw = Raw::open(&kmend.listen);
        if n % 2 == 0 {
            raw.ask(3, &scripted::versions()).expect("ApiVersions");
        }
        slow.push(raw.stream);
    }
    // OffsetCommit is held whole.
    let frame = [header(2000, 8, 2), vec![0; 2000]].concat();
    for byte in frame.iter().take(20) {
        for stream in &mut slow {
            let _ = stream.write_all(&[*byte]);
        }
        other.ask(3, &scripted::versions()).expect("others go on");
        std::thread::sleep(Duration::from_millis(150));
    }
    let ended = |cause| kmend.metrics().sum("kmend_disconnects_total", &[("side", "client"), ("cause", cause)]);
    let both = || (ended("progress_timeout"), ended("handshake_timeout"));
    assert!(eventually(PATIENCE, || both() == (20.0, 20.0)), "{:?}", both());
    other.ask(3, &scripted::versions()).expect("others go on");
}

#[test]
fn without_descriptors_nothing_dies_and_it_is_seen() {
    let (_broker, kmend) = start(json!({}));
    for text in ["cannot be accepted", "refused", "no broker", "admin server cannot accept"] {
        kmend.allow(text);
    }
    let pid = kmend.pid();
    let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).expect("kmend runs").count() as u64;
    let most = getrlimit(Resource::Nofile).maximum;
    let set = |soft: u64| {
        let limit = Rlimit { current: Some(most.map_or(soft, |most| soft.min(most))), maximum: most };
        prlimit(Pid::from_raw(pid as i32), Resource::Nofile, limit).expect("a limit");
    };
    let mut other = Raw::open(&kmend.listen);
    other.ask(3, &scripted::versions()).expect("ApiVersions");
    set(open() + 9);
    let lines = kmend.log().len();
    let crowd: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(&kmend.listen).expect("it listens")).collect();
    for _ in 0..10 {
        other.ask(3, &scripted::versions()).expect("others go on");
        assert_eq!(kmend.get("/livez").0, 200);
        std::thread::sleep(Duration::from_millis(200));
    }
    let told = warnings(&kmend, lines);
    assert!((1..=12).contains(&told.len()), "{} lines: {told:#?}", told.len());
    drop(crowd);
    let served = || {
        let mut raw = Raw::open(&kmend.listen);
        raw.stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket option");
        raw.ask(3, &scripted::versions()).is_ok()
    };
    assert!(eventually(PATIENCE, served), "nobody is served when there are descriptors again");
    set(4096);
    assert!(kmend.runs());
}

#[test]
fn four_thousand_requests_without_a_read_are_all_answered_in_the_end() {
    const MANY: usize = 4096;
    let (_broker, kmend) = start(json!({}));
    // Of a version that kmend answers itself, and of one that the broker does, in turn.
    let (own, theirs) = (header(14, 18, 99), scripted::frame(0, 9, &scripted::versions()));
    let mut stream = TcpStream::connect(&kmend.listen).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let mut writer = stream.try_clone().expect("a second handle");
    let sends = std::thread::spawn(move || {
        let pair = [&own[..], &theirs].concat();
        writer.write_all(&pair.repeat(MANY / 2)).expect("sent");
    });
    std::thread::sleep(Duration::from_millis(500));
    let held = kmend.metrics().sum("kmend_memory_held_bytes", &[]);
    assert!(held < 8e6, "{held} bytes are held");
    for n in 0..MANY {
        let answer = scripted::read_frame(&mut stream).unwrap_or_else(|e| panic!("answer {n}: {e}"));
        assert_eq!(answer[..4], 9_i32.to_be_bytes());
    }
    sends.join().expect("all were sent");
}

/// The small form of ten thousand (docs/measurements.md).
#[test]
fn idle_connections_take_little_and_a_new_client_is_served() {
    const MANY: usize = 500;
    let (_broker, kmend) = start(json!({}));
    let open = || {
        let mut raw = Raw::open(&kmend.listen);
        raw.ask(3, &scripted::versions()).expect("ApiVersions");
        raw
    };
    // The code that they need is part of an idle process.
    let first: Vec<Raw> = (0..20).map(|_| open()).collect();
    let idle = kmend.memory().0;
    let crowd: Vec<Raw> = (0..MANY).map(|_| open()).collect();
    let each = kmend.memory().0.saturating_sub(idle) / MANY as u64;
    println!("{each} bytes for each idle connection");
    assert!(each < 24 << 10, "{each} bytes for each idle connection");
    let held = || kmend.metrics().sum("kmend_memory_held_bytes", &[]);
    assert!(eventually(PATIENCE, || held() > MANY as f64 * 8e3), "{} bytes are counted", held());
    let began = Instant::now();
    drop(open());
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    drop((first, crowd));
    assert!(eventually(PATIENCE, || held() == 0.0), "{} bytes are counted", held());
}
