//! What makes each client software look at its metadata (rule B2), as measured with real clients.
//!
//! Software that is not here is observed only.

use std::time::Duration;

pub use crate::mend::software::Fingerprint;
use crate::mend::software::{Software, identify};

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

/// What is known of a client's software. `None`: it is observed only.
pub fn habits(name: Option<&str>, looks: &Fingerprint) -> Option<&'static Habits> {
    Some(match identify(name, looks)? {
        Software::Java => &JAVA,
        Software::Librdkafka => &LIBRDKAFKA,
        Software::FranzGo => &FRANZ_GO,
        Software::Sarama => &SARAMA,
        Software::Aiokafka => &AIOKAFKA,
        Software::KafkaPython => &KAFKA_PYTHON,
        Software::Kafkajs => &KAFKAJS,
    })
}
