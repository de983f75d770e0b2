//! `config`: any YAML text, variables and `--set` besides. What is accepted can be shown and read
//! again; what is refused says why in words.

use super::feed::Feed;
use crate::config::{self, Config, Sources};

/// Keys that name files: what they name is looked at, which is not for a fuzzer to choose.
const FILES: [&str; 3] = ["_file", "dir", "$"];

pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // Behind a line of its own: what the environment and the command line say.
    let (text, sets) = text.split_once("\n#set\n").unwrap_or((text, ""));
    let mut sources = Sources::default();
    for line in sets.lines() {
        match line.strip_prefix("KMEND_").and_then(|rest| rest.split_once('=')) {
            Some((name, value)) => sources.env.push((format!("KMEND_{name}"), value.to_owned())),
            None => sources.sets.push(line.to_owned()),
        }
    }
    sources.dev = Feed::new(data).byte() == b'#';
    let loaded = match config::read_text(text, &sources) {
        Ok(loaded) => loaded,
        Err(error) => return said(&error.to_string()),
    };
    loaded.notes.iter().for_each(|note| said(note));
    let shown = config::show(&loaded.config, &loaded.provenance);
    // Nothing that is written in few bytes takes many.
    assert!(shown.len() < (64 << 10) + 64 * data.len());
    assert!(config::read_text(&shown, &Sources::default()).is_ok(), "{shown}");
    same(&loaded.config);
    _ = config::origins(&loaded.config, &loaded.provenance);
    if !FILES.iter().any(|word| text.contains(word) || sets.contains(word)) {
        loaded.problems().iter().for_each(|problem| said(&problem.to_string()));
    }
}

/// Written out and read again it is the same.
fn same(config: &Config) {
    let text = serde_json::to_string(config).expect("it is a tree");
    let again = config::read_text(&text, &Sources::default()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert!(again.config == *config, "{text}");
}

fn said(text: &str) {
    assert!(!text.trim().is_empty());
}
