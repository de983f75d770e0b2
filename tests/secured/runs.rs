//! With `KMEND_MATRIX=1`: every client with every mechanism for a minute, logging in by itself and with kmend logging in;
//! what came of it is written to `docs/secured_runs.md`.

use std::fmt::Write;

use crate::harness::Way;
use crate::harness::secured::SESSION_MS;
use crate::harness::setup::{pinned, root};
use crate::pair::{Outcome, each, span};
use crate::{ours, passthrough};

#[test]
fn runs() {
    if std::env::var_os("KMEND_MATRIX").is_none() {
        return;
    }
    let mut text = format!(
        "# Logins that are renewed: every client with every mechanism\n\n\
         Written by `KMEND_MATRIX=1 cargo test --test secured runs` on Kafka {} with TLS and sessions of {SESSION_MS} ms \
         (`connections.max.reauth.ms`), with Java {}. A producer (50 records a second) and a consumer of the same client \
         work for {:?} behind a kmend of their own, with every mender in repair. In each run here no app saw an error, \
         and every record was in the log once and handled once.\n\n\
         *Logins*: SaslHandshake requests of the apps, or logins that kmend has renewed. *Ended*: connections that the \
         broker ended, because a login was not renewed in time or nobody used them. *Longest pause*: in which the \
         producer or the consumer had no record. Eight apps ran at a time.\n\n\
         | who logs in | mechanism | client | records | longest pause | connections | to the broker | logins | ended |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        pinned("KAFKA_VERSION"),
        pinned("JAVA_CLIENT_VERSION"),
        span(),
    );
    for way in Way::LOGINS {
        rows(&mut text, "the app", way, &passthrough::all_with(way, &each()));
        rows(&mut text, "kmend", way, &ours::all_with(way, &each()));
        std::fs::write(root().join("docs/secured_runs.md"), &text).expect("docs/secured_runs.md");
    }
}

fn rows(text: &mut String, who: &str, way: Way, all: &[Outcome]) {
    for one in all {
        let (mechanism, client, logins) = (way.mechanism(), one.clients[0], one.logins.max(one.renewed));
        let Outcome { records, connections, upstream, closed, .. } = one;
        // A sum of nothing is -0.
        let closed = closed.abs();
        let pause = one.pause.as_secs_f64();
        writeln!(
            text,
            "| {who} | {mechanism} | {client} | {records} | {pause:.2} s | {connections} | {upstream} | {logins} | {closed} |"
        )
        .expect("a line");
    }
}
