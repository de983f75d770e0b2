//! Certificates in force: those on disk, read again when they change there or on SIGHUP. All or nothing:
//! while a file cannot be used, or does not fit its fellow, everything stays as it was.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::{IntCounterVec, IntGaugeVec, Registry};
use rustls::pki_types::CertificateDer;

use crate::config::{self, Config, Diff, ReloadError, Running, Sources};
use crate::listen::Shared as ListenShared;
use crate::telemetry::metrics::Family;
use crate::tls::{self, Contents, TlsError};
use crate::upstream::{UpstreamError, chain};
use crate::watch::{Look, Watched};

pub(super) struct Certificates {
    running: Running,
    listen: Arc<ListenShared>,
    reloads: IntCounterVec,
    expiry: IntGaugeVec,
    /// The last error that was told; held by whoever is reading the files.
    told: Mutex<Option<String>>,
}

impl Certificates {
    pub fn new(running: Running, listen: Arc<ListenShared>, registry: &Registry) -> Certificates {
        let reloads = Family::counter(
            registry,
            "tls_reloads_total",
            "Changes of the TLS files that were noticed: reloaded, or failed, and those read before stay in force.",
            &["outcome"],
        );
        let expiry = Family::gauge(
            registry,
            "tls_certificate_expiry_timestamp_seconds",
            "When the certificate in force ends: the one that clients are shown, and the one that brokers are.",
            &["which"],
        );
        let certificates = Certificates { running, listen, reloads, expiry, told: Mutex::default() };
        certificates.note();
        certificates
    }

    /// Its files.
    pub fn watched(self: &Arc<Self>) -> Watched {
        let (named, reading) = (self.clone(), self.clone());
        Watched::new(move || tls::watched(&named.running.current()), move |look| reading.refresh(look))
    }

    /// Reads the configuration and all certificates again.
    pub fn reload(&self, sources: &Sources) -> Result<(Diff, Vec<String>), ReloadError> {
        let mut told = self.hold();
        let before = self.contents();
        let reloaded = config::reload(sources, &self.running, |config| self.replace_all(config))?;
        *told = None;
        self.tell(before);
        Ok(reloaded)
    }

    fn replace_all(&self, config: &Config) -> Result<(), UpstreamError> {
        // Listeners stay as they are until a restart; only what their files hold may be new.
        let server = tls::Server::new(&self.running.current().listen.tls)?;
        self.listen.dialer.reload(config)?;
        self.listen.tls.store(server.map(Arc::new));
        Ok(())
    }

    /// Files have changed; whether they can be used.
    fn refresh(&self, look: Look) -> bool {
        let mut told = self.hold();
        let before = self.contents();
        match self.replace_changed(&self.running.current(), before) {
            Ok(()) => {
                *told = None;
                self.tell(before);
                true
            }
            Err(error) => {
                let error = chain(&error);
                if look == Look::Changed || told.as_ref() != Some(&error) {
                    self.reloads.with_label_values(&["failed"]).inc();
                    tracing::error!(
                        error,
                        "TLS files have changed and cannot be used: those read before stay in force"
                    );
                }
                *told = Some(error);
                false
            }
        }
    }

    fn replace_changed(&self, config: &Config, before: Pair) -> Result<(), TlsError> {
        let client = tls::Client::new(&config.upstream.tls)?;
        let server = tls::Server::new(&config.listen.tls)?;
        if client.as_ref().map(tls::Client::contents) != before.client {
            self.listen.dialer.replace_tls(client.map(Arc::new));
        }
        if server.as_ref().map(tls::Server::contents) != before.server {
            self.listen.tls.store(server.map(Arc::new));
        }
        Ok(())
    }

    /// One line, and one count, where something new is in force.
    fn tell(&self, before: Pair) {
        let now = self.contents();
        if now == before {
            return;
        }
        self.reloads.with_label_values(&["reloaded"]).inc();
        let (listener, upstream) = (now.server != before.server, now.client != before.client);
        tracing::info!(listener, upstream, "TLS files were read again: new connections use them");
        self.note();
    }

    /// What should be known of the certificates in force.
    fn note(&self) {
        let (client, server) = (self.listen.dialer.tls(), self.listen.tls.load_full());
        for note in tls::notes(&self.running.current(), client.as_deref(), server.as_deref()) {
            tracing::warn!("{note}");
        }
        self.expires("listener", server.as_ref().map(|server| server.own()));
        self.expires("upstream", client.as_ref().and_then(|client| client.own()));
    }

    fn expires(&self, which: &str, certificate: Option<&CertificateDer<'_>>) {
        match certificate.and_then(tls::expires) {
            Some(at) => self.expiry.with_label_values(&[which]).set(at),
            None => drop(self.expiry.remove_label_values(&[which])),
        }
    }

    fn contents(&self) -> Pair {
        Pair {
            client: self.listen.dialer.tls().map(|client| client.contents()),
            server: self.listen.tls.load().as_ref().map(|server| server.contents()),
        }
    }

    fn hold(&self) -> MutexGuard<'_, Option<String>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the files of both directions held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair {
    client: Option<Contents>,
    server: Option<Contents>,
}
