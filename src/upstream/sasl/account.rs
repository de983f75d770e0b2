//! Who kmend is at the brokers, and the session that a login opens.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::LoginError;
use super::login::{Login, LoginRequest, Step};
use super::secret::{self, Secret};
use super::token::Endpoint;
use crate::config::sasl::{Sasl, SaslMechanism};
use crate::upstream::UpstreamError;
use crate::upstream::own::{Own, OwnError};
use crate::wire::api::ApiKey;
use crate::wire::codec::login::AUTHENTICATE;

/// How much of a session may pass before it is renewed: what was sent before may still be on its way, and a request that the
/// broker reads after the end costs the connection.
const RENEW_AFTER: (u32, u32) = (3, 4);
/// How soon a renewal is tried again that found no secret, while the session lasts.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// kmend's account. Every login reads its secret anew.
#[derive(Debug)]
pub struct Account {
    mechanism: SaslMechanism,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Password { username: String, file: PathBuf },
    TokenFile { file: PathBuf, sasl: Box<Sasl> },
    Endpoint { endpoint: Box<Endpoint>, sasl: Box<Sasl> },
}

impl Account {
    /// `None`: the clients log in themselves.
    pub fn new(sasl: &Sasl) -> Result<Option<Account>, UpstreamError> {
        let Some(mechanism) = sasl.mechanism else {
            return Ok(None);
        };
        let incomplete = |key| UpstreamError::Login { key };
        let source = match mechanism {
            SaslMechanism::OauthBearer => match (&sasl.oauth.token_file, &sasl.oauth.token_url) {
                (Some(file), _) => Source::TokenFile { file: file.clone(), sasl: Box::new(sasl.clone()) },
                (None, Some(_)) => {
                    Source::Endpoint { endpoint: Box::new(Endpoint::new(&sasl.oauth)?), sasl: Box::new(sasl.clone()) }
                }
                (None, None) => return Err(incomplete("oauth.token_file")),
            },
            _ => Source::Password {
                username: sasl.username.clone().ok_or_else(|| incomplete("username"))?,
                file: sasl.password_file.clone().ok_or_else(|| incomplete("password_file"))?,
            },
        };
        Ok(Some(Account { mechanism, source }))
    }

    pub fn mechanism(&self) -> SaslMechanism {
        self.mechanism
    }

    /// What proves who kmend is, now.
    pub async fn secret(&self) -> Result<Secret, LoginError> {
        let token = |token, sasl: &Sasl| Secret::Token { token, extensions: sasl.oauth.extensions.clone() };
        Ok(match &self.source {
            Source::Password { username, file } => Secret::Password {
                username: username.clone(),
                password: secret::read("upstream.sasl.password_file", file).await?,
            },
            Source::TokenFile { file, sasl } => {
                token(secret::read("upstream.sasl.oauth.token_file", file).await?, sasl)
            }
            Source::Endpoint { endpoint, sasl } => token(endpoint.token().await?, sasl),
        })
    }

    /// Logs in on a new connection.
    pub async fn log_in(self: &Arc<Self>, own: &mut Own, patience: Duration) -> Result<Session, LoginError> {
        let secret = self.secret().await?;
        let deadline = Instant::now() + patience;
        let tls = own.is_tls();
        let hung_up = |why: OwnError| match why {
            OwnError::Io(why) => LoginError::HungUp { tls, why },
            why => why.into(),
        };
        let versions = own.versions(deadline).await.map_err(hung_up)?;
        let version = versions.newest(ApiKey::SASL_AUTHENTICATE, AUTHENTICATE).ok_or(LoginError::Version)?;
        let mut login = Login::new(self.mechanism, secret, version)?;
        let mut next = login.begin()?;
        loop {
            let LoginRequest { api, version, body } = next;
            let asked = Instant::now();
            let answer = own.ask(api, version, &body, deadline).await.map_err(hung_up)?;
            match login.answer(&answer.frame, answer.body)? {
                Step::Send(request) => next = request,
                Step::Done(lifetime) => return Ok(Session::new(self.clone(), version, lifetime, asked)),
            }
        }
    }
}

/// What a login has opened on one connection.
#[derive(Debug, Clone)]
pub struct Session {
    account: Arc<Account>,
    /// Of SaslAuthenticate.
    version: i16,
    /// When it is to be renewed (KIP-368), and when it is over; `None`: never.
    renew_at: Option<(Instant, Instant)>,
}

impl Session {
    /// `asked`: when the last request of the login was sent, no later than the broker's clock began.
    pub fn new(account: Arc<Account>, version: i16, lifetime: Option<Duration>, asked: Instant) -> Session {
        let renew_at = lifetime.and_then(|lifetime| {
            let ends = asked.checked_add(lifetime)?;
            Some((asked + (lifetime / RENEW_AFTER.1) * RENEW_AFTER.0, ends))
        });
        Session { account, version, renew_at }
    }

    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.renew_at.is_some_and(|(at, _)| at <= now)
    }

    /// There is no secret to renew it with. `false`: it is over, and nothing more can be sent.
    pub fn waits(&mut self, now: Instant) -> bool {
        match &mut self.renew_at {
            Some((at, ends)) if now < *ends => {
                *at = (now + TRY_AGAIN).min(*ends);
                true
            }
            _ => false,
        }
    }

    /// The login that renews it.
    pub fn renewal(&self, secret: Secret) -> Result<Login, LoginError> {
        Login::new(self.account.mechanism, secret, self.version)
    }

    /// It has been renewed.
    pub fn renewed(&mut self, lifetime: Option<Duration>, asked: Instant) {
        *self = Session::new(self.account.clone(), self.version, lifetime, asked);
    }
}
