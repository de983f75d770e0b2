//! What all connections share.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::limits::Limits;
use super::metrics::SessionMetrics;
use crate::mend::directory::Directory;
use crate::mend::{Interests, Mender, Shared};
use crate::telemetry::history::{Counted, Totals};

pub struct Env {
    pub limits: ArcSwap<Limits>,
    pub interests: ArcSwap<Interests>,
    pub menders: Vec<Arc<dyn Mender>>,
    pub shared: Arc<Shared>,
    pub directory: Arc<dyn Directory>,
    pub metrics: SessionMetrics,
}

impl Counted for Env {
    fn totals(&self) -> Totals {
        self.metrics.totals()
    }
}

/// The parts of an [`Env`] that are configured anew.
pub(super) struct InterestsOf(pub Arc<Env>);
pub(super) struct LimitsOf(pub Arc<Env>);

impl Deref for InterestsOf {
    type Target = ArcSwap<Interests>;

    fn deref(&self) -> &Self::Target {
        &self.0.interests
    }
}

impl Deref for LimitsOf {
    type Target = ArcSwap<Limits>;

    fn deref(&self) -> &Self::Target {
        &self.0.limits
    }
}
