//! The session that kmend's own login has opened on a client's connection, and its renewal before it ends (KIP-368).
//!
//! ```text
//!   Rest --due, and something is to be sent--> Wanted --a secret--> Running --the broker's last answer--> Rest
//! ```
//!
//! Between SaslHandshake and the last answer nothing else goes upstream: what the client sends waits, and loses nothing by
//! it, for a broker reads the next request when it has answered the one before.

use std::sync::Arc;
use std::time::Instant;

use super::core::{Core, Wait};
use super::end::End;
use super::inflight::{Entry, Kind};
use super::pump::Pump;
use super::response::Head;
use super::window::WINDOW;
use crate::upstream::sasl::{Account, Login, LoginError, LoginRequest, Secret, Session, Step};
use crate::wire::codec::local;
use crate::wire::head::RequestHead;

impl End {
    fn login(why: LoginError) -> End {
        End::Login(Box::new(why))
    }
}

/// What a client is told that tries to log in itself.
const NOT_HERE: &str = "kmend logs in at the brokers itself (upstream.sasl): switch SASL off in the client";

#[derive(Debug)]
pub(super) struct Renewal {
    session: Session,
    state: State,
    /// When the last renewal began, and when its last request went.
    since: Instant,
    asked: Instant,
    /// The client was told that it need not log in.
    told: bool,
}

#[derive(Debug)]
enum State {
    Rest,
    /// A secret is being read.
    Wanted,
    /// Its next request, where the last one has been answered.
    Running(Box<Login>, Option<LoginRequest>),
}

impl Renewal {
    pub fn new(session: Session, now: Instant) -> Renewal {
        Renewal { session, state: State::Rest, since: now, asked: now, told: false }
    }
}

impl Core {
    /// The account whose secret is wanted now.
    pub fn wants_secret(&self) -> Option<Arc<Account>> {
        let renewal = self.renewal.as_ref()?;
        matches!(renewal.state, State::Wanted).then(|| renewal.session.account().clone())
    }

    /// The secret that was wanted, or why there is none.
    pub fn renew(&mut self, secret: Result<Secret, LoginError>) -> Result<(), End> {
        let Some(renewal) = &mut self.renewal else {
            return Ok(());
        };
        let secret = match secret {
            Ok(secret) => secret,
            // A file that is just being replaced, an endpoint that is just away: the session still lasts.
            Err(why) if renewal.session.waits(self.now) => {
                tracing::warn!(connection = self.conn.number, error = %crate::upstream::chain(&why),
                    "kmend's own login is due for renewal, and there is no secret; tried again while the session lasts");
                renewal.state = State::Rest;
                self.stir();
                return Ok(());
            }
            Err(why) => return Err(End::login(why)),
        };
        let login = renewal.session.renewal(secret).map_err(End::login)?;
        let first = login.begin().map_err(End::login)?;
        renewal.state = State::Running(Box::new(login), Some(first));
        self.stir();
        Ok(())
    }

    /// Whether nothing but a login may go upstream now. At a frame boundary of the requests: `wanted` says whether
    /// something else is to go.
    pub(super) fn renews(&mut self, pump: &mut Pump, wanted: bool) -> bool {
        let Some(renewal) = &mut self.renewal else {
            return false;
        };
        match &mut renewal.state {
            State::Rest if wanted && renewal.session.is_due(self.now) => {
                renewal.state = State::Wanted;
                renewal.since = self.now;
                // The driver reads the secret in the next round.
                self.stir();
            }
            State::Rest => return false,
            State::Wanted | State::Running(_, None) => {}
            State::Running(_, next) => {
                if let Some(request) = next.take() {
                    self.send_login(pump, &request);
                }
            }
        }
        true
    }

    /// A login stands between two requests.
    pub(super) fn is_renewing(&self) -> bool {
        self.renewal.as_ref().is_some_and(|r| !matches!(r.state, State::Rest))
    }

    fn send_login(&mut self, pump: &mut Pump, request: &LoginRequest) {
        if let Some(renewal) = &mut self.renewal {
            renewal.asked = self.now;
        }
        let correlation = self.own_correlation();
        let client_id = self.conn.client_id.as_bytes();
        pump.insert(&local::request(request.api, request.version, correlation, client_id, &request.body));
        self.queue.push_back(Entry::new(Kind::Login, request.api, request.version, correlation, 0, self.now));
    }

    /// The broker's answer to a request of the login.
    pub(super) fn login_response(&mut self, pump: &mut Pump, head: Head) -> Result<Option<Wait>, End> {
        if head.total > WINDOW {
            return Err(End::login(LoginError::Exchange(format!("an answer of {} bytes", head.total))));
        }
        let Some(frame) = pump.window.undecided().get(..head.total) else {
            pump.window.reach(head.total);
            return Ok(Some(Wait::Bytes));
        };
        self.queue.pop_front();
        self.turn = self.now;
        let Some(renewal) = &mut self.renewal else {
            return Err(End::Unexpected { got: 0, expected: None });
        };
        let State::Running(login, next) = &mut renewal.state else {
            return Err(End::Unexpected { got: 0, expected: None });
        };
        match login.answer(frame, head.body).map_err(End::login)? {
            Step::Send(request) => *next = Some(request),
            Step::Done(lifetime) => {
                renewal.session.renewed(lifetime, renewal.asked);
                renewal.state = State::Rest;
                self.env.metrics.logins_renewed.inc();
                let took = self.now.saturating_duration_since(renewal.since);
                tracing::debug!(connection = self.conn.number, ?took, ?lifetime, "the login was renewed");
            }
        }
        pump.replace(head.total, &[]);
        self.stir();
        Ok(None)
    }

    /// A client that wants to log in where kmend has: as on a broker's listener without SASL. `None`: it passes.
    pub(super) fn client_login(&mut self, head: &RequestHead) -> Option<Vec<u8>> {
        let renewal = self.renewal.as_mut()?;
        let answer = crate::wire::codec::login::refused(head.api, head.version, head.correlation, NOT_HERE)?;
        if !std::mem::replace(&mut renewal.told, true) {
            tracing::warn!(connection = self.conn.number, peer = %self.conn.peer, client_id = %self.conn.client_id,
                "a client wants to log in, but {NOT_HERE}");
        }
        Some(answer)
    }
}
