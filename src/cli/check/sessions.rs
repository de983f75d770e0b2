//! Why there is no TLS session with a broker, and what to do.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::certificates::{self, Life, date, hosts, life, whose};
use super::report::Fault;
use crate::cli::text::utc;
use crate::config::Config;
use crate::config::model::UpstreamTls;
use crate::config::units::HostPort;
use crate::tls::{Facts, Shown, files};

pub(super) const CLOCK: &str = "compare this host's clock with the real time";

/// What is known of the other side once a session has failed.
pub(super) struct Scene<'a> {
    pub config: &'a Config,
    pub address: &'a HostPort,
    /// What it shows in a handshake of its own.
    pub shown: &'a Shown,
    pub now: i64,
}

impl Scene<'_> {
    fn settings(&self) -> &UpstreamTls {
        &self.config.upstream.tls
    }

    fn chain(&self) -> Vec<Facts> {
        certificates::facts(&self.shown.certificates)
    }

    /// The name that was verified.
    fn name(&self) -> &str {
        self.settings().server_name.as_deref().unwrap_or(&self.address.host)
    }

    /// `None`: it is no TLS error, and says nothing of certificates.
    pub(super) fn explain(&self, error: &Error) -> Option<Fault> {
        Some(match error {
            Error::InvalidCertificate(why) => self.distrust(why),
            Error::AlertReceived(alert) => self.alert(*alert),
            Error::PeerIncompatible(why) => Fault::new(
                "tls_incompatible",
                format!("the broker speaks TLS, but nothing that kmend does: {why:?}"),
                "let the broker offer TLS 1.2 or 1.3 (ssl.enabled.protocols) and their usual cipher suites",
            ),
            Error::InvalidMessage(_) => return None,
            other => Fault::new(
                "tls_handshake",
                format!("the TLS handshake failed: {other}"),
                "look at the broker's log at this moment: it names the handshake that failed there",
            ),
        })
    }

    fn distrust(&self, why: &CertificateError) -> Fault {
        let chain = self.chain();
        match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => self.unknown_issuer(&chain),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                let held = chain.first().map_or_else(|| "other hosts".to_owned(), hosts);
                Fault::new(
                    "tls_name",
                    format!("the broker's certificate holds {held}, not {}", self.name()),
                    "dial (and let the broker advertise) a name that it holds, set upstream.tls.server_name to one that \
                     all brokers' certificates hold, or have it issued anew with this name",
                )
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                let over = chain.iter().find(|facts| life(facts, self.now) == Life::Over);
                let since = over.map_or_else(String::new, |facts| format!(" since {}", date(facts.ends)));
                let whose = over.map_or_else(|| "the broker's certificate".to_owned(), |f| self.told(&chain, f));
                Fault::new(
                    "tls_expired",
                    format!("{whose} has expired{since} (this host's clock says {})", date(self.now)),
                    format!("renew it on the broker; if it has been renewed, restart the listener, and {CLOCK}"),
                )
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                let early = chain.iter().find(|facts| life(facts, self.now) == Life::NotYet);
                let from = early.map_or_else(String::new, |facts| format!(" before {}", date(facts.begins)));
                let whose = early.map_or_else(|| "the broker's certificate".to_owned(), |f| self.told(&chain, f));
                Fault::new(
                    "tls_not_yet_valid",
                    format!("{whose} is not valid{from} (this host's clock says {})", date(self.now)),
                    format!("{CLOCK}: it is likely to be slow; else have the certificate issued anew"),
                )
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Fault::new(
                "tls_purpose",
                "the broker's certificate is not meant for servers",
                "have it issued anew with the extended key usage serverAuth",
            ),
            other => Fault::new(
                "tls_certificate",
                format!("the broker's certificate cannot be used: {other}"),
                "have it issued anew: X.509 version 3, RSA of 2048 bits and more or ECDSA, with subject alternative names",
            ),
        }
    }

    /// The broker's own, or which of its chain.
    fn told(&self, chain: &[Facts], facts: &Facts) -> String {
        if chain.first() == Some(facts) {
            format!("the broker's certificate ({})", whose(facts))
        } else {
            format!("{} in the broker's chain", whose(facts))
        }
    }

    fn unknown_issuer(&self, chain: &[Facts]) -> Fault {
        let todo = "put the certificate of that authority into upstream.tls.ca_file";
        let (Some(own), Some(last)) = (chain.first(), chain.last()) else {
            let says = format!("the authority of the broker's certificate is not trusted: {}", self.trusted(""));
            return Fault::new("tls_unknown_issuer", says, todo);
        };
        let trusted = self.trusted(&last.issuer);
        if own.is_self_signed() {
            return Fault::new(
                "tls_unknown_issuer",
                format!("the broker's certificate ({}) is signed by itself, and not trusted: {trusted}", whose(own)),
                "put this very certificate into upstream.tls.ca_file, or have one issued by an authority",
            );
        }
        let way = if chain.len() > 1 { "has a chain that ends at" } else { "is signed by" };
        Fault::new(
            "tls_unknown_issuer",
            format!("the broker's certificate ({}) {way} {}, which is not trusted: {trusted}", whose(own), last.issuer),
            format!("{todo}; where an intermediate authority has signed it, let the broker send the whole chain"),
        )
    }

    /// Who is trusted, beside that `issuer`.
    fn trusted(&self, issuer: &str) -> String {
        let Some(path) = &self.settings().ca_file else {
            return "only the system's authorities are".to_owned();
        };
        let held = files::certificates("upstream.tls.ca_file", path).unwrap_or_default();
        let facts = certificates::facts(&held);
        let names: Vec<_> = facts.iter().map(whose).collect();
        let is_namesake = facts.iter().any(|facts| facts.subject == issuer);
        let other = if is_namesake { ", of the same name but with another key" } else { "" };
        format!("upstream.tls.ca_file holds {}{other}", names.join("; "))
    }

    fn alert(&self, alert: AlertDescription) -> Fault {
        match alert {
            AlertDescription::ProtocolVersion => Fault::new(
                "tls_incompatible",
                "the broker speaks neither TLS 1.2 nor 1.3",
                "set ssl.enabled.protocols=TLSv1.2,TLSv1.3 on the broker",
            ),
            AlertDescription::UnrecognisedName => Fault::new(
                "tls_name",
                format!("the broker does not answer for the name {}", self.name()),
                "dial a name that it knows, or set upstream.tls.server_name",
            ),
            alert => self.client_certificate(&format!("alert {alert:?}")).unwrap_or_else(|| {
                Fault::new(
                    "tls_handshake",
                    format!("the broker refused the TLS handshake (alert {alert:?})"),
                    "look at the broker's log at this moment: it names the reason; cipher suites and protocol versions \
                     are the usual ones",
                )
            }),
        }
    }

    /// The broker ended the session, and it had asked for a certificate: `None` where it had not.
    pub(super) fn client_certificate(&self, how: &str) -> Option<Fault> {
        let authorities = self.shown.wants_certificate.as_ref()?;
        let names: Vec<_> = authorities.iter().map(|name| Facts::name(name)).collect();
        let by = if names.is_empty() { String::new() } else { format!(" of {}", names.join(" or ")) };
        let own = self.settings().cert_file.as_ref();
        let Some(path) = own else {
            return Some(Fault::new(
                "tls_client_certificate_missing",
                format!("the broker wants a client certificate{by}, and none is configured ({how})"),
                "set upstream.tls.cert_file and upstream.tls.key_file, or use a listener with ssl.client.auth=none",
            ));
        };
        let held = files::certificates("upstream.tls.cert_file", path).unwrap_or_default();
        let facts = certificates::facts(&held);
        let ours = facts.first().map_or_else(String::new, |facts| {
            format!(" ({}, signed by {}, valid until {})", whose(facts), facts.issuer, date(facts.ends))
        });
        let is_namesake = facts.last().is_some_and(|facts| names.contains(&facts.issuer));
        let by = if is_namesake { format!("{by}, of the same name but perhaps with another key") } else { by };
        Some(Fault::new(
            "tls_client_certificate_refused",
            format!("the broker refuses kmend's certificate{ours}: it takes those{by} ({how})"),
            "have upstream.tls.cert_file issued by an authority in the broker's ssl.truststore, for clients (extended key \
             usage clientAuth), and put the whole chain into the file",
        ))
    }
}

/// How a connection ended, in short.
pub(super) fn ended(error: &io::Error) -> String {
    match (crate::tls::cause(error), error.kind()) {
        (Some(Error::AlertReceived(alert)), _) => format!("alert {alert:?}"),
        (_, io::ErrorKind::UnexpectedEof) => "it closed the connection".to_owned(),
        (_, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => "it reset the connection".to_owned(),
        _ => error.to_string(),
    }
}

/// This host's own time, for a person to compare.
pub(super) fn clock(now: i64) -> String {
    utc(u64::try_from(now).unwrap_or(0) * 1000)
}
