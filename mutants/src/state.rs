//! What is known of each mutant, kept in target/mutants so that a run can be stopped.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::list::Mutant;

const FILE: &str = "results.jsonl";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It does not compile, or cannot be chosen at run time.
    Refused(String),
    /// By this test.
    Caught(String),
    TimedOut(String),
    /// No test runs this code.
    Unreached,
    /// These have passed, others are still to be run. Numbers of tests of one build.
    Open(Vec<usize>),
    /// So many tests reach it, and all of them have passed.
    Survived(usize),
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    /// Of the code of the file that it is in.
    code: u64,
    /// Of the test binaries: what has survived has survived these.
    build: u64,
    verdict: Verdict,
}

pub struct State {
    known: HashMap<String, Line>,
    file: File,
}

pub fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

pub fn forget(dir: &Path) -> Outcome<()> {
    match std::fs::remove_file(dir.join(FILE)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

impl State {
    pub fn open(dir: &Path) -> Outcome<State> {
        let path = dir.join(FILE);
        let mut known = HashMap::new();
        // A line that was being written when a run was stopped is no line.
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for line in text.lines().filter_map(|l| serde_json::from_str::<Line>(l).ok()) {
            known.insert(line.key.clone(), line);
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n")?;
        }
        Ok(State { known, file })
    }

    /// What is known of it, whichever build that was; nothing where its code has changed since.
    pub fn verdict(&self, mutant: &Mutant) -> Option<&Verdict> {
        self.known.get(&mutant.key()).filter(|l| l.code == mutant.code).map(|l| &l.verdict)
    }

    /// What need not be run again with this build: what was caught stays caught.
    pub fn settled(&self, mutant: &Mutant, build: u64) -> Option<&Verdict> {
        let line = self.known.get(&mutant.key()).filter(|l| l.code == mutant.code)?;
        let stays = matches!(line.verdict, Verdict::Refused(_) | Verdict::Caught(_) | Verdict::TimedOut(_));
        (stays || line.build == build).then_some(&line.verdict)
    }

    pub fn set(&mut self, mutant: &Mutant, build: u64, verdict: Verdict) -> Outcome<()> {
        let line = Line { key: mutant.key(), code: mutant.code, build, verdict };
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        self.known.insert(line.key.clone(), line);
        Ok(())
    }
}
