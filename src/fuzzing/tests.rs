//! The corpora, as part of every test run.

use std::fs;
use std::path::{Path, PathBuf};

use super::TARGETS;

/// So that a clone stays small.
const FILES: usize = 150;
const BYTES: usize = 400 << 10;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("fuzz/corpus/{target}: {e}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Says which file it is at when a target panics.
struct At<'a>(&'a Path);

impl Drop for At<'_> {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("while running {}", self.0.display());
        }
    }
}

fn runs(name: &str) {
    let (_, target) = TARGETS.into_iter().find(|(n, _)| *n == name).unwrap();
    let corpus = corpus(name);
    assert!(corpus.len() >= 10, "{name} has no corpus");
    for (path, bytes) in &corpus {
        let _at = At(path);
        target(bytes);
    }
    let bytes: usize = corpus.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(corpus.len() <= FILES && bytes <= BYTES, "{name}: {} files, {bytes} bytes", corpus.len());
}

/// One test for each, so that they run beside each other.
macro_rules! each {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            runs(stringify!($name));
        })*

        #[test]
        fn every_target_has_a_test_and_a_binary() {
            let tested = [$(stringify!($name)),*];
            let binary = |name: &str| {
                Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/fuzz_targets/{name}.rs")).is_file()
            };
            assert!(TARGETS.iter().all(|(name, _)| tested.contains(name) && binary(name)));
            assert_eq!(tested.len(), TARGETS.len());
        }
    };
}

each!(frame head walk codec splice session groups journal login config);
