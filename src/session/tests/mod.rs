//! The session without sockets: bytes in, bytes out, in every cut.

mod addresses;
mod close;
mod discovery;
mod driver;
mod ends;
mod gathered;
mod groups;
mod kit;
mod limits;
mod login;
mod menders;
mod message;
mod order;
mod produce;
mod quiet;
mod repair;

mod script;
mod streams;
mod transparent;
mod watch;
