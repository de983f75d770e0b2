//! The menders of one connection, in their order.
//!
//! A mender that panics is caught, counted and bypassed for the rest of that connection; the
//! connection lives on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::{ConnMender, Cx, Effect, FetchTable, Mender, Shared, Topics, Verdict};
use crate::mend::conn::Conn;
use crate::mend::interest::Readers;

struct Link {
    name: &'static str,
    mender: Option<Box<dyn ConnMender>>,
}

pub struct Chain {
    links: Vec<Link>,
    effects: Vec<Effect>,
    panicked: Vec<&'static str>,
}

/// What a call into the chain is told besides its own arguments.
pub struct Around<'a> {
    pub now: Instant,
    pub conn: &'a Conn,
    pub topics: &'a Topics,
    pub fetch: &'a FetchTable,
    pub shared: &'a Shared,
    pub quiet: Option<Instant>,
}

impl Chain {
    pub fn new(menders: &[Arc<dyn Mender>]) -> Chain {
        let links = menders.iter().map(|m| Link { name: m.name(), mender: Some(m.connect()) }).collect();
        Chain { links, effects: Vec::new(), panicked: Vec::new() }
    }

    /// Calls one mender.
    pub fn one<R>(
        &mut self,
        around: &Around<'_>,
        index: usize,
        call: impl FnOnce(&mut dyn ConnMender, &mut Cx<'_>) -> R,
    ) -> Option<R> {
        let link = self.links.get_mut(index)?;
        let mender = link.mender.as_mut()?;
        let Around { now, conn, topics, fetch, shared, quiet } = *around;
        let mut cx = Cx { now, conn, topics, fetch, shared, quiet, effects: &mut self.effects, mender: index };
        // The mender is dropped when it panics, so that nobody meets what it left behind.
        match catch_unwind(AssertUnwindSafe(|| call(mender.as_mut(), &mut cx))) {
            Ok(result) => Some(result),
            Err(_) => {
                link.mender = None;
                self.panicked.push(link.name);
                None
            }
        }
    }

    /// Calls every mender.
    pub fn all(&mut self, around: &Around<'_>, call: impl FnMut(&mut dyn ConnMender, &mut Cx<'_>)) {
        self.some(around, Readers::ALL, call);
    }

    /// Calls some of the menders.
    pub fn some(&mut self, around: &Around<'_>, who: Readers, mut call: impl FnMut(&mut dyn ConnMender, &mut Cx<'_>)) {
        for index in (0..self.links.len()).filter(|index| who.has(*index)) {
            self.one(around, index, |m, cx| call(m, cx));
        }
    }

    /// Calls menders until one wants something else than [`Verdict::Pass`].
    pub fn verdict(
        &mut self,
        around: &Around<'_>,
        who: Readers,
        mut call: impl FnMut(&mut dyn ConnMender, &mut Cx<'_>) -> Verdict,
    ) -> Verdict {
        for index in (0..self.links.len()).filter(|index| who.has(*index)) {
            match self.one(around, index, |m, cx| call(m, cx)) {
                None | Some(Verdict::Pass) => {}
                Some(verdict) => return verdict,
            }
        }
        Verdict::Pass
    }

    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Names of menders that panicked since the last call.
    pub fn take_panicked(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.panicked)
    }
}
