//! Waiting by condition, and the limit on how many cases run at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Polls until `condition` yields something. Fails the test, naming what was waited for, after `limit`.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, condition: impl FnMut() -> Option<T>) -> T {
    match within(limit, condition) {
        Some(value) => value,
        None => panic!("waited {limit:?} in vain for: {what}"),
    }
}

/// Polls until `condition` holds; false when `limit` has passed.
pub fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    within(limit, || condition().then_some(())).is_some()
}

/// Polls until `condition` yields something, or `limit` has passed.
pub fn within<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Tells the threads that wait for it that it is over, also where a test fails: a scope would wait for them without end.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

static RUNNING: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// The right to run; given back when dropped.
pub struct Slot(());

/// Waits for one of `KMEND_TEST_SLOTS` (2) places. The test runner starts as many cases as there are
/// cores, each with a JVM or two; on a large machine that would measure the scheduler.
pub fn slot() -> Slot {
    let places = std::env::var("KMEND_TEST_SLOTS").ok().and_then(|v| v.parse().ok()).unwrap_or(2);
    let mut running = RUNNING.lock().unwrap_or_else(|e| e.into_inner());
    while *running >= places {
        running = FREED.wait(running).unwrap_or_else(|e| e.into_inner());
    }
    *running += 1;
    Slot(())
}

impl Drop for Slot {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(|e| e.into_inner()) -= 1;
        FREED.notify_one();
    }
}
