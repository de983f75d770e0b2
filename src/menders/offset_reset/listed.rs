//! The client's own ListOffsets: log starts are learnt from them, and some are steered.

use std::collections::HashMap;
use std::sync::Arc;

use super::conn::OnConnection;
use super::metrics::Outcome;
use crate::mend::{Asked as Seq, Cx};
use crate::wire::codec::ask::{EARLIEST, LATEST};
use crate::wire::codec::entry::{self, AskedOffset, ListedOffset};
use crate::wire::head::RequestHead;
use crate::wire::layout::{self, mark};
use crate::wire::walk::{self, Mark, Visitor};

/// Requests whose answers are awaited.
const MAX: usize = 64;

/// Requests for the earliest offset, by number.
#[derive(Debug, Default)]
pub struct Asked {
    earliest: HashMap<u64, Vec<(Arc<str>, i32)>>,
}

impl OnConnection {
    pub(super) fn list_offsets_request(&mut self, cx: &mut Cx<'_>, asked: Seq, head: &RequestHead, frame: &mut [u8]) {
        let Some(layout) = layout::request(head.api, head.version) else {
            return;
        };
        let mut request = Request { on: self, cx, topic: None, earliest: Vec::new(), replica: false };
        if walk::whole(layout, frame, head.body, &mut request).is_err() {
            return;
        }
        let earliest = request.earliest;
        if self.listed.earliest.len() >= MAX {
            // Answers that never came to be seen, too large to be held; learning begins anew.
            self.listed.earliest.clear();
        }
        if !earliest.is_empty() {
            self.listed.earliest.insert(asked.seq, earliest);
        }
    }

    pub(super) fn list_offsets_response(&mut self, cx: &mut Cx<'_>, asked: Seq, frame: &mut [u8], body: usize) {
        let Some(earliest) = self.listed.earliest.remove(&asked.seq) else {
            return;
        };
        let Some(layout) = layout::response(asked.api, asked.version) else {
            return;
        };
        let mut response = Response { topic: None, told: Vec::new() };
        if walk::whole(layout, frame, body, &mut response).is_err() {
            return;
        }
        // Only leaders answer without an error.
        for (topic, listed) in response.told {
            let key = (topic, listed.index);
            if listed.error == 0 && listed.offset >= 0 && earliest.contains(&key) {
                self.shared.starts.tell(&key.0, key.1, Some(listed.offset), cx.now);
            }
        }
    }
}

struct Request<'a, 'b> {
    on: &'a OnConnection,
    cx: &'a Cx<'b>,
    topic: Option<Arc<str>>,
    earliest: Vec<(Arc<str>, i32)>,
    replica: bool,
}

impl Visitor for Request<'_, '_> {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        if mark == mark::TOPIC {
            self.topic = Some(String::from_utf8_lossy(value.unwrap_or_default()).into());
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        if mark == mark::REPLICA {
            self.replica = entry::int32(bytes) >= 0;
        }
        let (mark::PARTITION, false, Some(topic)) = (mark, self.replica, &self.topic) else {
            return;
        };
        let mut asked = AskedOffset::new(bytes);
        if matches!(asked.timestamp(), EARLIEST | LATEST)
            && let Some((timestamp, policy)) =
                self.on.shared.steers.take(&self.cx.conn.client(), topic, asked.index(), self.cx.now)
            && timestamp != asked.timestamp()
        {
            asked.set_timestamp(timestamp);
            self.on.shared.metrics.outcome(Outcome::Steered);
            self.on.shared.metrics.reset(topic, policy, 0);
            tracing::warn!(%topic, partition = asked.index(), ?policy, "a reset from above the log end is steered by policy");
        }
        if asked.timestamp() == EARLIEST {
            self.earliest.push((topic.clone(), asked.index()));
        }
    }
}

struct Response {
    topic: Option<Arc<str>>,
    told: Vec<(Arc<str>, ListedOffset)>,
}

impl Visitor for Response {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        if mark == mark::TOPIC {
            self.topic = Some(String::from_utf8_lossy(value.unwrap_or_default()).into());
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        if let (mark::PARTITION, Some(topic)) = (mark, &self.topic) {
            self.told.push((topic.clone(), ListedOffset::read(bytes)));
        }
    }
}
