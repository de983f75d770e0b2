//! One client and one topic that has grown: what is done about it, and whether it helped (rule B5).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::software::How;

/// Nudges are repeated so often at most, each after a longer time.
pub const ROUNDS: u8 = 3;
const AGAIN: Duration = Duration::from_secs(1);
/// A growth that nobody asks about any more is forgotten.
pub const FORGOTTEN: Duration = Duration::from_secs(600);
/// After so long without an occasion it is said that there is none.
pub const NO_OCCASION: Duration = Duration::from_secs(5);
/// After so long without a Fetch request another way is tried.
pub const NO_FETCH: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Producer,
    Consumer,
}

/// What became of a growth, as the label `outcome` of `metadata_nudges_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The client's metadata shows the new partitions; a group's leader has rejoined.
    Done,
    /// It did not help; the next one follows.
    Repeated,
    /// It did not help, and was the last one.
    GaveUp,
    /// Mode `observe`: it would have been nudged.
    Observed,
    /// No moment was found at which it could be nudged.
    NoOccasion,
    /// Its software is not known.
    Unknown,
    /// The client found out before it was nudged.
    Found,
    /// The group's leader, or its broker, sees to it.
    Elsewhere,
}

impl Outcome {
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Repeated => "repeated",
            Outcome::GaveUp => "gave_up",
            Outcome::Observed => "observed",
            Outcome::NoOccasion => "no_occasion",
            Outcome::Unknown => "unknown_software",
            Outcome::Found => "found",
            Outcome::Elsewhere => "elsewhere",
        }
    }
}

/// One attempt. Several apps may share a client id and an address: each of them is nudged once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// `None`: whichever way of a producer's comes first.
    pub how: Option<How>,
    pub due: Instant,
    /// How many apps there seem to be.
    pub need: usize,
    /// The connections that may be used, one for each app.
    pub eligible: Vec<u64>,
    pub taken: Vec<(u64, How)>,
    /// When it should have helped.
    pub check: Option<Instant>,
    /// Metadata answers that had shown the growth before.
    pub shown_before: usize,
}

/// Whether a Metadata answer came to an app in this role, as far as its connection tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likely {
    Yes,
    /// It may be for an app of the other role that shares the client's name.
    Perhaps,
    No,
}

impl Round {
    pub fn is_open(&self) -> bool {
        self.taken.len() < self.need
    }
}

#[derive(Debug, Default)]
pub struct Side {
    pub round: Option<Round>,
    pub rounds: u8,
    pub outcome: Option<Outcome>,
    /// That there was no occasion has been said.
    pub told: bool,
    /// Metadata answers to this side's apps that showed the growth.
    pub shown: usize,
    /// Ways that were passed over because there was no occasion for them.
    pub skipped: u8,
    /// The next round does not begin before.
    pub due: Option<Instant>,
}

impl Side {
    pub fn is_settled(&self) -> bool {
        self.outcome.is_some()
    }

    pub fn take(&mut self, conn: u64, how: How, patience: Duration, now: Instant) -> bool {
        let settled = self.is_settled();
        let Some(round) = self.round.as_mut().filter(|r| !settled && r.is_open() && r.due <= now) else {
            return false;
        };
        if round.taken.iter().any(|(c, _)| *c == conn) || round.how.is_some_and(|h| h != how) {
            return false;
        }
        round.taken.push((conn, how));
        round.check = Some(now + patience);
        true
    }

    /// A Metadata answer shows the growth. Those that may be another app's count for no more apps
    /// than have just been made to look: an app that was not is still to be.
    pub fn show(&mut self, likely: Likely) {
        let waited_for = || self.round.as_ref().is_some_and(|r| self.shown_since(r) < r.taken.len());
        if likely == Likely::Yes || (likely == Likely::Perhaps && waited_for()) {
            self.shown += 1;
        }
    }

    pub fn shown_since(&self, round: &Round) -> usize {
        self.shown.saturating_sub(round.shown_before)
    }

    /// The nudge was not made after all.
    pub fn give_back(&mut self, conn: u64, how: How) {
        if let Some(round) = &mut self.round {
            round.taken.retain(|taken| *taken != (conn, how));
            if round.taken.is_empty() {
                round.check = None;
            }
        }
    }

    /// Ends the round that did not help. When the next one may begin; `None`: it was the last.
    pub fn next_round(&mut self, now: Instant) -> Option<Instant> {
        self.round = None;
        self.rounds += 1;
        self.due = Some(now + AGAIN * u32::from(self.rounds));
        self.due.filter(|_| self.rounds < ROUNDS)
    }

    /// When something about it must be looked at.
    pub fn deadline(&self, due: Instant) -> Option<Instant> {
        if self.is_settled() {
            return None;
        }
        match &self.round {
            None => Some(self.due.unwrap_or(due)),
            Some(round) => {
                let wait = if round.how == Some(How::Fetch) { NO_FETCH } else { NO_OCCASION };
                round.check.or((!self.told).then_some(round.due + wait))
            }
        }
    }
}

#[derive(Debug)]
pub struct Growth {
    pub topic: Arc<str>,
    pub from: usize,
    pub to: usize,
    /// The topic is another one of the same name.
    pub recreated: bool,
    /// When the broker showed it first.
    pub seen: Instant,
    pub opened: Instant,
    /// Not before: spread over the clients.
    pub due: Instant,
    /// A Metadata answer to the client has shown it.
    pub shown: bool,
    /// It asked to join its group after that.
    pub joined: bool,
    /// It has asked for a new partition.
    pub asked: bool,
    pub producers: Side,
    pub consumers: Side,
}

impl Growth {
    pub fn new(topic: Arc<str>, from: usize, to: usize, seen: Instant, now: Instant) -> Growth {
        Growth {
            topic,
            from,
            to,
            recreated: false,
            seen,
            opened: now,
            due: now,
            shown: false,
            joined: false,
            asked: false,
            producers: Side::default(),
            consumers: Side::default(),
        }
    }

    pub fn side(&self, role: Role) -> &Side {
        match role {
            Role::Producer => &self.producers,
            Role::Consumer => &self.consumers,
        }
    }

    pub fn side_mut(&mut self, role: Role) -> &mut Side {
        match role {
            Role::Producer => &mut self.producers,
            Role::Consumer => &mut self.consumers,
        }
    }

    pub fn is_due(&self, role: Role, now: Instant) -> bool {
        self.side(role).due.unwrap_or(self.due) <= now
    }

    pub fn is_over(&self, now: Instant) -> bool {
        let settled = self.producers.is_settled() && self.consumers.is_settled();
        (settled && self.asked) || now.saturating_duration_since(self.opened) >= FORGOTTEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_may_be_anothers_hide_no_app_that_was_not_nudged() {
        let now = Instant::now();
        let round = Round {
            how: None,
            due: now,
            need: 2,
            eligible: vec![1, 2],
            taken: Vec::new(),
            check: None,
            shown_before: 0,
        };
        let mut side = Side { round: Some(round.clone()), ..Side::default() };
        side.show(Likely::Perhaps);
        assert_eq!(side.shown, 0, "nobody was made to look");
        assert!(side.take(1, How::Reject, Duration::ZERO, now));
        // The nudged producer's own, and that of a consumer under the same name.
        side.show(Likely::Perhaps);
        side.show(Likely::Perhaps);
        assert_eq!(side.shown_since(&round), 1, "the other producer is still to look");
        assert!(side.take(2, How::Reject, Duration::ZERO, now));
        side.show(Likely::No);
        side.show(Likely::Perhaps);
        assert_eq!(side.shown_since(&round), 2);
        side.show(Likely::Yes);
        assert_eq!(side.shown, 3);
    }
}
