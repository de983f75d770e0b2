//! Makes a plan that breaks a rule smaller, as long as it breaks the same rule.

use super::SECOND;
use super::menders::Make;
use super::plan::Plan;
use super::tests::set;
use super::world::{Demand, Outcome, run};

/// Runs that may be spent on it; `KMEND_PATIENCE` says otherwise.
const PATIENCE: u64 = 400;

pub struct Shrinker<'a> {
    make: Make<'a>,
    demand: Demand,
    rule: &'static str,
    runs: u64,
    most: u64,
}

impl Shrinker<'_> {
    fn breaks(&mut self, plan: &Plan) -> bool {
        self.runs += 1;
        self.runs <= self.most
            && run(plan, self.make, self.demand, false).violation.is_some_and(|v| v.rule == self.rule)
    }

    /// Leaves out chunks of faults, from half of them down to single ones (ddmin).
    fn fewer_faults(&mut self, plan: &mut Plan) {
        let mut chunk = plan.faults.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            while at < plan.faults.len() {
                let mut less = plan.clone();
                less.faults.drain(at..(at + chunk).min(plan.faults.len()));
                if self.breaks(&less) {
                    *plan = less;
                } else {
                    at += chunk;
                }
            }
            if chunk == 1 {
                return;
            }
            chunk = chunk.div_ceil(2);
        }
    }

    fn fewer_members(&mut self, plan: &mut Plan) {
        for member in 0..plan.members.len() {
            let mut less = plan.clone();
            if less.members[member].take().is_some() && self.breaks(&less) {
                *plan = less;
            }
        }
        for writer in 0..plan.writers.len() {
            let mut less = plan.clone();
            if less.writers[writer].take().is_some() && self.breaks(&less) {
                *plan = less;
            }
        }
    }

    fn simpler(&mut self, plan: &mut Plan) {
        let mut less = plan.clone();
        less.calm = true;
        if self.breaks(&less) {
            *plan = less;
        }
        // Nothing that comes after it matters.
        while plan.faults_end > 2 * SECOND {
            let mut less = plan.clone();
            less.faults_end -= SECOND;
            less.end -= SECOND;
            less.faults.retain(|(at, _)| *at < less.faults_end);
            if !self.breaks(&less) {
                break;
            }
            *plan = less;
        }
    }
}

fn size(plan: &Plan) -> (usize, usize, usize) {
    (plan.faults.len(), plan.members.iter().flatten().count(), plan.writers.iter().flatten().count())
}

/// The smallest plan that was found, and its run, told.
pub fn shrink(plan: &Plan, rule: &'static str, make: Make<'_>, demand: Demand) -> (Plan, Outcome) {
    let mut plan = plan.clone();
    let mut shrinker = Shrinker { make, demand, rule, runs: 0, most: set("KMEND_PATIENCE").unwrap_or(PATIENCE) };
    loop {
        let before = size(&plan);
        shrinker.fewer_faults(&mut plan);
        shrinker.fewer_members(&mut plan);
        shrinker.simpler(&mut plan);
        if before == size(&plan) || shrinker.runs > shrinker.most {
            break;
        }
    }
    let outcome = run(&plan, make, demand, true);
    (plan, outcome)
}
