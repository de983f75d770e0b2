//! One address: DNS, TCP, TLS, protocol and login, by the way that kmend itself goes.

use std::io;
use std::net::SocketAddr;

use super::certificates::{self, Life, date, days, hosts, life, whose};
use super::explain;
use super::questions::{Asked, LONGEST_ANSWER};
use super::report::{Fault, Scope, Step};
use super::sessions::{Scene, ended};
use crate::config::Config;
use crate::config::units::HostPort;
use crate::tls::{self, Shown};
use crate::upstream::own::{Own, OwnError, Versions};
use crate::upstream::sasl::LoginError;
use crate::upstream::{Connected, DialError, Dialer, Trail};

/// What all probes share.
pub(super) struct Env {
    pub config: Config,
    /// As kmend has it.
    pub dialer: Dialer,
    /// Without TLS and without a login: to find out what is spoken there.
    pub bare: Dialer,
}

/// A broker that speaks Kafka, and lets kmend in if it is to log in.
pub(super) struct Reached {
    pub asked: Asked,
    pub peer: Option<SocketAddr>,
}

/// Steps of one address.
pub(super) struct Probe<'a> {
    env: &'a Env,
    scope: Scope,
    address: &'a HostPort,
    pub steps: Vec<Step>,
}

impl<'a> Probe<'a> {
    pub(super) fn new(env: &'a Env, scope: Scope, address: &'a HostPort) -> Self {
        Self { env, scope, address, steps: Vec::new() }
    }

    pub(super) fn ok(&mut self, name: &'static str, says: impl Into<String>) {
        self.steps.push(Step::ok(self.scope, name, says).at(self.address));
    }

    pub(super) fn skip(&mut self, name: &'static str, says: impl Into<String>) {
        self.steps.push(Step::skip(self.scope, name, says).at(self.address));
    }

    pub(super) fn warn(&mut self, name: &'static str, fault: Fault) {
        self.steps.push(Step::warn(self.scope, name, fault).at(self.address));
    }

    pub(super) fn fail(&mut self, name: &'static str, fault: Fault) {
        // With TLS 1.3 a session stands before the broker has looked at kmend's certificate.
        self.steps.retain(|step| step.name != name);
        self.steps.push(Step::fail(self.scope, name, fault).at(self.address));
    }

    /// `None`: it ended with a fault, which is the last step.
    pub(super) async fn run(&mut self) -> Option<Reached> {
        let (trail, result) = self.env.dialer.dial_with_trail(self.address).await;
        self.way(&trail);
        let Connected { transport, session } = match result {
            Ok(connected) => connected,
            Err(error) => {
                self.ended(&trail, error).await;
                return None;
            }
        };
        let limit = self.env.config.upstream.connect_timeout.0;
        let mut own = Own::new(transport, LONGEST_ANSWER);
        let versions = match own.versions(std::time::Instant::now() + limit).await {
            Ok(versions) => versions,
            Err(error) => {
                self.no_kafka(&error).await;
                return None;
            }
        };
        self.speaks(Some(&versions));
        if let Some(session) = session {
            let account = session.account().mechanism().name();
            let user = self.env.config.upstream.sasl.username.as_deref();
            let who = user.map_or_else(String::new, |user| format!(" as {user}"));
            self.ok("login", format!("logged in{who} by {account}"));
        }
        Some(Reached { asked: Asked { own, versions, limit }, peer: trail.peer })
    }

    /// What went well.
    fn way(&mut self, trail: &Trail) {
        if self.address.ip().is_none() && !trail.addresses.is_empty() {
            let found: Vec<_> = trail.addresses.iter().map(|a| a.ip().to_string()).collect();
            self.ok("dns", found.join(", "));
        }
        if let Some(peer) = trail.peer {
            self.ok("tcp", format!("connected to {peer}"));
        }
        if let Some(session) = &trail.tls {
            self.session(session);
        }
    }

    fn session(&mut self, session: &tls::Session) {
        let version = session.version.and_then(|v| v.as_str()).unwrap_or("TLS").replace("v1_", " 1.").replace('_', ".");
        let chain = certificates::facts(&session.certificates);
        let Some(own) = chain.first() else {
            self.ok("tls", version);
            return;
        };
        let says = format!("{version}, {} for {}, valid until {}", whose(own), hosts(own), date(own.ends));
        let now = certificates::now();
        match chain.iter().find_map(|facts| Some((facts, life(facts, now))).filter(|(_, life)| *life != Life::Good)) {
            Some((facts, Life::Ending(left))) => {
                let (whose, ends, left) = (whose(facts), date(facts.ends), days(left));
                let says = format!("the certificate {whose} expires in {left}, on {ends}");
                self.warn("tls", Fault::new("tls_expires_soon", says, "renew it on the broker before that"));
            }
            // What is over may be a certificate that the chain does not need.
            _ => self.ok("tls", says),
        }
    }

    fn speaks(&mut self, versions: Option<&Versions>) {
        let apis = versions.map_or_else(String::new, |v| format!(", {} APIs", v.count()));
        self.ok("protocol", format!("Kafka{apis}"));
    }

    async fn ended(&mut self, trail: &Trail, error: DialError) {
        match error {
            error if error.is_out_of_descriptors() => self.fail("tcp", explain::descriptors(&error)),
            DialError::Dns { source, .. } => self.fail("dns", explain::dns(self.address, &source)),
            DialError::Tcp { source, .. } => self.fail("tcp", explain::tcp(&trail.addresses, &source)),
            DialError::Tls { source, .. } => self.no_session(&source).await,
            DialError::Login { source, .. } => self.no_login(source).await,
            DialError::Timeout { step, after, .. } => {
                let name = step_name(step);
                self.fail(name, explain::late(step, self.address, &trail.addresses, after));
            }
            // Neither comes of a single attempt.
            error @ (DialError::Recent { .. } | DialError::NoAddress) => {
                self.fail("tcp", Fault::new("tcp", error.to_string(), "try again"));
            }
        }
    }

    async fn shown(&self) -> Shown {
        self.env.dialer.inspect_tls(self.address).await.unwrap_or_default()
    }

    fn scene<'s>(&'s self, shown: &'s Shown) -> Scene<'s> {
        Scene { config: &self.env.config, address: self.address, shown, now: certificates::now() }
    }

    async fn no_session(&mut self, error: &io::Error) {
        let shown = self.shown().await;
        let scene = self.scene(&shown);
        let known = tls::cause(error).and_then(|cause| scene.explain(cause));
        // It speaks TLS, and ended the session.
        let known = known.or_else(|| scene.client_certificate(&ended(error)));
        let fault = match known {
            Some(fault) => fault,
            None if shown.certificates.is_empty() => self.what_else(error).await,
            None => explain::no_tls(&ended(error)),
        };
        self.fail("tls", fault);
    }

    /// No TLS at all: what is it then?
    async fn what_else(&self, error: &io::Error) -> Fault {
        let limit = self.env.config.upstream.connect_timeout.0;
        let Ok(Connected { transport, .. }) = self.env.bare.dial_with_trail(self.address).await.1 else {
            return explain::no_tls(&ended(error));
        };
        match Own::new(transport, LONGEST_ANSWER).versions(std::time::Instant::now() + limit).await {
            Ok(_) => explain::plaintext_broker(),
            Err(plain @ OwnError::NotKafka(_)) => explain::protocol(&plain, limit),
            Err(_) => explain::no_tls(&ended(error)),
        }
    }

    /// Connected, and the first request was not answered.
    async fn no_kafka(&mut self, error: &OwnError) {
        let limit = self.env.config.upstream.connect_timeout.0;
        if let OwnError::Io(source) = error
            && let Some((name, fault)) = self.cut(source).await
        {
            self.fail(name, fault);
            return;
        }
        let fault = explain::protocol(error, limit);
        self.fail(if fault.id == "tls_broker" { "tls" } else { "protocol" }, fault);
    }

    /// A connection that ended: by a TLS 1.3 broker that has now seen kmend's certificate (or none), or by one that
    /// expected a handshake.
    async fn cut(&self, error: &io::Error) -> Option<(&'static str, Fault)> {
        let shown = self.shown().await;
        if self.env.config.upstream.tls.enabled {
            let fault = self.scene(&shown).client_certificate(&ended(error))?;
            return Some(("tls", fault));
        }
        (!shown.certificates.is_empty() || shown.wants_certificate.is_some()).then(|| ("tls", explain::tls_broker()))
    }

    async fn no_login(&mut self, error: LoginError) {
        if let Some(fault) = explain::login(&self.env.config, &error) {
            let has_answered = !matches!(fault.id, "credentials" | "token_endpoint" | "token_refused");
            if has_answered {
                self.speaks(None);
            }
            self.fail("login", fault);
            return;
        }
        match error {
            LoginError::HungUp { tls, why } => {
                let (name, fault) = match self.cut(&why).await {
                    Some(found) => found,
                    None => ("login", explain::login_hung_up(tls, &ended(&why))),
                };
                self.fail(name, fault);
            }
            LoginError::Own(error) => self.no_kafka(&error).await,
            other => self.fail("login", Fault::new("login", other.to_string(), "look at upstream.sasl")),
        }
    }
}

fn step_name(step: crate::upstream::Step) -> &'static str {
    match step {
        crate::upstream::Step::Dns => "dns",
        crate::upstream::Step::Tcp => "tcp",
        crate::upstream::Step::Tls => "tls",
        crate::upstream::Step::Sasl => "login",
    }
}
