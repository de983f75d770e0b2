//! What has been promised: for each group and partition the commit that kmend acknowledged and the
//! broker does not have yet, and the last value that the broker is known to hold (rules C3, C4).
//!
//! Without IO. Whoever carries requests asks [`Book::begin`] for a [job](job) and tells what came
//! of it; the journal is told of everything first.

mod carriers;
mod given;
mod job;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::mend::ClientKey;
use crate::store::journal::{Journal, Kind, Promise, Record, Ticket, Written};

pub use given::{Offer, Synced};
pub use job::{Identity, Progress, Request, Want, stands};

/// Topic and partition.
pub type Place = (Arc<str>, i32);

/// Partitions with a known value; more than any sidecar's groups have.
const MAX_KNOWN: usize = 200_000;
/// Promises at one time.
const MAX_PROMISES: usize = 50_000;
/// Members of one group that are carried; beyond, those without promises are forgotten.
const MAX_CARRIERS: usize = 1000;
/// How long a place is left alone after a connection broke with a commit for it on its way: the
/// broker may still read it.
const SHADOW: Duration = Duration::from_secs(1);

/// A promise that was given, with what does not belong into the journal.
#[derive(Debug, Clone)]
pub struct Held {
    pub promise: Promise,
    /// `None`: it comes from the journal of an earlier run.
    pub client: Option<ClientKey>,
    pub given: Instant,
    /// When it is given up; write-behind never is.
    pub until: Option<Instant>,
    /// The broker's value must be asked for first: somebody else may have committed since.
    pub compare: bool,
    /// Its member has left, or cannot come back: only a group without members takes it.
    pub orphan: bool,
    /// It does not wait for its time: its member is about to rejoin.
    pub hurried: bool,
    /// Nobody has been told: the client is dead.
    delivered: bool,
    serial: u64,
    not_before: Option<Instant>,
    attempts: u32,
}

#[derive(Debug, Default)]
struct Slot {
    /// The last value that the broker was seen to hold; -1: none.
    baseline: Option<i64>,
    held: Option<Held>,
    /// On its way into the journal; nobody has been told.
    proposed: Option<(u64, Held)>,
    /// What kmend itself has on its way for this place, perhaps an older promise.
    job: Option<u64>,
    /// Commits of the clients' own that are on their way to the broker.
    own: u32,
    shadow: Option<Instant>,
}

#[derive(Debug, Default)]
struct Group {
    slots: BTreeMap<Place, Slot>,
    /// The connection on which the coordinator last answered a member.
    carriers: BTreeMap<Arc<str>, u64>,
    /// Connections that hold a request until something here is over.
    waiters: BTreeSet<u64>,
    /// Write-behind has met an error that no retry mends (rule C8).
    ended: bool,
    /// An earlier run has seen that it is a group of consumers.
    vouched: bool,
    /// Somebody has committed in it, here or before.
    commits: bool,
}

#[derive(Debug)]
struct Proposal {
    group: Arc<str>,
    places: Vec<Place>,
    ticket: Ticket,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<Arc<str>, Group>,
    proposals: BTreeMap<u64, Proposal>,
    jobs: BTreeMap<u64, job::Job>,
    last: u64,
    promises: usize,
    known: usize,
    events: Vec<Event>,
    wakes: Vec<u64>,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Buffered,
    Behind,
    /// Not committed by the client, but handled.
    Delivered,
    Replayed,
    Flushed,
    Superseded(&'static str),
    /// The app has committed something newer itself.
    Covered,
    Expired,
    Failed(i16),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub what: What,
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    pub member: Arc<str>,
    pub was: Kind,
    /// Since the promise was given.
    pub age: Duration,
}

/// Whether a proposal has become a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    NotYet,
    Given,
    /// The journal does not take it.
    Refused,
}

#[derive(Debug)]
pub struct Book {
    state: Mutex<State>,
    journal: Arc<dyn Journal>,
}

impl Book {
    /// `restored`: what an earlier run had promised.
    pub fn new(journal: Arc<dyn Journal>, restored: Vec<Promise>, patience: Duration, now: Instant) -> Book {
        let book = Book { state: Mutex::default(), journal };
        let mut state = book.state();
        for promise in restored {
            state.last += 1;
            let serial = state.last;
            let place = (promise.key.topic.clone(), promise.key.partition);
            let group = state.groups.entry(promise.key.group.clone()).or_default();
            group.vouched = true;
            let until = (promise.kind == Kind::Buffered).then(|| now + patience);
            let mut held = Held::new(promise, None, now, until, serial);
            held.compare = true;
            match group.slots.entry(place).or_default().held.replace(held) {
                None => state.promises += 1,
                // Of an earlier cluster, or of before the cluster was known.
                Some(older) => {
                    book.journal.write(vec![Record::Settled(older.promise.key)], None);
                }
            }
        }
        drop(state);
        book
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_durable(&self) -> bool {
        self.journal.is_durable()
    }

    /// The journal has taken, or refused, what this ticket stands for.
    pub fn is_written(&self, ticket: Ticket) -> bool {
        self.journal.written(ticket) != Written::NotYet
    }

    /// Nothing is promised, and nothing is about to be.
    pub fn is_empty(&self) -> bool {
        let state = self.state();
        state.promises == 0 && state.proposals.is_empty() && state.jobs.is_empty()
    }

    /// What has happened since the last call, and the connections that wait for something of it.
    pub fn take_news(&self) -> (Vec<Event>, Vec<u64>) {
        let mut state = self.state();
        (std::mem::take(&mut state.events), std::mem::take(&mut state.wakes))
    }

    /// How many promises there are, the age of the oldest that was buffered, and of the oldest
    /// that is written behind.
    pub fn census(&self, now: Instant) -> (usize, Duration, Duration) {
        let state = self.state();
        if state.promises == 0 {
            return Default::default();
        }
        let held = || state.groups.values().flat_map(|g| g.slots.values()).filter_map(|s| s.held.as_ref());
        let oldest = |kind| held().filter(|h| h.promise.kind == kind).map(|h| now - h.given).max().unwrap_or_default();
        (state.promises, oldest(Kind::Buffered), oldest(Kind::Behind))
    }

    /// The broker's answer for a place has been seen, as it was.
    pub fn raw(&self, group: &str, place: Place, offset: i64) {
        self.state().learn(group, place, offset);
    }

    /// What the broker is known to hold, or what is promised on top of that.
    pub fn last(&self, group: &str, place: &Place) -> Option<i64> {
        let state = self.state();
        let slot = state.groups.get(group)?.slots.get(place)?;
        slot.held.as_ref().map(|h| h.promise.offset).or(slot.baseline)
    }

    /// A commit of a client's own goes to the broker.
    pub fn own_sent(&self, group: &str, place: &Place) {
        let mut state = self.state();
        state.make_room();
        let State { groups, jobs, known, .. } = &mut *state;
        let slot = groups.entry(group.into()).or_default().slots.entry(place.clone()).or_insert_with(|| {
            *known += 1;
            Slot::default()
        });
        slot.own += 1;
        // What has not been sent for this place yet will not be: this one is newer.
        if let Some(job) = slot.job.and_then(|id| jobs.get_mut(&id))
            && job.is_asking()
        {
            job.forget(place);
            slot.job = None;
        }
    }

    /// It has been answered. `accepted`: the offset that the broker took.
    pub fn own_answered(&self, group: &str, place: &Place, accepted: Option<i64>, now: Instant) {
        let mut state = self.state();
        if let Some(offset) = accepted {
            state.learn(group, place.clone(), offset);
        }
        let Some(slot) = state.slot(group, place) else { return };
        slot.own = slot.own.saturating_sub(1);
        // Also what is on its way into the journal may be older than this.
        slot.doubt();
        if accepted.is_some() {
            // The app's own word is newer than any promise, also where it goes back. Until the broker has taken it
            // the promise stands: it may be refused.
            self.settle(&mut state, group, place, What::Covered, now);
        }
        state.stir(group);
    }

    /// Its connection broke before it was answered.
    pub fn own_lost(&self, group: &str, place: &Place, now: Instant) {
        let mut state = self.state();
        if let Some(slot) = state.slot(group, place) {
            slot.own = slot.own.saturating_sub(1);
            slot.shadow = Some(now + SHADOW);
            slot.doubt();
        }
        state.stir(group);
    }

    /// A commit that was acknowledged and is nobody's to send any more.
    pub fn superseded(&self, promise: &Promise, now: Instant) {
        let held = Held::new(promise.clone(), None, now, None, 0);
        self.state().events.push(held.event(What::Superseded("the partition has a new owner"), now));
    }

    /// Ends a promise.
    fn settle(&self, state: &mut State, group: &str, place: &Place, what: What, now: Instant) {
        let Some(held) = state.slot(group, place).and_then(|slot| slot.held.take()) else {
            return;
        };
        state.promises = state.promises.saturating_sub(1);
        let State { groups, jobs, .. } = &mut *state;
        if let Some(slot) = groups.get_mut(group).and_then(|g| g.slots.get_mut(place))
            && let Some(job) = slot.job.and_then(|id| jobs.get_mut(&id))
            && job.is_asking()
        {
            job.forget(place);
            slot.job = None;
        }
        let mut records = vec![Record::Settled(held.promise.key.clone())];
        records.extend(state.slot(group, place).and_then(Slot::again));
        self.journal.write(records, None);
        state.events.push(held.event(what, now));
        state.stir(group);
    }

    /// Gives up what has waited too long.
    pub fn expire(&self, now: Instant) {
        let mut state = self.state();
        if state.promises == 0 {
            return;
        }
        let due = |s: &Slot| s.held.as_ref().is_some_and(|h| s.job.is_none() && h.until.is_some_and(|u| u <= now));
        let places: Vec<(Arc<str>, Place)> = state
            .groups
            .iter()
            .flat_map(|(g, group)| group.slots.iter().map(move |(p, s)| (g, p, s)))
            .filter(|(_, _, s)| due(s))
            .map(|(g, p, _)| (g.clone(), p.clone()))
            .collect();
        for (group, place) in places {
            self.settle(&mut state, &group, &place, What::Expired, now);
        }
    }

    /// Write-behind goes on for this group.
    pub fn may_write_behind(&self, group: &str) -> bool {
        self.state().groups.get(group).is_none_or(|g| !g.ended)
    }

    /// An earlier run has seen that it is a group of consumers.
    pub fn is_vouched(&self, group: &str) -> bool {
        self.state().groups.get(group).is_some_and(|g| g.vouched)
    }

    /// Its members keep their offsets here.
    pub fn commits(&self, group: &str) -> bool {
        self.state().groups.get(group).is_some_and(|g| g.commits)
    }

    /// What is promised for a place.
    pub fn held(&self, group: &str, place: &Place) -> Option<Held> {
        self.state().groups.get(group)?.slots.get(place)?.held.clone()
    }
}

impl Slot {
    /// The broker may hold something newer than what is promised.
    fn doubt(&mut self) {
        let proposed = self.proposed.as_mut().map(|(_, held)| held);
        for held in self.held.as_mut().into_iter().chain(proposed) {
            held.compare = true;
        }
    }
}

impl Held {
    fn new(promise: Promise, client: Option<ClientKey>, now: Instant, until: Option<Instant>, serial: u64) -> Held {
        Held {
            promise,
            client,
            given: now,
            until,
            compare: false,
            orphan: false,
            hurried: false,
            delivered: false,
            serial,
            not_before: None,
            attempts: 0,
        }
    }

    fn event(&self, what: What, now: Instant) -> Event {
        let key = &self.promise.key;
        Event {
            what,
            group: key.group.clone(),
            topic: key.topic.clone(),
            partition: key.partition,
            offset: self.promise.offset,
            member: self.promise.member.clone(),
            was: self.promise.kind,
            age: now.saturating_duration_since(self.given),
        }
    }
}

impl State {
    fn slot(&mut self, group: &str, place: &Place) -> Option<&mut Slot> {
        self.groups.get_mut(group)?.slots.get_mut(place)
    }

    /// What is forgotten is asked for again before it matters.
    fn make_room(&mut self) {
        if self.known >= MAX_KNOWN {
            for group in self.groups.values_mut() {
                group.slots.retain(|_, s| s.held.is_some() || s.proposed.is_some() || s.own > 0 || s.job.is_some());
            }
            self.groups.retain(|_, g| !g.slots.is_empty());
            self.known = self.groups.values().map(|g| g.slots.len()).sum();
        }
    }

    fn learn(&mut self, group: &str, place: Place, offset: i64) {
        self.make_room();
        let group = match self.groups.get_mut(group) {
            Some(group) => group,
            None => self.groups.entry(group.into()).or_default(),
        };
        let known = &mut self.known;
        let slot = group.slots.entry(place).or_insert_with(|| {
            *known += 1;
            Slot::default()
        });
        slot.baseline = Some(offset);
        group.commits |= offset >= 0;
    }

    /// Whoever waits for this group looks again.
    fn stir(&mut self, group: &str) {
        if let Some(group) = self.groups.get_mut(group) {
            self.wakes.extend(std::mem::take(&mut group.waiters));
        }
    }

    /// So does whoever may carry its promises.
    fn call(&mut self, name: &str) {
        if let Some(group) = self.groups.get_mut(name) {
            self.wakes.extend(group.carriers.values());
        }
        self.stir(name);
    }
}
