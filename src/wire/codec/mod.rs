//! Fields at fixed places, the requests that kmend sends itself, and the answers that it gives.

pub mod ask;
pub mod entry;
pub mod local;
pub mod refuse;
pub mod subscription;
