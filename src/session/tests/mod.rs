//! The session without sockets: bytes in, bytes out, in every cut.

pub(crate) use super::kit;

mod addresses;
mod bulk;
mod close;
mod commits;
mod discovery;
mod driver;
mod ends;
mod gathered;
mod groups;
mod limits;
mod linger;
mod login;
mod menders;
mod message;
mod order;
mod patience;
mod produce;
mod quiet;
mod renewal;
mod repair;

mod script;
mod stay;
mod streams;
mod transparent;
mod watch;
mod watchdog;
