//! Fields at fixed places, the requests that kmend sends itself, and the answers that it gives.

pub mod ask;
pub mod assignment;
pub mod commit;
pub mod committed;
pub mod coordinator;
pub mod entry;
pub mod local;
pub mod login;
pub mod member;
pub mod produce;
pub mod refuse;
pub mod subscription;
pub(crate) mod write;
