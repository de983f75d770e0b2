//! How a promise is given, and what a member's new assignment makes of it.

use std::time::Instant;

use super::{Book, Decided, Group, Held, MAX_PROMISES, Place, Proposal, Slot, What};
use crate::mend::ClientKey;
use crate::store::journal::{Kind, Promise, Record, Ticket, Written};

/// A promise that is about to be given.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Its baseline is filled in here.
    pub promise: Promise,
    pub client: ClientKey,
    pub until: Option<Instant>,
    pub compare: bool,
    /// Nobody waits for an answer: its client is dead (rule C8b).
    pub delivered: bool,
}

/// A member knows its assignment.
#[derive(Debug, Clone, Copy)]
pub struct Synced<'a> {
    pub group: &'a str,
    pub member: &'a str,
    /// The id that the same consumer had before.
    pub previous: Option<&'a str>,
    pub generation: i32,
}

impl Book {
    /// Writes offers of one group into the journal. `None`: one of the places is taken, or there is
    /// no room: the broker's own answer must do.
    pub fn propose(&self, offers: Vec<Offer>, conn: u64, now: Instant) -> Option<u64> {
        let mut state = self.state();
        let group_name = offers.first()?.promise.key.group.clone();
        if state.promises + offers.len() > MAX_PROMISES {
            return None;
        }
        state.last += 1;
        let id = state.last;
        let mut serial = id;
        let group = state.groups.entry(group_name.clone()).or_default();
        let place = |o: &Offer| (o.promise.key.topic.clone(), o.promise.key.partition);
        if offers.iter().any(|o| group.slots.get(&place(o)).is_some_and(|s| s.proposed.is_some())) {
            return None;
        }
        let (mut records, mut places) = (Vec::new(), Vec::new());
        for mut offer in offers {
            let place = place(&offer);
            let slot = group.slots.entry(place.clone()).or_default();
            offer.promise.baseline = match &slot.held {
                Some(before) if before.promise.key == offer.promise.key => before.promise.baseline,
                _ => slot.baseline,
            };
            if let Some(before) = &slot.held
                && before.promise.key != offer.promise.key
            {
                // Of before the cluster was known, or of another one.
                records.push(Record::Settled(before.promise.key.clone()));
            }
            records.push(Record::Promised(offer.promise.clone()));
            serial += 1;
            let until = match &slot.held {
                // What was written behind does not age, nor does what takes its place.
                Some(before) if before.until.is_none() => None,
                // A member that never comes back does not keep its commits for ever by adding to them.
                Some(before) if !before.promise.ready => before.until.min(offer.until),
                _ => offer.until,
            };
            let mut held = Held::new(offer.promise, Some(offer.client), now, until, serial);
            held.delivered = offer.delivered;
            held.compare = offer.compare || slot.held.as_ref().is_some_and(|h| h.compare);
            slot.proposed = Some((id, held));
            places.push(place);
        }
        let ticket = self.journal.write(records, Some(conn));
        state.last = serial;
        state.proposals.insert(id, Proposal { group: group_name, places, ticket });
        Some(id)
    }

    /// Whether the journal has it. When it has, it holds.
    pub fn decide(&self, proposal: u64, now: Instant) -> Decided {
        let mut state = self.state();
        let Some(found) = state.proposals.get(&proposal) else {
            return Decided::Refused;
        };
        let written = self.journal.written(found.ticket);
        if written == Written::NotYet {
            return Decided::NotYet;
        }
        let Some(Proposal { group: name, places, .. }) = state.proposals.remove(&proposal) else {
            return Decided::Refused;
        };
        let Some(group) = state.groups.get_mut(&name) else {
            return Decided::Refused;
        };
        let mut new = 0;
        let mut events = Vec::new();
        for place in &places {
            let Some(slot) = group.slots.get_mut(place) else { continue };
            let Some((_, mut held)) = slot.proposed.take_if(|(id, _)| *id == proposal) else { continue };
            if written == Written::No {
                continue;
            }
            if slot.job.is_none()
                && let Some(before) = &slot.held
            {
                // The broker has waited since then, however often the app has committed.
                held.given = held.given.min(before.given);
            }
            let what = match held.promise.kind {
                _ if held.delivered => What::Delivered,
                Kind::Behind => What::Behind,
                Kind::Buffered => What::Buffered,
            };
            events.push(held.event(what, now));
            new += usize::from(slot.held.replace(held).is_none());
        }
        state.promises += new;
        state.events.extend(events);
        if written == Written::No { Decided::Refused } else { Decided::Given }
    }

    /// It took too long: the client gets the broker's own answer. What reached the journal all the
    /// same is taken back.
    pub fn withdraw(&self, proposal: u64) {
        let mut state = self.state();
        let Some(Proposal { group, places, .. }) = state.proposals.remove(&proposal) else {
            return;
        };
        let Some(group) = state.groups.get_mut(&group) else { return };
        let mut records = Vec::new();
        for place in &places {
            let Some(slot) = group.slots.get_mut(place) else { continue };
            let Some((_, held)) = slot.proposed.take_if(|(id, _)| *id == proposal) else { continue };
            records.push(match &slot.held {
                Some(before) => Record::Promised(before.promise.clone()),
                None => Record::Settled(held.promise.key),
            });
        }
        if !records.is_empty() {
            self.journal.write(records, None);
        }
    }

    /// Decides the promises of a member that knows its assignment: what it owns may be sent with its
    /// new generation, the rest is the new owner's. `owns`: by promise; `gone`: no member with this
    /// id is there any more. The ticket stands for what the journal must hold before the client hears
    /// of its assignment.
    pub fn synced(
        &self,
        synced: Synced<'_>,
        owns: impl Fn(&Promise) -> bool,
        heir: impl Fn(&Held) -> bool,
        conn: u64,
        now: Instant,
    ) -> Option<Ticket> {
        let mut state = self.state();
        let group = state.groups.get_mut(synced.group)?;
        let (mut lost, mut records) = (Vec::new(), Vec::new());
        for (place, slot) in &mut group.slots {
            let Some(held) = &mut slot.held else { continue };
            let member = &*held.promise.member;
            let own = member == synced.member || Some(member) == synced.previous;
            match (own, owns(&held.promise)) {
                (true, true) => {
                    records.push(held.passes_to(&synced));
                    records.extend(slot.again());
                }
                (true, false) => lost.push((place.clone(), "the partition has a new owner")),
                // The same app has come back under another name.
                (false, true) if heir(held) => {
                    records.push(held.passes_to(&synced));
                    records.extend(slot.again());
                }
                (false, true) if held.promise.kind == Kind::Buffered => {
                    lost.push((place.clone(), "another member owns the partition"));
                }
                (false, _) => {}
            }
        }
        for (place, why) in lost {
            self.settle(&mut state, synced.group, &place, What::Superseded(why), now);
        }
        if let (Some(previous), Some(group)) = (synced.previous, state.groups.get_mut(synced.group)) {
            group.carriers.remove(previous);
        }
        if records.is_empty() {
            return None;
        }
        state.call(synced.group);
        Some(self.journal.write(records, Some(conn)))
    }

    /// Something new is promised in this group: whoever carries its members looks.
    pub fn promised(&self, group: &str) {
        self.state().call(group);
    }

    /// A commit of a client's own is on its way for this place.
    pub fn is_under_way(&self, group: &str, place: &Place) -> bool {
        self.state().groups.get(group).and_then(|g| g.slots.get(place)).is_some_and(|s| s.own > 0)
    }

    /// What is only a promise among the members of a group: whether `pick` finds some.
    pub fn any(&self, group: &str, pick: impl Fn(&Held) -> bool) -> bool {
        let held = |g: &Group| g.slots.values().filter_map(|s| s.held.as_ref()).any(&pick);
        self.state().groups.get(group).is_some_and(held)
    }

    /// A member has left: only a group without members takes what it was promised (rule C2).
    pub fn left(&self, group: &str, member: &str) {
        let mut state = self.state();
        let Some(group) = state.groups.get_mut(group) else { return };
        for held in group.slots.values_mut().filter_map(|s| s.held.as_mut()) {
            if *held.promise.member == *member {
                held.orphan = true;
                held.compare = true;
            }
        }
    }
}

impl Slot {
    /// What the journal has been asked to keep for this place since: of a key its newest record
    /// counts, so it stands behind every other.
    pub(super) fn again(&mut self) -> Option<Record> {
        self.proposed.as_ref().map(|(_, held)| Record::Promised(held.promise.clone()))
    }
}

impl Held {
    fn passes_to(&mut self, synced: &Synced<'_>) -> Record {
        self.promise.member = synced.member.into();
        self.promise.generation = synced.generation;
        self.promise.ready = true;
        self.orphan = false;
        self.compare = true;
        self.not_before = None;
        Record::Promised(self.promise.clone())
    }
}
