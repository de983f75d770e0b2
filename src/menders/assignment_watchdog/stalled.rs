//! Members that live and do nothing (rule D4). Only reported.

use std::time::{Duration, Instant};

use super::held::Tracked;
use super::metrics::Outcome;
use super::watch::{Case, Court};
use crate::config::assignment_watchdog::StalledScope;
use crate::config::model::Mode;
use crate::mend::progress::LastCommit;
use crate::mend::{Member, Reason, Stalled};

/// A client that went on fetching for so long after its commit was refused was not stopped by that.
const STOPS_WITHIN: Duration = Duration::from_secs(600);

/// How long an app may be busy with what it has fetched, by its own word: clients that watch over their
/// app (Java, librdkafka, kafka-python) put `max.poll.interval.ms` into the rebalance timeout, and leave
/// the group when it is over. Others have no more there than their session timeout, or a minute.
fn may_be_busy(member: &Member) -> Duration {
    Some(member.rebalance_timeout).filter(|timeout| *timeout > member.session_timeout).unwrap_or_default()
}

/// Errors of a commit after which clients simply try again.
fn is_retried(error: i16) -> bool {
    // Request timed out, coordinator loading, not available, not the coordinator.
    matches!(error, 7 | 14 | 15 | 16)
}

/// Errors of a Fetch that clients deal with by themselves, by asking for metadata or for a new session.
pub fn is_passing(error: i16) -> bool {
    matches!(error, 0 | 3 | 5 | 6 | 7 | 8 | 9 | 13 | 19 | 56 | 70 | 71 | 72 | 74..=78 | 100 | 106)
}

/// Since when the client has done nothing for this group, and what it may have stopped at.
fn quiet(court: &Court<'_, '_>, case: &Case<'_>, refused: Option<(i16, Instant)>) -> (Instant, Reason) {
    let progress = &court.cx.shared.progress;
    let client = &case.member.client;
    let fetched = progress.fetched_at(client);
    let commit = progress.last_commit(client, case.group);
    // Who has just been refused had done something.
    let committed = commit.map(|c| c.at);
    let since =
        [fetched, committed].into_iter().flatten().chain([case.member.since]).max().unwrap_or(case.member.since);
    // Nobody stops at what it does not hear of.
    let stops = |c: &LastCommit| c.error != 0 && !c.hidden && !is_retried(c.error) && since < c.at + STOPS_WITHIN;
    let reason = match (commit.filter(stops), refused) {
        (Some(commit), _) => Reason::CommitRefused(commit.error),
        (_, Some((error, at))) if fetched.is_none_or(|f| at >= f) => Reason::FetchRefused(error),
        _ => Reason::Quiet,
    };
    (since, reason)
}

fn applies(court: &Court<'_, '_>, case: &Case<'_>, reason: Reason) -> bool {
    let mode = court.rules.modes.mode("", &case.member.client.client_id, Some(case.group));
    mode != Mode::Off && (reason != Reason::Quiet || court.rules.stalled_scope == StalledScope::Any)
}

fn patience(court: &Court<'_, '_>, case: &Case<'_>) -> Duration {
    court.rules.stalled_after.max(may_be_busy(case.member))
}

/// It may be found stalled soon: log ends are asked for.
pub fn is_near(court: &Court<'_, '_>, case: &Case<'_>, tracked: &Tracked) -> bool {
    let (since, reason) = quiet(court, case, tracked.refused);
    since + patience(court, case) / 2 <= court.cx.now && applies(court, case, reason)
}

/// How many records of its partitions the member has not committed, as far as it is known.
fn lag(court: &Court<'_, '_>, case: &Case<'_>, tracked: &Tracked) -> i64 {
    let progress = &court.cx.shared.progress;
    let lags = tracked.held.iter().map(|(place, held)| {
        let seen = progress.read_of(&case.member.client, place).map(|r| r.high_watermark);
        let end = seen.into_iter().chain(held.end.map(|(_, end)| end)).max().unwrap_or(-1);
        let committed = progress.committed_of(case.group, place).map(|c| c.offset).filter(|c| *c >= 0);
        committed.or(held.began).map_or(0, |from| end.max(0).saturating_sub(from.max(0)).max(0))
    });
    lags.fold(0, i64::saturating_add)
}

pub fn look(court: &Court<'_, '_>, case: &Case<'_>, tracked: &Tracked) -> Option<Stalled> {
    let now = court.cx.now;
    let (since, reason) = quiet(court, case, tracked.refused);
    let is_quiet = since + patience(court, case) <= now && case.member.is_alive(now);
    // Who waits for its assignment can do nothing; from then on it is looked at anew.
    if !is_quiet || court.cx.shared.groups.is_joining(case.group) || !applies(court, case, reason) {
        return None;
    }
    let lag = lag(court, case, tracked);
    (lag > 0).then_some(Stalled { reason, since, lag })
}

/// Says that it has begun, and that it is over.
pub fn say(court: &Court<'_, '_>, case: &Case<'_>, tracked: &mut Tracked, stalled: Option<&Stalled>) {
    match stalled {
        Some(stalled) if !tracked.stalled => {
            tracked.stalled = true;
            court.metrics.repair(Outcome::Stalled);
            let quiet = court.cx.now.saturating_duration_since(stalled.since).as_secs();
            tracing::warn!(group = %case.group, member = %case.id, client_id = %case.member.client.client_id,
                reason = ?stalled.reason, lag = stalled.lag, seconds = quiet,
                "a consumer is stalled: it lives and does nothing");
        }
        None if tracked.stalled => {
            tracked.stalled = false;
            tracing::info!(group = %case.group, member = %case.id, client_id = %case.member.client.client_id,
                "a stalled consumer goes on");
        }
        _ => {}
    }
}
