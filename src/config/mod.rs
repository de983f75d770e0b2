//! Configuration: layers (defaults, files, environment, flags), provenance, validation, the running value.
//!
//! `load` turns [`Sources`] into a checked [`Loaded`]; `Running` holds the one value that is in force.

mod defaults;
mod error;
mod flat;
pub mod later;
mod load;
pub mod model;
mod provenance;
mod running;
mod topic_rule;
pub mod units;

pub use error::{ConfigError, Problem};
pub use load::{Flags, Loaded, Sources, load};
pub use model::Config;
pub use provenance::{Origin, Provenance};
pub use running::{Change, Diff, Running};
