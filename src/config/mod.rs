//! Configuration: layers (defaults, files, environment, flags), provenance, validation, the running value.

pub mod model;
pub mod units;
