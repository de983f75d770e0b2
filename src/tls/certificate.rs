//! What a certificate says of itself, for people: whose it is, who has signed it, for how long, for which hosts.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;

use super::expiry::{INTEGER, SEQUENCE, VERSION, element, take, time};

const OID: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const OCTETS: u8 = 0x04;
const SET: u8 = 0x31;
/// `[3] EXPLICIT`: the extensions.
const EXTENSIONS: u8 = 0xa3;
/// Of subjectAltName (RFC 5280, 4.2.1.6).
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// Attributes of a name that are told, in this order.
const ATTRIBUTES: [(&[u8], &str); 4] =
    [(&[0x55, 4, 3], "CN"), (&[0x55, 4, 11], "OU"), (&[0x55, 4, 10], "O"), (&[0x55, 4, 6], "C")];
/// A certificate that holds more hosts is told with these.
const MOST_HOSTS: usize = 64;

/// Nothing here has been verified. Names are the signer's text: without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub subject: String,
    pub issuer: String,
    /// Seconds since 1970.
    pub begins: i64,
    pub ends: i64,
    /// Host names and addresses that it holds.
    pub hosts: Vec<String>,
}

impl Facts {
    /// `None` where it cannot be read (RFC 5280, 4.1).
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Facts> {
        let (certificate, _) = take(certificate.as_ref(), SEQUENCE)?;
        let (to_be_signed, _) = take(certificate, SEQUENCE)?;
        let rest = take(to_be_signed, VERSION).map_or(to_be_signed, |(_, rest)| rest);
        let (_, rest) = take(rest, INTEGER)?;
        let (_, rest) = take(rest, SEQUENCE)?;
        let (issuer, rest) = take(rest, SEQUENCE)?;
        let (validity, rest) = take(rest, SEQUENCE)?;
        let (subject, rest) = take(rest, SEQUENCE)?;
        // The public key; then unique identifiers (long out of use) and extensions, in this order.
        let (_, mut rest) = take(rest, SEQUENCE)?;
        let (tag, begins, end) = element(validity)?;
        let begins = time(tag, begins)?;
        let (tag, ends, _) = element(end)?;
        let ends = time(tag, ends)?;
        let mut hosts = Vec::new();
        while let Some((tag, content, behind)) = element(rest) {
            if tag == EXTENSIONS {
                hosts = alternative_names(content).unwrap_or_default();
            }
            rest = behind;
        }
        Some(Facts { subject: attributes(subject), issuer: attributes(issuer), begins, ends, hosts })
    }

    /// A name in DER, as an authority's is told in a CertificateRequest.
    pub fn name(der: &[u8]) -> String {
        attributes(take(der, SEQUENCE).map_or(&[], |(content, _)| content))
    }

    pub fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }
}

/// `CN=..., O=...`, as far as it can be read.
fn attributes(mut name: &[u8]) -> String {
    let mut found: Vec<(usize, String)> = Vec::new();
    while let Some((set, rest)) = take(name, SET) {
        let mut set = set;
        while let Some((pair, others)) = take(set, SEQUENCE) {
            if let Some((oid, value)) = take(pair, OID)
                && let Some(at) = ATTRIBUTES.iter().position(|(known, _)| *known == oid)
                && let Some((_, text, _)) = element(value)
            {
                found.push((at, plain(text)));
            }
            set = others;
        }
        name = rest;
    }
    found.sort_by_key(|(at, _)| *at);
    let parts = found.iter().filter_map(|(at, text)| Some(format!("{}={text}", ATTRIBUTES.get(*at)?.1)));
    let told = parts.collect::<Vec<_>>().join(", ");
    if told.is_empty() { "(no name)".to_owned() } else { told }
}

/// The hosts among them.
fn alternative_names(extensions: &[u8]) -> Option<Vec<String>> {
    let (mut extensions, _) = take(extensions, SEQUENCE)?;
    while let Some((extension, rest)) = take(extensions, SEQUENCE) {
        extensions = rest;
        let (oid, value) = take(extension, OID)?;
        if oid != ALTERNATIVE_NAMES {
            continue;
        }
        let value = take(value, BOOLEAN).map_or(value, |(_, rest)| rest);
        let (octets, _) = take(value, OCTETS)?;
        let (mut names, _) = take(octets, SEQUENCE)?;
        let mut hosts = Vec::new();
        while let Some((tag, content, rest)) = element(names) {
            match tag {
                DNS_NAME => hosts.push(plain(content)),
                IP_ADDRESS => hosts.extend(address(content).map(|ip| ip.to_string())),
                _ => {}
            }
            if hosts.len() >= MOST_HOSTS {
                break;
            }
            names = rest;
        }
        return Some(hosts);
    }
    None
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate() -> CertificateDer<'static> {
        let hosts = ["kafka-0.kafka", "*.example", "10.1.2.3", "fd00::1"].map(str::to_owned);
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Shop");
        params.distinguished_name.push(DnType::CommonName, "bro\x1bker");
        params.not_before = rcgen::date_time_ymd(2020, 2, 29);
        params.not_after = rcgen::date_time_ymd(2050, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn names_hosts_and_times_are_read() {
        let facts = Facts::read(&certificate()).unwrap();
        assert_eq!(facts.subject, "CN=bro\u{fffd}ker, O=Shop");
        assert!(facts.is_self_signed());
        assert_eq!((facts.begins, facts.ends), (1_582_934_400, 2_524_608_000));
        assert_eq!(facts.hosts, ["kafka-0.kafka", "*.example", "10.1.2.3", "fd00::1"]);
        assert_eq!(Facts::name(b"garbage"), "(no name)");
    }

    #[test]
    fn a_cut_certificate_is_read_or_not_and_nothing_else_happens() {
        let whole = certificate();
        assert!((0..whole.len()).all(|end| Facts::read(&CertificateDer::from(whole[..end].to_vec())).is_none()));
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut broken = whole.to_vec();
                broken[at] ^= 1 << bit;
                let _ = Facts::read(&CertificateDer::from(broken));
            }
        }
    }
}
