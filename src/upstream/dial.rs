//! Making connections: names, TCP, TLS, kmend's own login, in one bounded time.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Instant, timeout_at};

use super::connect;
use super::error::{DialError, Step, UpstreamError};
use super::own::{Own, OwnError};
use super::resolve::{Resolver, lock};
use super::sasl::{Account, LoginError, Session};
use crate::config::Config;
use crate::config::units::HostPort;
use crate::tls::{self, Transport};

/// How long a host that cost somebody time is refused without trying.
const MEMORY: Duration = Duration::from_secs(1);

/// The same for one that refused kmend's login: many clients must not lock its account.
const LOGIN_MEMORY: Duration = Duration::from_secs(3);

/// A failure that came at once costs nothing to try again, and a broker may be back any moment:
/// only slower ones are remembered.
const SLOW: Duration = Duration::from_millis(200);

const MOST_FAILURES: usize = 1024;

/// What a broker says before a login is short.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Makes upstream connections. One for the process.
#[derive(Debug)]
pub struct Dialer {
    settings: ArcSwap<Settings>,
    resolver: Resolver,
    failures: Mutex<HashMap<HostPort, Failure>>,
    /// Where `dial_any` starts: in turn, so that load is spread.
    turn: AtomicUsize,
}

/// A connection that can be used.
#[derive(Debug)]
pub struct Connected {
    pub transport: Transport,
    /// Where kmend has logged in.
    pub session: Option<Session>,
}

/// How far an attempt came, whatever its end.
#[derive(Debug, Default)]
pub struct Trail {
    /// What the name resolved to.
    pub addresses: Vec<SocketAddr>,
    /// Which of them took the connection.
    pub peer: Option<SocketAddr>,
    /// Where the session stood.
    pub tls: Option<tls::Session>,
}

#[derive(Debug, Clone)]
struct Settings {
    tls: Option<Arc<tls::Client>>,
    account: Option<Arc<Account>>,
    connect_timeout: Duration,
}

#[derive(Debug)]
struct Failure {
    until: Instant,
    reason: String,
}

impl Settings {
    fn new(config: &Config) -> Result<Self, UpstreamError> {
        Ok(Self {
            tls: tls::Client::new(&config.upstream.tls)?.map(Arc::new),
            account: Account::new(&config.upstream.sasl)?.map(Arc::new),
            connect_timeout: config.upstream.connect_timeout.0,
        })
    }
}

impl Dialer {
    /// Reads the certificates; fails where TLS could never work.
    pub fn new(config: &Config) -> Result<Self, UpstreamError> {
        Ok(Self {
            settings: ArcSwap::from_pointee(Settings::new(config)?),
            resolver: Resolver::default(),
            failures: Mutex::default(),
            turn: AtomicUsize::new(0),
        })
    }

    /// Reads settings and certificates again for connections from now on; on an error nothing
    /// changes. What the names resolved to is kept.
    pub fn reload(&self, config: &Config) -> Result<(), UpstreamError> {
        self.settings.store(Arc::new(Settings::new(config)?));
        lock(&self.failures).clear();
        Ok(())
    }

    /// Puts other certificates in the place of those that were read before, for connections from now on.
    pub fn replace_tls(&self, tls: Option<Arc<tls::Client>>) {
        self.settings.rcu(|old| Settings { tls: tls.clone(), ..Settings::clone(old) });
        lock(&self.failures).clear();
    }

    /// What new connections are made with; `None`: plaintext.
    pub fn tls(&self) -> Option<Arc<tls::Client>> {
        self.settings.load().tls.clone()
    }

    /// A connection to this address.
    pub async fn dial(&self, address: &HostPort) -> Result<Connected, DialError> {
        self.refuse_recent(address)?;
        let start = Instant::now();
        let result = self.attempt(address, start, None).await;
        if let Err(error) = &result {
            let is_login = matches!(error, DialError::Login { .. });
            if is_login || start.elapsed() >= SLOW {
                self.remember(address, super::chain(error), if is_login { LOGIN_MEMORY } else { MEMORY });
            }
        }
        result
    }

    /// The same for whoever wants to know how it went. It is tried in any case, and nothing of it is remembered.
    pub async fn dial_with_trail(&self, address: &HostPort) -> (Trail, Result<Connected, DialError>) {
        let mut trail = Trail::default();
        let result = self.attempt(address, Instant::now(), Some(&mut trail)).await;
        (trail, result)
    }

    /// What this address shows in a TLS handshake that ends there, whether or not TLS is on; `None`: no connection.
    pub async fn inspect_tls(&self, address: &HostPort) -> Option<tls::Shown> {
        let settings = self.settings.load_full();
        let inspect = async {
            let found = self.resolver.resolve(address).await.ok()?;
            let stream = connect::connect(&found).await.ok()?;
            Some(tls::inspect(settings.tls.as_deref(), &address.host, stream).await)
        };
        tokio::time::timeout(settings.connect_timeout, inspect).await.ok().flatten()
    }

    /// A connection to one of these, tried in turn; says to which. The error is that of the last
    /// address that was really tried.
    pub async fn dial_any(&self, addresses: &[HostPort]) -> Result<(Connected, HostPort), DialError> {
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut failure = DialError::NoAddress;
        for step in 0..addresses.len() {
            let index = start.wrapping_add(step) % addresses.len();
            let Some(address) = addresses.get(index) else {
                continue;
            };
            match self.dial(address).await {
                Ok(connected) => return Ok((connected, address.clone())),
                Err(error) => {
                    tracing::debug!(error = super::chain(&error), "an upstream address failed");
                    let tried = !matches!(error, DialError::Recent { .. });
                    if tried || matches!(failure, DialError::NoAddress) {
                        failure = error;
                    }
                }
            }
        }
        Err(failure)
    }

    async fn attempt(
        &self,
        address: &HostPort,
        start: Instant,
        mut trail: Option<&mut Trail>,
    ) -> Result<Connected, DialError> {
        let settings = self.settings.load_full();
        let limit = Limit { address, after: settings.connect_timeout, deadline: start + settings.connect_timeout };
        let resolve = self.resolver.resolve(address);
        let found = limit
            .hold(Step::Dns, resolve)
            .await?
            .map_err(|source| DialError::Dns { address: address.clone(), source })?;
        if let Some(trail) = &mut trail {
            trail.addresses.clone_from(&found);
        }
        let stream = limit
            .hold(Step::Tcp, connect::connect(&found))
            .await?
            .map_err(|source| DialError::Tcp { address: address.clone(), source })?;
        if let Some(trail) = &mut trail {
            trail.peer = stream.peer_addr().ok();
        }
        let transport = match &settings.tls {
            None => Transport::Plain(stream),
            Some(tls) => limit
                .hold(Step::Tls, tls.connect(&address.host, stream))
                .await?
                .map_err(|source| DialError::Tls { address: address.clone(), hint: tls::hint(&source), source })?,
        };
        if let Some(trail) = &mut trail {
            trail.tls = transport.session();
        }
        let Some(account) = &settings.account else {
            return Ok(Connected { transport, session: None });
        };
        let mut own = Own::new(transport, LONGEST_ANSWER);
        let session =
            limit.hold(Step::Sasl, account.log_in(&mut own, settings.connect_timeout)).await?.map_err(|source| {
                match source {
                    // A slow broker has refused nobody.
                    LoginError::Own(OwnError::Late) => limit.over(Step::Sasl),
                    source => DialError::Login { address: address.clone(), source },
                }
            })?;
        Ok(Connected { transport: own.into_transport(), session: Some(session) })
    }

    fn refuse_recent(&self, address: &HostPort) -> Result<(), DialError> {
        let mut failures = lock(&self.failures);
        let Some(failure) = failures.get(address) else {
            return Ok(());
        };
        if failure.until <= Instant::now() {
            failures.remove(address);
            return Ok(());
        }
        Err(DialError::Recent { address: address.clone(), reason: failure.reason.clone() })
    }

    fn remember(&self, address: &HostPort, reason: String, memory: Duration) {
        let mut failures = lock(&self.failures);
        if failures.len() >= MOST_FAILURES {
            failures.clear();
        }
        failures.insert(address.clone(), Failure { until: Instant::now() + memory, reason });
    }
}

/// The time that all steps together may take.
struct Limit<'a> {
    address: &'a HostPort,
    after: Duration,
    deadline: Instant,
}

impl Limit<'_> {
    async fn hold<F: Future>(&self, step: Step, work: F) -> Result<F::Output, DialError> {
        timeout_at(self.deadline, work).await.map_err(|_| self.over(step))
    }

    fn over(&self, step: Step) -> DialError {
        DialError::Timeout { address: self.address.clone(), step, after: self.after }
    }
}

#[cfg(test)]
mod tests;
