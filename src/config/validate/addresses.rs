//! Addresses that stand in each other's way.

use super::Findings;
use crate::config::model::{Config, Expose};
use crate::config::units::{Auto, HostPort};

/// How many ports brokers' listeners may take.
const BROKER_PORTS: u32 = 200;

pub(super) fn check(config: &Config, findings: &mut Findings<'_>) {
    upstream(config, findings);
    listen(config, findings);
    broker_ports(config, findings);
    advertised_host(config, findings);
}

fn upstream(config: &Config, findings: &mut Findings<'_>) {
    let key = "upstream.bootstrap";
    if config.upstream.bootstrap.is_empty() {
        findings.add(
            key,
            "no broker to start from: set upstream.bootstrap in a file, \
             KMEND_UPSTREAM__BOOTSTRAP=host:port in the environment, or --upstream host:port",
        );
    }
    for upstream in &config.upstream.bootstrap {
        if upstream.port == 0 {
            findings.add(key, format!("{upstream}: a broker has a port above 0"));
        }
        if let Some(listen) = config.listen.address.iter().find(|l| meets(l, upstream)) {
            findings.add(
                key,
                format!(
                    "{upstream} is where kmend itself listens (listen.address {listen}): \
                     it would connect to itself; choose another listen port, such as 19092"
                ),
            );
        }
    }
}

fn listen(config: &Config, findings: &mut Findings<'_>) {
    let listeners = &config.listen.address;
    if listeners.is_empty() {
        findings.add("listen.address", "expected at least one host:port");
    }
    for (index, address) in listeners.iter().enumerate() {
        if listeners.iter().take(index).any(|other| other == address) {
            findings.add("listen.address", format!("{address} is there twice"));
        }
        if meets(address, &config.admin.address) {
            findings.add(
                "admin.address",
                format!("{} is taken by listen.address {address}: choose another port", config.admin.address),
            );
        }
    }
}

fn broker_ports(config: &Config, findings: &mut Findings<'_>) {
    let key = "listen.broker_ports";
    let first = match config.listen.broker_ports {
        Auto::Set(first) => first,
        Auto::Auto => {
            if let Some(address) = config.listen.address.first()
                && u32::from(address.port) + BROKER_PORTS > u32::from(u16::MAX)
            {
                findings.add(
                    "listen.address",
                    format!(
                        "port {} leaves no room for the {BROKER_PORTS} broker ports above it: \
                         choose a lower one, or set listen.broker_ports",
                        address.port
                    ),
                );
            }
            return;
        }
    };
    let last = u32::from(first) + BROKER_PORTS - 1;
    if first == 0 {
        findings.add(key, "expected a port above 0, or `auto`");
    } else if last > u32::from(u16::MAX) {
        findings.add(
            key,
            format!(
                "{first} leaves no room for {BROKER_PORTS} ports: expected at most {}",
                u32::from(u16::MAX) + 1 - BROKER_PORTS
            ),
        );
    }
    for address in &config.listen.address {
        if (u32::from(first)..=last).contains(&u32::from(address.port)) {
            findings.add(
                key,
                format!(
                    "the broker ports {first} to {last} contain the port of \
                     listen.address {address}: choose another first port"
                ),
            );
        }
    }
}

fn advertised_host(config: &Config, findings: &mut Findings<'_>) {
    let Auto::Set(host) = &config.listen.advertised_host else {
        return;
    };
    let key = "listen.advertised_host";
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let ip = bare.parse::<std::net::IpAddr>().ok();
    if ip.is_some_and(|ip| ip.is_unspecified()) {
        findings.add(key, format!("clients cannot connect to {host}: expected a name or an address of this host"));
    } else if ip.is_none() && host.contains(':') {
        findings.add(key, format!("`{host}` has a port: expected only a host, the ports are kmend's own"));
    } else if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        findings.add(key, format!("`{host}` is not a host name or an address"));
    }
}

pub(super) fn notes(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    if config.admin.expose == Expose::All && !config.admin.address.is_loopback() {
        notes.push(format!("admin.expose: all on {}: whoever reaches it sees the whole status", config.admin.address));
    }
    notes.extend(config.listen.address.iter().find(|a| !a.is_loopback()).and_then(|a| open_to_others(config, a)));
    notes
}

/// What a listener means that is not only for this host.
fn open_to_others(config: &Config, address: &HostPort) -> Option<String> {
    let tls = &config.listen.tls;
    let told_apart = tls.enabled && tls.client_ca_file.is_some();
    if config.upstream.sasl.mechanism.is_some() && !told_apart {
        return Some(format!(
            "listen.address {address} is not loopback, and kmend logs in upstream (upstream.sasl): whoever reaches it \
             acts as kmend's user; let in only clients with a certificate (listen.tls.client_ca_file), or listen on loopback"
        ));
    }
    (!tls.enabled).then(|| {
        format!(
            "listen.address {address} is not loopback, and listen.tls is off: who reaches it uses the brokers through \
             kmend, and who sees the network reads what passes, passwords of SASL/PLAIN too"
        )
    })
}

/// Whether two addresses are the same socket of this host, as far as their texts say.
fn meets(listen: &HostPort, other: &HostPort) -> bool {
    if listen.port != other.port || listen.port == 0 {
        return false;
    }
    let name = |address: &HostPort| address.host.trim_end_matches('.').to_ascii_lowercase();
    let local = |address: &HostPort| address.is_loopback() || address.is_unspecified();
    let is_name = |address: &HostPort| address.ip().is_none();
    match (listen.ip(), other.ip()) {
        (Some(a), Some(b)) if !a.is_unspecified() && !b.is_unspecified() => a.to_canonical() == b.to_canonical(),
        _ if name(listen) == name(other) => true,
        // `localhost` and a wildcard stand for loopback addresses of both families.
        _ => {
            local(listen)
                && local(other)
                && (is_name(listen) || is_name(other) || listen.is_unspecified() || other.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_else_may_come_in_is_said() {
        use crate::config::sasl::SaslMechanism;
        let mut config = Config::default();
        let said = |config: &Config| notes(config).join("\n");
        assert_eq!(said(&config), "");
        config.listen.address = vec!["127.0.0.1:9092".parse().unwrap(), "0.0.0.0:9093".parse().unwrap()];
        assert!(said(&config).starts_with("listen.address 0.0.0.0:9093 is not loopback, and listen.tls is off"));
        config.listen.tls.enabled = true;
        assert_eq!(said(&config), "");
        config.upstream.sasl.mechanism = Some(SaslMechanism::Plain);
        assert!(said(&config).contains("acts as kmend's user"));
        config.listen.tls.client_ca_file = Some("ca.pem".into());
        assert_eq!(said(&config), "");
        config.listen.tls.enabled = false;
        assert!(said(&config).contains("acts as kmend's user"));
        config.listen.address.pop();
        assert_eq!(said(&config), "");
    }

    #[test]
    fn the_same_socket_has_many_names() {
        let meets = |a: &str, b: &str| meets(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(meets("127.0.0.1:9092", "127.0.0.1:9092"));
        assert!(meets("127.0.0.1:9092", "localhost:9092"));
        assert!(meets("localhost:9092", "[::1]:9092"));
        assert!(meets("0.0.0.0:9092", "localhost:9092"));
        assert!(meets("0.0.0.0:9092", "127.0.0.1:9092"));
        assert!(meets("kafka:9092", "KAFKA.:9092"));
        assert!(!meets("127.0.0.1:9092", "127.0.0.2:9092"));
        assert!(!meets("127.0.0.1:9092", "127.0.0.1:9093"));
        assert!(!meets("0.0.0.0:9092", "kafka:9092"));
        assert!(!meets("127.0.0.1:0", "127.0.0.1:0"));
    }
}
