//! What coverage-guided fuzzing calls: one function for each place where bytes from outside are
//! read. `fuzz/` makes a binary of each; `fuzz/corpus/<name>/` is run by every `cargo test`.
//!
//! A target asserts more than that nothing panics: what a reader accepts it can write again, what
//! passes with menders off passes unchanged, answers keep their order, nothing is held beyond its
//! limit. [`feed`] and [`shape`] make messages of the fuzzer's bytes where bytes alone would not get far.
//! Part of tests and of the fuzzing build only: here a panic is a finding.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg_attr(fuzzing, allow(dead_code))]

mod codec;
mod config;
mod feed;
mod groups;
mod journal;
mod login;
mod session;
mod shape;
mod wire;

#[cfg(all(test, not(fuzzing)))]
mod seeds;
#[cfg(all(test, not(fuzzing)))]
mod tests;

pub use codec::codec;
pub use config::config;
pub use groups::groups;
pub use journal::journal;
pub use login::login;
pub use session::session;
pub use wire::{frame, head, splice, walk};

/// A target and its name: that of its binary, and of its corpus.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 10] = [
    ("frame", frame),
    ("head", head),
    ("walk", walk),
    ("codec", codec),
    ("splice", splice),
    ("session", session),
    ("groups", groups),
    ("journal", journal),
    ("login", login),
    ("config", config),
];
