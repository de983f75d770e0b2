//! Committed offsets are looked at all the time: none may go back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::behind;

/// What a watch has seen.
#[derive(Default)]
struct Seen {
    last: BTreeMap<(String, i32), i64>,
    looks: usize,
    back: Vec<String>,
}

/// Asks for the committed offsets of groups until it is ended.
pub struct Watch {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub fn start(groups: &[&str], topic: &str, partitions: i32) -> Watch {
        let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        let (stop, seen, topic) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Seen>>::default(), topic.to_owned());
        let (ended, into) = (stop.clone(), seen.clone());
        let thread = std::thread::spawn(move || {
            let admin = behind().kafka.admin();
            while !ended.load(Ordering::SeqCst) {
                for group in &groups {
                    for p in 0..partitions {
                        let Some(now) = admin.committed(group, &topic, p) else { continue };
                        let mut seen = into.lock().unwrap_or_else(|e| e.into_inner());
                        seen.looks += 1;
                        let before = seen.last.insert((group.clone(), p), now);
                        if let Some(before) = before.filter(|b| *b > now) {
                            seen.back.push(format!("{group} [{p}]: from {before} to {now}"));
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Watch { stop, seen, thread: Some(thread) }
    }

    /// Ends it; fails where a committed offset went back, or none was ever seen.
    #[track_caller]
    pub fn check(mut self) {
        self.end();
        let seen = self.seen.lock().unwrap_or_else(|e| e.into_inner());
        assert!(seen.looks > 0, "no committed offset was ever seen");
        assert!(seen.back.is_empty(), "committed offsets went back: {:?}", seen.back);
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}
