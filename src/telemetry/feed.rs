//! The newest things that menders did, for whoever looks: the status page, `kmend status`, `/api/events`.
//!
//! They are the menders' own log lines from `info` on, kept whatever `log.level` lets through. A mender says a thing
//! once, with `tracing`, and it is in the log and here. A line with the field `observed = true` tells what would
//! have been done in mode `repair`.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{self, FilterFn};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Of what happened so much is kept.
pub const KEPT: usize = 500;
/// Of one line: a name can be 32 KiB long, and the whole is in memory.
const MAX_FIELDS: usize = 16;
const MAX_TEXT: usize = 400;

const MENDERS: &str = "kmend::menders::";

/// One thing that a mender did, or would have done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// `{run}-{number}`: unlike those of another run of kmend. Empty until it has its place.
    pub id: String,
    /// Seconds since 1970.
    pub at: f64,
    /// `INFO`, `WARN` or `ERROR`.
    pub level: &'static str,
    /// As in `menders.<name>`.
    pub mender: &'static str,
    /// A sentence, with what it is about in front: `orders[3]: ...`.
    pub text: String,
    /// It was not done: the mode is `observe`.
    pub observed: bool,
    pub fields: Map<String, Value>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of the oldest that is kept.
    first: u64,
    entries: VecDeque<Arc<Entry>>,
}

#[derive(Debug)]
struct Inner {
    run: String,
    kept: Mutex<Kept>,
    /// The number that comes next.
    next: watch::Sender<u64>,
}

/// Clones share it.
#[derive(Debug, Clone)]
pub struct Feed {
    inner: Arc<Inner>,
}

impl Default for Feed {
    fn default() -> Feed {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let run = format!("{:x}", started.as_millis());
        Feed { inner: Arc::new(Inner { run, kept: Mutex::default(), next: watch::Sender::new(0) }) }
    }
}

impl Feed {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The layer that fills it.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let wanted: FilterFn = filter::filter_fn(is_wanted);
        Recorder { feed: self.clone() }.with_filter(wanted.with_max_level_hint(Level::INFO))
    }

    /// Counts what has come: wakes those who show it.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.next.subscribe()
    }

    /// What is kept from number `from` on, at most `most`, and the number that follows it.
    pub fn since(&self, from: u64, most: usize) -> (Vec<Arc<Entry>>, u64) {
        let kept = self.kept();
        let skip = usize::try_from(from.saturating_sub(kept.first)).unwrap_or(usize::MAX);
        let entries: Vec<_> = kept.entries.iter().skip(skip).take(most).cloned().collect();
        let next = from.max(kept.first) + entries.len() as u64;
        (entries, next)
    }

    /// The number behind the one that `id` names; `None`: another run's, or none at all.
    pub fn after(&self, id: &str) -> Option<u64> {
        let (run, number) = id.rsplit_once('-')?;
        let number: u64 = number.parse().ok()?;
        (run == self.inner.run).then(|| number.saturating_add(1))
    }

    fn push(&self, mut entry: Entry) {
        let mut kept = self.kept();
        let number = kept.first + kept.entries.len() as u64;
        entry.id = format!("{}-{number}", self.inner.run);
        if kept.entries.len() == KEPT {
            kept.entries.pop_front();
            kept.first += 1;
        }
        kept.entries.push_back(Arc::new(entry));
        // Under the lock: numbers are told in their order.
        self.inner.next.send_replace(number + 1);
    }
}

fn is_wanted(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && *metadata.level() <= Level::INFO && metadata.target().starts_with(MENDERS)
}

struct Recorder {
    feed: Feed,
}

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let room = metadata.target().strip_prefix(MENDERS).unwrap_or_default();
        let mender = room.split("::").next().unwrap_or_default();
        let mut line = Line::default();
        event.record(&mut line);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let (text, observed) = (line.sentence(), line.observed);
        let level = metadata.level().as_str();
        self.feed.push(Entry { id: String::new(), at, level, mender, text, observed, fields: line.fields });
    }
}

#[derive(Default)]
struct Line {
    message: String,
    observed: bool,
    fields: Map<String, Value>,
}

impl Line {
    fn put(&mut self, field: &Field, value: Value) {
        if self.fields.len() < MAX_FIELDS {
            self.fields.insert(field.name().to_owned(), value);
        }
    }

    /// The message, behind what it is about where it does not begin with that itself.
    fn sentence(&self) -> String {
        let text = |name: &str| self.fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let about = match (text("topic"), self.fields.get("partition")) {
            (Some(topic), Some(partition)) => Some(format!("{topic}[{partition}]")),
            (Some(topic), None) => Some(topic.to_owned()),
            (None, _) => text("partitions").or_else(|| text("group")).map(str::to_owned),
        };
        match about {
            Some(about) if !self.message.starts_with(&about) => format!("{}: {}", cut(&about), self.message),
            _ => self.message.clone(),
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = cut(&format!("{value:?}"));
        } else {
            self.put(field, Value::String(cut(&format!("{value:?}"))));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = cut(value);
        } else {
            self.put(field, Value::String(cut(value)));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "observed" {
            self.observed = value;
        } else {
            self.put(field, value.into());
        }
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn told(tell: impl FnOnce()) -> (Feed, Vec<Arc<Entry>>) {
        let feed = Feed::default();
        let subscriber = tracing_subscriber::registry().with(feed.layer());
        tracing::subscriber::with_default(subscriber, tell);
        let entries = feed.since(0, usize::MAX).0;
        (feed, entries)
    }

    #[test]
    fn a_menders_line_is_a_sentence_about_something() {
        let (_, entries) = told(|| {
            tracing::warn!(target: "kmend::menders::offset_reset::ledger", topic = %"orders", partition = 3, skipped = 17_i64,
                "orders[3]: 62129856 was evicted");
            tracing::info!(target: "kmend::menders::commit_buffer", topic = %"orders", partition = 3, observed = true, "kept");
            tracing::info!(target: "kmend::menders::assignment_watchdog::repair", group = %"billing", partitions = "a[1,2]", "told");
            tracing::debug!(target: "kmend::menders::commit_buffer", "too much");
            tracing::error!(target: "kmend::session", "somebody else");
        });
        let texts: Vec<_> = entries.iter().map(|e| (e.mender, e.level, e.observed, e.text.as_str())).collect();
        assert_eq!(
            texts,
            [
                ("offset_reset", "WARN", false, "orders[3]: 62129856 was evicted"),
                ("commit_buffer", "INFO", true, "orders[3]: kept"),
                ("assignment_watchdog", "INFO", false, "a[1,2]: told"),
            ]
        );
        assert_eq!(entries[0].fields["skipped"], 17);
        assert!(!entries[1].fields.contains_key("observed") && !entries[1].fields.contains_key("message"));
    }

    #[test]
    fn the_newest_are_kept_and_numbered() {
        let (feed, entries) = told(|| {
            for i in 0..KEPT + 7 {
                tracing::info!(target: "kmend::menders::commit_buffer", i, "again");
            }
        });
        assert_eq!(entries.len(), KEPT);
        assert_eq!(entries[0].fields["i"], 7);
        let last = entries.last().expect("the newest");
        let next = feed.after(&last.id).expect("its own id");
        assert_eq!((next, *feed.subscribe().borrow()), ((KEPT + 7) as u64, (KEPT + 7) as u64));
        assert_eq!(feed.since(next, 10), (Vec::new(), next));
        assert_eq!(feed.since(next - 1, 10), (vec![last.clone()], next));
        // A page that was away for long gets what there is.
        assert_eq!(feed.since(2, 3).1, 10);
        assert_eq!(feed.after("another-3"), None);
        assert_eq!(feed.after("3"), None);
    }

    #[test]
    fn what_is_long_is_cut() {
        let (_, entries) = told(|| {
            tracing::info!(target: "kmend::menders::commit_buffer", group = %"ü".repeat(40_000), "kept");
        });
        assert!(entries[0].text.len() < 1000 && entries[0].text.ends_with("…: kept"));
        assert_eq!(entries[0].fields["group"].as_str().map(|g| g.chars().count()), Some(MAX_TEXT + 1));
    }
}
