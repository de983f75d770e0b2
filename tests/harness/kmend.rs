//! The real binary: `kmend run --config FILE`, with its log, metrics and memory in view.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::kafka::Kafka;
use super::metrics::{Metrics, http_get};
use super::ports;
use super::reaper::Guarded;
use super::wait::{wait_for, within};

/// A running kmend. Dropping it kills it, and fails the test where its log holds a warning, an
/// error or a panic that the test did not announce.
pub struct Kmend {
    pub listen: String,
    pub admin: String,
    config: PathBuf,
    dir: tempfile::TempDir,
    prefix: Vec<String>,
    process: Mutex<Option<Guarded>>,
    log: Arc<Mutex<Vec<String>>>,
    allowed: Mutex<Vec<String>>,
}

/// The binary under test: `$KMEND_BIN`, else the one that cargo has just built.
pub fn binary() -> String {
    std::env::var("KMEND_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_kmend").to_owned())
}

impl Kmend {
    /// Starts kmend in front of a cluster and waits for `/readyz`. `change` may edit the configuration.
    pub fn start(kafka: &Kafka, change: impl FnOnce(&mut Value)) -> Kmend {
        Kmend::start_at("127.0.0.1", &kafka.bootstrap(), change)
    }

    /// The same on another local address and with any upstream.
    pub fn start_at(host: &str, upstream: &[String], change: impl FnOnce(&mut Value)) -> Kmend {
        Kmend::start_in(&[], host, upstream, change)
    }

    /// The same behind a prefix command, such as one that limits memory.
    pub fn start_in(prefix: &[String], host: &str, upstream: &[String], change: impl FnOnce(&mut Value)) -> Kmend {
        let kmend = Kmend::prepare(prefix, host, upstream, change);
        kmend.launch();
        kmend.wait_ready();
        kmend
    }

    /// Writes the configuration, starts nothing.
    pub fn prepare(prefix: &[String], host: &str, upstream: &[String], change: impl FnOnce(&mut Value)) -> Kmend {
        let dir = tempfile::Builder::new().prefix("kmend-test-").tempdir().expect("a temporary folder");
        super::reaper::remove_at_end(dir.path());
        // kmend takes the ports above its own for the brokers.
        let port = ports::range(24);
        let admin = format!("127.0.0.1:{}", ports::free());
        let mut config = json!({
            "upstream": { "bootstrap": upstream },
            "listen": { "address": [format!("{host}:{port}")] },
            "admin": { "address": admin },
            "menders": { "commit_buffer": { "journal": { "dir": dir.path().join("state") } } },
            "shutdown": { "drain_timeout": "10s" },
            "log": { "format": "json" },
        });
        change(&mut config);
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let listen = config.pointer("/listen/address/0").and_then(text).expect("a listen address");
        let admin = config.pointer("/admin/address").and_then(text).expect("an admin address");
        let file = dir.path().join("kmend.yaml");
        // JSON is YAML.
        std::fs::write(&file, config.to_string()).expect("the configuration");
        Kmend {
            listen,
            admin,
            config: file,
            dir,
            prefix: prefix.to_vec(),
            process: Mutex::new(None),
            log: Arc::default(),
            allowed: Mutex::default(),
        }
    }

    /// Starts the process with the configuration that it was made with; does not wait.
    pub fn launch(&self) {
        let own = [binary(), "run".to_owned(), "--config".to_owned(), self.config.display().to_string()];
        let mut all = self.prefix.iter().cloned().chain(own);
        let mut command = Command::new(all.next().expect("a command"));
        command.args(all).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Guarded::spawn(&mut command).expect("kmend starts");
        let (out, err) = (process.child().stdout.take(), process.child().stderr.take());
        self.collect(out.expect("a pipe"));
        self.collect(err.expect("a pipe"));
        *self.process() = Some(process);
    }

    /// Waits until `/readyz` says 200.
    #[track_caller]
    pub fn wait_ready(&self) {
        let ready = within(Duration::from_secs(20), || {
            if let Some(status) = self.process().as_mut().and_then(|p| p.ended()) {
                panic!("kmend ended ({status}) before it was ready; its log:\n{}", self.log_text());
            }
            http_get(&self.admin, "/readyz").filter(|(status, _)| *status == 200)
        });
        assert!(ready.is_some(), "kmend is not ready; its log:\n{}", self.log_text());
    }

    /// SIGKILL.
    pub fn kill(&self) {
        *self.process() = None;
    }

    /// `kill -9`, and the same again at once.
    pub fn kill_and_restart(&self) {
        self.kill();
        self.launch();
        self.wait_ready();
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) {
        if let Some(process) = self.process().as_mut() {
            process.signal(Signal::TERM);
        }
    }

    /// SIGSTOP or SIGCONT.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = self.process().as_mut() {
            process.signal(signal);
        }
    }

    /// Waits for the end; the exit code (none: by a signal).
    pub fn exit_code(&self, limit: Duration) -> Option<i32> {
        wait_for("kmend's end", limit, || self.process().as_mut().and_then(|p| p.ended())).code()
    }

    /// Changes the configuration file, sends SIGHUP, and waits until that is in force.
    pub fn reload(&self, change: impl FnOnce(&mut Value)) {
        let text = std::fs::read_to_string(&self.config).expect("the configuration");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        change(&mut config);
        let said = || self.log().iter().filter(|l| l.contains("reloaded")).count();
        let before = said();
        std::fs::write(&self.config, config.to_string()).expect("the configuration");
        if let Some(process) = self.process().as_mut() {
            process.signal(Signal::HUP);
        }
        wait_for("the reload", Duration::from_secs(10), || (said() > before).then_some(()));
    }

    /// Its configuration file.
    pub fn config_file(&self) -> &Path {
        &self.config
    }

    /// SIGHUP, without waiting.
    pub fn hang_up(&self) {
        if let Some(process) = self.process().as_mut() {
            process.signal(Signal::HUP);
        }
    }

    /// An answer of the admin server: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let got = within(Duration::from_secs(5), || http_get(&self.admin, path));
        got.unwrap_or_else(|| panic!("no {path}; kmend's log:\n{}", self.log_text()))
    }

    /// A page of the admin server, where there is one.
    pub fn try_get(&self, path: &str) -> Option<String> {
        http_get(&self.admin, path).map(|(_, body)| body)
    }

    /// The log lines with that message.
    pub fn said(&self, message: &str) -> Vec<Value> {
        let parsed = |line: &String| serde_json::from_str::<Value>(line).ok();
        let is = |v: &Value| v.get("message").and_then(Value::as_str) == Some(message);
        self.log().iter().filter_map(parsed).filter(is).collect()
    }

    /// A scrape of `/metrics`.
    pub fn metrics(&self) -> Metrics {
        let got = within(Duration::from_secs(5), || http_get(&self.admin, "/metrics").filter(|(s, _)| *s == 200));
        Metrics::parse(&got.unwrap_or_else(|| panic!("no /metrics; kmend's log:\n{}", self.log_text())).1)
    }

    /// Resident memory, now and at its peak, in bytes.
    pub fn memory(&self) -> (u64, u64) {
        (self.kib("VmRSS") * 1024, self.kib("VmHWM") * 1024)
    }

    /// Resident memory without the pages of files, in bytes.
    pub fn own_memory(&self) -> u64 {
        self.kib("RssAnon") * 1024
    }

    fn kib(&self, name: &str) -> u64 {
        let pid = self.process().as_ref().map(Guarded::pid).expect("kmend runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("kmend runs");
        let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()).expect("the kernel says it in kB")
    }

    /// The process, or what stands before it (`start_in`).
    pub fn pid(&self) -> u32 {
        self.process().as_ref().map(Guarded::pid).expect("kmend runs")
    }

    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        self.process().as_mut().is_some_and(|p| p.ended().is_none())
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A log line of level WARN or ERROR that holds `text` is expected.
    pub fn allow(&self, text: &str) -> &Kmend {
        self.allowed.lock().unwrap_or_else(|e| e.into_inner()).push(text.to_owned());
        self
    }

    /// Everything that kmend has logged.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub fn log_text(&self) -> String {
        let log = self.log();
        log[log.len().saturating_sub(60)..].join("\n")
    }

    /// Log lines that nobody announced: WARN, ERROR, a panic, or a line that is not JSON.
    pub fn unexpected(&self) -> Vec<String> {
        let allowed = self.allowed.lock().unwrap_or_else(|e| e.into_inner()).clone();
        let bad = |line: &String| match serde_json::from_str::<Value>(line) {
            Ok(v) => matches!(v.get("level").and_then(Value::as_str), Some("WARN" | "ERROR")),
            Err(_) => !line.trim().is_empty(),
        };
        let expected = |line: &String| allowed.iter().any(|a| line.contains(a));
        self.log().into_iter().filter(|l| bad(l) && !expected(l)).collect()
    }

    fn collect(&self, stream: impl std::io::Read + Send + 'static) {
        let into = self.log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                into.lock().unwrap_or_else(|e| e.into_inner()).push(line);
            }
        });
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Guarded>> {
        self.process.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Kmend {
    fn drop(&mut self) {
        self.kill();
        let unexpected = self.unexpected();
        if std::thread::panicking() {
            eprintln!("kmend's log:\n{}", self.log_text());
        } else {
            assert!(unexpected.is_empty(), "kmend logged what nobody expected:\n{}", unexpected.join("\n"));
        }
    }
}
