//! Whether kmend is ready: named checks that their owners set.

use std::sync::atomic::{AtomicU8, Ordering};

/// What must be up before a pod's traffic may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    Configuration,
    Listeners,
    Journal,
    /// Counts only with `admin.ready_requires_upstream: true`.
    Upstream,
}

impl Check {
    pub const ALL: [Self; 4] = [Self::Configuration, Self::Listeners, Self::Journal, Self::Upstream];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Listeners => "listeners",
            Self::Journal => "journal",
            Self::Upstream => "upstream",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Configuration => 1,
            Self::Listeners => 2,
            Self::Journal => 4,
            Self::Upstream => 8,
        }
    }
}

/// The checks' states. All start as not ready.
#[derive(Debug, Default)]
pub struct Readiness {
    up: AtomicU8,
}

impl Readiness {
    pub fn set(&self, check: Check, up: bool) {
        if up {
            self.up.fetch_or(check.bit(), Ordering::Relaxed);
        } else {
            self.up.fetch_and(!check.bit(), Ordering::Relaxed);
        }
    }

    pub fn is_up(&self, check: Check) -> bool {
        self.up.load(Ordering::Relaxed) & check.bit() != 0
    }

    /// Ready as a whole.
    pub fn is_ready(&self, requires_upstream: bool) -> bool {
        Check::ALL
            .into_iter()
            .filter(|check| requires_upstream || *check != Check::Upstream)
            .all(|check| self.is_up(check))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstream_counts_only_where_asked_for() {
        let readiness = Readiness::default();
        for check in [Check::Configuration, Check::Listeners, Check::Journal] {
            assert!(!readiness.is_ready(false));
            readiness.set(check, true);
        }
        assert!(readiness.is_ready(false));
        assert!(!readiness.is_ready(true));
        readiness.set(Check::Upstream, true);
        assert!(readiness.is_ready(true));
        readiness.set(Check::Listeners, false);
        assert!(!readiness.is_ready(false));
    }
}
