//! What applies to a group, a client and a topic (rules D2, M5, M6).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Config;
use crate::config::assignment_watchdog::{StalledScope, WatchdogScope};
use crate::config::model::ModeRule;
use crate::mend::modes::Modes;
use crate::mend::pattern::Patterns;

pub struct Rules {
    pub modes: Modes,
    scopes: Patterns<WatchdogScope>,
    scope: WatchdogScope,
    pub after: Duration,
    pub stalled_after: Duration,
    pub stalled_scope: StalledScope,
}

impl Rules {
    pub fn new(config: &Config) -> Rules {
        let config = &config.menders.assignment_watchdog;
        let mut modes = BTreeMap::new();
        let mut scopes = BTreeMap::new();
        for (pattern, rule) in &config.groups {
            // A group's most specific pattern decides, also where it sets only the other key.
            modes.insert(pattern.clone(), ModeRule { mode: rule.mode.unwrap_or(config.mode) });
            scopes.insert(pattern.clone(), rule.scope.unwrap_or(config.scope));
        }
        Rules {
            modes: Modes::new(config.mode, &config.topics, &modes, &config.clients),
            scopes: Patterns::new(&scopes),
            scope: config.scope,
            after: config.after.into(),
            stalled_after: config.stalled_after.into(),
            stalled_scope: config.stalled_scope,
        }
    }

    pub fn scope(&self, group: &str) -> WatchdogScope {
        self.scopes.find(group).copied().unwrap_or(self.scope)
    }
}
