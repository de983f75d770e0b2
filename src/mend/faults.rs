//! Known faults of client software, by version: what a person should know who looks at a client that has one.
//!
//! Only what was seen on a real cluster (docs/matrix.md); each says which mender is for it.

use serde::Serialize;

use super::software::Software;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub what: &'static str,
    /// The first version without it; `None`: none is known.
    pub fixed_in: Option<&'static str>,
    /// As in `menders.<name>`.
    pub mender: Option<&'static str>,
}

const LATE: Fault = Fault {
    what: "sees added partitions only after 5 minutes (its metadata refresh)",
    fixed_in: None,
    mender: Some("partition_discovery"),
};
const LATER: Fault = Fault { what: "sees added partitions only after 10 minutes (its metadata refresh)", ..LATE };
const COMMIT_ENDS_IT: Fault = Fault {
    what: "an app that does not catch it dies of a commit that a rebalance refuses",
    fixed_in: None,
    mender: Some("commit_buffer"),
};
const COMMIT_IS_LOST: Fault =
    Fault { what: "reports a commit that a rebalance refuses only on Errors(): it is lost", ..COMMIT_ENDS_IT };
const DIES: Fault = Fault {
    what: "an evicted offset ends it, or it jumps, by auto.offset.reset",
    fixed_in: None,
    mender: Some("offset_reset"),
};
const FALLS_SILENT: Fault =
    Fault { what: "an evicted offset silences it for good, or it jumps, by auto.offset.reset", ..DIES };
const STORMS: Fault =
    Fault { what: "a committed offset that was evicted makes it rejoin without end, and consume nothing", ..DIES };
const REPEATS: Fault =
    Fault { what: "an evicted offset is an error at each poll, or it jumps, by its reset offset", ..DIES };
const JUMPS: Fault = Fault { what: "jumps to the end from an evicted offset, unless fromBeginning", ..DIES };
const LOSES_PARTITIONS: Fault = Fault {
    what: "loses partitions when its group changes from an eager to a cooperative protocol",
    fixed_in: Some("1.17.0"),
    mender: Some("assignment_watchdog"),
};

/// What is known of a software in a version, as it announces that; the gravest first.
pub fn known(software: Software, version: Option<&str>) -> Vec<Fault> {
    let all: &[Fault] = match software {
        Software::FranzGo => &[LOSES_PARTITIONS, REPEATS, COMMIT_ENDS_IT, LATE],
        Software::Sarama => &[STORMS, COMMIT_IS_LOST, LATER],
        Software::Librdkafka => &[FALLS_SILENT, COMMIT_ENDS_IT, LATE],
        Software::Java | Software::Aiokafka | Software::KafkaPython => &[DIES, COMMIT_ENDS_IT, LATE],
        Software::Kafkajs => &[JUMPS, COMMIT_ENDS_IT, LATE],
    };
    all.iter().filter(|fault| fault.fixed_in.is_none_or(|fixed| is_before(version, fixed))).copied().collect()
}

/// Whether a version is known, and older than `fixed`.
fn is_before(version: Option<&str>, fixed: &str) -> bool {
    let Some(version) = version.and_then(numbers) else {
        return false;
    };
    numbers(fixed).is_some_and(|fixed| version < fixed)
}

/// `v1.16.1-rc1` is 1, 16, 1.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut parts = version.trim_start_matches('v').split(['.', '-', '+']).map(|part| part.parse::<u32>());
    let mut next = || parts.next().and_then(Result::ok);
    Some([next()?, next().unwrap_or(0), next().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fixed_is_not_told() {
        let has = |version| known(Software::FranzGo, version).contains(&LOSES_PARTITIONS);
        for old in ["1.16.1", "v1.16.1", "1.9", "0.11.0"] {
            assert!(has(Some(old)), "{old}");
        }
        for new in [Some("1.17.0"), Some("v1.17.1"), Some("1.22.2"), Some("2"), Some("unknown"), None] {
            assert!(!has(new), "{new:?}");
        }
    }

    #[test]
    fn every_software_has_its_own() {
        assert!(known(Software::Sarama, None).contains(&STORMS));
        assert!(!known(Software::Java, Some("4.4.0")).contains(&STORMS));
    }
}
