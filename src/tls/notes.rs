//! What is allowed in the TLS settings and should be known, as far as the certificates tell.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

use super::client::Client;
use super::expires;
use super::server::Server;
use crate::config::Config;
use crate::config::units::{Auto, HostPort};

/// One line for each thing that somebody should know before the first client comes.
pub fn notes(config: &Config, client: Option<&Client>, server: Option<&Server>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(own) = client.and_then(Client::own) {
        notes.extend(outdated("upstream.tls.cert_file", own));
    }
    let Some(server) = server else {
        return notes;
    };
    notes.extend(outdated("listen.tls.cert_file", server.own()));
    if let Auto::Set(host) = &config.listen.advertised_host {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if !covers(server.own(), host) {
            notes.push(format!(
                "listen.tls.cert_file: the certificate does not hold {host}, which clients are told \
                 (listen.advertised_host): those that verify host names refuse it"
            ));
        }
        return notes;
    }
    for address in &config.listen.address {
        notes.extend(told(address, server.own()));
    }
    notes
}

/// Without `listen.advertised_host` clients are told the address that they connected to.
fn told(address: &HostPort, own: &CertificateDer<'_>) -> Option<String> {
    let ip = match address.ip() {
        Some(ip) if !ip.is_unspecified() => ip.to_string(),
        None if address.host == "localhost" => "127.0.0.1".to_owned(),
        _ => {
            return Some(format!(
                "listen.advertised_host is auto: after {address} clients are told the IP address that they \
                 connected to, and those that verify host names want it in the certificate: set \
                 listen.advertised_host to a name that it holds"
            ));
        }
    };
    (!covers(own, &ip)).then(|| {
        format!(
            "listen.tls.cert_file: the certificate does not hold {ip}, which clients are told \
             (listen.advertised_host is auto): those that verify host names refuse it; set \
             listen.advertised_host to a name that it holds"
        )
    })
}

/// Whether a client that dialled `host` finds it in the certificate.
fn covers(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let (Ok(certificate), Ok(name)) = (ParsedCertificate::try_from(certificate), ServerName::try_from(host)) else {
        return false;
    };
    verify_server_name(&certificate, &name).is_ok()
}

fn outdated(key: &str, certificate: &CertificateDer<'_>) -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let is_over = expires(certificate).is_some_and(|end| end < now.try_into().unwrap_or(i64::MAX));
    is_over.then(|| format!("{key}: the certificate has expired"))
}
