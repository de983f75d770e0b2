//! `/api/events`: what menders do, as server-sent events (WHATWG HTML, section 9.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use tokio::sync::watch;

use crate::telemetry::feed::{Entry, Feed, KEPT};

/// Pages that are open at once.
const MOST: usize = 16;
/// A comment now and then tells both sides that the other one is still there.
const BEAT: Duration = Duration::from_secs(15);
/// What a page that lost its connection waits before it asks again: milliseconds.
const RETRY: u32 = 2000;
/// Events in one write.
const BATCH: usize = 100;
/// Writes that a slow reader has not taken yet.
const BEHIND: usize = 4;

pub(super) type Body = Channel<Bytes>;

/// The pages that listen.
#[derive(Debug, Clone)]
pub struct Events {
    open: Arc<AtomicUsize>,
    stop: watch::Receiver<bool>,
}

/// One of them; it counts until it is dropped.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Events {
    /// Streams end when `stop` says so.
    pub fn new(stop: watch::Receiver<bool>) -> Events {
        Events { open: Arc::default(), stop }
    }

    /// A stream of what comes behind the event `last`, else of all that is kept and what comes. `None`: there are
    /// too many.
    pub(super) fn stream(&self, feed: &Feed, last: Option<&str>) -> Option<Body> {
        let place = self.place()?;
        let (sender, body) = Channel::new(BEHIND);
        let from = last.and_then(|id| feed.after(id)).unwrap_or(0);
        tokio::spawn(send(feed.clone(), from, sender, place, self.stop.clone()));
        Some(body)
    }

    fn place(&self) -> Option<Place> {
        let taken = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < MOST).then_some(n + 1));
        taken.is_ok().then(|| Place(self.open.clone()))
    }
}

/// What is kept behind the event `last`, else all of it.
pub(super) fn kept(feed: &Feed, last: Option<&str>) -> Vec<Arc<Entry>> {
    let from = last.and_then(|id| feed.after(id)).unwrap_or(0);
    feed.since(from, KEPT).0
}

/// Until the page has gone, or kmend goes.
async fn send(feed: Feed, mut from: u64, mut body: Sender<Bytes>, place: Place, mut stop: watch::Receiver<bool>) {
    let mut news = feed.subscribe();
    let mut text = format!("retry: {RETRY}\n\n");
    loop {
        loop {
            let (entries, next) = feed.since(from, BATCH);
            from = next;
            entries.iter().for_each(|entry| put(&mut text, entry));
            if text.is_empty() {
                break;
            }
            if body.send_data(std::mem::take(&mut text).into()).await.is_err() {
                drop(place);
                return;
            }
        }
        let stopped = async {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        tokio::select! {
            () = stopped => return,
            changed = news.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(BEAT) => text.push_str(": still here\n\n"),
        }
    }
}

fn put(text: &mut String, entry: &Entry) {
    // JSON has no line break of its own: one line of data is enough.
    if let Ok(data) = serde_json::to_string(entry) {
        text.push_str(&format!("event: repair\nid: {}\ndata: {data}\n\n", entry.id));
    }
}

/// What a page is told that finds no place.
pub(super) fn too_many() -> String {
    format!("{MOST} pages listen already; close one of them ({KEPT} events are kept for whoever comes)\n")
}
