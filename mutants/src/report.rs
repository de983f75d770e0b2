//! docs/mutants.md, and one mutant on the terminal.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::Outcome;
use crate::explained::Entry;
use crate::list::Mutant;
use crate::reach;
use crate::rewrite;
use crate::state::{State, Verdict};

const HEAD: &str = "
| folder | mutants | caught | timed out | survived | unreached | of both, explained | begun | waiting | do not compile |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
";

#[derive(Default)]
struct Counts {
    built: usize,
    refused: usize,
    caught: usize,
    timed_out: usize,
    unreached: usize,
    survived: usize,
    explained: usize,
    begun: usize,
    waiting: usize,
}

/// The row of the table: a mender's folder, or one of the others.
fn folder(file: &str) -> &str {
    let depth = if file.starts_with("src/menders/") { 3 } else { 2 };
    let end = file.match_indices('/').nth(depth - 1).map_or(file.len(), |(at, _)| at);
    &file[..end]
}

fn is_alive(verdict: Option<&Verdict>) -> bool {
    matches!(verdict, Some(Verdict::Unreached | Verdict::Survived(_)))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

pub fn write(path: &Path, mutants: &[Mutant], state: &State, entries: &[Entry]) -> Outcome<()> {
    check(mutants, state, entries)?;
    let mut rows: BTreeMap<&str, Counts> = BTreeMap::new();
    // By file, then by entry; those without one by themselves.
    let mut explained: BTreeMap<&str, BTreeMap<usize, Vec<&Mutant>>> = BTreeMap::new();
    let mut others: BTreeMap<&str, Vec<(&Mutant, &Verdict)>> = BTreeMap::new();
    for mutant in mutants {
        let counts = rows.entry(folder(&mutant.file)).or_default();
        let verdict = state.verdict(mutant);
        match verdict {
            Some(Verdict::Refused(_)) => counts.refused += 1,
            Some(Verdict::Caught(_)) => counts.caught += 1,
            Some(Verdict::TimedOut(_)) => counts.timed_out += 1,
            Some(Verdict::Unreached) => counts.unreached += 1,
            Some(Verdict::Survived(_)) => counts.survived += 1,
            Some(Verdict::Open(_)) => counts.begun += 1,
            None => counts.waiting += 1,
        }
        if !matches!(verdict, Some(Verdict::Refused(_))) {
            counts.built += 1;
        }
        if let Some(verdict) = verdict.filter(|v| is_alive(Some(v))) {
            match entries.iter().position(|e| e.is_of(mutant)) {
                Some(entry) => {
                    counts.explained += 1;
                    explained.entry(&mutant.file).or_default().entry(entry).or_default().push(mutant);
                }
                None => others.entry(&mutant.file).or_default().push((mutant, verdict)),
            }
        }
    }
    let mut text = include_str!("head.txt").to_owned();
    table(&mut text, &rows)?;
    if !others.is_empty() {
        text.push_str("\n## Unexplained\n");
        for (file, list) in &others {
            write!(text, "\n`{file}`\n\n| function | change | |\n|---|---|---|\n")?;
            for (mutant, verdict) in list {
                let how = if matches!(verdict, Verdict::Unreached) { "unreached" } else { "survived" };
                let (function, what) = (cell(&mutant.function), cell(&mutant.what));
                writeln!(text, "| `{function}` | {what}{} | {how} |", nth(mutant, mutants))?;
            }
        }
    }
    if !explained.is_empty() {
        text.push_str("\n## Explained\n");
        for (file, list) in &explained {
            write!(text, "\n`{file}`\n\n| function | change | why it may live |\n|---|---|---|\n")?;
            for (entry, list) in list {
                let entry = &entries[*entry];
                let what = match (&entry.what, list.len()) {
                    (Some(what), 1) => cell(what) + &nth(list[0], mutants),
                    (Some(what), n) => format!("{} ({n})", cell(what)),
                    (None, n) => format!("all that live ({n})"),
                };
                writeln!(text, "| `{}` | {what} | {} |", cell(&entry.function), cell(&entry.reason))?;
            }
        }
    }
    let left: usize = others.values().map(Vec::len).sum();
    fs::write(path, text)?;
    eprintln!("mutants: {} written; {left} live without a reason", path.display());
    Ok(())
}

/// ` (2nd of 3)` where the function has several of the same.
fn nth(mutant: &Mutant, mutants: &[Mutant]) -> String {
    let same = |m: &&Mutant| m.file == mutant.file && m.function == mutant.function && m.what == mutant.what;
    match mutants.iter().filter(same).count() {
        1 => String::new(),
        count => format!(" ({} of {count})", mutant.nth),
    }
}

/// An entry that explains nothing is as wrong as one that is missing.
fn check(mutants: &[Mutant], state: &State, entries: &[Entry]) -> Outcome<()> {
    let mut wrong = Vec::new();
    for entry in entries {
        let of: Vec<_> = mutants.iter().filter(|m| entry.is_of(m)).collect();
        if of.is_empty() {
            wrong.push(format!("no such mutant: {}", entry.name()));
        } else if of
            .iter()
            .all(|m| !matches!(state.verdict(m), None | Some(Verdict::Open(_))) && !is_alive(state.verdict(m)))
        {
            wrong.push(format!("it is caught by now: {}", entry.name()));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("mutants/explained.toml:\n{}", wrong.join("\n")).into()) }
}

fn table(text: &mut String, rows: &BTreeMap<&str, Counts>) -> Outcome<()> {
    text.push_str(HEAD);
    let mut sum = Counts::default();
    for (folder, c) in rows {
        sum.built += c.built;
        sum.refused += c.refused;
        sum.caught += c.caught;
        sum.timed_out += c.timed_out;
        sum.unreached += c.unreached;
        sum.survived += c.survived;
        sum.explained += c.explained;
        sum.begun += c.begun;
        sum.waiting += c.waiting;
        row(text, &format!("`{folder}`"), c)?;
    }
    row(text, "together", &sum)
}

fn row(text: &mut String, name: &str, c: &Counts) -> Outcome<()> {
    let Counts { built, refused, caught, timed_out, unreached, survived, explained, begun, waiting } = c;
    Ok(writeln!(
        text,
        "| {name} | {built} | {caught} | {timed_out} | {survived} | {unreached} | {explained} | {begun} | {waiting} | {refused} |"
    )?)
}

/// What one mutant changes, what is known of it, and the tests that reach it.
pub fn show(root: &Path, dir: &Path, mutant: &Mutant, state: &State) -> Outcome<()> {
    let source = fs::read_to_string(root.join(&mutant.file))?;
    let (at, with) = rewrite::change(&source, mutant)?;
    let from = source[..at.start].rfind('\n').map_or(0, |n| n + 1);
    let to = source[at.end..].find('\n').map_or(source.len(), |n| at.end + n);
    println!("{}: {}\n{}:{}", mutant.id, mutant.key(), mutant.file, mutant.span.start.line);
    for line in source[from..to].lines() {
        println!("- {line}");
    }
    for line in format!("{}{with}{}", &source[from..at.start], &source[at.end..to]).lines() {
        println!("+ {line}");
    }
    println!("{:?}", state.verdict(mutant));
    let mut tests = reach::known(dir).map(|r| r.tests).unwrap_or_default();
    tests.retain(|t| t.reached.contains(&mutant.id));
    tests.sort_by_key(|t| (t.is_last(), t.millis));
    for test in tests {
        println!("{:>7} ms  {}", test.millis, test.name);
    }
    Ok(())
}
