//! kmend's own login: SaslHandshake and SaslAuthenticate (KIP-43, KIP-152, KIP-368), and what a client is told
//! that tries to log in where kmend has.

use bytes::Bytes;
use kafka_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::super::api::ApiKey;
use super::ask::{CodecError, decode, encode};
use super::local;

/// The tokens that follow SaslHandshake 1 come in SaslAuthenticate; after version 0 they come bare.
pub const HANDSHAKE: i16 = 1;
/// SaslAuthenticate 1 is the first that tells how long the session lasts.
pub const AUTHENTICATE: (i16, i16) = (0, 2);

pub const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
pub const ILLEGAL_SASL_STATE: i16 = 34;

/// Says by which mechanism the login goes on.
pub fn handshake(mechanism: &str) -> Result<Vec<u8>, CodecError> {
    let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_string(mechanism.to_owned()));
    encode(ApiKey::SASL_HANDSHAKE, HANDSHAKE, &request)
}

/// The answer to [`handshake`]: the error, and the mechanisms that the broker knows.
pub fn shaken(frame: &[u8], body: usize) -> Result<(i16, Vec<String>), CodecError> {
    let answer: SaslHandshakeResponse = decode(ApiKey::SASL_HANDSHAKE, HANDSHAKE, frame, body)?;
    Ok((answer.error_code, answer.mechanisms.iter().map(ToString::to_string).collect()))
}

/// Brings a token of the exchange.
pub fn authenticate(version: i16, token: &[u8]) -> Result<Vec<u8>, CodecError> {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::copy_from_slice(token));
    encode(ApiKey::SASL_AUTHENTICATE, version, &request)
}

/// The answer to [`authenticate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    pub error: i16,
    pub message: Option<String>,
    /// The broker's token.
    pub token: Bytes,
    /// Milliseconds; 0: no end (and below version 1).
    pub lifetime_ms: i64,
}

pub fn authenticated(version: i16, frame: &[u8], body: usize) -> Result<Authenticated, CodecError> {
    let answer: SaslAuthenticateResponse = decode(ApiKey::SASL_AUTHENTICATE, version, frame, body)?;
    Ok(Authenticated {
        error: answer.error_code,
        message: answer.error_message.map(|m| m.to_string()),
        token: answer.auth_bytes,
        lifetime_ms: answer.session_lifetime_ms,
    })
}

/// What a broker answers to [`authenticate`].
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used)]
pub fn answered(version: i16, error: i16, token: &[u8], lifetime_ms: i64) -> Vec<u8> {
    let answer = SaslAuthenticateResponse::default()
        .with_error_code(error)
        .with_auth_bytes(Bytes::copy_from_slice(token))
        .with_session_lifetime_ms(lifetime_ms);
    encode(ApiKey::SASL_AUTHENTICATE, version, &answer).unwrap()
}

/// A client's SaslHandshake or SaslAuthenticate, answered as on a listener without SASL. `None`: a version that nobody
/// knows.
pub fn refused(api: ApiKey, version: i16, correlation: i32, why: &'static str) -> Option<Vec<u8>> {
    let body = match api {
        ApiKey::SASL_HANDSHAKE => {
            encode(api, version, &SaslHandshakeResponse::default().with_error_code(ILLEGAL_SASL_STATE))
        }
        ApiKey::SASL_AUTHENTICATE => {
            let answer = SaslAuthenticateResponse::default()
                .with_error_code(ILLEGAL_SASL_STATE)
                .with_error_message(Some(StrBytes::from_static_str(why)));
            encode(api, version, &answer)
        }
        _ => return None,
    };
    let has_tags = api.response_header_has_tags(version);
    body.ok().map(|body| local::frame(correlation, has_tags, &body))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::Decodable;

    use super::*;
    use crate::wire::head;

    #[test]
    fn tokens_go_and_come_in_every_version() {
        for version in AUTHENTICATE.0..=AUTHENTICATE.1 {
            let mut bytes = Bytes::from(authenticate(version, b"token").unwrap());
            assert_eq!(&SaslAuthenticateRequest::decode(&mut bytes, version).unwrap().auth_bytes[..], b"token");
            let answer = SaslAuthenticateResponse::default()
                .with_error_code(58)
                .with_error_message(Some(StrBytes::from_static_str("no")))
                .with_auth_bytes(Bytes::from_static(b"back"))
                .with_session_lifetime_ms(if version >= 1 { 3000 } else { 0 });
            let mut frame = vec![0; 8];
            frame.extend(encode(ApiKey::SASL_AUTHENTICATE, version, &answer).unwrap());
            let told = authenticated(version, &frame, 8).unwrap();
            assert_eq!((told.error, told.message.as_deref(), &told.token[..]), (58, Some("no"), &b"back"[..]));
            assert_eq!(told.lifetime_ms, if version >= 1 { 3000 } else { 0 });
            for cut in 8..frame.len() {
                assert!(authenticated(version, &frame[..cut], 8).is_err());
            }
        }
    }

    #[test]
    fn a_refusal_can_be_read_in_every_version() {
        for (api, versions) in [(ApiKey::SASL_HANDSHAKE, 0..=1), (ApiKey::SASL_AUTHENTICATE, 0..=2)] {
            for version in versions {
                let frame = refused(api, version, 7, "why").unwrap();
                assert_eq!(head::correlation(&frame), Some(7));
                let body = head::response_body(&frame, frame.len(), api, version).unwrap();
                let error = match api {
                    ApiKey::SASL_HANDSHAKE => {
                        decode::<SaslHandshakeResponse>(api, version, &frame, body).unwrap().error_code
                    }
                    _ => authenticated(version, &frame, body).unwrap().error,
                };
                assert_eq!(error, ILLEGAL_SASL_STATE);
            }
        }
        assert_eq!(refused(ApiKey::METADATA, 1, 7, "why"), None);
        assert_eq!(refused(ApiKey::SASL_AUTHENTICATE, 99, 7, "why"), None);
    }
}
