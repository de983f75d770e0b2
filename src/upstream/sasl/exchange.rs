//! One SASL exchange, by rsasl: tokens in, tokens out, no IO.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::config::SASLConfig;
use rsasl::prelude::{Mechname, SASLClient, Session, SessionError};
use rsasl::property::{AuthId, OAuthBearerKV, OAuthBearerToken, Password};
use zeroize::Zeroizing;

use super::error::LoginError;
use super::secret::Secret;
use crate::config::sasl::SaslMechanism;

/// What a broker may ask for, as Kafka's own clients see it: fewer would let a false broker guess the password
/// (RFC 7677 names the least), many more would cost a core for seconds.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=100_000;

/// One login's exchange.
pub struct Exchange {
    session: Session,
    mechanism: SaslMechanism,
    steps: u32,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("mechanism", &self.mechanism)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

impl Exchange {
    pub fn new(mechanism: SaslMechanism, secret: Secret) -> Result<Exchange, LoginError> {
        let internal = |error: &dyn fmt::Display| LoginError::Exchange(error.to_string());
        let config = SASLConfig::builder()
            .with_default_mechanisms()
            .with_callback(Answers(secret))
            .map_err(|error| internal(&error))?;
        let name = Mechname::parse(mechanism.name().as_bytes()).map_err(|error| internal(&error))?;
        let session = SASLClient::new(config).start_suggested(&[name]).map_err(|error| internal(&error))?;
        Ok(Exchange { session, mechanism, steps: 0 })
    }

    pub fn mechanism(&self) -> SaslMechanism {
        self.mechanism
    }

    /// The token to send next. `challenge`: the broker's token, `None` at the start.
    pub fn step(&mut self, challenge: Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>, LoginError> {
        self.steps += 1;
        if self.is_scram() && self.steps == 2 {
            check_first(challenge.unwrap_or_default())?;
        }
        // Behind it are parsers that are not ours: a broker's bytes must not end the task.
        let mut token = Zeroizing::new(Vec::new());
        let session = &mut self.session;
        let stepped = catch_unwind(AssertUnwindSafe(|| session.step(challenge, &mut *token)));
        match stepped {
            Ok(Ok(_)) => Ok(token),
            Ok(Err(error)) => Err(LoginError::Exchange(crate::upstream::chain(&error))),
            Err(_) => Err(LoginError::Exchange("the broker's token cannot be read".to_owned())),
        }
    }

    /// The broker says that the login is done, with this as its last token. For SCRAM it proves here that it knows
    /// the password, too.
    pub fn finish(&mut self, last: &[u8]) -> Result<(), LoginError> {
        if !self.is_scram() {
            return Ok(());
        }
        if self.steps != 2 {
            return Err(LoginError::Exchange("the broker ended the login before it proved who it is".to_owned()));
        }
        // Shorter ones the library's parser does not survive.
        if !last.starts_with(b"v=") && !last.starts_with(b"e=") {
            return Err(LoginError::Exchange("the broker's last SCRAM message cannot be read".to_owned()));
        }
        self.step(Some(last)).map(drop)
    }

    fn is_scram(&self) -> bool {
        matches!(self.mechanism, SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512)
    }
}

/// SCRAM's first message of a server, `r=...,s=...,i=...` (RFC 5802): enough of it to know that it is safe to go on.
fn check_first(message: &[u8]) -> Result<(), LoginError> {
    let text = std::str::from_utf8(message).map_err(|_| unreadable())?;
    let mut parts = text.split(',');
    let mut next = |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).filter(|value| !value.is_empty());
    let (Some(_), Some(_), Some(iterations)) = (next("r="), next("s="), next("i=")) else {
        return Err(unreadable());
    };
    let iterations: u32 = iterations.parse().map_err(|_| unreadable())?;
    if !ITERATIONS.contains(&iterations) {
        return Err(LoginError::Iterations { asked: iterations, least: *ITERATIONS.start(), most: *ITERATIONS.end() });
    }
    Ok(())
}

fn unreadable() -> LoginError {
    LoginError::Exchange("the broker's first SCRAM message cannot be read".to_owned())
}

/// What the mechanisms want to know.
struct Answers(Secret);

impl SessionCallback for Answers {
    fn callback(&self, _: &SessionData, _: &Context<'_>, request: &mut Request<'_>) -> Result<(), SessionError> {
        match &self.0 {
            Secret::Password { username, password } => {
                request.satisfy::<AuthId>(username)?.satisfy::<Password>(password.as_bytes())?;
            }
            Secret::Token { token, extensions } => {
                let extensions: Vec<(&str, &str)> =
                    extensions.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                if !extensions.is_empty() {
                    request.satisfy::<OAuthBearerKV>(&extensions)?;
                }
                request.satisfy::<OAuthBearerToken>(token)?;
            }
        }
        Ok(())
    }
}
