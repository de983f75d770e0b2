//! Why mutants may live: mutants/explained.toml.

use std::path::Path;

use serde::Deserialize;

use crate::Outcome;
use crate::list::Mutant;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub file: String,
    pub function: String,
    /// Its change; all of the function's that live where there is none.
    pub what: Option<String>,
    /// Which of those that change the same; all where there is none.
    pub nth: Option<usize>,
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entries {
    #[serde(default)]
    mutant: Vec<Entry>,
}

impl Entry {
    pub fn is_of(&self, mutant: &Mutant) -> bool {
        self.file == mutant.file
            && self.function == mutant.function
            && self.what.as_ref().is_none_or(|w| *w == mutant.what)
            && self.nth.is_none_or(|n| n == mutant.nth)
    }

    pub fn name(&self) -> String {
        let what = self.what.as_deref().unwrap_or("(all)");
        format!(
            "{} | {} | {what} | {}",
            self.file,
            self.function,
            self.nth.map_or("(all)".to_owned(), |n| n.to_string())
        )
    }
}

pub fn read(path: &Path) -> Outcome<Vec<Entry>> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let entries: Entries = toml::from_str(&text)?;
    Ok(entries.mutant)
}
