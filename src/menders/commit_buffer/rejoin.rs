//! JoinGroup, SyncGroup, LeaveGroup and ConsumerGroupHeartbeat: what is promised goes first, and a
//! new assignment decides what is left (rules C2, C3).

use std::sync::Arc;
use std::time::Instant;

use super::book::{Held, Synced, Want};
use super::carry::{self, want};
use super::conn::{FLUSH, JOURNAL, LOOK, Note, OnConnection};
use crate::mend::{Asked, Cx, GroupKind, Phase, Verdict};
use crate::store::journal::{Promise, Ticket};
use crate::wire::api::ApiKey;
use crate::wire::codec::member::{self, Who};
use crate::wire::head::RequestHead;

/// A SyncGroup or ConsumerGroupHeartbeat on its way.
pub(super) struct Sync {
    group: Arc<str>,
    member: Arc<str>,
    /// What the journal must have before the client hears of it.
    ticket: Option<(Ticket, Instant)>,
    seen: bool,
}

impl OnConnection {
    pub(super) fn member_asked(
        &mut self,
        cx: &mut Cx<'_>,
        asked: Asked,
        head: &RequestHead,
        frame: &mut [u8],
    ) -> Verdict {
        let Some(who) = member::read(asked.api, asked.version, frame, head.body) else {
            return Verdict::Pass;
        };
        let leaves = asked.api == ApiKey::LEAVE_GROUP || who.generation < 0;
        let flushes = match asked.api {
            ApiKey::JOIN_GROUP | ApiKey::LEAVE_GROUP => true,
            // It leaves, or says what it still owns: perhaps less than before.
            ApiKey::CONSUMER_GROUP_HEARTBEAT => leaves || who.tells_owned,
            _ => false,
        };
        if flushes && self.flushes_first(cx, &who) {
            let holding = self.held_since(cx, asked.seq);
            holding.note = Some(Note::Member(asked.api, who));
            let until = holding.since + FLUSH;
            cx.wake_at(cx.now + LOOK);
            return Verdict::Hold(until);
        }
        self.note_member(cx, asked.seq, asked.api, who);
        Verdict::Pass
    }

    /// It goes upstream.
    pub(super) fn note_member(&mut self, cx: &mut Cx<'_>, seq: u64, api: ApiKey, who: Who) {
        let leaves = api == ApiKey::LEAVE_GROUP || who.generation < 0;
        match api {
            ApiKey::JOIN_GROUP => {
                for member in who.members() {
                    self.soft.remove(&(who.group.clone(), member.clone()));
                }
            }
            ApiKey::SYNC_GROUP => self.note_sync(seq, who),
            _ if leaves => {
                for member in who.members() {
                    self.shared.book.left(&who.group, member);
                    // Sent behind it on this connection: by then the group may be empty.
                    self.shared.book.carried(&who.group, member, cx.conn.number);
                }
                cx.wake_at(cx.now);
            }
            _ => self.note_sync(seq, who),
        }
    }

    fn note_sync(&mut self, seq: u64, who: Who) {
        let sync = Sync { group: who.group, member: who.member, ticket: None, seen: false };
        self.syncs.insert(seq, sync);
    }

    /// Brings what these members were promised to the broker; whether the request is to wait for it.
    fn flushes_first(&mut self, cx: &mut Cx<'_>, who: &Who) -> bool {
        // A consumer without an id is new: for a group without members it takes what others left.
        let nobody = who.member.is_empty();
        let theirs = |h: &Held| who.members().any(|m| *m == h.promise.member) || nobody && h.orphan;
        self.flush(cx, &who.group, theirs);
        let shared = cx.shared;
        let open = |h: &Held| theirs(h) && matches!(want(shared, h), Want::As(_));
        self.shared.book.is_open(&who.group, cx.conn.number, open, cx.now)
    }

    pub(super) fn sync_answered(&mut self, cx: &mut Cx<'_>, asked: Asked, frame: &mut [u8], body: usize) -> Verdict {
        let Some(mut sync) = self.syncs.remove(&asked.seq) else {
            return Verdict::Pass;
        };
        if !sync.seen {
            sync.seen = true;
            let mut error = -1;
            let read = |e| {
                error = e;
                e
            };
            if member::error(asked.api, asked.version, frame, body, read).is_none() || error != 0 {
                return Verdict::Pass;
            }
            self.shared.book.carried(&sync.group, &sync.member, cx.conn.number);
            if asked.api == ApiKey::SYNC_GROUP {
                self.shared.positions.restart(&cx.conn.client());
            }
            sync.ticket = self.decide(cx, &sync).map(|t| (t, cx.now));
        }
        if let Some((ticket, since)) = sync.ticket
            && !self.shared.book.is_written(ticket)
            && cx.now < since + JOURNAL
        {
            self.syncs.insert(asked.seq, sync);
            return Verdict::Hold(since + JOURNAL);
        }
        // Once it has passed: while a SyncGroup is being answered nothing is sent behind it.
        cx.wake_at(cx.now);
        Verdict::Pass
    }

    /// The member's assignment is known: what it was promised is its own or somebody else's.
    fn decide(&mut self, cx: &Cx<'_>, sync: &Sync) -> Option<Ticket> {
        let groups = &cx.shared.groups;
        let member = groups.member(&sync.group, &sync.member)?;
        let assignment = member.assignment.clone()?;
        if member.phase != Phase::Stable {
            return None;
        }
        let catalog = &cx.shared.catalog;
        let owns = |p: &Promise| assignment.owns(&p.key.topic, carry::id(catalog, p), p.key.partition);
        // Of KIP-848 each heartbeat's answer comes here; where nothing was promised to others or is
        // lost, nothing changes.
        if member.kind == GroupKind::Consumer
            && !self.shared.book.any(&sync.group, |h| *h.promise.member != *sync.member || !owns(&h.promise))
        {
            return None;
        }
        let client = cx.conn.client();
        let heir = |h: &Held| {
            // From an earlier run of kmend, for the same app; or of a consumer of this client that is gone.
            let instance = h.promise.instance.is_some() && h.promise.instance == member.instance;
            let same = match &h.client {
                None => h.promise.client_id == client.client_id,
                Some(theirs) => h.until.is_none() && *theirs == client,
            };
            (instance || same) && groups.member(&sync.group, &h.promise.member).is_none()
        };
        let synced = Synced {
            group: &sync.group,
            member: &sync.member,
            previous: member.previous.as_deref(),
            generation: member.joined.generation,
        };
        self.shared.book.synced(synced, owns, heir, cx.conn.number, cx.now)
    }
}
