//! What a member holds, since when, and whether its client knows of it (rule D1).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::mend::catalog::{Catalog, NO_ID};
use crate::mend::{Assignment, ClientKey, GroupKind, Member, Place, Progress};

/// A partition that a member holds.
#[derive(Debug, Clone)]
pub struct Held {
    pub since: Instant,
    /// Its client has fetched it since, or asked where to begin.
    pub known: bool,
    /// The first position that was fetched.
    pub began: Option<i64>,
    /// Where its log ended, as kmend was told when it asked: at first and last.
    pub end: Option<(i64, i64)>,
    /// When kmend asked last.
    pub asked: Option<Instant>,
    /// When it asked for what is committed.
    pub asked_committed: Option<Instant>,
}

impl Held {
    fn new(since: Instant) -> Held {
        Held { since, known: false, began: None, end: None, asked: None, asked_committed: None }
    }
}

/// A member that was told to rejoin.
#[derive(Debug, Clone)]
pub struct Told {
    pub at: Instant,
    /// What it did not fetch.
    pub places: Vec<Place>,
    /// It has been assigned something again.
    pub returned: bool,
}

/// What is remembered of one member.
#[derive(Debug)]
pub struct Tracked {
    pub client: ClientKey,
    pub generation: i32,
    /// Its protocol was a cooperative one.
    cooperative: bool,
    since: Instant,
    assignment: Arc<Assignment>,
    pub held: HashMap<Place, Held>,
    /// What was said of this generation.
    pub said: Said,
    /// Some of what it holds its client may not know of.
    pub suspected: bool,
    /// It is to be told as soon as it can be, since when.
    pub due: Option<Instant>,
    pub told: Option<Told>,
    /// The newest generation that it was told to leave: once for each (rule D3).
    pub told_generation: Option<i32>,
    /// So often it was told in a row without effect.
    pub fruitless: u8,
    /// Its consumer goes on under another id.
    pub followed: bool,
    pub stalled: bool,
    /// An error of a Fetch that its client may have stopped at.
    pub refused: Option<(i16, Instant)>,
}

/// What has been counted and logged of a member in its present generation.
#[derive(Debug, Default)]
pub struct Said {
    /// So many partitions were reported.
    pub reported: usize,
    /// Some were, at some time.
    pub counted: bool,
    pub observed: bool,
    pub ambiguous: bool,
    pub throttled: bool,
    pub gave_up: bool,
}

/// What a member is assigned, by name. Ids that nobody has explained yet are left out.
pub fn places(assignment: &Assignment, catalog: &Catalog) -> Vec<Place> {
    let named = assignment.by_name.iter().map(|(topic, partitions)| (topic.clone(), partitions));
    let by_id = assignment.by_id.iter().filter_map(|(id, partitions)| Some((catalog.name(id)?, partitions)));
    let all = named.chain(by_id).flat_map(|(topic, partitions)| partitions.iter().map(move |p| (topic.clone(), *p)));
    let mut all: Vec<Place> = all.collect();
    all.sort_unstable();
    all
}

/// It joined with the claim that it still holds the partition. How it came to hold one that it was not
/// seen to be assigned was not seen either: it may have looked it up long ago, and paused it since.
fn claims(member: &Member, place: &Place, catalog: &Catalog) -> bool {
    let id = catalog.id(&place.0).unwrap_or(NO_ID);
    member.owned.as_ref().is_some_and(|owned| owned.owns(&place.0, id, place.1))
}

impl Tracked {
    pub fn new(member: &Member, assignment: &Arc<Assignment>, catalog: &Catalog) -> Tracked {
        let held = places(assignment, catalog).into_iter().map(|place| {
            let held = Held { known: claims(member, &place, catalog), ..Held::new(member.since) };
            (place, held)
        });
        Tracked {
            client: member.client.clone(),
            generation: member.joined.generation,
            cooperative: member.joined.is_cooperative(),
            since: member.since,
            assignment: assignment.clone(),
            held: held.collect(),
            said: Said::default(),
            suspected: false,
            due: None,
            told: None,
            told_generation: None,
            fruitless: 0,
            followed: false,
            stalled: false,
            refused: None,
        }
    }

    /// It is the same consumer as this one, under another id.
    pub fn follow(&mut self, before: &Tracked) {
        (self.fruitless, self.told_generation) = (before.fruitless, before.told_generation);
        self.told.clone_from(&before.told);
        self.returns();
    }

    /// It has been assigned something: whoever was told before has come back.
    fn returns(&mut self) {
        let since = self.since;
        if let Some(told) = self.told.as_mut().filter(|told| since > told.at) {
            told.returned = true;
        }
    }

    /// The member was assigned again, perhaps the same.
    pub fn update(&mut self, member: &Member, assignment: &Arc<Assignment>, catalog: &Catalog) {
        let same = Arc::ptr_eq(&self.assignment, assignment) && self.since == member.since;
        // A topic's id may be explained after it was assigned.
        if same && (assignment.by_id.is_empty() || places(assignment, catalog).len() == self.held.len()) {
            self.generation = member.joined.generation;
            return;
        }
        let was_cooperative = std::mem::replace(&mut self.cooperative, member.joined.is_cooperative());
        let before = std::mem::take(&mut self.held);
        for place in places(assignment, catalog) {
            let claims = claims(member, &place, catalog);
            let held = match (before.get(&place), member.kind) {
                // Assignments change bit by bit; who joins anew has a new id.
                (Some(held), GroupKind::Consumer) => held.clone(),
                (Some(held), GroupKind::Classic) if was_cooperative && claims => held.clone(),
                (Some(_), _) => Held::new(member.since),
                (None, _) => Held { known: claims, ..Held::new(member.since) },
            };
            self.held.insert(place, held);
        }
        self.due = None;
        if self.generation != member.joined.generation {
            self.said = Said::default();
        }
        (self.generation, self.since, self.assignment) = (member.joined.generation, member.since, assignment.clone());
        self.returns();
    }

    /// Takes in what the client has shown that it knows of.
    pub fn learn(&mut self, progress: &Progress) {
        for (place, held) in self.held.iter_mut().filter(|(_, held)| !held.known || held.began.is_none()) {
            if let Some(read) = progress.read_of(&self.client, place).filter(|r| r.asked >= held.since) {
                held.known = true;
                held.began.get_or_insert(read.position);
            }
            held.known = held.known || progress.looked_up_at(&self.client, place).is_some_and(|at| at >= held.since);
        }
    }
}
