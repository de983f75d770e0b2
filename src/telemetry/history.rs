//! Traffic over the last ten minutes, for charts: rates and latencies, one value for each step.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// Between two values.
pub const STEP: Duration = Duration::from_secs(2);
/// Values that are kept: ten minutes.
const KEPT: usize = 300;

/// A histogram as it stands: how many were at most as large as each bound.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spread {
    /// Upper bounds and cumulative counts, from small to large; what is larger than all is in `all` only.
    pub buckets: Vec<(f64, u64)>,
    pub all: u64,
}

impl Spread {
    /// Adds another one with the same bounds.
    pub fn add(&mut self, bounds: impl Iterator<Item = (f64, u64)>, all: u64) {
        for (nth, (bound, count)) in bounds.enumerate() {
            match self.buckets.get_mut(nth) {
                Some(bucket) => bucket.1 += count,
                None => self.buckets.push((bound, count)),
            }
        }
        self.all += all;
    }

    /// The value below which the share `q` lies of what came since `before`, in the histogram's unit, as
    /// Prometheus' `histogram_quantile` has it. `None`: nothing came.
    fn quantile(&self, before: &Spread, q: f64) -> Option<f64> {
        let all = self.all.saturating_sub(before.all);
        if all == 0 {
            return None;
        }
        let wanted = q * all as f64;
        let (mut low, mut below) = (0.0, 0);
        for (nth, (bound, count)) in self.buckets.iter().enumerate() {
            let count = count.saturating_sub(before.buckets.get(nth).map_or(0, |b| b.1));
            if count as f64 >= wanted && count > below {
                return Some(low + (bound - low) * ((wanted - below as f64) / (count - below) as f64).clamp(0.0, 1.0));
            }
            (low, below) = (*bound, count);
        }
        // Larger than the largest bound: nothing more is known.
        Some(low)
    }
}

/// Counters and gauges as they stand.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    pub requests: u64,
    /// Bytes.
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// Seconds; without the requests that wait on purpose (long polls, rebalances).
    pub upstream_latency: Spread,
    /// Seconds.
    pub added_latency: Spread,
    pub connections: u64,
    pub upstream_connections: u64,
}

/// Who counts.
pub trait Counted: Send + Sync {
    fn totals(&self) -> Totals;
}

/// What charts are drawn from: columns of one length. Rates are per second, latencies seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Series {
    pub step_seconds: f64,
    /// Seconds since 1970, at the end of each step.
    pub at: VecDeque<f64>,
    pub requests: VecDeque<f64>,
    pub request_bytes: VecDeque<f64>,
    pub response_bytes: VecDeque<f64>,
    pub upstream_p50: VecDeque<Option<f64>>,
    pub upstream_p99: VecDeque<Option<f64>>,
    pub added_p50: VecDeque<Option<f64>>,
    pub added_p99: VecDeque<Option<f64>>,
    pub connections: VecDeque<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// The newest sample, and when it was taken: seconds since 1970 and since some start.
    last: Option<(Totals, Duration)>,
    series: Series,
}

/// Filled by one, read by many.
#[derive(Debug, Default)]
pub struct History {
    state: Mutex<State>,
}

impl History {
    /// Takes what the counters say now; `clock` never goes back, `at` is seconds since 1970.
    pub fn sample(&self, now: Totals, clock: Duration, at: f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { last, series } = &mut *state;
        if let Some((before, then)) = last {
            let seconds = clock.saturating_sub(*then).as_secs_f64();
            if seconds <= 0.0 {
                return;
            }
            let rate = |now: u64, before: u64| (now.saturating_sub(before) as f64 / seconds * 10.0).round() / 10.0;
            // Six digits after the point are a microsecond.
            let short = |seconds: Option<f64>| seconds.map(|s| (s * 1e6).round() / 1e6);
            let (upstream, added) = (&now.upstream_latency, &now.added_latency);
            push(&mut series.at, (at * 1000.0).round() / 1000.0);
            push(&mut series.requests, rate(now.requests, before.requests));
            push(&mut series.request_bytes, rate(now.request_bytes, before.request_bytes));
            push(&mut series.response_bytes, rate(now.response_bytes, before.response_bytes));
            push(&mut series.upstream_p50, short(upstream.quantile(&before.upstream_latency, 0.5)));
            push(&mut series.upstream_p99, short(upstream.quantile(&before.upstream_latency, 0.99)));
            push(&mut series.added_p50, short(added.quantile(&before.added_latency, 0.5)));
            push(&mut series.added_p99, short(added.quantile(&before.added_latency, 0.99)));
            push(&mut series.connections, now.connections);
        }
        *last = Some((now, clock));
    }

    pub fn series(&self) -> Series {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Series { step_seconds: STEP.as_secs_f64(), ..state.series.clone() }
    }
}

fn push<T>(column: &mut VecDeque<T>, value: T) {
    if column.len() == KEPT {
        column.pop_front();
    }
    column.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(counts: [u64; 3], all: u64) -> Spread {
        let mut spread = Spread::default();
        spread.add([0.001, 0.01, 0.1].into_iter().zip(counts), all);
        spread
    }

    #[test]
    fn quantiles_are_of_what_came_since() {
        let before = spread([100, 100, 100], 100);
        assert_eq!(before.quantile(&before, 0.5), None);
        // Ten more, all between 1 and 10 ms.
        let half = spread([100, 110, 110], 110).quantile(&before, 0.5).unwrap();
        assert!((half - 0.0055).abs() < 1e-9, "{half}");
        // Ten more, all of them beyond the largest bound.
        assert_eq!(spread([100, 100, 100], 110).quantile(&before, 0.99), Some(0.1));
        let mut two = spread([1, 1, 1], 1);
        two.add([(0.001, 1), (0.01, 1), (0.1, 1)].into_iter(), 2);
        assert_eq!(two, spread([2, 2, 2], 3));
    }

    #[test]
    fn rates_are_per_second_and_old_ones_go() {
        let history = History::default();
        for step in 0..=(KEPT as u64 + 5) {
            let totals = Totals { requests: 50 * step, connections: step, ..Totals::default() };
            history.sample(totals, STEP * step as u32, step as f64);
        }
        let series = history.series();
        assert_eq!(series.at.len(), KEPT);
        assert!(series.requests.iter().all(|rate| *rate == 25.0));
        assert_eq!((series.at[0], series.connections.back()), (6.0, Some(&305)));
        assert!(series.upstream_p50.iter().all(Option::is_none));
    }
}
