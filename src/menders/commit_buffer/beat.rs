//! Heartbeats: an error that would make the client fail its commits by itself is shown as a
//! rebalance (rule C1b).

use std::sync::Arc;

use super::conn::OnConnection;
use super::rules;
use crate::config::model::Mode;
use crate::mend::{Asked, Cx, Verdict};
use crate::wire::codec::member;
use crate::wire::head::RequestHead;

const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;

/// A Heartbeat on its way.
pub(super) struct Beat {
    group: Arc<str>,
    member: Arc<str>,
    generation: i32,
}

impl OnConnection {
    pub(super) fn beat_asked(&mut self, _: &mut Cx<'_>, asked: Asked, head: &RequestHead, frame: &mut [u8]) -> Verdict {
        if let Some(who) = member::read(asked.api, asked.version, frame, head.body) {
            let beat = Beat { group: who.group, member: who.member, generation: who.generation };
            self.beats.insert(asked.seq, beat);
        }
        Verdict::Pass
    }

    pub(super) fn beat_answered(&mut self, cx: &mut Cx<'_>, asked: Asked, frame: &mut [u8], body: usize) -> Verdict {
        let Some(beat) = self.beats.remove(&asked.seq) else {
            return Verdict::Pass;
        };
        let mut error = 0;
        let read = |e| {
            error = e;
            e
        };
        if member::error(asked.api, asked.version, frame, body, read).is_none() {
            return Verdict::Pass;
        }
        match error {
            0 => {
                self.shared.book.carried(&beat.group, &beat.member, cx.conn.number);
                self.soft.remove(&(beat.group, beat.member));
            }
            ILLEGAL_GENERATION | UNKNOWN_MEMBER_ID => match self.softens(cx, &beat) {
                Mode::Repair => {
                    let _ = member::error(asked.api, asked.version, frame, body, |_| REBALANCE_IN_PROGRESS);
                    self.shared.metrics.softened.inc();
                    tracing::info!(group = %beat.group, member = %beat.member, error,
                        "a heartbeat's error is shown as a rebalance: the member rejoins and keeps its commits");
                }
                Mode::Observe => {
                    self.shared.metrics.repair("observed");
                    tracing::info!(group = %beat.group, member = %beat.member, error, observed = true,
                        "in mode `repair` a heartbeat's error would be shown as a rebalance");
                }
                Mode::Off => {}
            },
            _ => {}
        }
        Verdict::Pass
    }

    /// Only the newest that is known of the member, and not for ever.
    fn softens(&mut self, cx: &Cx<'_>, beat: &Beat) -> Mode {
        let Some(member) = cx.shared.groups.member(&beat.group, &beat.member) else {
            return Mode::Off;
        };
        let vouched = self.shared.book.is_vouched(&beat.group);
        let newest = member.joined.generation == beat.generation;
        let replaced = cx.shared.groups.successor(&beat.group, &beat.member).is_some();
        if !newest || replaced || !rules::is_consumer(&member, vouched) {
            return Mode::Off;
        }
        let rules = self.shared.rules.load();
        let first = *self.soft.entry((beat.group.clone(), beat.member.clone())).or_insert(cx.now);
        if cx.now >= first + rules.rebalance_timeout(&member) {
            return Mode::Off;
        }
        rules.of_group(&cx.conn.client_id, &beat.group)
    }
}
