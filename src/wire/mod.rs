//! The Kafka wire protocol as far as kmend needs it; a leaf that knows nothing of the rest.
//!
//! [`frame`] says whether a length prefix can be a frame at all, [`head`] peeks at a request's
//! header, [`layout`] describes message bodies as data, [`walk`] runs such a layout over a body as
//! it flows, [`splice`] replaces parts of a whole frame, and [`codec`] makes and reads the
//! requests that kmend sends itself. Facts come from Kafka's message specs (`common/message/*.json`).

pub mod api;
pub mod codec;
pub mod frame;
pub mod head;
pub mod layout;
pub mod splice;
pub mod varint;
pub mod walk;
