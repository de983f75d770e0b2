//! A copy of the source tree with all mutants in it, and the test binaries built from that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::list::Mutant;
use crate::rewrite::{self, Region};
use crate::state::{State, Verdict, hash};
use crate::{Options, Outcome};

/// What the mutants ask. Part of the copy only.
const CHOICE: &str = include_str!("choice.rs.txt");

/// Integration tests that need no broker and reach this code.
const TESTS: &[&str] = &["wire"];

pub struct Built {
    /// The folder in which tests run.
    pub tree: PathBuf,
    pub binaries: Vec<PathBuf>,
    /// At which priority tests run.
    pub nice: u8,
    /// Of what they are built from.
    pub id: u64,
}

pub fn git_files(root: &Path) -> Outcome<BTreeSet<String>> {
    let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").current_dir(root).args(args).output()?;
    if !output.status.success() {
        return Err("git ls-files has failed".into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split('\0').filter(|f| !f.is_empty() && !f.starts_with("mutants/")).map(str::to_owned).collect())
}

/// Only what has changed is written: cargo goes by the time of a file.
fn write(path: &Path, bytes: &[u8]) -> Outcome<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(path, bytes)?)
}

fn copy(from: &Path, to: &Path) -> Outcome<()> {
    if !from.is_symlink() {
        return match fs::read(from) {
            Ok(bytes) => write(to, &bytes),
            // Deleted, and git has not been told.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e.into()),
        };
    }
    if to.is_symlink() {
        fs::remove_file(to)?;
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(symlink(fs::read_link(from)?, to)?)
}

/// Removes what is in the copy and no longer in the tree.
fn sweep(tree: &Path, below: &Path, files: &BTreeSet<String>, root: &Path) -> Outcome<()> {
    for entry in fs::read_dir(below)? {
        let path = entry?.path();
        let name = path.strip_prefix(tree)?.to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            sweep(tree, &path, files, root)?;
        } else if (!files.contains(&name) || !root.join(&name).exists()) && name != "src/mutant.rs" {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

pub fn build(root: &Path, dir: &Path, mutants: &[Mutant], state: &mut State, options: &Options) -> Outcome<Built> {
    let tree = dir.join("tree");
    fs::create_dir_all(&tree)?;
    let files = git_files(root)?;
    sweep(&tree, &tree, &files, root)?;
    let mut changed: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        changed.entry(&mutant.file).or_default().push(mutant);
    }
    for file in files.iter().filter(|f| !changed.contains_key(f.as_str())) {
        match file.as_str() {
            "Cargo.toml" => {
                // What is only frowned upon does not matter in a mutant.
                let text = fs::read_to_string(root.join(file))?.replace("\"deny\"", "\"allow\"");
                write(&tree.join(file), text.as_bytes())?;
            }
            "src/lib.rs" => {
                let text = fs::read_to_string(root.join(file))?;
                let text = format!(
                    "#![allow(warnings, arithmetic_overflow, unconditional_panic, overflowing_literals)]\n{text}\n\
                     #[doc(hidden)]\npub mod mutant;\n"
                );
                write(&tree.join(file), text.as_bytes())?;
            }
            _ => copy(&root.join(file), &tree.join(file))?,
        }
    }
    let count = mutants.iter().map(|m| m.id).max().unwrap_or(0) + 1;
    write(&tree.join("src/mutant.rs"), CHOICE.replace("COUNT", &count.to_string()).as_bytes())?;
    for turn in 1.. {
        let mut regions = BTreeMap::new();
        let is_refused = |m: &&&Mutant| matches!(state.verdict(m), Some(Verdict::Refused(_)));
        let mut refused = Vec::new();
        for (file, all) in &changed {
            let wanted: Vec<_> = all.iter().filter(|m| !is_refused(m)).copied().collect();
            let source = fs::read_to_string(root.join(file))?;
            let done = rewrite::file(&source, &wanted).map_err(|e| format!("{file}: {e}"))?;
            write(&tree.join(file), done.text.as_bytes())?;
            regions.insert((*file).to_owned(), done.regions);
            refused.extend(done.refused.into_iter().map(|(id, why)| (id, why.to_owned())));
        }
        eprintln!("mutants: building, turn {turn}");
        // The unit tests alone until they build: the others would say the same once more.
        let alone = compile(&tree, dir, &regions, &[])?;
        let is_all = options.unit || matches!(alone, Compiled::Errors(_));
        let outcome = if is_all { alone } else { compile(&tree, dir, &regions, TESTS)? };
        let bad = match outcome {
            Compiled::Binaries(binaries) => {
                for (id, why) in refused {
                    refuse(mutants, state, id, why)?;
                }
                let id = id(&tree, &files, binaries.len())?;
                return Ok(Built { tree, binaries, nice: options.nice, id });
            }
            Compiled::Errors(bad) => bad,
        };
        eprintln!("mutants: {} do not compile", bad.len());
        for (id, why) in bad {
            refuse(mutants, state, id, why)?;
        }
    }
    Err("unreachable".into())
}

/// Not of the binaries: those change with every commit, whose name is in them.
fn id(tree: &Path, files: &BTreeSet<String>, binaries: usize) -> Outcome<u64> {
    let of_code = |f: &&String| f.ends_with(".rs") || f.starts_with("Cargo.") || f.starts_with("fuzz/corpus/");
    let mut bytes = vec![binaries as u8];
    for file in files.iter().filter(of_code) {
        bytes.extend_from_slice(file.as_bytes());
        bytes.extend_from_slice(&fs::read(tree.join(file)).unwrap_or_default());
    }
    Ok(hash(&bytes))
}

fn refuse(mutants: &[Mutant], state: &mut State, id: u32, why: String) -> Outcome<()> {
    let mutant = mutants.iter().find(|m| m.id == id).ok_or("a mutant that is not in the list")?;
    state.set(mutant, 0, Verdict::Refused(why))
}

enum Compiled {
    Binaries(Vec<PathBuf>),
    /// The mutants that are at fault, with the compiler's words.
    Errors(BTreeMap<u32, String>),
}

fn compile(tree: &Path, dir: &Path, regions: &BTreeMap<String, Vec<Region>>, tests: &[&str]) -> Outcome<Compiled> {
    let mut command = Command::new("nice");
    command.current_dir(tree).env("CARGO_TARGET_DIR", dir.join("build"));
    command.args(["-n", "5", "cargo", "test", "--locked", "--no-run", "--message-format=json", "--lib"]);
    // No commit: a new one would be a new build.
    command.env("GIT_DIR", dir.join("none"));
    // Dependencies are built once, kmend again and again.
    for setting in ["opt-level=1", "debug=false", "package.kmend.opt-level=0"] {
        command.arg("--config").arg(format!("profile.dev.{setting}"));
    }
    for test in tests {
        command.args(["--test", test]);
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let mut binaries = Vec::new();
    let mut bad = BTreeMap::new();
    let mut lost = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(said) = serde_json::from_str::<Value>(line) else { continue };
        if said["profile"]["test"] == true
            && let Some(path) = said["executable"].as_str()
        {
            binaries.push(PathBuf::from(path));
        }
        let message = &said["message"];
        // The last one only counts the others.
        if message["level"] != "error" || message["spans"].as_array().is_none_or(|s| s.is_empty()) {
            continue;
        }
        let ids = at_fault(message, regions);
        if ids.is_empty() {
            lost.push(message["rendered"].as_str().unwrap_or_default().to_owned());
        }
        for id in ids {
            bad.entry(id).or_insert_with(|| message["message"].as_str().unwrap_or_default().to_owned());
        }
    }
    if output.status.success() {
        return Ok(Compiled::Binaries(binaries));
    }
    if bad.is_empty() {
        return Err(format!("it does not build, and no mutant is at fault:\n{}", lost.join("\n")).into());
    }
    Ok(Compiled::Errors(bad))
}

/// Those of the smallest region around what the compiler points at.
fn at_fault(message: &Value, regions: &BTreeMap<String, Vec<Region>>) -> Vec<u32> {
    let mut best: Option<&Region> = None;
    for primary in [true, false] {
        for span in message["spans"].as_array().into_iter().flatten().filter(|s| s["is_primary"] == primary) {
            let (Some(file), Some(from), Some(to)) =
                (span["file_name"].as_str(), span["byte_start"].as_u64(), span["byte_end"].as_u64())
            else {
                continue;
            };
            let around = regions.get(file).into_iter().flatten();
            let around = around.filter(|r| r.at.start <= from as usize && to as usize <= r.at.end && !r.ids.is_empty());
            best = around.chain(best).min_by_key(|r| r.at.len());
        }
        if best.is_some() {
            break;
        }
    }
    best.map(|r| r.ids.clone()).unwrap_or_default()
}
