//! Keys that have no effect in this version: noted, or refused where silence would be unsafe.

use super::Findings;
use crate::config::model::Config;

pub(super) fn check(config: &Config, findings: &mut Findings<'_>) {
    if config.listen.tls.enabled {
        findings.add(
            "listen.tls.enabled",
            "TLS from clients is not in this version, and kmend does not listen in plaintext \
             in its place: set it to false",
        );
    }
    if config.upstream.sasl.mechanism.is_some() {
        findings.add(
            "upstream.sasl.mechanism",
            "a login made by kmend is not in this version: set it to null, \
             and the client's own login passes through",
        );
    }
}

pub(super) fn notes(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    let sasl = &config.upstream.sasl;
    if sasl.mechanism.is_none() && (sasl.username.is_some() || sasl.password_file.is_some()) {
        notes.push("upstream.sasl has no effect in this version".to_owned());
    }
    let tls = &config.listen.tls;
    if !tls.enabled && (tls.cert_file.is_some() || tls.client_ca_file.is_some()) {
        notes.push("listen.tls has no effect in this version".to_owned());
    }
    notes
}
