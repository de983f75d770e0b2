//! Can kmend listen where it should? Where a kmend runs already it has these ports, and nothing is wrong.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::cli::check::report::{Fault, Scope, Step};
use crate::config::units::{Auto, HostPort};
use crate::config::{Config, Loaded};

/// Ports that a kmend may use for brokers, from the first one on.
const BROKERS: u16 = 200;
/// Other admin ports that kmend tries when the default one is taken.
const ADMIN: u16 = 20;
/// For the answer of an admin server on this host.
const PATIENCE: Duration = Duration::from_secs(1);
/// Metrics of thousands of partitions.
const LONGEST: u64 = 16 << 20;
/// What every kmend's metrics hold.
const MARK: &[u8] = b"kmend_build_info";

const RUNS: &str = "not tried: a kmend runs here, and has it";

/// Whether the kmend of this configuration runs already: one answers at the admin address, and listens where this one
/// would. On an address that is not loopback it does not tell where it listens.
pub(super) fn is_running(config: &Config) -> bool {
    let admin = &config.admin.address;
    let theirs = get(admin, "/api/config").and_then(|body| serde_json::from_slice::<Value>(&body).ok());
    let theirs = theirs.as_ref().and_then(|answer| answer.pointer("/config/listen/address")?.as_array());
    match theirs {
        Some(theirs) => config.listen.address.iter().any(|ours| theirs.contains(&ours.to_string().into())),
        None => get(admin, "/metrics").is_some_and(|body| body.windows(MARK.len()).any(|window| window == MARK)),
    }
}

/// The body of a good answer.
fn get(admin: &HostPort, path: &str) -> Option<Vec<u8>> {
    let address = addresses(admin).ok()?.into_iter().next()?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let is_good = answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200");
    is_good.then(|| answer.split_off(end + 4))
}

pub(super) fn listeners(config: &Config, runs: bool) -> Vec<Step> {
    config.listen.address.iter().map(|address| listener(address, runs).at(address)).collect()
}

fn listener(address: &HostPort, runs: bool) -> Step {
    const NAME: &str = "listen.address";
    let found = match addresses(address) {
        Ok(found) => found,
        Err(error) => {
            let fault = Fault::ours("listen", format!("{address} is no address: {error}"), "set listen.address");
            return Step::fail(Scope::Kmend, NAME, fault);
        }
    };
    let mut last = None;
    let mut bound = 0;
    for address in found {
        match bind(address) {
            Ok(()) => bound += 1,
            // A host without IPv6 still has a `localhost`.
            Err(error) if is_absent(&error) => last = Some(error),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && runs => {
                return Step::skip(Scope::Kmend, NAME, RUNS);
            }
            Err(error) => return Step::fail(Scope::Kmend, NAME, refused("--listen", &error)),
        }
    }
    match last.filter(|_| bound == 0) {
        Some(error) => Step::fail(Scope::Kmend, NAME, refused("--listen", &error)),
        None => Step::ok(Scope::Kmend, NAME, "free"),
    }
}

pub(super) fn admin(loaded: &Loaded, runs: bool) -> Step {
    const NAME: &str = "admin.address";
    let address = &loaded.config.admin.address;
    let is_default = !loaded.provenance.is_set(NAME);
    let step = match addresses(address).map(|found| found.into_iter().next()) {
        Ok(Some(first)) => match bind(first) {
            Ok(()) => Step::ok(Scope::Kmend, NAME, "free"),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && runs => Step::skip(Scope::Kmend, NAME, RUNS),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_default => next_admin(first, &error),
            Err(error) => Step::fail(Scope::Kmend, NAME, refused("--admin", &error)),
        },
        Ok(None) => Step::fail(Scope::Kmend, NAME, refused("--admin", &io::ErrorKind::AddrNotAvailable.into())),
        Err(error) => Step::fail(Scope::Kmend, NAME, refused("--admin", &error)),
    };
    step.at(address)
}

/// Where nobody has chosen the port kmend takes the next free one.
fn next_admin(first: SocketAddr, error: &io::Error) -> Step {
    match free_admin(first) {
        Some(port) => {
            let says = format!("the default port is taken by another process: kmend will take {port}");
            Step::warn(
                Scope::Kmend,
                "admin.address",
                Fault::ours("port_taken", says, "set admin.address to choose one"),
            )
        }
        None => Step::fail(Scope::Kmend, "admin.address", refused("--admin", error)),
    }
}

fn free_admin(first: SocketAddr) -> Option<u16> {
    let mut ports = (0..=ADMIN).filter_map(|i| first.port().checked_add(i));
    ports.find(|port| bind(SocketAddr::new(first.ip(), *port)).is_ok())
}

/// Where the admin server of a kmend will be that is about to start.
pub(in crate::cli) fn admin_address(loaded: &Loaded) -> HostPort {
    let wanted = &loaded.config.admin.address;
    let first = addresses(wanted).ok().and_then(|found| found.into_iter().next());
    let free = first.filter(|_| !loaded.provenance.is_set("admin.address")).and_then(free_admin);
    HostPort::new(wanted.host.clone(), free.unwrap_or(wanted.port))
}

/// The ports from which each broker gets one. `brokers`: how many there are, where that is known.
pub(in crate::cli::check) fn broker_ports(config: &Config, brokers: Option<usize>) -> Step {
    const NAME: &str = "listen.broker_ports";
    let Some(first) = config.listen.address.first() else {
        return Step::skip(Scope::Kmend, NAME, "no listener");
    };
    let from = match config.listen.broker_ports {
        Auto::Set(port) => port,
        Auto::Auto => first.port.saturating_add(1),
    };
    let taken: Vec<u16> = config.listen.address.iter().map(|a| a.port).chain([config.admin.address.port]).collect();
    let range: Vec<u16> = (0..BROKERS).filter_map(|i| from.checked_add(i)).filter(|p| !taken.contains(p)).collect();
    let to = range.last().copied().unwrap_or(from);
    if is_running(config) {
        return Step::skip(Scope::Kmend, NAME, "not tried: a kmend runs here, and has those that it needs");
    }
    let ips: Vec<IpAddr> = addresses(first).unwrap_or_default().iter().map(SocketAddr::ip).collect();
    let is_free = |port: u16| ips.iter().all(|ip| bind((*ip, port).into()).map_or_else(|e| is_absent(&e), |()| true));
    let free = range.iter().filter(|port| is_free(**port)).count();
    let needed = brokers.unwrap_or(1);
    if free < needed {
        return Step::fail(
            Scope::Kmend,
            NAME,
            Fault::ours(
                "broker_ports",
                format!("of {from} to {to} only {free} ports are free, and each broker needs one (there are {needed})"),
                "set listen.broker_ports to the first of 200 free ports",
            ),
        );
    }
    Step::ok(Scope::Kmend, NAME, format!("{from} to {to}, {free} free"))
}

fn refused(flag: &str, error: &io::Error) -> Fault {
    let (id, todo) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            "port_taken",
            format!("stop the other process that has the port (ss -ltnp names it), or choose another with {flag}"),
        ),
        io::ErrorKind::PermissionDenied => {
            ("port_privileged", format!("ports below 1024 need a privilege: choose a higher one with {flag}"))
        }
        io::ErrorKind::AddrNotAvailable => {
            ("listen", format!("this host has no such address: choose one of its own with {flag}, or 127.0.0.1"))
        }
        _ => ("listen", format!("choose another with {flag}")),
    };
    Fault::ours(id, format!("kmend cannot listen here: {error}"), todo)
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(97)
}

/// As kmend does it: `localhost` is both families.
fn addresses(address: &HostPort) -> io::Result<Vec<SocketAddr>> {
    if address.host == "localhost" {
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(both.iter().map(|ip| (*ip, address.port).into()).collect());
    }
    Ok((address.host.as_str(), address.port).to_socket_addrs()?.collect())
}

/// Listens for a moment.
fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && !address.ip().is_unspecified() {
        socket.set_only_v6(true)?;
    }
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::cli::check::report::Verdict;

    #[test]
    fn a_port_that_another_process_has_is_told() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = HostPort::from(other.local_addr().unwrap());
        let step = listener(&address, false);
        assert_eq!((step.verdict, step.fault.unwrap().id), (Verdict::Fail, "port_taken"));
        assert_eq!(listener(&address, true).verdict, Verdict::Skip);
        drop(other);
        assert_eq!(listener(&address, false).verdict, Verdict::Ok);
        let mut config = Config::default();
        config.admin.address = address;
        assert!(!is_running(&config));
        let foreign = HostPort::new("198.51.100.7", 9092);
        assert!(listener(&foreign, false).says.contains("kmend cannot listen here"));
    }

    #[test]
    fn fewer_ports_than_brokers_are_told() {
        let mut config = Config::default();
        config.admin.address = HostPort::new("127.0.0.1", 1);
        config.listen.broker_ports = Auto::Set(65_534);
        let step = broker_ports(&config, Some(3));
        assert_eq!((step.verdict, step.fault.unwrap().id), (Verdict::Fail, "broker_ports"));
    }
}
