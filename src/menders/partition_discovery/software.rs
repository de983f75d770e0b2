//! What makes each client software look at its metadata (rule B2), as measured with real clients.
//!
//! Software that is not here is observed only.

use std::time::Duration;

use crate::mend::Conn;
use crate::wire::api::ApiKey;

/// A way to make a client refresh its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// A connection on which nothing is on its way is closed.
    Close,
    /// A Produce request is answered with NOT_LEADER_OR_FOLLOWER and not forwarded.
    Reject,
    /// A Fetch request is answered here: one partition with NOT_LEADER_OR_FOLLOWER, the rest empty.
    Fetch,
    /// A Heartbeat that the broker accepted is answered with REBALANCE_IN_PROGRESS.
    Heartbeat,
}

impl How {
    pub fn label(self) -> &'static str {
        match self {
            How::Close => "close",
            How::Reject => "reject",
            How::Fetch => "fetch",
            How::Heartbeat => "heartbeat",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Habits {
    /// In the order in which they are tried. Where the first may be used, the second waits for it.
    pub producer: &'static [How],
    pub consumer: &'static [How],
    /// Losing any connection makes it look, also one that carries no records.
    pub any_close: bool,
    /// Its producers are not idempotent, and a closed connection does not make them look: a
    /// request is refused only where nothing else is on its way (rule B3).
    pub refuse_alone: bool,
    /// How long a nudge may take to show.
    pub patience: Duration,
}

impl Habits {
    /// Its consumers compute a new assignment because they are told to rejoin, and not because they
    /// see new partitions.
    pub fn rejoins_by_heartbeat(&self) -> bool {
        self.consumer.first() == Some(&How::Heartbeat)
    }
}

const PATIENCE: Duration = Duration::from_secs(4);

const JAVA: Habits = Habits {
    producer: &[How::Close, How::Reject],
    consumer: &[How::Fetch, How::Close],
    any_close: true,
    refuse_alone: false,
    patience: PATIENCE,
};

const LIBRDKAFKA: Habits = Habits {
    producer: &[How::Close, How::Reject],
    consumer: &[How::Heartbeat],
    any_close: false,
    refuse_alone: false,
    patience: PATIENCE,
};

/// After a refused request it looks at once, or 5 s after the last time (MetadataMinAge). It finds a
/// closed connection only when it sends the next time, and looks then unless it has done so lately.
const FRANZ_GO: Habits = Habits {
    producer: &[How::Reject, How::Close],
    consumer: &[How::Fetch],
    any_close: false,
    refuse_alone: false,
    patience: Duration::from_secs(7),
};

const SARAMA: Habits = Habits {
    producer: &[How::Close, How::Reject],
    consumer: &[How::Heartbeat],
    any_close: false,
    refuse_alone: false,
    patience: PATIENCE,
};

const AIOKAFKA: Habits = Habits {
    producer: &[How::Close, How::Reject],
    consumer: &[How::Fetch, How::Close],
    any_close: true,
    refuse_alone: false,
    patience: PATIENCE,
};

const KAFKA_PYTHON: Habits = Habits {
    producer: &[How::Close, How::Reject],
    consumer: &[How::Fetch, How::Heartbeat],
    any_close: true,
    refuse_alone: false,
    patience: PATIENCE,
};

const KAFKAJS: Habits = Habits {
    producer: &[How::Reject],
    consumer: &[How::Fetch, How::Heartbeat],
    any_close: false,
    refuse_alone: true,
    patience: PATIENCE,
};

/// The newest version of each API that a client has used, over its connections: what tells those
/// apart that announce no software (ApiVersions below 3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fingerprint {
    api_versions: Option<i16>,
    metadata: Option<i16>,
    produce: Option<i16>,
    fetch: Option<i16>,
    join: Option<i16>,
}

impl Fingerprint {
    pub fn see(&mut self, conn: &Conn) {
        self.api_versions = self.api_versions.max(conn.used(ApiKey::API_VERSIONS));
        self.metadata = self.metadata.max(conn.used(ApiKey::METADATA));
        self.produce = self.produce.max(conn.used(ApiKey::PRODUCE));
        self.fetch = self.fetch.max(conn.used(ApiKey::FETCH));
        self.join = self.join.max(conn.used(ApiKey::JOIN_GROUP));
    }
}

/// The habits of the software that calls itself `name` in ApiVersions, or of what looks like it.
pub fn habits(name: Option<&str>, looks: &Fingerprint) -> Option<&'static Habits> {
    let Some(name) = name else {
        return by_looks(looks);
    };
    // librdkafka's bindings put their own names before or behind it.
    let known = [
        ("apache-kafka-java", &JAVA),
        ("librdkafka", &LIBRDKAFKA),
        ("confluent-kafka-", &LIBRDKAFKA),
        ("node-rdkafka", &LIBRDKAFKA),
        ("kgo", &FRANZ_GO),
        ("franz-go", &FRANZ_GO),
        ("sarama", &SARAMA),
        ("kafka-python", &KAFKA_PYTHON),
        ("aiokafka", &AIOKAFKA),
        ("kafkajs", &KAFKAJS),
    ];
    known.into_iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, habits)| habits)
}

/// What kafkajs 2.x and aiokafka 0.1x send, and nobody else that was measured.
fn by_looks(looks: &Fingerprint) -> Option<&'static Habits> {
    let only = |seen: Option<i16>, version: i16| seen.is_none_or(|v| v == version);
    if !only(looks.produce, 7) || !only(looks.fetch, 11) || !only(looks.join, 5) {
        return None;
    }
    match (looks.api_versions, looks.metadata) {
        (Some(2), Some(6)) => Some(&KAFKAJS),
        (Some(0), Some(5)) => Some(&AIOKAFKA),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_software_by_name_or_by_its_looks() {
        let none = Fingerprint::default();
        let named = |name| habits(Some(name), &none);
        assert_eq!(named("apache-kafka-java"), Some(&JAVA));
        assert_eq!(named("confluent-kafka-python"), Some(&LIBRDKAFKA));
        assert_eq!(named("something-else"), None);
        let looks = |api_versions, metadata, produce| Fingerprint {
            api_versions: Some(api_versions),
            metadata: Some(metadata),
            produce,
            ..none
        };
        assert_eq!(habits(None, &looks(2, 6, None)), Some(&KAFKAJS));
        assert_eq!(habits(None, &looks(0, 5, Some(7))), Some(&AIOKAFKA));
        assert_eq!(habits(None, &looks(0, 5, Some(3))), None);
        assert_eq!(habits(None, &none), None);
    }
}
