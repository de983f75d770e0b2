//! `kmend dev`: the three lines that a developer needs, and nothing else.

use super::check;
use crate::config::model::Mode;
use crate::config::units::HostPort;
use crate::config::{Config, Loaded};

/// What to put into the app's configuration, where to look, and what stands behind.
pub(super) fn welcome(loaded: &Loaded) -> [String; 3] {
    let config = &loaded.config;
    let protocol = if config.listen.tls.enabled { " (with security.protocol=SSL)" } else { "" };
    [
        format!("bootstrap.servers={}{protocol}", list(&config.listen.address)),
        format!("status page:      {}", page(&check::admin_address(loaded))),
        format!("upstream:         {}; {}", list(&config.upstream.bootstrap), modes(config)),
    ]
}

fn list(addresses: &[HostPort]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(",")
}

/// An address that a browser can open.
fn page(admin: &HostPort) -> String {
    match admin.port {
        0 => "its port is in the log".to_owned(),
        port if admin.is_unspecified() => format!("http://localhost:{port}/"),
        _ => format!("http://{admin}/"),
    }
}

/// What is on, and how.
fn modes(config: &Config) -> String {
    let menders = &config.menders;
    let buffer = &menders.commit_buffer;
    let more = [(buffer.write_behind.enabled, "write_behind"), (buffer.delivered.enabled, "delivered")];
    let more: Vec<_> = more.iter().filter(|(is_on, _)| *is_on).map(|(_, name)| *name).collect();
    let commit_buffer = match (buffer.mode, more.as_slice()) {
        (Mode::Repair, [_, ..]) => format!("commit_buffer with {}", more.join(" and ")),
        _ => "commit_buffer".to_owned(),
    };
    let all = [
        (menders.offset_reset.mode, "offset_reset"),
        (menders.partition_discovery.mode, "partition_discovery"),
        (buffer.mode, &commit_buffer),
        (menders.assignment_watchdog.mode, "assignment_watchdog"),
    ];
    let of = |mode: Mode, word: &str| {
        let names: Vec<_> = all.iter().filter(|(its, _)| *its == mode).map(|(_, name)| *name).collect();
        (!names.is_empty()).then(|| format!("{word} {}", names.join(", ")))
    };
    let told: Vec<_> = [of(Mode::Repair, "repairs:"), of(Mode::Observe, "observes:")].into_iter().flatten().collect();
    if told.is_empty() { "all menders are off".to_owned() } else { told.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_is_told_by_mode() {
        let mut config = Config::default();
        let menders = &mut config.menders;
        menders.offset_reset.mode = Mode::Observe;
        menders.partition_discovery.mode = Mode::Repair;
        menders.commit_buffer.mode = Mode::Repair;
        menders.commit_buffer.delivered.enabled = true;
        menders.assignment_watchdog.mode = Mode::Off;
        assert_eq!(
            modes(&config),
            "repairs: partition_discovery, commit_buffer with delivered; observes: offset_reset"
        );
        config.menders.offset_reset.mode = Mode::Off;
        config.menders.partition_discovery.mode = Mode::Off;
        config.menders.commit_buffer.mode = Mode::Off;
        assert_eq!(modes(&config), "all menders are off");
    }

    #[test]
    fn the_page_can_be_opened() {
        assert_eq!(page(&HostPort::new("0.0.0.0", 9644)), "http://localhost:9644/");
        assert_eq!(page(&HostPort::new("::1", 9644)), "http://[::1]:9644/");
        assert_eq!(page(&HostPort::new("127.0.0.1", 0)), "its port is in the log");
    }
}
