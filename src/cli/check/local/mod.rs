//! What can be known on this host alone: files, secrets, ports, the state folder, descriptors.

mod files;
mod limits;
mod ports;
mod state;

use super::report::Step;
use crate::config::Loaded;
use crate::tls;

pub(in crate::cli) use ports::admin_address;
pub(super) use ports::broker_ports;

/// Everything but the ports for brokers: how many are needed only the cluster knows.
pub(super) async fn look(loaded: &Loaded, upstream: Option<&tls::Client>, listen: Option<&tls::Server>) -> Vec<Step> {
    let config = &loaded.config;
    let mut steps = Vec::new();
    steps.extend(files::upstream(config, upstream));
    steps.extend(files::listen(config, listen));
    steps.extend(files::secrets(config).await);
    let runs = ports::is_running(config);
    steps.extend(ports::listeners(config, runs));
    steps.push(ports::admin(loaded, runs));
    steps.push(state::folder(config));
    steps.push(limits::descriptors(config));
    steps
}
