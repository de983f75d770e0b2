//! Descriptors: each client takes two.

use crate::cli::check::report::{Fault, Scope, Step};
use crate::config::Config;
use crate::config::units::Auto;

/// For everything but client connections.
const SPARE: u64 = 64;
/// Clients: a host that lets in fewer has a limit that nobody chose for kmend.
const FEW: u64 = 100;

pub(super) fn descriptors(config: &Config) -> Step {
    let Some(limit) = limit() else {
        return Step::ok(Scope::Kmend, "descriptors", "no limit");
    };
    judge(config, limit)
}

fn judge(config: &Config, limit: u64) -> Step {
    let room = limit.saturating_sub(SPARE) / 2;
    let todo = "raise the limit (ulimit -Hn, LimitNOFILE= of systemd), or lower limits.max_connections";
    let fault = |says: String| Step::warn(Scope::Kmend, "descriptors", Fault::ours("descriptors", says, todo));
    match config.limits.max_connections {
        Auto::Set(wanted) if u64::from(wanted) > room => {
            fault(format!("the limit of {limit} is enough for {room} clients, limits.max_connections is {wanted}"))
        }
        Auto::Auto if room < FEW => fault(format!("the limit of {limit} is enough for {room} clients only")),
        _ => Step::ok(Scope::Kmend, "descriptors", format!("{limit}, enough for {room} clients")),
    }
}

/// The hard limit: kmend raises the soft one at its start.
#[cfg(unix)]
fn limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit};

    getrlimit(Resource::Nofile).maximum
}

#[cfg(not(unix))]
fn limit() -> Option<u64> {
    None
}
