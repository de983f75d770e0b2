//! What values mean together: found at the start, before a socket is opened.

mod addresses;
mod files;
mod sasl;
mod values;

use super::error::Problem;
use super::model::Config;
use super::provenance::{Provenance, split_key};

/// Collects mistakes, each with where its key was written.
struct Findings<'a> {
    provenance: &'a Provenance,
    problems: Vec<Problem>,
}

impl Findings<'_> {
    fn add(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            key: key.to_owned(),
            origin: self.provenance.of(&split_key(key)),
            message: message.into(),
        });
    }
}

/// Everything that is wrong.
pub(super) fn problems(config: &Config, provenance: &Provenance) -> Vec<Problem> {
    let mut findings = Findings { provenance, problems: Vec::new() };
    addresses::check(config, &mut findings);
    files::check(config, &mut findings);
    sasl::check(config, &mut findings);
    values::check(config, &mut findings);
    findings.problems
}

/// What is allowed and should be known.
pub(super) fn notes(config: &Config) -> Vec<String> {
    let mut notes = addresses::notes(config);
    notes.extend(files::notes(config));
    notes.extend(sasl::notes(config));
    notes
}
