//! What a client's login means for the bytes that follow, and when kmend may speak (rule M3).
//!
//! ```text
//!   Open --SaslHandshake--> Handshaking --v1: SaslAuthenticate..., a normal answer--> Open
//!                                       --v0 accepted--> Raw --a normal request--> Open
//! ```

use std::time::{Duration, Instant};

use crate::wire::api::ApiKey;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Handshaking,
    /// Frames are tokens without a header.
    Raw,
}

#[derive(Debug)]
pub struct Login {
    state: State,
    /// A request that needs a login (where one is needed at all) has been answered since the last handshake.
    proven: bool,
    /// The end of the session (KIP-368).
    expires: Option<Instant>,
}

impl Default for Login {
    fn default() -> Self {
        Login { state: State::Open, proven: false, expires: None }
    }
}

impl Login {
    /// A request with a header goes upstream.
    pub fn request(&mut self, api: ApiKey) {
        match api {
            ApiKey::SASL_HANDSHAKE => {
                self.state = State::Handshaking;
                self.proven = false;
            }
            ApiKey::SASL_AUTHENTICATE | ApiKey::API_VERSIONS => {}
            _ => self.state = State::Open,
        }
    }

    /// A broker accepted SaslHandshake of this version.
    pub fn handshake_accepted(&mut self, version: i16) {
        if version == 0 && self.state == State::Handshaking {
            self.state = State::Raw;
        }
    }

    /// A broker accepted SaslAuthenticate; 0: no end.
    pub fn authenticated(&mut self, lifetime_ms: i64, now: Instant) {
        self.expires = u64::try_from(lifetime_ms)
            .ok()
            .filter(|ms| *ms > 0)
            .and_then(|ms| now.checked_add(Duration::from_millis(ms)));
    }

    /// The broker answered a request.
    pub fn answered(&mut self, api: ApiKey) {
        if self.state == State::Open
            && !matches!(api, ApiKey::SASL_HANDSHAKE | ApiKey::SASL_AUTHENTICATE | ApiKey::API_VERSIONS)
        {
            self.proven = true;
        }
    }

    /// Whether the next frame of the client is a raw token.
    pub fn is_raw(&self) -> bool {
        self.state == State::Raw
    }

    /// Whether kmend may send a request of its own.
    pub fn may_inject(&self, now: Instant) -> bool {
        self.state == State::Open && self.proven && self.expires.is_none_or(|end| now < end)
    }
}

/// Whether a frame in raw mode is a Kafka request after all: the tokens are done. A token of any
/// mechanism (PLAIN, SCRAM, OAUTHBEARER, GSSAPI) starts with text or ASN.1, whose second pair of
/// bytes is no version of any API.
pub fn looks_like_request(frame: &[u8], size: usize) -> bool {
    let Some([k0, k1, v0, v1]) = frame.get(4..).and_then(|b| b.first_chunk()) else {
        return false;
    };
    let (key, version) = (u16::from_be_bytes([*k0, *k1]), u16::from_be_bytes([*v0, *v1]));
    size >= 10 && key < 128 && version < 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_injected_from_handshake_to_the_next_answer() {
        let now = Instant::now();
        let mut login = Login::default();
        assert!(!login.may_inject(now));
        login.answered(ApiKey::METADATA);
        assert!(login.may_inject(now));
        login.request(ApiKey::SASL_HANDSHAKE);
        assert!(!login.may_inject(now));
        login.answered(ApiKey::FETCH); // asked before the handshake
        assert!(!login.may_inject(now));
        login.handshake_accepted(1);
        login.request(ApiKey::SASL_AUTHENTICATE);
        login.authenticated(1000, now);
        login.answered(ApiKey::SASL_AUTHENTICATE);
        assert!(!login.may_inject(now));
        login.request(ApiKey::FETCH);
        login.answered(ApiKey::FETCH);
        assert!(login.may_inject(now));
        assert!(!login.may_inject(now + Duration::from_secs(2)));
    }

    #[test]
    fn tells_tokens_from_requests() {
        let framed = |b: &[u8]| [&(b.len() as i32).to_be_bytes()[..], b].concat();
        for token in [
            &b"\0alice\0secret"[..],
            b"\0A\0password12",
            b"n,,n=alice,r=abcdefgh",
            b"n,,\x01auth=Bearer x\x01\x01",
            b"",
            b"\x01",
            b"c=biws,r=abc,p=def",
        ] {
            assert!(!looks_like_request(&framed(token), token.len()), "{token:?}");
        }
        let metadata = [0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0];
        assert!(looks_like_request(&framed(&metadata), metadata.len()));
    }
}
