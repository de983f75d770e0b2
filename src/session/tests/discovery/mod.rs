//! partition_discovery on whole connections, against a scripted cluster.

mod cluster;
mod rig;

mod polls;
