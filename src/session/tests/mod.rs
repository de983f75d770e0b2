//! The session without sockets: bytes in, bytes out, in every cut.

mod addresses;
mod close;
mod commits;
mod discovery;
mod driver;
mod ends;
mod gathered;
mod groups;
pub(crate) mod kit;
mod limits;
mod linger;
mod login;
mod menders;
mod message;
mod order;
mod produce;
mod quiet;
mod repair;

mod script;
mod stay;
mod streams;
mod transparent;
mod watch;
mod watchdog;
