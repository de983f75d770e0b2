//! What applies to a topic, a client and a group (rules C1, M5, M6).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Config;
use crate::config::commit_buffer::UnknownMember;
use crate::config::model::{Mode, ModeRule};
use crate::mend::modes::Modes;
use crate::mend::pattern::Patterns;
use crate::mend::{GroupKind, Member};

/// A rebalance timeout that nobody told.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Java's (`max.poll.interval.ms`), the longest default of a client.
const LONG_REBALANCE: Duration = Duration::from_secs(300);

pub struct Rules {
    pub modes: Modes,
    unknown: Patterns<Option<UnknownMember>>,
    max_age: Duration,
    /// `None`: commits are written through.
    pub write_behind: Option<Duration>,
    pub delivered: bool,
    /// Also for software whose fetch positions prove nothing.
    pub unmeasured: bool,
}

impl Rules {
    pub fn new(config: &Config) -> Rules {
        let config = &config.menders.commit_buffer;
        let mut modes = BTreeMap::new();
        let mut unknown = BTreeMap::new();
        for (pattern, rule) in &config.groups {
            // A group's most specific pattern decides, also where it sets only the other key.
            modes.insert(pattern.clone(), ModeRule { mode: rule.mode.unwrap_or(config.mode) });
            unknown.insert(pattern.clone(), rule.unknown_member);
        }
        Rules {
            modes: Modes::new(config.mode, &config.topics, &modes, &config.clients),
            unknown: Patterns::new(&unknown),
            max_age: config.max_age.into(),
            delivered: config.delivered.enabled,
            unmeasured: config.delivered.unmeasured,
            write_behind: config.write_behind.enabled.then(|| config.write_behind.interval.into()),
        }
    }

    /// UNKNOWN_MEMBER_ID reaches this group's clients.
    pub fn passes_unknown_member(&self, group: &str) -> bool {
        self.unknown.find(group).copied().flatten() == Some(UnknownMember::Pass)
    }

    /// How long a refused commit of this member is kept (rule C4).
    pub fn age(&self, member: &Member) -> Duration {
        self.max_age + self.rebalance_timeout(member)
    }

    pub fn rebalance_timeout(&self, member: &Member) -> Duration {
        Some(member.rebalance_timeout).filter(|t| !t.is_zero()).unwrap_or(REBALANCE_TIMEOUT)
    }

    /// The same for what an earlier run has left.
    pub fn patience(&self) -> Duration {
        self.max_age + LONG_REBALANCE
    }

    /// For a client and a group, before it is known which topics are meant.
    pub fn of_group(&self, client_id: &str, group: &str) -> Mode {
        self.modes.mode("", client_id, Some(group))
    }
}

/// A group of plain consumers. Connect and Streams need their errors (rule M5); where the kind is
/// not known, they pass.
pub fn is_consumer(member: &Member, vouched: bool) -> bool {
    match member.kind {
        GroupKind::Consumer => true,
        GroupKind::Classic if member.joined.protocol_type.is_empty() => vouched,
        GroupKind::Classic => member.joined.is_of_consumers(),
    }
}
