//! One POST to a token endpoint.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::error::TokenError;
use crate::tls::{Client, Transport};
use crate::upstream::UpstreamError;

/// For the whole question.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tokens are a few KiB.
const LONGEST: usize = 256 * 1024;
/// How much of an error's text is told.
const DETAIL: usize = 200;

#[derive(Debug)]
pub struct Http {
    url: Uri,
    /// `None`: plain HTTP, to this host only (validation says so).
    tls: Option<Client>,
}

impl Http {
    pub fn new(url: Uri, ca_file: Option<&Path>) -> Result<Http, UpstreamError> {
        const KEYS: [&str; 2] = ["upstream.sasl.oauth.token_url", "upstream.sasl.oauth.ca_file"];
        let is_https = url.scheme_str() == Some("https");
        let tls = is_https.then(|| Client::trusting(KEYS, ca_file)).transpose()?;
        Ok(Http { url, tls })
    }

    /// For messages: without a query, which may hold anything.
    pub fn url(&self) -> String {
        let scheme = self.url.scheme_str().unwrap_or_default();
        format!("{scheme}://{}{}", self.url.authority().map_or("", |a| a.as_str()), self.url.path())
    }

    /// Sends a form; the body of a good answer.
    pub async fn post_form(&self, form: String, authorization: &str) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let asked = tokio::time::timeout(PATIENCE, self.exchange(form, authorization));
        asked.await.unwrap_or_else(|_| Err(TokenError::Late { url: self.url(), after: PATIENCE }))
    }

    async fn exchange(&self, form: String, authorization: &str) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let stream = self.connect().await.map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.unreachable(&error))?;
        let answer = async {
            let mut authorization =
                HeaderValue::from_str(authorization).map_err(|_| self.unusable("the client's name or secret"))?;
            authorization.set_sensitive(true);
            let path = self.url.path_and_query().map_or("/", |p| p.as_str());
            let request = Request::builder()
                .method(Method::POST)
                .uri(path)
                .header(HOST, self.url.authority().map_or("", |a| a.as_str()))
                .header(ACCEPT, "application/json")
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(AUTHORIZATION, authorization)
                .body(Full::new(Bytes::from(form)))
                .map_err(|_| self.unusable("the request"))?;
            let response = sender.send_request(request).await.map_err(|error| self.unreachable(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LONGEST);
            let body = body.collect().await.map_err(|_| self.unusable("it is cut off, or far too long"))?;
            let body = Zeroizing::new(body.to_bytes().to_vec());
            if !status.is_success() {
                return Err(TokenError::Status { url: self.url(), status: status.as_u16(), detail: detail(&body) });
            }
            Ok(body)
        };
        // It may end first, with the answer still to be taken; how it ended the answer tells, too.
        let connection = async {
            let _ = connection.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = answer => answer,
            () = connection => Err(self.unusable("the connection ended before it")),
        }
    }

    async fn connect(&self) -> std::io::Result<Transport> {
        let host = self.url.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.url.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            Some(tls) => tls.connect(host, stream).await?,
            None => Transport::Plain(stream),
        })
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> TokenError {
        TokenError::Unreachable { url: self.url(), why: crate::upstream::chain(error) }
    }

    fn unusable(&self, why: &'static str) -> TokenError {
        TokenError::Answer { url: self.url(), why }
    }
}

/// What an endpoint says of its error (RFC 6749, section 5.2), in one short line.
fn detail(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| body.get(name).and_then(serde_json::Value::as_str);
    let parts: Vec<&str> = [text("error"), text("error_description")].into_iter().flatten().collect();
    let said: String = parts.join(": ").chars().filter(|c| !c.is_control()).take(DETAIL).collect();
    (!said.is_empty()).then_some(said)
}
