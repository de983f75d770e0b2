//! Carries promises to the broker on this connection (rules C2, C3, C8, M3).

use std::time::Instant;

use super::book::{Held, Identity, Place, Progress, Request, Want};
use super::conn::{ANSWER, LOOK, OnConnection};
use super::delivered::TOGETHER;
use crate::mend::catalog::NO_ID;
use crate::mend::{Assignment, Catalog, ClientKey, Cx, GroupKind, Injected, Phase, Shared as MendShared};
use crate::store::journal::{Kind, Promise};
use crate::wire::api::ApiKey;

/// How long the broker's side is kept for what a client has left behind.
const LINGER: std::time::Duration = std::time::Duration::from_secs(5);

/// What can be done for a promise, by what is known of its member.
pub(super) fn want(mend: &MendShared, held: &Held) -> Want {
    let promise = &held.promise;
    if let Some(why) = misplaced(mend, held) {
        return why;
    }
    if held.orphan {
        return Want::As(Identity::nobody());
    }
    let Some(member) = mend.groups.member(&promise.key.group, &promise.member) else {
        return Want::No;
    };
    let identity = |generation| Identity {
        member: promise.member.clone(),
        instance: member.instance.clone().or_else(|| promise.instance.clone()),
        generation,
        consumer_protocol: member.kind == GroupKind::Consumer,
    };
    let generation = member.joined.generation;
    let owns = |a: &Assignment| a.owns(&promise.key.topic, id(&mend.catalog, promise), promise.key.partition);
    let decided = match member.kind {
        GroupKind::Consumer => promise.ready,
        // A promise that was given while its member's assignment was on its way.
        GroupKind::Classic => member.phase == Phase::Stable && generation > promise.generation,
    };
    match &member.assignment {
        _ if member.phase == Phase::Joined => Want::No,
        Some(assignment) if decided && owns(assignment) => Want::As(identity(generation)),
        Some(_) if decided => Want::Drop("the partition has a new owner"),
        _ if promise.ready && generation == promise.generation => Want::As(identity(generation)),
        _ => Want::No,
    }
}

/// It belongs to another cluster, or to a topic that is there no more (rule C7).
pub(super) fn misplaced(mend: &MendShared, held: &Held) -> Option<Want> {
    let key = &held.promise.key;
    match mend.cluster.id() {
        Some(cluster) if !key.cluster.is_empty() && cluster != key.cluster => {
            return Some(Want::Drop("it was made for another cluster"));
        }
        None if held.client.is_none() => return Some(Want::No),
        _ => {}
    }
    let now = mend.catalog.id(&key.topic).unwrap_or(NO_ID);
    let then = held.promise.topic_id;
    (now != NO_ID && then != NO_ID && now != then).then_some(Want::Drop("the topic has been deleted and made again"))
}

/// A promise to this client: nobody else's connection carries it, for the rights are the client's.
pub(super) fn is_of(client: &ClientKey, held: &Held) -> bool {
    match &held.client {
        Some(theirs) => theirs == client,
        None => held.promise.client_id == client.client_id,
    }
}

pub(super) fn id(catalog: &Catalog, promise: &Promise) -> [u8; 16] {
    if promise.topic_id != NO_ID { promise.topic_id } else { catalog.id(&promise.key.topic).unwrap_or(NO_ID) }
}

impl OnConnection {
    /// Sends what `pick` finds in a group, as far as it can be sent now.
    pub(super) fn flush(&mut self, cx: &mut Cx<'_>, group: &str, pick: impl Fn(&Held) -> bool) {
        let shared = cx.shared;
        let want = |held: &Held| if pick(held) { want(shared, held) } else { Want::No };
        while cx.conn.injectable {
            let Some(job) = self.shared.book.begin(group, Some(cx.conn.number), want, cx.now) else {
                return;
            };
            self.send(cx, job);
        }
    }

    fn send(&mut self, cx: &mut Cx<'_>, job: u64) {
        let conn = cx.conn;
        let version = |api: ApiKey, bounds: (i16, i16)| {
            // Without the broker's own word only what every broker speaks.
            (conn.knows_versions() || bounds.0 <= 2).then(|| conn.version(api, bounds)).flatten()
        };
        let Some(Request { api, version, body }) = self.shared.book.request(job, &version, cx.now) else {
            return;
        };
        if cx.inject(job, api, version, body, cx.now + ANSWER) {
            self.jobs.insert(job);
        } else {
            self.shared.book.unsent(job, cx.now);
        }
    }

    pub(super) fn job_answered(&mut self, cx: &mut Cx<'_>, job: u64, outcome: Injected<'_>) {
        self.jobs.remove(&job);
        match outcome {
            Injected::Lost => self.shared.book.lost(job, cx.now),
            Injected::Answer { frame, body, .. } => {
                let own = cx.conn.client();
                let (progress, now) = (&cx.shared.progress, cx.now);
                let taken = |group: &str, client: Option<&ClientKey>, place: &Place, offset| {
                    let client = client.unwrap_or(&own);
                    progress.committed(group, client, place, offset, now);
                    // What was refused has come about.
                    progress.commit_ended(group, client, 0, now);
                };
                if self.shared.book.answered(job, frame, body, now, taken) == Progress::Next {
                    self.send(cx, job);
                }
            }
        }
        self.look_again(cx);
    }

    /// Something may have become possible.
    pub(super) fn look(&mut self, cx: &mut Cx<'_>) {
        self.shared.housekeep(&cx.shared.peers, cx.now);
        let interval = self.shared.rules.load().write_behind.unwrap_or_default();
        let now = cx.now;
        // Write-behind waits for its time, what was refused does not.
        let due = |h: &Held| h.hurried || h.promise.kind == Kind::Buffered || h.compare || now >= h.given + interval;
        self.ask_whose(cx);
        self.flush_where(cx, due);
        self.look_again(cx);
    }

    /// Sends everything that this connection carries.
    pub(super) fn flush_mine(&mut self, cx: &mut Cx<'_>) {
        self.flush_where(cx, |_| true);
        self.look_again(cx);
    }

    fn flush_where(&mut self, cx: &mut Cx<'_>, due: impl Fn(&Held) -> bool) {
        for group in self.shared.book.of_carrier(cx.conn.number) {
            let carried = self.shared.book.carried_members(&group, cx.conn.number);
            self.flush(cx, &group, |h| carried.contains(&h.promise.member) && due(h));
        }
    }

    /// Comes back while something is promised that this connection carries.
    pub(super) fn look_again(&mut self, cx: &mut Cx<'_>) {
        if !self.shared.book.of_carrier(cx.conn.number).is_empty() {
            cx.wake_at(cx.now + LOOK);
        }
    }

    /// The client has gone: what it was promised goes to the broker while its side is open.
    pub(super) fn linger(&mut self, cx: &mut Cx<'_>) -> Option<Instant> {
        if self.lingering.is_none() {
            if let Some(proposal) = self.holding.take().and_then(|h| h.proposal) {
                self.shared.book.withdraw(proposal);
            }
            // Nobody is told any more; what was asked before is read by the broker first.
            for (_, sent) in std::mem::take(&mut self.sent) {
                self.forget_sent(cx, sent);
            }
        }
        let began = self.lingering.is_none();
        let until = *self.lingering.get_or_insert(cx.now + LINGER);
        let together = until - LINGER + TOGETHER;
        let mut waits = false;
        if self.shared.rules.load().delivered && !self.delivered && self.carries_members(cx) {
            if cx.shared.peers.live(&cx.conn.client()) == 0 {
                self.delivered = true;
                self.deliver(cx);
            } else if cx.now < together {
                // Its other connections end in their own time.
                waits = true;
                if began {
                    cx.wake_at(together);
                }
            }
        }
        self.decide_delivered(cx);
        self.flush_mine(cx);
        self.shared.tell(&cx.shared.peers);
        let shared = cx.shared;
        let may = |h: &Held| matches!(want(shared, h), Want::As(_));
        let book = &self.shared.book;
        let mut mine = book.of_carrier(cx.conn.number).into_iter();
        waits |= !self.delivering.is_empty()
            || !self.jobs.is_empty()
            || mine.any(|group| {
                let carried = book.carried_members(&group, cx.conn.number);
                book.any(&group, |h| carried.contains(&h.promise.member) && may(h))
            });
        (waits && cx.now < until).then_some(until)
    }

    /// The coordinator has last answered some member of this client here.
    fn carries_members(&self, cx: &Cx<'_>) -> bool {
        let members = cx.shared.groups.of_client(&cx.conn.client());
        members.iter().any(|(group, id, _)| self.shared.book.is_carrier(group, id, cx.conn.number))
    }
}
