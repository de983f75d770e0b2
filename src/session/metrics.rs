//! What connections count. Handles are resolved once per API and version, then shared.

use std::sync::{Mutex, OnceLock, PoisonError};

use prometheus::core::{Collector, Metric};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::end::End;
use crate::telemetry::history::{Spread, Totals};
use crate::telemetry::metrics::{Family, Single};
use crate::wire::api::{ApiKey, KEYS};

const VERSIONS: usize = 32;

/// Different software names and versions that get a series of their own; the rest share "other".
const MAX_SOFTWARE: usize = 100;

/// 50 us to 30 s.
const LATENCY: [f64; 14] =
    [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 100e-3, 500e-3, 2.5, 10.0, 30.0];

/// Answered when there is something to say, not at once: how long that takes says nothing of the broker.
const WAITING: [ApiKey; 4] = [ApiKey::FETCH, ApiKey::SHARE_FETCH, ApiKey::JOIN_GROUP, ApiKey::SYNC_GROUP];

fn add(to: &mut Spread, histogram: &Histogram) {
    let metric = histogram.metric();
    let histogram = metric.get_histogram();
    let buckets = histogram.get_bucket().iter().map(|b| (b.upper_bound(), b.cumulative_count()));
    to.add(buckets, histogram.get_sample_count());
}

/// One API's handles.
#[derive(Debug)]
pub struct ApiMetrics {
    pub upstream_latency: Histogram,
    pub added_latency: Histogram,
    requests: [OnceLock<IntCounter>; VERSIONS],
}

#[derive(Debug)]
pub struct SessionMetrics {
    pub client_connections: IntGauge,
    pub client_connections_total: IntCounter,
    pub upstream_connections: IntGauge,
    pub upstream_connections_total: IntCounterVec,
    pub refused: IntCounterVec,
    disconnects: IntCounterVec,
    requests: IntCounterVec,
    pub request_bytes: IntCounter,
    pub response_bytes: IntCounter,
    upstream_latency: HistogramVec,
    added_latency: HistogramVec,
    pub client_reads_paused: IntGauge,
    pub upstream_reads_paused: IntGauge,
    frame_errors: IntCounterVec,
    pub mender_panics: IntCounterVec,
    pub holds_expired: IntCounter,
    pub logins_renewed: IntCounter,
    pub unseen_frames: IntCounterVec,
    clients: IntGaugeVec,
    software: Mutex<Vec<(String, String)>>,
    apis: [OnceLock<Box<ApiMetrics>>; KEYS],
}

/// By limit; each is there from the start, so that the first client that is refused is seen as a change.
fn refused(r: &Registry) -> IntCounterVec {
    let help = "Clients that were refused, by the limit that they met: connections, memory, descriptors.";
    let refused = Family::counter(r, "connections_refused_total", help, &["limit"]);
    for limit in ["connections", "memory", "descriptors"] {
        refused.with_label_values(&[limit]);
    }
    refused
}

impl SessionMetrics {
    pub fn new(r: &Registry) -> SessionMetrics {
        let paused = Family::gauge(
            r,
            "reads_paused",
            "Connections of which a side is not read, because what it sent before is not written yet.",
            &["side"],
        );
        SessionMetrics {
            client_connections: Single::gauge(r, "client_connections", "Client connections that are open."),
            client_connections_total: Single::counter(
                r,
                "client_connections_total",
                "Client connections that were accepted.",
            ),
            upstream_connections: Single::gauge(r, "upstream_connections", "Connections to brokers that are open."),
            upstream_connections_total: Family::counter(
                r,
                "upstream_connections_total",
                "Connections to brokers that were tried.",
                &["outcome"],
            ),
            refused: refused(r),
            disconnects: Family::counter(
                r,
                "disconnects_total",
                "Connections that ended: by whom, and why.",
                &["side", "cause"],
            ),
            requests: Family::counter(r, "requests_total", "Requests of clients.", &["api", "version"]),
            request_bytes: Single::counter(r, "request_bytes_total", "Bytes read from clients."),
            response_bytes: Single::counter(r, "response_bytes_total", "Bytes written to clients."),
            upstream_latency: Family::histogram(
                r,
                "upstream_latency_seconds",
                "From a request's way upstream to the head of its answer.",
                &["api"],
                &LATENCY,
            ),
            added_latency: Family::histogram(
                r,
                "added_latency_seconds",
                "Time that a request and its answer's head spent inside kmend.",
                &["api"],
                &LATENCY,
            ),
            client_reads_paused: paused.with_label_values(&["client"]),
            upstream_reads_paused: paused.with_label_values(&["upstream"]),
            frame_errors: Family::counter(
                r,
                "frame_errors_total",
                "Bytes that ended a connection, by what was wrong with them.",
                &["reason"],
            ),
            mender_panics: Family::counter(
                r,
                "mender_panics_total",
                "Menders that panicked and were bypassed for the rest of a connection.",
                &["mender"],
            ),
            logins_renewed: Single::counter(
                r,
                "logins_renewed_total",
                "Sessions of kmend's own login that were renewed before their end (KIP-368).",
            ),
            holds_expired: Single::counter(
                r,
                "holds_expired_total",
                "Messages that were held for a mender until their deadline, and then let pass.",
            ),
            unseen_frames: Family::counter(
                r,
                "unseen_frames_total",
                "Messages over limits.max_whole_frame that passed without a mender's look.",
                &["api"],
            ),
            clients: Family::gauge(
                r,
                "clients",
                "Connections by the software that the client announced.",
                &["software", "version"],
            ),
            software: Mutex::default(),
            apis: [const { OnceLock::new() }; KEYS],
        }
    }

    pub fn api(&self, api: ApiKey) -> &ApiMetrics {
        self.apis[api.slot()].get_or_init(|| {
            let name = api.name().unwrap_or("unknown");
            Box::new(ApiMetrics {
                upstream_latency: self.upstream_latency.with_label_values(&[name]),
                added_latency: self.added_latency.with_label_values(&[name]),
                requests: [const { OnceLock::new() }; VERSIONS],
            })
        })
    }

    pub fn request(&self, api: ApiKey, version: i16) {
        let name = api.name().unwrap_or("unknown");
        match usize::try_from(version).ok().and_then(|v| self.api(api).requests.get(v)) {
            Some(slot) => slot.get_or_init(|| self.requests.with_label_values(&[name, &version.to_string()])).inc(),
            None => self.requests.with_label_values(&[name, "other"]).inc(),
        }
    }

    /// What the charts are drawn from.
    pub fn totals(&self) -> Totals {
        let sum = |family: Vec<MetricFamily>, value: fn(&prometheus::proto::Metric) -> f64| -> u64 {
            family.iter().flat_map(MetricFamily::get_metric).map(value).sum::<f64>() as u64
        };
        let mut totals = Totals {
            requests: sum(self.requests.collect(), |m| m.get_counter().get_value()),
            request_bytes: self.request_bytes.get(),
            response_bytes: self.response_bytes.get(),
            connections: u64::try_from(self.client_connections.get()).unwrap_or(0),
            upstream_connections: u64::try_from(self.upstream_connections.get()).unwrap_or(0),
            ..Totals::default()
        };
        for (slot, api) in self.apis.iter().enumerate() {
            let Some(api) = api.get() else {
                continue;
            };
            add(&mut totals.added_latency, &api.added_latency);
            if !WAITING.iter().any(|waiting| waiting.slot() == slot) {
                add(&mut totals.upstream_latency, &api.upstream_latency);
            }
        }
        totals
    }

    pub fn ended(&self, end: &End) {
        self.disconnects.with_label_values(&[end.side().label(), end.cause()]).inc();
        if end.is_frame_error() {
            self.frame_errors.with_label_values(&[end.cause()]).inc();
        }
    }

    /// The series for a client's software; names come from outside, so they are cut and capped.
    pub fn software(&self, name: &str, version: &str) -> IntGauge {
        let clean = |s: &str| {
            s.chars().filter(|c| c.is_ascii_alphanumeric() || "-._+".contains(*c)).take(48).collect::<String>()
        };
        let pair = (clean(name), clean(version));
        let mut known = self.software.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&pair) {
            if known.len() >= MAX_SOFTWARE {
                return self.clients.with_label_values(&["other", "other"]);
            }
            known.push(pair.clone());
        }
        self.clients.with_label_values(&[&pair.0, &pair.1])
    }
}
