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
pub mod core;
pub mod driver;
pub mod end;
mod fetched;
mod gather;
mod groups;
pub mod inflight;
pub mod limits;
mod linger;
pub mod metrics;
mod nudge;
mod offsets;
mod produce;
pub mod pump;
mod quiet;
mod request;
mod response;
pub mod sasl;
mod scan;
#[cfg(test)]
pub(crate) mod tests;
pub mod ways;
pub mod window;
