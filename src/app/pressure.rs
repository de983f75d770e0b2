//! Memory that runs out: seen each second, before the system ends the process for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::{IntGauge, Registry};

use super::resources::{Ceilings, Taken};
use crate::footprint;
use crate::listen::Shared as ListenShared;
use crate::session::limits::Budget;
use crate::session::shed;
use crate::telemetry::metrics::Single;

/// How often it is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// Memory that has been given back stays with the allocator, and what it serves from there makes the
/// process no larger: with less than this part of the budget held there is room for newcomers.
const RELIEVED: u64 = 2;

/// What is watched.
pub(super) struct Pressure {
    memory: Arc<Budget>,
    ceilings: Ceilings,
    held: IntGauge,
    limit: IntGauge,
    overloaded: IntGauge,
    crest: Crest,
}

/// The most that was held since memory was given back to the system.
#[derive(Debug, Default)]
struct Crest(u64);

impl Crest {
    /// Less than this is not worth a walk over the heap.
    const WORTH: u64 = 4 << 20;

    /// Whether a crowd has gone: most of what was held is not held any more.
    fn has_passed(&mut self, held: u64) -> bool {
        self.0 = self.0.max(held);
        let passed = self.0 - held >= Self::WORTH.max(self.0 / 2);
        if passed {
            self.0 = held;
        }
        passed
    }
}

/// How memory stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stand {
    /// Newcomers are refused.
    overloaded: bool,
    /// What should be given back.
    excess: u64,
}

impl Pressure {
    pub fn new(memory: Arc<Budget>, registry: &Registry) -> Pressure {
        let limit = Single::gauge(registry, "memory_limit_bytes", "The limit of held bytes (limits.memory).");
        limit.set(memory.limit() as i64);
        Pressure {
            memory,
            limit,
            crest: Crest::default(),
            ceilings: Ceilings::now(),
            held: Single::gauge(registry, "memory_held_bytes", "Bytes that connections hold (limits.memory)."),
            overloaded: Single::gauge(
                registry,
                "overloaded",
                "1 while memory is short: new clients are refused, and connections that stand still are cut.",
            ),
        }
    }

    /// Looks, each second, for as long as the process runs; tells what happened too often as well.
    pub async fn run(mut self, listen: Arc<ListenShared>) {
        loop {
            tokio::time::sleep(PERIOD).await;
            let now = Instant::now();
            self.look(now);
            listen.teller.tick(now);
        }
    }

    fn look(&mut self, now: Instant) {
        if self.crest.has_passed(self.memory.held()) {
            footprint::give_back();
        }
        let taken = Taken::now().unwrap_or_default();
        let was = self.memory.is_overloaded();
        let Stand { overloaded, excess } = stand(&self.memory, self.ceilings, taken, was);
        self.memory.set_overloaded(overloaded);
        self.held.set(self.memory.held() as i64);
        self.limit.set(self.memory.limit() as i64);
        self.overloaded.set(i64::from(overloaded));
        let (held, limit) = (self.memory.held(), self.memory.limit());
        if overloaded && !was {
            tracing::warn!(
                held,
                limit,
                resident = taken.resident,
                "memory is short: new clients are refused, and connections that stand still are cut"
            );
        }
        if !overloaded && was {
            tracing::info!(held, limit, resident = taken.resident, "there is memory again: clients are let in");
        }
        // What must be held whole and finds no room waits, and is a reason to make some.
        let denied = self.memory.take_denied();
        let excess = if denied { excess.max(held.saturating_sub(self.memory.low())) } else { excess };
        if overloaded || denied {
            let cut = shed::cut(&self.memory, excess, now);
            tracing::debug!(cut, excess, "connections were chosen to be cut");
        }
    }
}

fn stand(memory: &Budget, ceilings: Ceilings, taken: Taken, was: bool) -> Stand {
    let held = memory.held();
    // A high mark to begin at, a low one to end at.
    let over = |value: u64, high: u64, low: u64| (value > if was { low } else { high }, value.saturating_sub(low));
    let (of_budget, budget_excess) = over(held, memory.high(), memory.low());
    let real = [(taken.resident, ceilings.resident), (taken.address_space, ceilings.address_space)];
    let of_system = real.iter().filter_map(|(taken, ceiling)| Some((*taken, (*ceiling)?)));
    let of_system = of_system.map(|(taken, ceiling)| over(taken, ceiling / 100 * 92, ceiling / 100 * 85));
    let (of_system, system_excess) =
        of_system.filter(|(is, _)| *is).fold((false, 0), |(_, most), (_, excess)| (true, most.max(excess)));
    let of_system = of_system && held >= memory.limit() / RELIEVED;
    let system_excess = if of_system { system_excess } else { 0 };
    Stand { overloaded: of_budget || of_system, excess: budget_excess.max(system_excess) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(held: u64, resident: u64, was: bool) -> (bool, u64) {
        let memory = Budget::new(100 * MIB);
        let _held = memory.reserve((held * MIB) as usize).unwrap();
        let ceilings = Ceilings { resident: Some(200 * MIB), ..Ceilings::default() };
        let taken = Taken { resident: resident * MIB, address_space: 1 << 40 };
        let stand = stand(&memory, ceilings, taken, was);
        (stand.overloaded, stand.excess.div_ceil(MIB))
    }

    #[test]
    fn a_crowd_that_has_gone_is_noticed_once() {
        let mut crest = Crest::default();
        let seen = [1, 100, 60, 49, 49, 48, 30, 20, 3, 2, 0].map(|held| crest.has_passed(held * MIB));
        assert_eq!(seen, [false, false, false, true, false, false, false, true, true, false, false]);
    }

    #[test]
    fn of_the_budget() {
        assert!(!at(90, 100, false).0);
        assert_eq!(at(95, 100, false), (true, 15));
        // It ends lower than it began.
        assert_eq!(at(90, 100, true), (true, 10));
        assert!(!at(79, 100, true).0);
    }

    #[test]
    fn of_the_system() {
        assert!(!at(60, 180, false).0);
        assert_eq!(at(60, 190, false), (true, 20));
        assert_eq!(at(60, 180, true), (true, 10));
        // What is not held by connections is not theirs to give back.
        assert_eq!(at(40, 190, true), (false, 0));
    }
}
