//! partition_discovery on whole connections, against a scripted cluster.

mod cluster;
mod rig;

mod consumers;
mod heartbeats;
mod observed;
mod polls;
mod producers;
