//! Which mutants there are: cargo-mutants' list, without what does not concern us.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::Outcome;
use crate::state::hash;
use crate::tree;

/// The folders whose code is changed.
pub const FOLDERS: &[&str] = &["src/menders", "src/session", "src/wire"];

/// Lines and columns from 1; columns count characters.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Span {
    pub start: Place,
    pub end: Place,
}

#[derive(Deserialize)]
struct Function {
    function_name: String,
}

#[derive(Deserialize)]
struct Listed {
    file: String,
    function: Option<Function>,
    genre: String,
    name: String,
    replacement: String,
    span: Span,
}

#[derive(Debug, Clone)]
pub struct Mutant {
    /// From 1, in the order of the list.
    pub id: u32,
    pub file: String,
    pub function: String,
    /// cargo-mutants' kind: FnValue, BinaryOperator, ...
    pub genre: String,
    /// What it changes, in words.
    pub what: String,
    /// Which of those that change the same in the same function, from 1.
    pub nth: usize,
    pub replacement: String,
    pub span: Span,
    /// A hash of the code of its file, without the tests in it.
    pub code: u64,
}

impl Mutant {
    /// Its name from one run to the next.
    pub fn key(&self) -> String {
        format!("{} | {} | {} | {}", self.file, self.function, self.what, self.nth)
    }
}

/// The whole list. Left out: tests and what they share, and what is only read by people (Debug, Display).
pub fn all(root: &Path, dir: &Path) -> Outcome<Vec<Mutant>> {
    let listed = listed(root, dir)?;
    let mut seen: HashMap<(String, String, String), usize> = HashMap::new();
    let mut codes: HashMap<String, u64> = HashMap::new();
    let mut mutants = Vec::new();
    for one in listed.into_iter().filter(|l| !is_of_tests(&l.file)) {
        let function = one.function.map(|f| f.function_name).unwrap_or_default();
        if function.ends_with("::fmt") {
            continue;
        }
        let code = match codes.get(&one.file) {
            Some(code) => *code,
            None => {
                let text = std::fs::read_to_string(root.join(&one.file))?;
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                *codes.entry(one.file.clone()).or_insert(hash(code.as_bytes()))
            }
        };
        let what = words(&one.name, &function);
        let nth = seen.entry((one.file.clone(), function.clone(), what.clone())).or_default();
        *nth += 1;
        mutants.push(Mutant {
            id: mutants.len() as u32 + 1,
            file: one.file,
            function,
            genre: one.genre,
            what,
            nth: *nth,
            replacement: one.replacement,
            span: one.span,
            code,
        });
    }
    Ok(mutants)
}

/// cargo-mutants' words, kept as long as the files are the same.
fn listed(root: &Path, dir: &Path) -> Outcome<Vec<Listed>> {
    let mut code = Vec::new();
    for file in tree::git_files(root)?.iter().filter(|f| FOLDERS.iter().any(|folder| f.starts_with(folder))) {
        code.extend_from_slice(file.as_bytes());
        code.extend_from_slice(&std::fs::read(root.join(file)).unwrap_or_default());
    }
    let kept = dir.join(format!("list-{:016x}.json", hash(&code)));
    if let Ok(bytes) = std::fs::read(&kept) {
        return Ok(serde_json::from_slice(&bytes)?);
    }
    let mut command = Command::new("cargo");
    command.current_dir(root).args(["mutants", "--no-config", "--list", "--json"]);
    for folder in FOLDERS {
        command.args(["--file", &format!("{folder}/**/*.rs")]);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("cargo mutants --list: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    std::fs::write(&kept, &output.stdout)?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn is_of_tests(file: &str) -> bool {
    Path::new(file).components().any(|c| c.as_os_str() == "tests") || file.ends_with("/tests.rs")
}

/// `src/a.rs:1:2: replace < with > in f` without the place and the function.
fn words(name: &str, function: &str) -> String {
    let what = name.split_once(": ").map_or(name, |(_, what)| what);
    what.strip_suffix(&format!(" in {function}")).unwrap_or(what).to_owned()
}
