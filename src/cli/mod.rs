//! The command line.

use std::process::ExitCode;

/// Reads the arguments and does what they say.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
