//! The admin server: the status page and what it shows, metrics, health, the configuration, over HTTP.
//!
//! It is for machines and people on the same host. On another address only `/metrics` and the
//! health paths answer, unless `admin.expose: all`.

mod access;
mod clients;
mod events;
mod openmetrics;
mod page;
mod readiness;
mod routes;
mod server;
mod status;

pub use events::Events;
pub use readiness::{Check, Readiness};
pub use server::{AdminState, start};
