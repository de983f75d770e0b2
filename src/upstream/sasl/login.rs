//! A login as requests and answers, without IO: a new connection and one whose session ends (KIP-368) share it.
//!
//! ```text
//!   SaslHandshake(mechanism) -> SaslAuthenticate(token) -> ... -> done, with the session's lifetime
//! ```

use std::time::Duration;

use zeroize::Zeroizing;

use super::error::LoginError;
use super::exchange::Exchange;
use super::secret::Secret;
use crate::config::sasl::SaslMechanism;
use crate::wire::api::ApiKey;
use crate::wire::codec::login::{self, ILLEGAL_SASL_STATE, UNSUPPORTED_SASL_MECHANISM};

/// A mechanism of more steps is none that kmend speaks.
const MOST_TOKENS: u32 = 4;

/// A request of the login. Its body may hold a secret.
#[derive(Debug)]
pub struct LoginRequest {
    pub api: ApiKey,
    pub version: i16,
    pub body: Zeroizing<Vec<u8>>,
}

#[derive(Debug)]
pub enum Step {
    /// Another request.
    Send(LoginRequest),
    /// The session lasts so long; `None`: as long as the connection.
    Done(Option<Duration>),
}

#[derive(Debug)]
pub struct Login {
    exchange: Exchange,
    /// Of SaslAuthenticate.
    version: i16,
    tokens: u32,
}

impl Login {
    /// `version`: of SaslAuthenticate, as the broker speaks it.
    pub fn new(mechanism: SaslMechanism, secret: Secret, version: i16) -> Result<Login, LoginError> {
        Ok(Login { exchange: Exchange::new(mechanism, secret)?, version, tokens: 0 })
    }

    /// The first request.
    pub fn begin(&self) -> Result<LoginRequest, LoginError> {
        let body = login::handshake(self.exchange.mechanism().name())?.into();
        Ok(LoginRequest { api: ApiKey::SASL_HANDSHAKE, version: login::HANDSHAKE, body })
    }

    /// The answer to the last request: a complete frame, and where its body starts.
    pub fn answer(&mut self, frame: &[u8], body: usize) -> Result<Step, LoginError> {
        if self.tokens == 0 {
            let (error, offered) = login::shaken(frame, body)?;
            let wanted = self.exchange.mechanism().name();
            return match error {
                0 => self.token(None),
                UNSUPPORTED_SASL_MECHANISM => Err(LoginError::Mechanism { wanted, offered }),
                ILLEGAL_SASL_STATE => Err(LoginError::NotWanted),
                code => Err(LoginError::Refused(format!("error {code}"))),
            };
        }
        let answer = login::authenticated(self.version, frame, body)?;
        if answer.error != 0 {
            let message = answer.message.filter(|m| !m.is_empty());
            return Err(LoginError::Refused(message.unwrap_or_else(|| format!("error {}", answer.error))));
        }
        if self.goes_on(&answer.token) {
            return self.token(Some(&answer.token));
        }
        self.exchange.finish(&answer.token)?;
        let lifetime = u64::try_from(answer.lifetime_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
        Ok(Step::Done(lifetime))
    }

    /// Whether the broker waits for another token.
    fn goes_on(&self, token: &[u8]) -> bool {
        match self.exchange.mechanism() {
            SaslMechanism::Plain => false,
            // First and final message.
            SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512 => self.tokens < 2,
            // A token is the error: what follows lets the broker say it in words (RFC 7628, section 3.2.3).
            SaslMechanism::OauthBearer => !token.is_empty(),
        }
    }

    fn token(&mut self, challenge: Option<&[u8]>) -> Result<Step, LoginError> {
        if self.tokens >= MOST_TOKENS {
            return Err(LoginError::Exchange("the broker does not come to an end".to_owned()));
        }
        self.tokens += 1;
        let token = match (self.exchange.mechanism(), challenge) {
            (SaslMechanism::OauthBearer, Some(_)) => Zeroizing::new(vec![1]),
            (_, challenge) => self.exchange.step(challenge)?,
        };
        let body = login::authenticate(self.version, &token)?.into();
        Ok(Step::Send(LoginRequest { api: ApiKey::SASL_AUTHENTICATE, version: self.version, body }))
    }
}
