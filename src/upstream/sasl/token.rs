//! Tokens from an endpoint, by client credentials (RFC 6749, section 4.4): asked for once for all connections, kept
//! until they are about to end.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::error::{LoginError, TokenError};
use super::http::Http;
use super::secret;
use crate::config::sasl::OAuth;
use crate::upstream::UpstreamError;

/// A token whose lifetime nobody tells is asked for anew so often.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(60);
/// How much of a token's life may pass before another is asked for.
const RENEW_AFTER: (u32, u32) = (4, 5);
/// After a failure a token that still lives is used for so long before the endpoint is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// A token endpoint, and the token that it gave last.
#[derive(Debug)]
pub struct Endpoint {
    http: Http,
    client_id: String,
    secret_file: PathBuf,
    /// Form fields besides the grant's type.
    form: Vec<(&'static str, String)>,
    /// One asks, the others wait for what it gets.
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    token: Zeroizing<String>,
    renew_at: Instant,
    ends_at: Instant,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("renew_at", &self.renew_at).finish_non_exhaustive()
    }
}

/// What an endpoint gave.
#[derive(Deserialize)]
pub struct Granted {
    access_token: Zeroizing<String>,
    /// Seconds; some endpoints send it as text.
    #[serde(default)]
    expires_in: Option<Seconds>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl Seconds {
    fn duration(&self) -> Option<Duration> {
        let seconds = match self {
            Seconds::Number(n) => *n,
            Seconds::Text(text) => text.parse().ok()?,
        };
        Duration::try_from_secs_f64(seconds).ok().filter(|d| !d.is_zero())
    }
}

impl Endpoint {
    pub fn new(oauth: &OAuth) -> Result<Endpoint, UpstreamError> {
        let incomplete = |key| UpstreamError::Login { key };
        let url: Uri =
            oauth.token_url.as_deref().and_then(|url| url.parse().ok()).ok_or_else(|| incomplete("oauth.token_url"))?;
        let form = [("scope", &oauth.scope), ("audience", &oauth.audience)];
        Ok(Endpoint {
            http: Http::new(url, oauth.ca_file.as_deref())?,
            client_id: oauth.client_id.clone().ok_or_else(|| incomplete("oauth.client_id"))?,
            secret_file: oauth.client_secret_file.clone().ok_or_else(|| incomplete("oauth.client_secret_file"))?,
            form: form.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect(),
            kept: Mutex::default(),
        })
    }

    /// The kept token, or a new one where that one is about to end.
    pub async fn token(&self) -> Result<Zeroizing<String>, LoginError> {
        let mut kept = self.kept.lock().await;
        let now = Instant::now();
        if let Some(kept) = kept.as_ref().filter(|kept| now < kept.renew_at) {
            return Ok(kept.token.clone());
        }
        match self.ask().await {
            Ok(granted) => {
                let life = granted.expires_in.as_ref().and_then(Seconds::duration).unwrap_or(UNKNOWN_LIFETIME);
                // From before the question: the endpoint's clock began no earlier.
                let ends_at = now.checked_add(life).unwrap_or(now + UNKNOWN_LIFETIME);
                let renew_at = now + (ends_at - now) * RENEW_AFTER.0 / RENEW_AFTER.1;
                *kept = Some(Kept { token: granted.access_token.clone(), renew_at, ends_at });
                Ok(granted.access_token)
            }
            Err(error) => match kept.as_mut().filter(|kept| now < kept.ends_at) {
                Some(kept) => {
                    tracing::warn!(error = %crate::upstream::chain(&error), "no new token; the old one is used as long as it lasts");
                    kept.renew_at = now + ASK_AGAIN;
                    Ok(kept.token.clone())
                }
                None => Err(error),
            },
        }
    }

    async fn ask(&self) -> Result<Granted, LoginError> {
        let secret = secret::read("upstream.sasl.oauth.client_secret_file", &self.secret_file).await?;
        let authorization = basic(&self.client_id, &secret);
        let answer = self.http.post_form(self.form(), &authorization).await?;
        granted(&answer).map_err(|why| TokenError::Answer { url: self.http.url(), why }.into())
    }

    fn form(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        for (name, value) in &self.form {
            form.append_pair(name, value);
        }
        form.finish()
    }
}

/// Reads an endpoint's answer (RFC 6749, section 5.1).
pub fn granted(answer: &[u8]) -> Result<Granted, &'static str> {
    let granted: Granted = serde_json::from_slice(answer).map_err(|_| "no `access_token` in it")?;
    // RFC 6750: what may stand in a bearer token; anything else could forge further fields of the SASL message.
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    if granted.access_token.is_empty() || !granted.access_token.chars().all(is_token) {
        return Err("`access_token` is no bearer token");
    }
    Ok(granted)
}

/// RFC 6749, section 2.3.1: name and secret are form-encoded before they are joined.
fn basic(client_id: &str, secret: &str) -> Zeroizing<String> {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let joined = Zeroizing::new(format!("{}:{}", encode(client_id), &*Zeroizing::new(encode(secret))));
    Zeroizing::new(format!("Basic {}", &*Zeroizing::new(STANDARD.encode(joined.as_bytes()))))
}
