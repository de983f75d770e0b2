//! The rules of the house: who may know whom, how long a file may be, what a mender brings along.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Who may name whom. `app` and `cli` are the wiring: they know everybody. `telemetry` and `config`
/// are known by all but `wire`, which is a leaf.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["app", "config", "store", "telemetry", "tls", "upstream", "wire"]),
    (
        "app",
        &[
            "admin",
            "config",
            "footprint",
            "listen",
            "mend",
            "menders",
            "routing",
            "session",
            "shutdown",
            "store",
            "telemetry",
            "tls",
            "upstream",
            "watch",
        ],
    ),
    // What is known of clients and groups is shown there.
    ("admin", &["config", "mend", "telemetry"]),
    ("listen", &["config", "mend", "routing", "session", "telemetry", "tls", "upstream", "wire"]),
    ("routing", &["config", "mend", "telemetry"]),
    ("session", &["config", "mend", "telemetry", "tls", "upstream", "wire"]),
    ("upstream", &["config", "telemetry", "tls", "wire"]),
    // Certificates and sessions, for both directions.
    ("tls", &["config"]),
    // The process itself: the one place with `unsafe`.
    ("footprint", &[]),
    // Files that change: it does not know whose they are.
    ("watch", &[]),
    ("menders", &["config", "mend", "store", "telemetry", "wire"]),
    ("mend", &["config", "wire"]),
    ("store", &["config", "telemetry"]),
    ("telemetry", &["config"]),
    ("shutdown", &[]),
    // What a log level may be is known where logs are made.
    ("config", &["telemetry"]),
    ("wire", &[]),
];

/// Longer files are split: a reader holds one in mind at a time.
const LONGEST: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// Every source file below `src`, with its path from there.
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let src = root().join("src");
    let mut found = Vec::new();
    walk(&src, &mut found);
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path.strip_prefix(&src).unwrap().to_path_buf(), text)
        })
        .collect()
}

/// The room that a file belongs to: its folder under `src`, or its own name.
fn room(path: &Path) -> String {
    let first = path.components().next().unwrap();
    let first = Path::new(first.as_os_str());
    first.file_stem().unwrap().to_string_lossy().into_owned()
}

fn is_test(path: &Path) -> bool {
    // Rooms of tests as a whole.
    path.starts_with("simulation")
        || path.starts_with("fuzzing")
        || path.components().any(|c| c.as_os_str() == "tests")
        || path.ends_with("tests.rs")
}

/// A file's code: no comments, nothing from its unit tests on.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The names that follow `prefix` in the code.
fn named<'a>(code: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            // `use crate::{a::x, b::{c, d}}`: the first name of each branch.
            let mut depth = 0;
            let mut start = true;
            for (i, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if start && depth == 0 && (c.is_alphabetic() || c == '_') => {
                        names.insert(word(&group[i..]));
                        start = false;
                    }
                    _ => {}
                }
            }
        } else if !word(rest).is_empty() {
            names.insert(word(rest));
        }
    }
    names
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

#[test]
fn arrows_point_one_way() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources().iter().filter(|(p, _)| !is_test(p)) {
        let room = room(path);
        if room == "lib" {
            continue;
        }
        let Some(allowed) = arrows.get(room.as_str()) else {
            wrong.push(format!("{room}: a room that has no arrows yet"));
            continue;
        };
        let code = code(text);
        // The binary names the library by its name.
        let prefix = if room == "main" { "kmend::" } else { "crate::" };
        let names = named(&code, prefix).into_iter();
        for name in names.filter(|n| arrows.contains_key(n)) {
            if name != room && !allowed.contains(&name) {
                wrong.push(format!("{}: {room} -> {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn arrows_make_no_circle_but_the_one_that_is_known() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for start in arrows.keys() {
        let mut open: Vec<&str> = arrows[start].to_vec();
        let mut seen = BTreeSet::new();
        while let Some(room) = open.pop() {
            if seen.insert(room) {
                open.extend(arrows[room]);
            }
        }
        let is_known = matches!(*start, "config" | "telemetry");
        assert!(is_known || !seen.contains(start), "{start}");
    }
}

#[test]
fn menders_see_no_sockets_and_not_each_other() {
    let rooms: BTreeSet<String> = menders().into_iter().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources().iter().filter(|(p, _)| !is_test(p)) {
        let parts: Vec<_> = path.iter().map(|p| p.to_string_lossy().into_owned()).collect();
        let (Some("menders"), Some(own)) =
            (parts.first().map(String::as_str), parts.get(1).filter(|p| rooms.contains(*p)))
        else {
            continue;
        };
        let code = code(text);
        for word in ["tokio", "std::net::Tcp", "socket2", "SystemTime", "Instant::now", "std::fs"] {
            if code.contains(word) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
        for other in rooms.iter().filter(|r| *r != own) {
            for way in [format!("menders::{other}"), format!("super::super::{other}")] {
                if code.contains(&way) {
                    wrong.push(format!("{}: {way}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_state_machine_sees_no_sockets_and_no_clock() {
    for (path, text) in sources() {
        let is_thinking = path.starts_with("mend") || path.starts_with("wire");
        if is_thinking && !is_test(&path) {
            let code = code(&text);
            for word in ["tokio::net", "tokio::io", "tokio::time", "Instant::now"] {
                assert!(!code.contains(word), "{}: {word}", path.display());
            }
        }
    }
}

#[test]
fn unsafe_stands_in_one_place() {
    let marks = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "(unsafe_code)"];
    let found = sources().into_iter().filter(|(_, text)| marks.iter().any(|mark| code(text).contains(mark)));
    assert_eq!(found.map(|(path, _)| path).collect::<Vec<_>>(), [Path::new("footprint.rs")]);
}

#[test]
fn files_are_short() {
    let mut long: Vec<_> = sources()
        .iter()
        .map(|(path, text)| (text.lines().count(), path.display().to_string()))
        .filter(|(lines, _)| *lines > LONGEST)
        .collect();
    long.sort_unstable();
    assert!(long.is_empty(), "over {LONGEST} lines: {long:#?}");
}

/// The folders of the menders.
fn menders() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join("src/menders"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn a_mender_brings_a_page_for_each_reader() {
    assert!(!menders().is_empty());
    for name in menders() {
        for file in
            [format!("src/menders/{name}/README.md"), format!("docs/{name}.md"), format!("config/{name}.example.yaml")]
        {
            let text = fs::read_to_string(root().join(&file)).unwrap_or_default();
            assert!(text.len() > 100, "{file} is missing or empty");
        }
    }
}
