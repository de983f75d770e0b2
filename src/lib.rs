//! kmend: a Kafka-wire-compatible proxy sidecar that mends what clients are known to get wrong.
//!
//! Dependencies point one way (a test holds this):
//! `main -> app -> {config, listen, admin, menders}`, `listen -> session -> {mend, upstream} -> wire`,
//! `{listen, upstream} -> tls`, `menders -> {mend, store, wire}`. See ARCHITECTURE.md.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
mod footprint;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod listen;
pub mod mend;
pub mod menders;
pub mod routing;
pub mod session;
pub mod shutdown;
#[cfg(test)]
mod simulation;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod watch;
pub mod wire;
