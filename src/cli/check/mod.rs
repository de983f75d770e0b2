//! `kmend check`: is the configuration right, and (with `--connect`) is the cluster there?

mod kafka;
mod reader;

use std::time::Duration;

use tokio::runtime;

use self::kafka::{Broker, ProbeError};
use super::out::Out;
use super::{Failed, UNAVAILABLE};
use crate::config::units::HostPort;
use crate::config::{Config, ConfigError};
use crate::tls;
use crate::upstream::{Dialer, chain};

/// One line of the table.
struct Row {
    what: String,
    address: String,
    good: bool,
    said: String,
}

pub(super) fn run(config: &Config, connect: bool, out: &mut Out) -> Result<(), Failed> {
    // Certificates that cannot be used are the configuration's fault.
    let dialer = Dialer::new(config).map_err(|error| wrong(&error, out))?;
    let server = tls::Server::new(&config.listen.tls).map_err(|error| wrong(&error, out))?;
    for note in tls::notes(config, dialer.tls().as_deref(), server.as_ref()) {
        out.note(&note);
    }
    if !connect {
        out.line("the configuration is valid");
        return Ok(());
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        out.error(&format!("the runtime cannot start: {error}"));
        UNAVAILABLE
    })?;
    let rows = runtime.block_on(probe_all(config, &dialer));
    // A resolver that hangs would otherwise be waited for.
    runtime.shutdown_background();
    out.text(&table(&rows));
    if rows.iter().all(|row| row.good) {
        return Ok(());
    }
    out.error("the cluster cannot be reached as it should");
    Err(UNAVAILABLE)
}

fn wrong(error: &dyn std::error::Error, out: &mut Out) -> Failed {
    out.error(&chain(error));
    ConfigError::EXIT_CODE
}

async fn probe_all(config: &Config, dialer: &Dialer) -> Vec<Row> {
    let limit = config.upstream.connect_timeout.0;
    let mut rows = Vec::new();
    let mut brokers = None;
    for address in &config.upstream.bootstrap {
        let mut probe = match kafka::Probe::connect(dialer, address, limit).await {
            Ok(probe) => probe,
            Err(error) => {
                rows.push(failed("bootstrap", address, &error));
                continue;
            }
        };
        rows.push(good("bootstrap", address, probe.summary()));
        if brokers.is_none() {
            match probe.brokers().await {
                Ok(list) => brokers = Some(list),
                // Not a failure: most clusters want a login first, and the clients bring theirs.
                Err(ProbeError::HungUp) => {
                    rows.push(good(
                        "metadata",
                        address,
                        "not without a login: the brokers behind were not tried".to_owned(),
                    ));
                    rows.extend(mechanisms(dialer, address, limit).await);
                }
                Err(error) => rows.push(failed("metadata", address, &error)),
            }
        }
    }
    for Broker { id, address } in brokers.unwrap_or_default() {
        let what = format!("broker {id}");
        rows.push(match kafka::Probe::connect(dialer, &address, limit).await {
            Ok(probe) => good(&what, &address, probe.summary()),
            Err(error) => failed(&what, &address, &error),
        });
    }
    rows
}

/// By which mechanisms clients may log in.
async fn mechanisms(dialer: &Dialer, address: &HostPort, limit: Duration) -> Option<Row> {
    let mut probe = kafka::Probe::connect(dialer, address, limit).await.ok()?;
    let known = probe.mechanisms().await.ok().filter(|known| !known.is_empty())?;
    // A client asks its KDC for a ticket to the host that it dials, which is kmend.
    let kerberos = if known.iter().any(|m| m == "GSSAPI") {
        "; GSSAPI works through kmend only where clients dial the brokers' own names (docs/sasl.md)"
    } else {
        ""
    };
    Some(good("login", address, format!("{}{kerberos}", known.join(", "))))
}

fn good(what: &str, address: &HostPort, said: String) -> Row {
    Row { what: what.to_owned(), address: address.to_string(), good: true, said }
}

fn failed(what: &str, address: &HostPort, error: &ProbeError) -> Row {
    let address = address.to_string();
    let said = chain(error);
    let said = said.strip_prefix(&format!("{address}: ")).unwrap_or(&said).to_owned();
    Row { what: what.to_owned(), address, good: false, said }
}

fn table(rows: &[Row]) -> String {
    let width = |text: fn(&Row) -> &str| {
        let widths = rows.iter().map(|row| text(row).chars().count());
        widths.max().unwrap_or(0)
    };
    let (what, address) = (width(|row| &row.what), width(|row| &row.address));
    rows.iter()
        .map(|row| {
            let verdict = if row.good { "ok    " } else { "FAILED" };
            format!("{verdict}  {:what$}  {:address$}  {}\n", row.what, row.address, row.said)
        })
        .collect()
}

#[cfg(test)]
mod tests;
