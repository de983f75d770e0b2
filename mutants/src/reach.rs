//! Which tests there are, how long each takes, and which mutants it runs through.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::run::{self, Ended, Limit};
use crate::tree::Built;

/// Longer ones are run last, as the simulation and the corpora are.
const LONG: Duration = Duration::from_secs(4);

#[derive(Serialize, Deserialize)]
pub struct Test {
    /// Which of the binaries it is in.
    pub binary: usize,
    pub name: String,
    pub millis: u64,
    pub reached: BTreeSet<u32>,
}

impl Test {
    pub fn is_last(&self) -> bool {
        let slow = ["simulation::", "fuzzing::"].iter().any(|room| self.name.starts_with(room));
        slow || self.millis > LONG.as_millis() as u64
    }
}

#[derive(Serialize, Deserialize)]
pub struct Reach {
    build: u64,
    pub tests: Vec<Test>,
}

const FILE: &str = "reach.json";

pub fn known(dir: &Path) -> Option<Reach> {
    serde_json::from_slice(&fs::read(dir.join(FILE)).ok()?).ok()
}

/// One run of each test by itself. A test that fails without any mutant is an error.
pub fn record(dir: &Path, built: &Built, jobs: usize) -> Outcome<Reach> {
    if let Some(reach) = known(dir).filter(|r| r.build == built.id) {
        return Ok(reach);
    }
    let mut names = Vec::new();
    for (binary, path) in built.binaries.iter().enumerate() {
        let output = Command::new(path).current_dir(&built.tree).args(["--list", "--format=terse"]).output()?;
        let text = String::from_utf8(output.stdout)?;
        names.extend(text.lines().filter_map(|l| l.strip_suffix(": test")).map(|name| (binary, name.to_owned())));
    }
    eprintln!("mutants: {} tests, each once", names.len());
    names.reverse();
    let (names, done, failed) = (Mutex::new(names), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let scratch = dir.join("scratch");
    fs::create_dir_all(&scratch)?;
    std::thread::scope(|scope| {
        for job in 0..jobs {
            let (names, done, failed, scratch) = (&names, &done, &failed, &scratch);
            scope.spawn(move || {
                while let Some((binary, name)) = run::next(names) {
                    match once(built, scratch, job, binary, &name) {
                        Ok(test) => run::lock(done).push(test),
                        Err(error) => run::lock(failed).push(format!("{name}: {error}")),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    if !failed.is_empty() {
        return Err(format!("these tests fail without any mutant:\n{}", failed.join("\n")).into());
    }
    let mut tests: Vec<Test> = done.into_inner().unwrap_or_default();
    tests.sort_by(|a, b| (a.binary, &a.name).cmp(&(b.binary, &b.name)));
    let reach = Reach { build: built.id, tests };
    fs::write(dir.join(FILE), serde_json::to_vec(&reach)?)?;
    Ok(reach)
}

fn once(built: &Built, scratch: &Path, job: usize, binary: usize, name: &str) -> Outcome<Test> {
    let file = scratch.join(format!("reached-{job}"));
    let _ = fs::remove_file(&file);
    let mut command = run::command(built, binary, &[name], &Limit::NONE);
    command.env("KMEND_MUTANTS_REACHED", &file);
    let (ended, took, said) = run::wait(command, &Limit::NONE, &scratch.join(format!("said-{job}")))?;
    if ended != Ended::Passed {
        return Err(said.into());
    }
    // A test that reaches none has made no file.
    let text = fs::read_to_string(&file).unwrap_or_default();
    let reached = text.lines().map(str::parse).collect::<Result<_, _>>()?;
    Ok(Test { binary, name: name.to_owned(), millis: took.as_millis() as u64, reached })
}
