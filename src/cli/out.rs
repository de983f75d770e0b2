//! The one way in which the command line speaks: results to the standard output, the rest to the
//! standard error output.

use std::io::{self, IsTerminal, Write};

use crate::telemetry::logs::colours_wanted;

/// Where results and remarks go. A reader that has gone (`kmend schema | head`) is no mistake.
#[derive(Debug, Default)]
pub(super) struct Out;

impl Out {
    /// A result, as it is.
    pub(super) fn text(&mut self, text: &str) {
        let _ = self.try_text(text);
    }

    /// A result of a command that goes on until nobody reads it.
    pub(super) fn try_text(&mut self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    pub(super) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Whether results may have colours: on a terminal, where nobody minds.
    pub(super) fn is_coloured(&self) -> bool {
        io::stdout().is_terminal() && colours_wanted()
    }

    /// A result of one line.
    pub(super) fn line(&mut self, text: &str) {
        self.text(&format!("{text}\n"));
    }

    /// Something that should be known.
    pub(super) fn note(&mut self, text: &str) {
        self.remark("note", "1;36", text);
    }

    /// Something that is wrong, one line each.
    pub(super) fn error(&mut self, text: &str) {
        for line in text.lines() {
            self.remark("error", "1;31", line);
        }
    }

    fn remark(&mut self, kind: &str, colour: &str, text: &str) {
        let mut stderr = io::stderr().lock();
        let _ = if stderr.is_terminal() && colours_wanted() {
            writeln!(stderr, "\x1b[{colour}m{kind}:\x1b[0m {text}")
        } else {
            writeln!(stderr, "{kind}: {text}")
        };
    }
}
