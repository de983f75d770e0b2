//! Where the pinned clients and brokers lie. `scripts/bootstrap` sets up what is missing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The root of this repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of a bootstrap target. A target that cannot be set up fails the test: never a skip.
pub fn place(target: &str) -> PathBuf {
    static DONE: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut done = DONE.lock().unwrap_or_else(|e| e.into_inner());
    let done = done.get_or_insert_with(HashMap::new);
    if let Some(place) = done.get(target) {
        return place.clone();
    }
    let script = root().join("scripts/bootstrap");
    let status = Command::new(&script).arg(target).status().expect("scripts/bootstrap starts");
    assert!(status.success(), "scripts/bootstrap {target} failed; what it needs is said above");
    let out = Command::new(&script).args(["--print", target]).output().expect("scripts/bootstrap starts");
    let place = PathBuf::from(String::from_utf8_lossy(&out.stdout).trim());
    done.insert(target.to_owned(), place.clone());
    place
}

/// A pinned version out of `tests/versions.env`.
pub fn pinned(name: &str) -> String {
    let text = std::fs::read_to_string(root().join("tests/versions.env")).expect("tests/versions.env");
    let found = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("{name} is not in tests/versions.env")).to_owned()
}
