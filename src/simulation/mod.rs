//! A deterministic simulation of consumer groups behind kmend: real connections
//! ([`session::core`](crate::session::core)) and menders, a model of Kafka's group coordinator,
//! models of consumers, a journal, a network that loses, delays and cuts, and a clock of its own.
//!
//! One seed is one run. A run is made from a [`plan`]: who takes part, and what goes wrong when.
//! What the run must hold is in [`check`], [`told`], [`evicted`] and [`grown`]. A plan that breaks a rule is shrunk ([`shrink`]) and
//! told as text.
//!
//! `KMEND_SEED=7 cargo test --lib simulation` runs one seed and tells all of it, `KMEND_SEEDS=5000`
//! runs that many.

mod bad;
mod broker;
mod check;
mod dice;
mod evicted;
mod growing;
mod grown;
mod journal;
mod leads;
mod member;
mod menders;
mod nudges;
mod plan;
mod reads;
mod runs;
mod shrink;
mod tells;
mod tests;
mod told;
mod wire;
mod world;
mod writer;
mod writes;

/// Microseconds since the run began.
pub type At = u64;

pub const MS: At = 1_000;
pub const SECOND: At = 1_000_000;
