//! Configuration: layers (defaults, files, environment, flags), provenance, validation, the running value.
//!
//! `load` turns [`Sources`] into a checked [`Loaded`]; `Running` holds the one value that is in force.

pub mod assignment_watchdog;
pub mod commit_buffer;
mod defaults;
mod dev;
mod error;
mod flat;
mod keys;
mod load;
pub mod model;
mod provenance;
mod reload;
mod running;
pub mod sasl;
mod schema;
mod show;
mod text_layer;
mod topic_rule;
mod tree;
pub mod units;
mod validate;
mod yaml;

#[cfg(test)]
mod tests;

pub use error::{ConfigError, Problem};
#[cfg(any(test, fuzzing))]
pub use load::read_text;
pub use load::{Flags, Loaded, Sources, load, read};
pub use model::Config;
pub use provenance::{Origin, Provenance};
pub use reload::{ReloadError, Reloaded, reload};
pub use running::{Change, Diff, Running};
pub use schema::schema;
pub use show::{origins, redacted, show};
