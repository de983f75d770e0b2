//! Tells the binary which commit it was built from, where git can say so.
//!
//! Outside of a work tree (a source archive, an image build) `KMEND_COMMIT` may say it instead;
//! otherwise it is `unknown`, and the build goes on.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=KMEND_COMMIT");
    for reference in ["HEAD", "logs/HEAD"] {
        // The path differs between a clone and a linked work tree, so git is asked for it. A path
        // that does not exist would make every build run this again.
        let path = git(&["rev-parse", "--git-path", reference]);
        if let Some(path) = path.filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = std::env::var("KMEND_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty())
        .or_else(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=KMEND_BUILD_COMMIT={commit}");
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
