//! `kmend check --connect` before set-ups that are broken on purpose: real brokers with TLS and logins, real sockets. It
//! has to name the fault and the remedy, and nothing else; and to find no fault where there is none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../scripted/mod.rs"]
mod scripted;

mod around;
mod brokers;
mod certificates;
mod here;
mod kit;
mod logins;
mod networks;
mod script;
mod status;
