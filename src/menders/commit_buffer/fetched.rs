//! OffsetFetch: what was promised is what a client reads back (rules C2, C6).

use std::sync::Arc;

use super::book::{Held, Want};
use super::carry::{is_of, want};
use super::conn::{FLUSH, LOOK, Note, OnConnection};
use crate::mend::{Asked, Cx, Verdict};
use crate::wire::codec::committed::{self, Committed};
use crate::wire::head::RequestHead;

impl OnConnection {
    pub(super) fn fetch_asked(
        &mut self,
        cx: &mut Cx<'_>,
        asked: Asked,
        head: &RequestHead,
        frame: &mut [u8],
    ) -> Verdict {
        let Some(groups) = committed::groups(asked.version, frame, head.body) else {
            return Verdict::Pass;
        };
        let client = cx.conn.client();
        let mut open = false;
        for group in &groups {
            // What can be sent goes first: then the broker itself says what was promised.
            self.flush(cx, group, |h| is_of(&client, h));
            let shared = cx.shared;
            let ready = |h: &Held| is_of(&client, h) && matches!(want(shared, h), Want::As(_));
            open |= self.shared.book.is_open(group, cx.conn.number, ready, cx.now);
        }
        if open {
            let holding = self.held_since(cx, asked.seq);
            holding.note = Some(Note::Fetch(groups));
            let until = holding.since + FLUSH;
            cx.wake_at(cx.now + LOOK);
            return Verdict::Hold(until);
        }
        self.fetches.insert(asked.seq, groups);
        Verdict::Pass
    }

    pub(super) fn fetch_answered(&mut self, cx: &mut Cx<'_>, asked: Asked, frame: &mut [u8], body: usize) -> Verdict {
        let Some(groups) = self.fetches.remove(&asked.seq) else {
            return Verdict::Pass;
        };
        let Some(answer) = committed::read(asked.version, frame, body) else {
            return Verdict::Pass;
        };
        let only = groups.first().cloned().unwrap_or_default();
        let mut moves = false;
        let mut to = Vec::with_capacity(answer.partitions.len());
        for partition in &answer.partitions {
            let group = if partition.group.is_empty() { &only } else { &partition.group };
            let new = self.overlay(cx, group, partition);
            moves |= new.is_some();
            to.push(new);
        }
        for (group, member, _) in cx.shared.groups.of_client(&cx.conn.client()) {
            if answer.error == 0 && groups.contains(&group) {
                self.shared.book.carried(&group, &member, cx.conn.number);
            }
        }
        if moves {
            committed::moved(asked.version, frame, body, &to);
        }
        Verdict::Pass
    }

    /// What the client is told in place of what the broker has.
    fn overlay(&self, cx: &Cx<'_>, group: &Arc<str>, partition: &Committed) -> Option<i64> {
        if partition.error != 0 {
            return None;
        }
        let topic = match partition.topic.is_empty() {
            true => cx.shared.catalog.name(&partition.id)?,
            false => partition.topic.clone(),
        };
        let place = (topic, partition.index);
        let book = &self.shared.book;
        book.raw(group, place.clone(), partition.offset);
        let held: Held = book.held(group, &place)?;
        if super::carry::misplaced(cx.shared, &held).is_some() {
            return None;
        }
        if !super::book::stands(held.promise.baseline, partition.offset, held.promise.offset) {
            return None;
        }
        // The text beside it cannot be changed in place; where it says something else the truth stays.
        let text = |t: &Option<Arc<str>>| t.as_deref().unwrap_or_default().to_owned();
        let same = partition.offset < 0 || text(&partition.metadata) == text(&held.promise.metadata);
        same.then_some(held.promise.offset)
    }
}
