//! A broker that knows the login: its part of SCRAM is rsasl's other half.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::config::sasl::{Sasl, SaslMechanism};
use crate::tls::Transport;
use crate::upstream::own::Own;
use crate::upstream::sasl::{Account, LoginError, Session};
use crate::wire::api::ApiKey;
use crate::wire::codec::ask::encode;

/// How the broker behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manners {
    /// Its highest SaslAuthenticate.
    pub newest: i16,
    pub lifetime_ms: i64,
    /// Its only mechanism is another one.
    pub other_mechanism: bool,
    /// The listener has no SASL.
    pub plaintext: bool,
    /// It hangs up on SaslHandshake.
    pub hangs_up: bool,
    /// It never comes to an end.
    pub endless: bool,
}

/// The tokens that it got.
pub type Seen = Arc<std::sync::Mutex<Vec<Vec<u8>>>>;

async fn frame(stream: &mut TcpStream) -> Option<(ApiKey, i16, i32, bytes::Bytes)> {
    let size = stream.read_i32().await.ok()?;
    let mut bytes = vec![0; size as usize];
    stream.read_exact(&mut bytes).await.ok()?;
    let number = |at: usize| i16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let (api, version) = (ApiKey(number(0)), number(2));
    let correlation = i32::from_be_bytes(bytes[4..8].try_into().unwrap());
    let at = 10 + number(8) as usize + usize::from(api.is_flexible(version));
    Some((api, version, correlation, bytes::Bytes::from(bytes).slice(at..)))
}

async fn say(stream: &mut TcpStream, api: ApiKey, version: i16, correlation: i32, body: &[u8]) {
    let tags: &[u8] = if api.response_header_has_tags(version) { &[0] } else { &[] };
    let frame = [&correlation.to_be_bytes()[..], tags, body].concat();
    stream.write_i32(frame.len() as i32).await.unwrap();
    stream.write_all(&frame).await.unwrap();
}

async fn serve(mut stream: TcpStream, manners: Manners, seen: Seen) {
    while let Some((api, version, correlation, mut body)) = frame(&mut stream).await {
        let answer = match api {
            ApiKey::API_VERSIONS => {
                let ranges = [(17, 1), (36, manners.newest), (18, 3)];
                let mut out = vec![0, 0, 0, 0, 0, ranges.len() as u8];
                for (key, max) in ranges {
                    out.extend([0, key as u8, 0, 0, 0, max as u8]);
                }
                out
            }
            ApiKey::SASL_HANDSHAKE if manners.hangs_up => return,
            ApiKey::SASL_HANDSHAKE => {
                let asked = SaslHandshakeRequest::decode(&mut body, version).unwrap().mechanism;
                let known = if manners.other_mechanism { StrBytes::from_static_str("GSSAPI") } else { asked };
                let error = if manners.plaintext {
                    34
                } else if manners.other_mechanism {
                    33
                } else {
                    0
                };
                let answer = SaslHandshakeResponse::default().with_error_code(error).with_mechanisms(vec![known]);
                encoded(api, version, &answer)
            }
            _ => {
                let token = SaslAuthenticateRequest::decode(&mut body, version).unwrap().auth_bytes;
                seen.lock().unwrap().push(token.to_vec());
                let mut answer = SaslAuthenticateResponse::default();
                if version >= 1 {
                    answer = answer.with_session_lifetime_ms(manners.lifetime_ms);
                }
                if token.starts_with(b"n,,\x01auth=Bearer bad") || manners.endless {
                    answer = answer.with_auth_bytes(bytes::Bytes::from_static(b"{\"status\":\"invalid_token\"}"));
                } else if &token[..] == b"\x01" || token.ends_with(b"wrong") {
                    let why = StrBytes::from_static_str("it is not you");
                    answer = SaslAuthenticateResponse::default().with_error_code(58).with_error_message(Some(why));
                }
                encoded(api, version, &answer)
            }
        };
        say(&mut stream, api, version, correlation, &answer).await;
    }
}

fn encoded(api: ApiKey, version: i16, answer: &impl Encodable) -> Vec<u8> {
    encode(api, version, answer).unwrap()
}

/// Logs in at a broker of these manners.
pub async fn log_in(manners: Manners, sasl: &Sasl) -> (Result<Session, LoginError>, Vec<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let theirs = seen.clone();
    let broker = tokio::spawn(async move { serve(listener.accept().await.unwrap().0, manners, theirs).await });
    let account = Arc::new(Account::new(sasl).unwrap().unwrap());
    let mut own = Own::new(Transport::Plain(TcpStream::connect(address).await.unwrap()), 1 << 16);
    let outcome = account.log_in(&mut own, Duration::from_secs(10)).await;
    drop(own);
    broker.await.unwrap();
    let seen = seen.lock().unwrap().clone();
    (outcome, seen)
}

/// An account with this password, or token.
pub fn account(dir: &tempfile::TempDir, mechanism: SaslMechanism, secret: &str) -> Sasl {
    let file = dir.path().join("secret");
    std::fs::write(&file, secret).unwrap();
    let mut sasl = Sasl { mechanism: Some(mechanism), ..Sasl::default() };
    match mechanism {
        SaslMechanism::OauthBearer => sasl.oauth.token_file = Some(file),
        _ => (sasl.username, sasl.password_file) = (Some("alice".into()), Some(file)),
    }
    sasl
}
