//! What the rounds of a whole run have shown so far, so that it can be interrupted: it takes more than an hour.

use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::path::Path;

use crate::Row;
use crate::harness::kmend;

/// One line of JSON for each run.
pub struct Kept {
    file: File,
    text: String,
}

impl Kept {
    /// Of this kmend and this seed: with another one all are run anew.
    pub fn open(seed: u64) -> Kept {
        let mut hasher = DefaultHasher::new();
        hasher.write(&std::fs::read(kmend::binary()).expect("kmend's binary"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos");
        std::fs::create_dir_all(&folder).expect("a folder for what was found");
        let path = folder.join(format!("{:016x}-{seed}.jsonl", hasher.finish()));
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut file = OpenOptions::new().create(true).append(true).open(&path).expect("a file for what was found");
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n").expect("what was found is kept");
        }
        println!("{} runs are known: {}", text.lines().count(), path.display());
        Kept { file, text }
    }

    /// What earlier runs have left. A line that was being written then is none.
    pub fn rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.text).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub fn add(&mut self, row: &Row) {
        let line = serde_json::to_string(row).expect("a row as JSON");
        self.file.write_all(format!("{line}\n").as_bytes()).expect("what was found is kept");
    }
}
