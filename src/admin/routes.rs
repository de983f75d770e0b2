//! What each path answers. No sockets here.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use prometheus::TextEncoder;
use serde_json::json;

use super::readiness::Check;
use super::server::AdminState;
use super::{access, clients, openmetrics};
use crate::config;
use crate::mend::view;

const PATHS: &str = "/metrics\n/livez\n/readyz (?verbose)\n/healthz/clients (?verbose)\n/api/status\n/api/config\n";
const KNOWN: [&str; 7] = ["/", "/metrics", "/livez", "/readyz", "/healthz/clients", "/api/status", "/api/config"];
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

pub(super) type Answer = Response<Full<Bytes>>;

/// Answers a request that `peer` sent to the address `local`.
pub(super) fn answer<B>(state: &AdminState, peer: SocketAddr, local: SocketAddr, request: &Request<B>) -> Answer {
    let current = state.running.current();
    let path = request.uri().path();
    if !access::host_is_ours(request.headers(), request.version(), local, &current.admin) {
        return plain(
            StatusCode::MISDIRECTED_REQUEST,
            "this is kmend's admin server on a loopback address: \
             ask it as localhost or 127.0.0.1 (the Host header says otherwise)\n",
        );
    }
    if !access::is_exposed(path, local, &current.admin) {
        return plain(
            StatusCode::FORBIDDEN,
            "only /metrics, /livez, /readyz and /healthz/clients answer on this address; \
             ask on loopback, or set admin.expose: all\n",
        );
    }
    if !access::may_ask(request.method(), peer) {
        return plain(StatusCode::FORBIDDEN, "only whoever asks from this host may change anything\n");
    }
    if KNOWN.contains(&path) && request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(ALLOW, allowed);
        return answer;
    }
    match path {
        "/" => plain(StatusCode::OK, format!("kmend\n\n{PATHS}")),
        "/metrics" => metrics(state, request),
        "/livez" => plain(StatusCode::OK, "ok\n"),
        "/readyz" => readyz(state, &current, has_flag(request, "verbose")),
        "/healthz/clients" => clients(state, has_flag(request, "verbose")),
        "/api/status" => status(state),
        "/api/config" => configuration(state, &current),
        _ => plain(StatusCode::NOT_FOUND, format!("nothing here; there are:\n{PATHS}")),
    }
}

fn metrics<B>(state: &AdminState, request: &Request<B>) -> Answer {
    let families = state.registry.gather();
    let accept = request.headers().get(ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok()).unwrap_or("");
    if openmetrics::is_accepted(accept) {
        let text = openmetrics::encode(&families);
        return with_type(StatusCode::OK, openmetrics::CONTENT_TYPE, text);
    }
    match TextEncoder::new().encode_to_string(&families) {
        Ok(text) => with_type(StatusCode::OK, prometheus::TEXT_FORMAT, text),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn readyz(state: &AdminState, current: &config::Config, verbose: bool) -> Answer {
    let requires_upstream = current.admin.ready_requires_upstream;
    let ready = state.readiness.is_ready(requires_upstream);
    let (status, verdict) =
        if ready { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") };
    // Who is not ready says why in any case.
    if !verbose && ready {
        return plain(status, verdict);
    }
    let mut text = String::new();
    for check in Check::ALL {
        let mark = if state.readiness.is_up(check) { "+" } else { "-" };
        let counts = if check == Check::Upstream && !requires_upstream {
            " (does not count: admin.ready_requires_upstream is false)"
        } else {
            ""
        };
        text.push_str(&format!("[{mark}] {}{counts}\n", check.name()));
    }
    text.push_str(verdict);
    plain(status, text)
}

fn clients(state: &AdminState, verbose: bool) -> Answer {
    let (healthy, text) = clients::report(&view::status(&state.mend, Instant::now()), verbose);
    plain(if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}

fn status(state: &AdminState) -> Answer {
    match serde_json::to_string(&view::status(&state.mend, Instant::now())) {
        Ok(text) => with_type(StatusCode::OK, JSON, format!("{text}\n")),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn configuration(state: &AdminState, current: &config::Config) -> Answer {
    let body = json!({
        "config": config::redacted(current),
        "origins": config::origins(current, &state.running.provenance()),
    });
    with_type(StatusCode::OK, JSON, format!("{body:#}\n"))
}

fn has_flag<B>(request: &Request<B>, flag: &str) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|part| part.split('=').next() == Some(flag))
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    with_type(status, TEXT, text)
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}
