//! What `kmend dev` sets by itself: nobody writes a configuration for a first try.

use super::model::Config;
use super::provenance::{Origin, Provenance, split_key};
use super::tree::{Data, Node};
use super::units::HostPort;

/// Where a broker on a developer's machine is.
const UPSTREAM: (&str, u16) = ("localhost", 9092);

/// Where kmend listens when that broker has taken the usual port.
const OTHER_PORT: u16 = 19092;

/// Above the defaults, below everything that somebody wrote.
pub(super) fn layers() -> Vec<Node> {
    let text = |text: &str| Data::Text(text.to_owned());
    [
        ("menders.offset_reset.mode", text("repair")),
        ("menders.partition_discovery.mode", text("repair")),
        ("menders.commit_buffer.mode", text("repair")),
        ("menders.assignment_watchdog.mode", text("repair")),
        // An app that is stopped and started all day shall neither lose its place nor read twice.
        ("menders.commit_buffer.write_behind.enabled", Data::Bool(true)),
        ("menders.commit_buffer.delivered.enabled", Data::Bool(true)),
        ("log.format", text("text")),
        // The app stops when its developer does: give it the time for its last commit.
        ("shutdown.drain_timeout", text("10s")),
    ]
    .into_iter()
    .map(|(key, data)| Node::new(Origin::Dev, data).at_path(&split_key(key)))
    .collect()
}

/// Fills in the upstream, and a listener that does not stand in its way.
pub(super) fn choose_addresses(config: &mut Config, provenance: &mut Provenance) {
    if config.upstream.bootstrap.is_empty() {
        config.upstream.bootstrap = vec![HostPort::new(UPSTREAM.0, UPSTREAM.1)];
        provenance.set(&split_key("upstream.bootstrap"), Origin::Dev);
    }
    if provenance.is_set("listen.address") {
        return;
    }
    let taken = config.upstream.bootstrap.iter().any(|upstream| {
        config.listen.address.iter().any(|listen| listen.port == upstream.port && is_this_host(upstream))
    });
    if taken {
        config.listen.address = vec![HostPort::new("127.0.0.1", OTHER_PORT)];
        provenance.set(&split_key("listen.address"), Origin::Dev);
    }
}

fn is_this_host(address: &HostPort) -> bool {
    address.is_loopback() || address.is_unspecified()
}
