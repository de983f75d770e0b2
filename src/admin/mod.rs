//! The admin server: metrics, health, the groups and the configuration over HTTP.
//!
//! It is for machines and people on the same host. On another address only `/metrics` and the
//! health paths answer, unless `admin.expose: all`.

mod access;
mod clients;
mod openmetrics;
mod readiness;
mod routes;
mod server;

pub use readiness::{Check, Readiness};
pub use server::{AdminState, start};
