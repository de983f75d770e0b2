//! Sessions, refusals and settings, against sockets on loopback.

mod kit;
mod refused;
mod sessions;
mod settings;
