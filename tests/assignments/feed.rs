//! A steady producer: five records a second for each partition of a topic, past kmend.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::behind;

pub const PAUSE: Duration = Duration::from_millis(200);

/// A running producer. It ends when it is dropped.
pub struct Feed {
    stop: Arc<AtomicBool>,
    below: Arc<AtomicI32>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Feeds the partitions `0..partitions`, one record to each, then `pause`.
    pub fn start(topic: &str, partitions: i32, pause: Duration) -> Feed {
        let (stop, below) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI32::new(partitions)));
        let (topic, ended, limit) = (topic.to_owned(), stop.clone(), below.clone());
        let thread = std::thread::spawn(move || {
            let admin = behind().kafka.admin();
            while !ended.load(Ordering::SeqCst) {
                let partitions = limit.load(Ordering::SeqCst);
                if partitions > 0 {
                    // What a broker under load refuses once is written the next time.
                    admin.produce_everywhere(&topic, partitions);
                }
                std::thread::sleep(pause);
            }
        });
        Feed { stop, below, thread: Some(thread) }
    }

    /// Records go to the partitions below this one.
    pub fn limit(&self) -> i32 {
        self.below.load(Ordering::SeqCst)
    }

    /// From now on only the partitions `0..partitions` grow.
    pub fn only(&self, partitions: i32) {
        self.below.store(partitions, Ordering::SeqCst);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
