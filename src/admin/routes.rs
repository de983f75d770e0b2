//! What each path answers. No sockets here.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use prometheus::TextEncoder;
use serde_json::json;

use super::page::PAGE;
use super::readiness::Check;
use super::server::AdminState;
use super::{access, clients, events, openmetrics, status};
use crate::config;
use crate::mend::view;

const PATHS: &str = "\
/                 the status page
/metrics
/livez
/readyz           ?verbose
/healthz/clients  ?verbose
/api/status       clients, groups, partitions, traffic, as JSON
/api/events       what menders do, as server-sent events; those that are kept with Accept: application/json
/api/config       the configuration in force, and where each key comes from
/api/log-level    PUT another one: curl -X PUT -d debug
";
const LOOKED_AT: [&str; 8] =
    ["/", "/metrics", "/livez", "/readyz", "/healthz/clients", "/api/status", "/api/events", "/api/config"];
pub(super) const LOG_LEVEL: &str = "/api/log-level";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
/// What a browser's EventSource says that has lost its connection.
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// A whole text, or the stream of events.
pub(super) type Answer = Response<Either<Full<Bytes>, events::Body>>;

/// Answers a request that `peer` sent to the address `local`; its whole body, where it may have one.
pub(super) fn answer(state: &AdminState, peer: SocketAddr, local: SocketAddr, request: &Request<Bytes>) -> Answer {
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
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    if LOOKED_AT.contains(&path) && !looks {
        return not_allowed("GET, HEAD");
    }
    match path {
        "/" => page(),
        "/metrics" => metrics(state, request),
        "/livez" => plain(StatusCode::OK, "ok\n"),
        "/readyz" => readyz(state, &current, has_flag(request, "verbose")),
        "/healthz/clients" => clients(state, has_flag(request, "verbose")),
        "/api/status" => json(&status::answer(state, &current, Instant::now())),
        "/api/events" => stream(state, request),
        "/api/config" => configuration(state, &current),
        LOG_LEVEL if looks => plain(StatusCode::OK, format!("{}\n", state.logs.level())),
        LOG_LEVEL if request.method() == Method::PUT => log_level(state, request.body()),
        LOG_LEVEL => not_allowed("GET, HEAD, PUT"),
        _ => plain(StatusCode::NOT_FOUND, format!("nothing here; there are:\n{PATHS}")),
    }
}

fn metrics(state: &AdminState, request: &Request<Bytes>) -> Answer {
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

fn page() -> Answer {
    let mut answer = with_type(StatusCode::OK, HTML, PAGE.html.as_str());
    if let Ok(policy) = HeaderValue::from_str(&PAGE.policy) {
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    answer.headers_mut().insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    answer
}

fn stream(state: &AdminState, request: &Request<Bytes>) -> Answer {
    let text = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let last = text(LAST_EVENT);
    if text(ACCEPT).is_some_and(|kinds| kinds.contains(JSON) && !kinds.contains(EVENTS)) {
        return json(&events::kept(&state.feed, last));
    }
    if request.method() == Method::HEAD {
        return with_type(StatusCode::OK, EVENTS, "");
    }
    match state.events.stream(&state.feed, last) {
        Some(body) => dressed(StatusCode::OK, EVENTS, Either::Right(body)),
        None => plain(StatusCode::SERVICE_UNAVAILABLE, events::too_many()),
    }
}

/// The filter of the log, until the next one, or until a reload brings another `log.level`.
fn log_level(state: &AdminState, body: &[u8]) -> Answer {
    let level = String::from_utf8_lossy(body);
    let level = level.trim();
    if level.is_empty() {
        return plain(StatusCode::BAD_REQUEST, "the body is the new filter: `debug`, `info,kmend::session=debug`\n");
    }
    let before = state.logs.level();
    match state.logs.set_level(level) {
        Ok(()) => {
            tracing::warn!(
                before,
                now = level,
                "the log level was changed over HTTP; it holds until a reload changes log.level, or a restart"
            );
            plain(StatusCode::OK, format!("{level}\n"))
        }
        Err(error) => plain(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_string(value) {
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

fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}\n"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    with_type(status, TEXT, text)
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    dressed(status, kind, Either::Left(Full::new(body.into())))
}

fn dressed(status: StatusCode, kind: &'static str, body: Either<Full<Bytes>, events::Body>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}
