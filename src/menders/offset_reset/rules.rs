//! What applies to a topic, a client and a group (rules M4, M5, M6).

use std::collections::BTreeMap;

use crate::config::model::{Mode, ModeRule, OffsetReset, ResetPolicy, TopicRule};
use crate::mend::modes::Modes;
use crate::mend::pattern::Patterns;

#[derive(Debug)]
pub struct Rules {
    modes: Modes,
    policy: ResetPolicy,
    policies: Patterns<Option<ResetPolicy>>,
}

/// What applies to one partition of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub mode: Mode,
    pub policy: ResetPolicy,
    /// A policy was set for this topic: only then is a position above the log end steered (A1).
    pub explicit: bool,
}

impl Rules {
    pub fn new(config: &OffsetReset) -> Rules {
        let mut modes = BTreeMap::new();
        let mut policies = BTreeMap::new();
        for (pattern, rule) in &config.topics {
            let (mode, policy) = match rule {
                TopicRule::Policy(policy) => (None, Some(*policy)),
                TopicRule::Full(full) => (full.mode, full.policy),
            };
            // A topic's most specific pattern decides, also where it sets only the policy.
            modes.insert(pattern.clone(), ModeRule { mode: mode.unwrap_or(config.mode) });
            policies.insert(pattern.clone(), policy);
        }
        Rules {
            modes: Modes::new(config.mode, &modes, &config.groups, &config.clients),
            policy: config.policy,
            policies: Patterns::new(&policies),
        }
    }

    /// Nothing is looked at at all.
    pub fn is_off(&self) -> bool {
        self.modes.is_off()
    }

    pub fn rule(&self, topic: &str, client_id: &str, group: Option<&str>) -> Rule {
        let explicit = self.policies.find(topic).copied().flatten();
        let mode = self.modes.mode(topic, client_id, group);
        Rule { mode, policy: explicit.unwrap_or(self.policy), explicit: explicit.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::FullTopicRule;

    #[test]
    fn the_most_specific_wins_and_streams_is_left_alone() {
        let mut config = OffsetReset { mode: Mode::Observe, ..OffsetReset::default() };
        config.topics.insert("audit*".into(), TopicRule::Policy(ResetPolicy::Latest));
        config.topics.insert("raw".into(), TopicRule::Full(FullTopicRule { mode: Some(Mode::Off), policy: None }));
        config.clients.insert("canary".into(), ModeRule { mode: Mode::Repair });
        let rules = Rules::new(&config);
        let rule = |topic, client| rules.rule(topic, client, None);
        assert_eq!(rule("orders", "app"), Rule { mode: Mode::Observe, policy: ResetPolicy::Earliest, explicit: false });
        assert_eq!(rule("audit-1", "canary"), Rule { mode: Mode::Repair, policy: ResetPolicy::Latest, explicit: true });
        assert_eq!(rule("raw", "app").mode, Mode::Off);
        for (topic, client) in [
            ("app-store-changelog", "canary"),
            ("__consumer_offsets", "canary"),
            ("t", "x-restore-consumer"),
            ("t", "x-global-consumer"),
        ] {
            assert_eq!(rule(topic, client).mode, Mode::Off);
        }
        assert!(!rules.is_off());
        assert!(Rules::new(&OffsetReset { mode: Mode::Off, ..OffsetReset::default() }).is_off());
    }
}
