//! Values as people write them: `5s`, `100MiB`, `host:port`, `auto`.
//!
//! Each type reads and prints the same text, so that `kmend config` shows what a file could hold.

mod auto;
mod duration;
mod host_port;
mod size;
mod text;

pub use auto::Auto;
pub use duration::Duration;
pub use host_port::{HostPort, one_or_many, one_or_many_schema};
pub use size::ByteSize;
