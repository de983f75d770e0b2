//! With `KMEND_MATRIX=1`: what a well-behaved client feels of each kind of bad input, written to `docs/hostile_runs.md`.
//!
//! An attack takes processor time by itself, on the same two cores. So the same attack is also thrown at another kmend: what
//! differs is what kmend's clients do to each other.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::crowds::{p99, start};
use super::harness::{Kmend, Over};
use super::{header, scripted, tagged};

/// One measurement, and how many of each the median is of.
const LONG: Duration = Duration::from_millis(1500);
const TIMES: usize = 3;

type Throw = fn(&str, &AtomicBool);

/// Throws these bytes on new connections, `per_second` of them.
fn throw(address: &str, over: &AtomicBool, per_second: u32, bytes: &[u8], linger: usize) {
    let mut kept = std::collections::VecDeque::new();
    let pause = Duration::from_secs(1) / per_second;
    while !over.load(Ordering::Relaxed) {
        let next = Instant::now() + pause;
        if let Ok(mut stream) = TcpStream::connect(address) {
            let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
            let _ = stream.write_all(bytes);
            kept.push_back(stream);
            if kept.len() > linger {
                kept.pop_front();
            }
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn many_tags() -> Vec<u8> {
    let tags: Vec<u8> = (0..4000_u32).flat_map(|n| [(n & 0x7f) as u8 | 0x80, (n >> 7) as u8, 0]).collect();
    tagged(16 + 2 + tags.len() as i32, &[&[0xa0, 0x1f][..], &tags].concat())
}

const KINDS: [(&str, Throw); 10] = [
    ("HTTP", |a, o| throw(a, o, 200, b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n", 50)),
    ("TLS hello", |a, o| throw(a, o, 200, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 50)),
    ("negative length", |a, o| throw(a, o, 200, &[0xff; 32], 50)),
    ("length of 2^31-1", |a, o| throw(a, o, 200, &i32::MAX.to_be_bytes(), 50)),
    ("length that lies, held whole", |a, o| {
        throw(a, o, 200, &[header(3_000_000, 8, 2), vec![0; 30_000]].concat(), 200)
    }),
    ("array count of 2^31-1", |a, o| throw(a, o, 200, &[header(30, 8, 0), vec![0x7f; 16]].concat(), 50)),
    ("4,000 tags", |a, o| throw(a, o, 100, &many_tags(), 50)),
    ("connects and goes", |a, o| throw(a, o, 1000, b"", 0)),
    ("slow loris, 300 clients", loris),
    ("4,096 requests pipelined, none read", |a, o| {
        throw(a, o, 5, &scripted::frame(0, 9, &scripted::versions()).repeat(4096), 5);
    }),
];

/// A byte a second each.
fn loris(address: &str, over: &AtomicBool) {
    let frame = [header(400, 8, 2), vec![0; 400]].concat();
    let mut all: Vec<TcpStream> = (0..300).filter_map(|_| TcpStream::connect(address).ok()).collect();
    for byte in frame {
        for stream in &mut all {
            let _ = stream.write_all(&[byte]);
            if over.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_secs(1) / 300);
        }
    }
}

/// The 99th percentile of one client's questions to `kmend` while `kind` is thrown at `address`.
fn under(kmend: &Kmend, kind: Throw, address: &str) -> Duration {
    let over = AtomicBool::new(false);
    std::thread::scope(|s| {
        let _over = Over(&over);
        s.spawn(|| kind(address, &over));
        std::thread::sleep(Duration::from_millis(300));
        p99(kmend, || std::thread::sleep(LONG))
    })
}

fn median(mut all: Vec<Duration>) -> f64 {
    all.sort();
    all[all.len() / 2].as_secs_f64() * 1e3
}

#[test]
fn runs() {
    if std::env::var("KMEND_MATRIX").is_err() {
        return;
    }
    let ((_a, kmend), (_b, other)) = (start(json!({})), start(json!({})));
    for one in [&kmend, &other] {
        for text in ["cut", "refused"] {
            one.allow(text);
        }
    }
    let mut rows = String::new();
    for (name, kind) in KINDS {
        let (mut calm, mut elsewhere, mut here) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..TIMES {
            calm.push(p99(&kmend, || std::thread::sleep(LONG)));
            elsewhere.push(under(&kmend, kind, &other.listen));
            here.push(under(&kmend, kind, &kmend.listen));
        }
        let (calm, elsewhere, here) = (median(calm), median(elsewhere), median(here));
        let row = format!("| {name} | {calm:.2} | {elsewhere:.2} | {here:.2} | {:.1} |\n", here / elsewhere);
        print!("{row}");
        rows += &row;
    }
    let (build, path) = (if cfg!(debug_assertions) { "debug" } else { "release" }, "docs/hostile_runs.md");
    let text = format!(
        "# What others feel of bad input\n\n\
         Written by `KMEND_MATRIX=1 cargo test --release --test hostile runs` ({build} build, two cores). One well-behaved client asks \
         for versions without a pause, through kmend, of a broker by script, while something bad comes on other connections, 5 to \
         1,000 a second. The 99th percentile of its answers, in milliseconds, median of {TIMES} runs of {} ms each: alone; while the \
         same is thrown at another kmend on this host (the attack's own use of the two cores); while it is thrown at this one.\n\n\
         | thrown | alone | at another kmend | at this kmend | ratio |\n|---|---|---|---|---|\n{rows}",
        LONG.as_millis()
    );
    std::fs::write(path, text).expect("docs/");
    assert!(kmend.runs() && other.runs());
    let mut last = TcpStream::connect(&kmend.listen).expect("it listens");
    last.write_all(b"GET ").expect("it takes it");
    let _ = last.read(&mut [0; 8]);
}
