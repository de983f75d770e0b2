//! Questions to the admin server of a running kmend.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;

use super::facts::{Event, Status};
use crate::config::units::HostPort;
use crate::upstream::chain;

/// For one question: the answer is made in milliseconds, also a large one.
const PATIENCE: Duration = Duration::from_secs(5);
/// 100,000 partitions are 15 MB.
const LONGEST: usize = 256 << 20;

#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(
        "no kmend answers at http://{admin}/: {why}; its log says where (\"admin: the status page\"): give that as --admin"
    )]
    Unreachable { admin: HostPort, why: String },
    #[error("http://{admin}/ has not answered within {after:?}")]
    Late { admin: HostPort, after: Duration },
    #[error("http://{admin}{path} answers {status}: {says}")]
    Refused { admin: HostPort, path: &'static str, status: StatusCode, says: String },
    #[error("what answers at http://{admin}{path} is no kmend, or one of another kind: {source}")]
    NotOurs { admin: HostPort, path: &'static str, source: serde_json::Error },
}

/// An answer as it came, and what is understood of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer<T> {
    pub raw: Value,
    pub read: T,
}

/// Both answers, and when.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub status: Answer<Status>,
    /// Oldest first.
    pub events: Answer<Vec<Event>>,
}

pub(super) async fn ask(admin: &HostPort) -> Result<Seen, AskError> {
    let status = get(admin, "/api/status").await?;
    let events = get(admin, "/api/events").await?;
    Ok(Seen { status, events })
}

async fn get<T: DeserializeOwned>(admin: &HostPort, path: &'static str) -> Result<Answer<T>, AskError> {
    let asked = tokio::time::timeout(PATIENCE, exchange(admin, path));
    let (status, body) = match asked.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => return Err(AskError::Unreachable { admin: admin.clone(), why }),
        Err(_) => return Err(AskError::Late { admin: admin.clone(), after: PATIENCE }),
    };
    if status != StatusCode::OK {
        let says = String::from_utf8_lossy(&body).chars().take(300).collect::<String>().trim().to_owned();
        return Err(AskError::Refused { admin: admin.clone(), path, status, says });
    }
    let read = serde_json::from_slice::<Value>(&body).and_then(|raw| {
        let read = T::deserialize(&raw)?;
        Ok(Answer { raw, read })
    });
    read.map_err(|source| AskError::NotOurs { admin: admin.clone(), path, source })
}

async fn exchange(admin: &HostPort, path: &str) -> Result<(StatusCode, Bytes), String> {
    let told = |error: &(dyn std::error::Error + 'static)| chain(error);
    let stream = TcpStream::connect((admin.host.as_str(), admin.port)).await.map_err(|e| told(&e))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| told(&e))?;
    let answer = async {
        let request = Request::get(path)
            .header(HOST, admin.to_string())
            .header(ACCEPT, "application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|e| told(&e))?;
        let response = sender.send_request(request).await.map_err(|e| told(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(|e| told(&*e))?;
        Ok((status, body.to_bytes()))
    };
    // It may end first, with the answer still to be taken.
    let connection = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answer => answer,
        () = connection => Err("the connection ended".to_owned()),
    }
}
