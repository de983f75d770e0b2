//! The wiring (placeholder: the proxy's core supplies the real one with this signature).

use crate::config::{Loaded, Sources};

/// Why kmend runs: decides what SIGHUP means and what is said at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Run,
    Dev,
}

/// Everything that a run begins with.
#[derive(Debug)]
pub struct Start {
    pub loaded: Loaded,
    /// Where the configuration came from, to read it again on SIGHUP.
    pub sources: Sources,
    pub kind: Kind,
}

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("the proxy is not wired yet")]
    NotWired,
}

impl AppError {
    /// The exit code by sysexits.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotWired => 70,
        }
    }
}

/// Runs until the way out has been taken.
pub fn run(start: Start) -> Result<(), AppError> {
    let _ = start;
    Err(AppError::NotWired)
}
