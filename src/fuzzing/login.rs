//! kmend's own login against a broker that says anything; a token endpoint's answers; certificates that nobody has verified.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::feed::Feed;
use crate::config::sasl::SaslMechanism;
use crate::tls;
use crate::upstream::sasl::{Login, LoginRequest, Secret, Step, granted};
use crate::wire::api::ApiKey;
use crate::wire::codec::login as codec;
use crate::wire::head;

const MECHANISMS: [SaslMechanism; 4] =
    [SaslMechanism::Plain, SaslMechanism::OauthBearer, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512];
/// The password hashes are the target's only real work: a few are enough.
const CHEAP: &str = "i=4096";

pub fn login(data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.byte() % 4 {
        0 => {
            let _ = granted(feed.rest());
        }
        1 => {
            let certificate = CertificateDer::from(feed.rest());
            let _ = tls::expires(&certificate);
            let name = tls::Facts::name(&certificate);
            assert!(!name.chars().any(char::is_control));
            if let Some(facts) = tls::Facts::read(&certificate) {
                let texts = [&facts.subject, &facts.issuer].into_iter().chain(&facts.hosts);
                assert!(!texts.flat_map(|text| text.chars()).any(char::is_control) && facts.hosts.len() <= 64);
            }
        }
        _ => exchange(&mut feed),
    }
}

/// Answers are as the fuzzer has them, or have the right shape around its bytes.
fn exchange(feed: &mut Feed<'_>) {
    let mechanism = *feed.pick(&MECHANISMS);
    let version = i16::from(feed.byte() % 3);
    let secret = match mechanism {
        SaslMechanism::OauthBearer => {
            Secret::Token { token: Zeroizing::new("a.b.c".into()), extensions: [("k".into(), "v".into())].into() }
        }
        _ => Secret::Password { username: "alice".into(), password: Zeroizing::new("secret".into()) },
    };
    let mut login = Login::new(mechanism, secret, version).expect("a login");
    let mut request = login.begin().expect("a request");
    for _ in 0..8 {
        let body = answer(feed, &request);
        let mut frame = vec![0; 4];
        frame.extend_from_slice(&7i32.to_be_bytes());
        frame.resize(frame.len() + usize::from(request.api.response_header_has_tags(request.version)), 0);
        frame.extend_from_slice(&body);
        let Ok(at) = head::response_body(&frame, frame.len(), request.api, request.version) else { return };
        match login.answer(&frame, at) {
            Ok(Step::Send(next)) => {
                assert_eq!(next.api, ApiKey::SASL_AUTHENTICATE);
                request = next;
            }
            Ok(Step::Done(lifetime)) => {
                // Nobody but who knows the password can end this one well.
                assert!(!matches!(mechanism, SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512));
                return assert_ne!(lifetime, Some(Duration::ZERO));
            }
            Err(error) => return assert!(!error.to_string().contains("secret")),
        }
    }
    panic!("a login without an end");
}

fn answer(feed: &mut Feed<'_>, request: &LoginRequest) -> Vec<u8> {
    let how = feed.byte();
    let piece = feed.piece();
    if how.is_multiple_of(4) {
        return piece.to_vec();
    }
    if request.api == ApiKey::SASL_HANDSHAKE {
        return [&[0, how % 40][..], &[0, 0, 0, 1, 0, piece.len() as u8], piece].concat();
    }
    // What a server says first begins with the client's own nonce.
    let nonce = nonce(&request.body);
    let mut token = match how % 4 {
        1 => format!("r={nonce}").into_bytes(),
        2 => format!("r={nonce}x,s=c2FsdA==,{CHEAP}").into_bytes(),
        _ => Vec::new(),
    };
    token.extend_from_slice(piece);
    codec_answer(request.version, if how > 250 { 58 } else { 0 }, &token, feed)
}

fn nonce(token: &[u8]) -> String {
    let text = String::from_utf8_lossy(token);
    let nonce = text.split_once(",r=").map_or("", |(_, nonce)| nonce);
    nonce.trim_end_matches('\0').to_owned()
}

fn codec_answer(version: i16, error: i16, token: &[u8], feed: &mut Feed<'_>) -> Vec<u8> {
    let lifetime = i64::from(feed.u16()) - 3;
    codec::answered(version, error, token, if version > 0 { lifetime } else { 0 })
}
