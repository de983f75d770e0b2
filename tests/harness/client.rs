//! The real clients, each a small app with one contract (`tests/clients/README.md`).

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::reaper::Guarded;
use super::setup::{place, root};
use super::wait::{eventually, wait_for};

/// Every client. `java` is the newest one; there are also `java-consumer` (the same with KIP-848) and
/// `java-old`, `faststream-0.5.3` with its controls, and `franz-go-1.16.1` with its.
pub const ALL: [&str; 7] = ["java", "librdkafka", "franz-go", "sarama", "aiokafka", "kafka-python", "kafkajs"];

/// What an app is told: the variables of the contract.
#[derive(Debug, Clone, Default)]
pub struct Opts(Vec<(&'static str, String)>);

impl Opts {
    /// A consumer in a group.
    pub fn consume(bootstrap: &str, topic: &str, group: &str) -> Opts {
        Opts::default().with("BOOTSTRAP", bootstrap).with("TOPICS", topic).with("GROUP", group)
    }

    /// A producer.
    pub fn produce(bootstrap: &str, topic: &str) -> Opts {
        Opts::default().with("MODE", "produce").with("BOOTSTRAP", bootstrap).with("TOPICS", topic)
    }

    /// Sets one variable, without its prefix: `("RESET", "none")`.
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Opts {
        self.0.retain(|(n, _)| *n != name);
        self.0.push((name, value.to_string()));
        self
    }

    /// Logs in with SASL/PLAIN.
    pub fn login(self) -> Opts {
        self.with("USER", super::kafka::USER).with("PASSWORD", super::kafka::PASSWORD)
    }
}

/// One line of an app's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Ready,
    /// In the handler of this record, until the test wants it to end.
    Holding {
        topic: String,
        partition: i32,
        offset: i64,
    },
    Handled {
        topic: String,
        partition: i32,
        offset: i64,
        key: String,
    },
    Sent {
        topic: String,
        partition: i32,
        offset: i64,
        value: String,
    },
    Committed {
        topic: String,
        partition: i32,
        offset: i64,
    },
    /// An error that the app could see.
    Err(String),
    /// The app's last word: an error that ended it.
    Died(String),
    Closed,
    /// Anything else: the client's own log.
    Note(String),
}

/// A running app. Dropping it kills it.
pub struct Client {
    pub name: String,
    process: Mutex<Guarded>,
    seen: Arc<Mutex<Vec<(Instant, Event)>>>,
}

/// What gives a client SIGINT as a terminal has it. A shell lets what it starts in the background ignore that signal, all
/// below inherit it, and a JVM keeps to it: Ctrl+C would never reach the app.
fn own_signals() -> &'static [&'static str] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored =
        status.lines().find_map(|l| l.strip_prefix("SigIgn:")).map(|mask| u64::from_str_radix(mask.trim(), 16));
    let is_ignored = matches!(ignored, Some(Ok(mask)) if mask & (1 << (Signal::INT.as_raw() - 1)) != 0);
    if is_ignored { &["env", "--default-signal=INT"] } else { &[] }
}

impl Client {
    /// Starts an app; does not wait for it.
    pub fn start(name: &str, opts: Opts) -> Client {
        Client::start_in(name, opts, &[])
    }

    /// The same behind a prefix command, such as `ip netns exec NAME`.
    pub fn start_in(name: &str, opts: Opts, prefix: &[&str]) -> Client {
        if name == "java-consumer" {
            return Client::start_in("java", opts.with("PROTOCOL", "consumer"), prefix);
        }
        let own = command(name);
        let mut all = own_signals().iter().chain(prefix).map(|s| (*s).to_owned()).chain(own);
        let mut command = Command::new(all.next().expect("a command"));
        command.args(all);
        for (key, value) in &opts.0 {
            command.env(format!("APP_{key}"), value);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Guarded::spawn(&mut command).expect("the client app starts");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let streams = (process.child().stdout.take(), process.child().stderr.take());
        let (out, err) = (streams.0.expect("a pipe"), streams.1.expect("a pipe"));
        collect(out, seen.clone(), event);
        collect(err, seen.clone(), |line| Event::Note(line.to_owned()));
        Client { name: name.to_owned(), process: Mutex::new(process), seen }
    }

    /// Everything that the app has said so far.
    pub fn events(&self) -> Vec<Event> {
        self.lock().iter().map(|(_, e)| e.clone()).collect()
    }

    /// The same, and when.
    pub fn timeline(&self) -> Vec<(Instant, Event)> {
        self.lock().clone()
    }

    /// The offsets that were handled of one partition, in order.
    pub fn handled(&self, topic: &str, partition: i32) -> Vec<i64> {
        let pick = |e: &Event| match e {
            Event::Handled { topic: t, partition: p, offset, .. } if t == topic && *p == partition => Some(*offset),
            _ => None,
        };
        self.lock().iter().filter_map(|(_, e)| pick(e)).collect()
    }

    /// Everything that was handled of one topic, and when: partition and offset.
    pub fn handled_at(&self, topic: &str) -> Vec<(Instant, i32, i64)> {
        let pick = |(at, e): &(Instant, Event)| match e {
            Event::Handled { topic: t, partition, offset, .. } if t == topic => Some((*at, *partition, *offset)),
            _ => None,
        };
        self.lock().iter().filter_map(pick).collect()
    }

    /// What the app says that is no event of the contract for all.
    pub fn notes(&self) -> Vec<String> {
        let pick = |e: &Event| match e {
            Event::Note(text) => Some(text.clone()),
            _ => None,
        };
        self.lock().iter().filter_map(|(_, e)| pick(e)).collect()
    }

    /// The first record that was handled or sent (with success) in one partition.
    pub fn first_in(&self, topic: &str, partition: i32) -> Option<Instant> {
        let there = |e: &Event| match e {
            Event::Handled { topic: t, partition: p, .. } | Event::Sent { topic: t, partition: p, .. } => {
                *p == partition && t == topic
            }
            _ => false,
        };
        self.lock().iter().find(|(_, e)| there(e)).map(|(at, _)| *at)
    }

    /// What was sent with success, in the order of the answers: partition, offset (-1: unknown), value.
    pub fn sent(&self, topic: &str) -> Vec<(i32, i64, String)> {
        let pick = |e: &Event| match e {
            Event::Sent { topic: t, partition, offset, value } if t == topic => {
                Some((*partition, *offset, value.clone()))
            }
            _ => None,
        };
        self.lock().iter().filter_map(|(_, e)| pick(e)).collect()
    }

    /// The longest time between two records that were handled or sent with success after `since`.
    pub fn longest_gap(&self, since: Instant) -> Duration {
        let mut last = since;
        let mut longest = Duration::ZERO;
        let counts = |e: &Event| matches!(e, Event::Handled { .. } | Event::Sent { .. });
        for (at, _) in self.lock().iter().filter(|(at, e)| *at > since && counts(e)) {
            longest = longest.max(*at - last);
            last = *at;
        }
        longest.max(last.elapsed())
    }

    /// How many records were handled or sent (with success) altogether.
    pub fn progress(&self) -> usize {
        let counts = |e: &Event| matches!(e, Event::Handled { .. } | Event::Sent { .. });
        self.lock().iter().filter(|(_, e)| counts(e)).count()
    }

    /// Handled or sent after `since`.
    pub fn progress_since(&self, since: Instant) -> usize {
        let counts = |e: &Event| matches!(e, Event::Handled { .. } | Event::Sent { .. });
        self.lock().iter().filter(|(t, e)| *t > since && counts(e)).count()
    }

    /// The last offset that the app says it has committed.
    pub fn committed(&self, topic: &str, partition: i32) -> Option<i64> {
        let pick = |e: &Event| match e {
            Event::Committed { topic: t, partition: p, offset } if t == topic && *p == partition => Some(*offset),
            _ => None,
        };
        self.lock().iter().rev().find_map(|(_, e)| pick(e))
    }

    /// Errors that the app could see, its last word included.
    pub fn errors(&self) -> Vec<String> {
        let pick = |e: &Event| match e {
            Event::Err(text) => Some(text.clone()),
            Event::Died(text) => Some(format!("DIED {text}")),
            _ => None,
        };
        self.lock().iter().filter_map(|(_, e)| pick(e)).collect()
    }

    /// Waits for a condition on this client; on failure the test shows what the app said.
    #[track_caller]
    pub fn wait(&self, what: &str, limit: Duration, condition: impl Fn(&Client) -> bool) {
        if !eventually(limit, || condition(self)) {
            panic!("{}: waited {limit:?} in vain for: {what}\n{}", self.name, self.story());
        }
    }

    /// Waits for `READY`.
    pub fn ready(self) -> Client {
        self.wait("READY", Duration::from_secs(30), |c| c.events().contains(&Event::Ready));
        self
    }

    /// Has the handler of the next record not end before [`Client::resume_handler`], and waits for that
    /// record. `write` brings some: the app may have read one before the word, then it is the next.
    pub fn hold_handler(&self, limit: Duration, mut write: impl FnMut()) {
        let held = self.holdings().len();
        let holds = || self.holdings().len() > held;
        self.tell("pause-handler");
        let began = Instant::now();
        while !holds() && began.elapsed() < limit {
            write();
            eventually(Duration::from_secs(3), || holds() || !self.alive());
        }
        self.wait("a held handler", Duration::from_secs(1), |_| holds());
    }

    pub fn resume_handler(&self) {
        self.tell("resume-handler");
    }

    /// The records whose handlers were held, in order: partition and offset.
    pub fn holdings(&self) -> Vec<(i32, i64)> {
        let pick = |e: &Event| match e {
            Event::Holding { partition, offset, .. } => Some((*partition, *offset)),
            _ => None,
        };
        self.lock().iter().filter_map(|(_, e)| pick(e)).collect()
    }

    /// How many commits of its own the app has reported.
    pub fn commits(&self) -> usize {
        self.lock().iter().filter(|(_, e)| matches!(e, Event::Committed { .. })).count()
    }

    /// Waits until `offset` of a partition has been handled.
    #[track_caller]
    pub fn wait_handled(&self, topic: &str, partition: i32, offset: i64, limit: Duration) {
        let what = format!("offset {offset} of {topic}[{partition}]");
        self.wait(&what, limit, |c| c.handled(topic, partition).contains(&offset));
    }

    /// A command on the app's stdin: `pause`, `resume`, `close`.
    pub fn tell(&self, line: &str) {
        let mut process = self.process();
        if let Some(stdin) = process.child().stdin.as_mut() {
            let _ = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
        }
    }

    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    pub fn alive(&self) -> bool {
        self.process().ended().is_none()
    }

    /// Waits for the app's end; its exit code (none: by a signal).
    pub fn exit_code(&self, limit: Duration) -> Option<i32> {
        wait_for("the app's end", limit, || self.process().ended()).code()
    }

    /// SIGTERM, and waits for a polite end.
    pub fn close(&self) {
        self.signal(Signal::TERM);
        let code = self.exit_code(Duration::from_secs(20));
        assert_eq!(code, Some(0), "{} did not close well\n{}", self.name, self.story());
    }

    /// What the app said: its errors, notes, and the last lines, for a failed test.
    pub fn story(&self) -> String {
        let seen = self.lock();
        let begin = seen.first().map(|(t, _)| *t);
        let dull = |e: &Event| matches!(e, Event::Handled { .. } | Event::Sent { .. } | Event::Committed { .. });
        let mut lines: Vec<String> = Vec::new();
        let mut skipped = 0;
        for (i, (at, event)) in seen.iter().enumerate() {
            if dull(event) && i > 3 && i + 6 < seen.len() {
                skipped += 1;
                continue;
            }
            if skipped > 0 {
                lines.push(format!("      ... {skipped} records ..."));
                skipped = 0;
            }
            lines.push(format!("  {:>7.3} {event:?}", begin.map_or(0.0, |b| (*at - b).as_secs_f64())));
        }
        if lines.len() > 80 {
            let cut = lines.len() - 80;
            lines.drain(40..40 + cut);
            lines.insert(40, format!("      ... {cut} lines ..."));
        }
        format!("what {} said:\n{}", self.name, lines.join("\n"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, Event)>> {
        self.seen.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Guarded> {
        self.process.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn collect(
    stream: impl std::io::Read + Send + 'static,
    into: Arc<Mutex<Vec<(Instant, Event)>>>,
    parse: fn(&str) -> Event,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            into.lock().unwrap_or_else(|e| e.into_inner()).push((Instant::now(), parse(&line)));
        }
    });
}

fn event(line: &str) -> Event {
    let words: Vec<&str> = line.split(' ').collect();
    let place = || Some((words.get(1)?.to_string(), words.get(2)?.parse().ok()?, words.get(3)?.parse().ok()?));
    let rest = || line.split_once(' ').map_or("", |(_, r)| r).to_owned();
    match (words.first().copied(), place()) {
        (Some("READY"), _) => Event::Ready,
        (Some("CLOSED"), _) => Event::Closed,
        (Some("ERR"), _) => Event::Err(rest()),
        (Some("DIED"), _) => Event::Died(rest()),
        (Some("HOLDING"), Some((topic, partition, offset))) => Event::Holding { topic, partition, offset },
        (Some("HANDLED"), Some((topic, partition, offset))) => {
            Event::Handled { topic, partition, offset, key: words.get(4).copied().unwrap_or("").to_owned() }
        }
        (Some("SENT"), Some((topic, partition, offset))) => {
            Event::Sent { topic, partition, offset, value: words.get(4).copied().unwrap_or("").to_owned() }
        }
        (Some("COMMITTED"), Some((topic, partition, offset))) => Event::Committed { topic, partition, offset },
        _ => Event::Note(line.to_owned()),
    }
}

/// The command line of an app; sets it up first where that has not been done.
fn command(name: &str) -> Vec<String> {
    let dir = place(name);
    let at = |path: &str| dir.join(path).display().to_string();
    let source = |path: &str| root().join("tests/clients").join(name).join(path).display().to_string();
    match name {
        "java" | "java-old" => {
            let mut all = vec![at("java")];
            all.extend(["-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"].map(String::from));
            all.extend(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".into(), "-cp".into()]);
            all.extend([format!("{}:{}", at("classes"), at("libs/*")), "App".into()]);
            all
        }
        "librdkafka" | "aiokafka" | "kafka-python" => {
            vec![at("venv/bin/python"), "-u".into(), source("app.py")]
        }
        // One app for all its versions.
        name if name.starts_with("faststream-") => {
            let app = root().join("tests/clients/faststream/app.py").display().to_string();
            vec![at("venv/bin/python"), "-u".into(), app]
        }
        // franz-go-VERSION: a member of a group in several versions.
        name if name.starts_with("franz-go") || name == "sarama" => vec![at("app")],
        "kafkajs" => vec![at("node"), at("app.js")],
        other => panic!("no client named {other}"),
    }
}
