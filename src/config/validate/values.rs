//! Values that are of the right type and still make no sense.

use globset::GlobBuilder;

use super::Findings;
use crate::config::model::Config;
use crate::config::provenance::join_key;
use crate::config::units::{Auto, ByteSize, Duration};
use crate::telemetry::logs;

/// Kafka's frame length is a signed 32-bit number.
const LONGEST_FRAME: ByteSize = ByteSize(i32::MAX as u64);

pub(super) fn check(config: &Config, findings: &mut Findings<'_>) {
    durations(config, findings);
    limits(config, findings);
    patterns(config, findings);
    if let Err(error) = logs::filter(&config.log.level) {
        let message = error.to_string();
        let message = message.strip_prefix("log.level: ").unwrap_or(&message);
        findings.add("log.level", message);
    }
}

fn durations(config: &Config, findings: &mut Findings<'_>) {
    let menders = &config.menders;
    let durations: [(&str, Duration); 9] = [
        ("upstream.connect_timeout", config.upstream.connect_timeout),
        ("limits.handshake_timeout", config.limits.handshake_timeout),
        ("limits.progress_timeout", config.limits.progress_timeout),
        ("limits.idle_timeout", config.limits.idle_timeout),
        ("menders.partition_discovery.interval", menders.partition_discovery.interval),
        ("menders.commit_buffer.max_age", menders.commit_buffer.max_age),
        ("menders.commit_buffer.write_behind.interval", menders.commit_buffer.write_behind.interval),
        ("menders.assignment_watchdog.after", menders.assignment_watchdog.after),
        ("menders.assignment_watchdog.stalled_after", menders.assignment_watchdog.stalled_after),
    ];
    // Not `shutdown`: zero is a choice there, do not wait.
    for (key, duration) in durations {
        if duration.is_zero() {
            findings.add(key, format!("{duration} is no time at all: expected more"));
        }
    }
}

fn limits(config: &Config, findings: &mut Findings<'_>) {
    let limits = &config.limits;
    if limits.max_connections == Auto::Set(0) {
        findings.add("limits.max_connections", "expected at least 1, or `auto`");
    }
    if limits.max_frame.0 == 0 || limits.max_frame > LONGEST_FRAME {
        findings.add("limits.max_frame", format!("{}: expected more than 0 and less than 2GiB", limits.max_frame));
    }
    // Below this not even a group's requests fit.
    let least = ByteSize::kib(64);
    if limits.max_whole_frame < least || limits.max_whole_frame > limits.max_frame {
        findings.add(
            "limits.max_whole_frame",
            format!(
                "{}: expected {least} or more, and at most limits.max_frame ({})",
                limits.max_whole_frame, limits.max_frame
            ),
        );
    }
    if let Auto::Set(memory) = limits.memory
        && memory < limits.max_whole_frame
    {
        findings.add(
            "limits.memory",
            format!("{memory}: expected at least limits.max_whole_frame ({})", limits.max_whole_frame),
        );
    }
}

fn patterns(config: &Config, findings: &mut Findings<'_>) {
    // The keys of maps with different values.
    macro_rules! check {
        ($($mender:ident),+) => {$({
            let rules = &config.menders.$mender;
            check_patterns(findings, stringify!($mender), "topics", rules.topics.keys());
            check_patterns(findings, stringify!($mender), "groups", rules.groups.keys());
            check_patterns(findings, stringify!($mender), "clients", rules.clients.keys());
        })+};
    }
    check!(offset_reset, partition_discovery, commit_buffer, assignment_watchdog);
}

fn check_patterns<'a>(
    findings: &mut Findings<'_>,
    mender: &str,
    map: &str,
    patterns: impl Iterator<Item = &'a String>,
) {
    for pattern in patterns {
        let path = ["menders", mender, map, pattern].map(str::to_owned);
        if pattern.is_empty() {
            findings.add(&join_key(&path), "an empty pattern matches nothing");
        } else if let Err(error) = GlobBuilder::new(pattern).build() {
            let message = format!("not a pattern: {} (`*` stands for any text)", error.kind());
            findings.add(&join_key(&path), message);
        }
    }
}
