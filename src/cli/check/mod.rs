//! `kmend check`: is the configuration right, and (with `--connect`) does everything around it work?
//!
//! `local` looks at this host, `cluster` at every bootstrap address and every broker; each address goes through `probe`.
//! Whatever is found is a [`Step`] of the [`Report`]: `explain` and `sessions` turn errors into words.

mod certificates;
mod cluster;
mod explain;
mod local;
mod probe;
mod questions;
mod reader;
mod report;
mod sessions;

use tokio::runtime;

pub(super) use self::local::admin_address;
use self::probe::Env;
use self::report::{Fault, Report, Scope, Step};
use super::out::Out;
use super::{Failed, UNAVAILABLE};
use crate::config::model::UpstreamTls;
use crate::config::sasl::Sasl;
use crate::config::{self, Config, ConfigError, Loaded, Sources};
use crate::tls::{self, TlsError};
use crate::upstream::{Dialer, UpstreamError, chain};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub connect: bool,
    pub json: bool,
}

pub(super) fn run(sources: &Sources, wanted: Wanted, out: &mut Out) -> Result<(), Failed> {
    let mut report = Report::default();
    let result = config::load(sources);
    if let Ok(loaded) = &result {
        report.notes.extend(loaded.notes.iter().cloned());
    }
    match result {
        Ok(loaded) => checked(&loaded, wanted, &mut report, out)?,
        Err(error) => {
            for problem in &error.problems {
                report.steps.push(wrong(problem.to_string(), "see docs/configuration.md, or kmend schema"));
            }
        }
    }
    tell(&report, wanted, out);
    report.outcome()
}

fn wrong(says: String, todo: &str) -> Step {
    Step::fail(Scope::Kmend, "configuration", Fault::ours("configuration", says, todo))
}

fn checked(loaded: &Loaded, wanted: Wanted, report: &mut Report, out: &mut Out) -> Result<(), Failed> {
    let config = &loaded.config;
    // Certificates that cannot be used are the configuration's fault.
    let parts = Dialer::new(config).map_err(|e| Box::new(files(&e, &chain(&e)))).and_then(|dialer| {
        let server = tls::Server::new(&config.listen.tls).map_err(|e| Box::new(broken(&e, &chain(&e))))?;
        Ok((dialer, server))
    });
    let (dialer, server) = match parts {
        Ok(parts) => parts,
        Err(step) => {
            report.steps.push(*step);
            return Ok(());
        }
    };
    report.steps.push(Step::ok(Scope::Kmend, "configuration", "valid"));
    report.notes.extend(tls::notes(config, dialer.tls().as_deref(), server.as_ref()));
    if !wanted.connect {
        return Ok(());
    }
    let bare = bare(config).map_err(|error| {
        out.error(&chain(&error));
        ConfigError::EXIT_CODE
    })?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        out.error(&format!("the runtime cannot start: {error}"));
        UNAVAILABLE
    })?;
    runtime.block_on(async {
        let upstream = dialer.tls();
        report.steps.extend(local::look(loaded, upstream.as_deref(), server.as_ref()).await);
        let at = report.steps.len();
        let env = Env { config: config.clone(), dialer, bare };
        let brokers = cluster::look(env, report).await;
        report.steps.insert(at, local::broker_ports(config, brokers));
    });
    // A resolver that hangs would otherwise be waited for.
    runtime.shutdown_background();
    Ok(())
}

/// Neither TLS nor a login.
fn bare(config: &Config) -> Result<Dialer, UpstreamError> {
    let mut config = config.clone();
    config.upstream.tls = UpstreamTls::default();
    config.upstream.sasl = Sasl::default();
    Dialer::new(&config)
}

fn files(error: &UpstreamError, says: &str) -> Step {
    match error {
        UpstreamError::Tls(error) => broken(error, says),
        UpstreamError::Login { .. } => wrong(says.to_owned(), "complete upstream.sasl (docs/sasl.md)"),
    }
}

fn broken(error: &TlsError, says: &str) -> Step {
    let (id, todo) = match error {
        TlsError::Pem { .. } => ("tls_file", "let the file exist, be readable by kmend's user, and be PEM"),
        TlsError::Empty { .. } => (
            "tls_file",
            "put the PEM block there (-----BEGIN CERTIFICATE-----, or an unencrypted -----BEGIN PRIVATE KEY-----); Java \
             key stores are converted by keytool and openssl",
        ),
        TlsError::NoRoots { .. } => ("tls_no_authority", "set the CA file, or install the system's authorities"),
        TlsError::Root { .. } => ("tls_file", "replace this authority's certificate: it is not one of X.509 version 3"),
        TlsError::Pair { .. } => (
            "tls_pair",
            "put the key there that the certificate was issued for, and the chain with its own certificate first",
        ),
        TlsError::Half { .. } => ("tls_pair", "a certificate needs its key, and the other way round"),
        TlsError::ServerName { .. } => ("tls_name", "set it to a host name, without a port"),
        TlsError::Versions { .. } | TlsError::Verifier { .. } => ("tls_file", "look at the files of this section"),
    };
    Step::fail(Scope::Kmend, "configuration", Fault::ours(id, says, todo))
}

fn tell(report: &Report, wanted: Wanted, out: &mut Out) {
    if wanted.json {
        out.text(&report.as_json());
        return;
    }
    for note in &report.notes {
        out.note(note);
    }
    let failed = report.outcome();
    let is_wrong = failed == Err(ConfigError::EXIT_CODE) && report.steps.iter().all(|s| s.name == "configuration");
    if is_wrong {
        // Nothing else was looked at.
        for fault in report.steps.iter().filter_map(|step| step.fault.as_ref()) {
            out.error(&fault.says);
        }
    } else if !wanted.connect {
        out.line("the configuration is valid");
    } else {
        out.text(&report.as_table(out.is_coloured()));
        match failed {
            Ok(()) => out.line(&report.summary()),
            Err(_) => out.error(&report.summary()),
        }
    }
}
