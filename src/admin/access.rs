//! Who may ask for what.

use std::net::{IpAddr, SocketAddr};

use hyper::header::HOST;
use hyper::{HeaderMap, Method, Version};

use crate::config::model::{Admin, Expose};
use crate::config::units::HostPort;

/// Paths that answer on every address: they are what scrapers and kubelets ask for.
const EVERYWHERE: [&str; 4] = ["/metrics", "/livez", "/readyz", "/healthz/clients"];

/// Whether a path answers on the address that the client connected to.
pub(super) fn is_exposed(path: &str, local: SocketAddr, admin: &Admin) -> bool {
    local.ip().to_canonical().is_loopback() || admin.expose == Expose::All || EVERYWHERE.contains(&path)
}

/// Whoever asks from another host may look, whatever is exposed, and change nothing.
pub(super) fn may_ask(method: &Method, peer: SocketAddr) -> bool {
    matches!(*method, Method::GET | Method::HEAD) || peer.ip().to_canonical().is_loopback()
}

/// On loopback the Host header must name this host. A web page that makes its own name point to
/// 127.0.0.1 (DNS rebinding) could otherwise read everything through its visitor's browser.
pub(super) fn host_is_ours(headers: &HeaderMap, version: Version, local: SocketAddr, admin: &Admin) -> bool {
    if !local.ip().to_canonical().is_loopback() {
        return true;
    }
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        // HTTP/1.0 has none, and no browser speaks it.
        return headers.get(HOST).is_none() && version == Version::HTTP_10;
    };
    host.to_str().is_ok_and(|host| is_local_name(bare(host), &admin.address))
}

/// Without port and brackets.
fn bare(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or("", |(address, _)| address);
    }
    host.rsplit_once(':').map_or(host, |(host, _)| host)
}

fn is_local_name(host: &str, admin: &HostPort) -> bool {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return ip.to_canonical().is_loopback();
    }
    HostPort::new(host, 0).is_loopback() || host.eq_ignore_ascii_case(&admin.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(local: &str, hosts: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, host.parse().unwrap());
        }
        let local = local.parse().unwrap();
        host_is_ours(&headers, Version::HTTP_11, local, &Admin::default())
    }

    #[test]
    fn rebinding_is_refused_on_loopback() {
        for host in ["localhost", "localhost:9644", "LOCALHOST:1", "127.0.0.1:9644", "[::1]:9644", "kmend.localhost"] {
            assert!(ours("127.0.0.1:9644", &[host]), "{host}");
        }
        for host in ["evil.example", "evil.example:9644", "10.0.0.1", "", "[::2]:1"] {
            assert!(!ours("127.0.0.1:9644", &[host]), "{host}");
            assert!(!ours("[::1]:9644", &[host]), "{host}");
            assert!(ours("10.0.0.1:9644", &[host]), "{host}");
        }
        assert!(!ours("127.0.0.1:9644", &[]));
        assert!(!ours("127.0.0.1:9644", &["localhost", "evil.example"]));
    }

    #[test]
    fn nothing_is_changed_from_elsewhere() {
        for (peer, is_near) in [("127.0.0.1:1", true), ("[::1]:1", true), ("[::ffff:127.0.0.1]:1", true)]
            .into_iter()
            .chain([("10.0.0.1:1", false), ("[fe80::1]:1", false), ("[::ffff:10.0.0.1]:1", false)])
        {
            let peer = peer.parse().unwrap();
            for method in [Method::GET, Method::HEAD] {
                assert!(may_ask(&method, peer), "{peer}");
            }
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
                assert_eq!(may_ask(&method, peer), is_near, "{peer}");
            }
        }
    }

    #[test]
    fn elsewhere_only_metrics_and_health() {
        let admin = Admin::default();
        let (near, far) = ("[::1]:1".parse().unwrap(), "10.0.0.1:1".parse().unwrap());
        assert!(is_exposed("/api/config", near, &admin));
        assert!(!is_exposed("/api/config", far, &admin));
        assert!(!is_exposed("/api/status", far, &admin));
        assert!(is_exposed("/metrics", far, &admin));
        assert!(is_exposed("/healthz/clients", far, &admin));
        let all = Admin { expose: Expose::All, ..admin };
        assert!(is_exposed("/api/config", far, &all));
    }
}
