//! offset_reset on whole connections, against a scripted broker.

mod broker;
mod chases;
mod chosen;
mod commits;
mod rig;
