//! What applies to a topic, a client and a group (rules M4, M5, M6).

use crate::config::model::{Mode, OffsetReset, ResetPolicy, TopicRule};
use crate::mend::pattern::Patterns;

#[derive(Debug)]
pub struct Rules {
    mode: Mode,
    policy: ResetPolicy,
    topics: Patterns<(Option<Mode>, Option<ResetPolicy>)>,
    groups: Patterns<Mode>,
    clients: Patterns<Mode>,
    off: bool,
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
        let topics = config.topics.iter().map(|(pattern, rule)| {
            let rule = match rule {
                TopicRule::Policy(policy) => (None, Some(*policy)),
                TopicRule::Full(full) => (full.mode, full.policy),
            };
            (pattern.clone(), rule)
        });
        let modes = |rules: &std::collections::BTreeMap<String, crate::config::model::ModeRule>| {
            Patterns::new(&rules.iter().map(|(k, v)| (k.clone(), v.mode)).collect())
        };
        let topics = topics.collect();
        let on = |mode: Mode| mode != Mode::Off;
        let any = on(config.mode)
            || config.groups.values().chain(config.clients.values()).any(|r| on(r.mode))
            || config.topics.values().any(|r| matches!(r, TopicRule::Full(f) if f.mode.is_some_and(on)));
        Rules {
            mode: config.mode,
            policy: config.policy,
            topics: Patterns::new(&topics),
            groups: modes(&config.groups),
            clients: modes(&config.clients),
            off: !any,
        }
    }

    /// Nothing is looked at at all.
    pub fn is_off(&self) -> bool {
        self.off
    }

    /// The most specific mode wins: the client's, then the group's, then the topic's, then the mender's.
    pub fn rule(&self, topic: &str, client_id: &str, group: Option<&str>) -> Rule {
        let of_topic = self.topics.find(topic);
        let explicit = of_topic.and_then(|(_, policy)| *policy);
        let mode = self
            .clients
            .find(client_id)
            .or_else(|| group.and_then(|g| self.groups.find(g)))
            .copied()
            .or_else(|| of_topic.and_then(|(mode, _)| *mode))
            .unwrap_or(self.mode);
        let mode = if is_exempt(topic, client_id) { Mode::Off } else { mode };
        Rule { mode, policy: explicit.unwrap_or(self.policy), explicit: explicit.is_some() }
    }
}

/// Internal topics, and what Kafka Streams must see for itself: it wipes its state on this error.
fn is_exempt(topic: &str, client_id: &str) -> bool {
    topic.starts_with("__")
        || topic.ends_with("-changelog")
        || client_id.ends_with("-restore-consumer")
        || client_id.ends_with("-global-consumer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{FullTopicRule, ModeRule};

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
