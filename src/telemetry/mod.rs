//! Logs and metrics.
//!
//! Each module registers its own metrics through [`metrics`]; nobody else names them.

pub mod feed;
pub mod floods;
pub mod history;
pub mod logs;
pub mod metrics;
