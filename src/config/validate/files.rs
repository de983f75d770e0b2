//! Files that are named: both halves there, and readable.

use std::fs::File;
use std::path::Path;

use super::Findings;
use crate::config::model::Config;

pub(super) fn check(config: &Config, findings: &mut Findings<'_>) {
    upstream(config, findings);
    listen(config, findings);
}

fn listen(config: &Config, findings: &mut Findings<'_>) {
    let tls = &config.listen.tls;
    let files = [
        ("listen.tls.cert_file", &tls.cert_file),
        ("listen.tls.key_file", &tls.key_file),
        ("listen.tls.client_ca_file", &tls.client_ca_file),
    ];
    if !tls.enabled {
        return;
    }
    for (key, file) in files {
        match file {
            Some(file) => readable(key, file, findings),
            None if key.ends_with("client_ca_file") => {}
            None => findings.add(key, "clients are shown a certificate: TLS needs cert_file and key_file"),
        }
    }
}

fn upstream(config: &Config, findings: &mut Findings<'_>) {
    let tls = &config.upstream.tls;
    match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => {
            findings.add("upstream.tls.cert_file", "a client certificate needs its key: set upstream.tls.key_file too")
        }
        (None, Some(_)) => {
            findings.add("upstream.tls.key_file", "a key without its certificate: set upstream.tls.cert_file too")
        }
        _ => {}
    }
    if let Some(name) = &tls.server_name
        && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
    {
        findings.add("upstream.tls.server_name", format!("`{name}` is not a host name or an address"));
    }
    if !tls.enabled {
        return;
    }
    let files = [
        ("upstream.tls.ca_file", &tls.ca_file),
        ("upstream.tls.cert_file", &tls.cert_file),
        ("upstream.tls.key_file", &tls.key_file),
    ];
    for (key, file) in files {
        if let Some(file) = file {
            readable(key, file, findings);
        }
    }
}

pub(super) fn readable(key: &str, file: &Path, findings: &mut Findings<'_>) {
    let opened = File::open(file).and_then(|file| file.metadata());
    match opened {
        Ok(metadata) if metadata.is_dir() => {
            findings.add(key, format!("{} is a folder, expected a PEM file", file.display()))
        }
        Ok(_) => {}
        Err(error) => findings.add(key, format!("{} cannot be read: {error}", file.display())),
    }
}

pub(super) fn notes(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    let tls = &config.upstream.tls;
    let named = tls.ca_file.is_some() || tls.cert_file.is_some() || tls.server_name.is_some();
    if named && !tls.enabled {
        notes.push(
            "upstream.tls has settings, but upstream.tls.enabled is false: \
             the brokers are spoken to without TLS"
                .to_owned(),
        );
    }
    let tls = &config.listen.tls;
    let named = tls.cert_file.is_some() || tls.key_file.is_some() || tls.client_ca_file.is_some();
    if named && !tls.enabled {
        notes.push(
            "listen.tls has settings, but listen.tls.enabled is false: \
             clients are listened to without TLS"
                .to_owned(),
        );
    }
    notes
}
