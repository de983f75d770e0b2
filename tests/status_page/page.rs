//! One Chromium that has the page open until it is told to close it (`tests/page/against.mjs`).

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;

use crate::harness::reaper::Guarded;
use crate::harness::setup::root;
use crate::harness::{Kmend, wait_for};

/// A line of the feed, and when the browser had it.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    pub id: String,
    pub mender: String,
    pub text: String,
    pub tags: String,
    /// Seconds since 1970.
    pub appeared_at: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct LongTask {
    pub ms: f64,
}

/// The tasks of the page's main thread.
#[derive(Debug, Clone, Deserialize)]
pub struct Tasks {
    pub count: usize,
    pub longest_cpu_ms: f64,
}

/// What stands beside the titles.
#[derive(Debug, Clone, Deserialize)]
pub struct Sections {
    pub clients: String,
    pub groups: String,
}

/// What the browser saw.
#[derive(Debug, Clone, Deserialize)]
pub struct Saw {
    pub state: String,
    pub feed: Vec<Line>,
    pub rows_in_feed: usize,
    pub banner: Option<String>,
    pub notice: Option<String>,
    pub console_errors: Vec<String>,
    pub csp_violations: Vec<String>,
    pub requests: Vec<String>,
    pub outside_requests: Vec<String>,
    pub long_tasks: Vec<LongTask>,
    pub tasks: Option<Tasks>,
    pub sections: Sections,
    pub group_rows: usize,
    pub document_is_current: bool,
    pub policy_is_current: bool,
}

pub struct Page {
    process: Guarded,
    said: Arc<Mutex<Vec<String>>>,
}

impl Page {
    /// Opens the page of a kmend, and waits until it is live.
    pub fn open(kmend: &Kmend) -> Page {
        Page::open_with(kmend, &[])
    }

    /// The same, and takes the CPU time of its tasks.
    pub fn open_traced(kmend: &Kmend) -> Page {
        Page::open_with(kmend, &["--tasks"])
    }

    fn open_with(kmend: &Kmend, flags: &[&str]) -> Page {
        let script = root().join("tests/page/against.mjs");
        let mut node = Command::new("node");
        node.arg(script).args([&format!("http://{}/", kmend.admin), "-"]).args(flags);
        node.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Guarded::spawn(&mut node).expect("node starts");
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let (stderr, into) = (process.child().stderr.take().expect("a pipe"), said.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                into.lock().unwrap_or_else(|e| e.into_inner()).push(line);
            }
        });
        let mut page = Page { process, said };
        wait_for("the page in Chromium", Duration::from_secs(40), || {
            assert!(page.process.ended().is_none(), "no page: {:?}", page.said());
            page.said().iter().any(|line| line == "live").then_some(())
        });
        page
    }

    /// Has the page evaluate an expression.
    pub fn evaluate(&mut self, expression: &str) {
        let stdin = self.process.child().stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{expression}").and_then(|()| stdin.flush()).expect("node reads");
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Closes it; what it has seen.
    pub fn close(mut self) -> Saw {
        drop(self.process.child().stdin.take());
        let mut text = String::new();
        let mut stdout = self.process.child().stdout.take().expect("a pipe");
        stdout.read_to_string(&mut text).expect("what it saw");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text} {:?}", self.said()))
    }
}
