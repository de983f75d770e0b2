//! One client connection: a state machine without IO ([`core`]) and the task that moves its bytes
//! ([`driver`]).
//!
//! ```text
//!            requests                         responses
//!  client --> window --> [request] --> upstream --> window --> [response] --> client
//!                            |                                    ^
//!                            +---- queue of what is in flight ----+
//! ```
//!
//! The upstream answers in order, so the queue *is* the correlation: an entry is `Forwarded` (the
//! client's), `Injected` (kmend's own, its answer is swallowed), `Local` (an answer made here, given
//! when its turn comes) or `Raw` (a SASL token without header). Produce with acks=0 has no entry.
//!
//! Back-pressure: a direction reads only when everything that it has read before is written.

mod alone;
mod bulk;
pub mod core;
pub mod driver;
pub mod end;
pub mod env;
mod fetched;
mod flow;
mod gather;
mod groups;
pub mod inflight;
// Drives a connection without sockets: for tests, and for fuzzing.
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code))]
#[allow(clippy::unwrap_used, clippy::expect_used)]
#[path = "tests/kit.rs"]
pub(crate) mod kit;
pub mod limits;
mod linger;
pub mod metrics;
mod nudge;
mod offsets;
mod pace;
mod produce;
pub mod pump;
mod quiet;
mod renewal;
mod request;
mod response;
pub mod sasl;
mod scan;
pub mod shed;
#[cfg(test)]
pub(crate) mod tests;
pub mod ways;
pub mod window;
mod woken;
