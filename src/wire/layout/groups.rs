//! OffsetCommit, OffsetFetch, JoinGroup, SyncGroup, Heartbeat, LeaveGroup, ConsumerGroupHeartbeat.

use super::super::walk::Mark;
use super::build::Build;
use super::mark::*;

/// Partition: Index i32, CommittedOffset i64, CommittedLeaderEpoch i32 (6+).
pub(super) fn offset_commit_request(b: &mut Build, v: i16) {
    b.string(GROUP).fixed(GENERATION, 4).string(MEMBER);
    if v >= 7 {
        b.string(GROUP_INSTANCE);
    }
    if (2..=4).contains(&v) {
        b.skip(8);
    }
    b.array(TOPICS, |b| {
        if v >= 10 {
            b.fixed(TOPIC_ID, 16)
        } else {
            b.string(TOPIC)
        };
        b.array(PARTITIONS, |b| {
            b.fixed(PARTITION, if v >= 6 { 16 } else { 12 }).string(METADATA).tags();
        });
        b.tags();
    });
    b.tags();
}

/// Partition: Index i32, ErrorCode i16.
pub(super) fn offset_commit_response(b: &mut Build, v: i16) {
    if v >= 3 {
        b.skip(4);
    }
    b.array(TOPICS, |b| {
        if v >= 10 {
            b.fixed(TOPIC_ID, 16)
        } else {
            b.string(TOPIC)
        };
        b.array(PARTITIONS, |b| {
            b.fixed(PARTITION, 6).tags();
        });
        b.tags();
    });
    b.tags();
}

/// Partition: Index i32.
pub(super) fn offset_fetch_request(b: &mut Build, v: i16) {
    let topics = |b: &mut Build| {
        b.array(TOPICS, |b| {
            if v >= 10 {
                b.fixed(TOPIC_ID, 16)
            } else {
                b.string(TOPIC)
            };
            b.array(PARTITIONS, |b| {
                b.fixed(PARTITION, 4);
            });
            b.tags();
        });
    };
    if v >= 8 {
        b.array(Mark::NONE, |b| {
            b.string(GROUP);
            if v >= 9 {
                b.string(MEMBER).skip(4);
            }
            topics(b);
            b.tags();
        });
    } else {
        b.string(GROUP);
        topics(b);
    }
    if v >= 7 {
        b.skip(1);
    }
    b.tags();
}

/// Partition: Index i32, CommittedOffset i64, CommittedLeaderEpoch i32 (5+); then [`METADATA`] and
/// [`ERROR`]. Behind the topics (2+): [`GROUP_ERROR`].
pub(super) fn offset_fetch_response(b: &mut Build, v: i16) {
    let topics = |b: &mut Build| {
        b.array(TOPICS, |b| {
            if v >= 10 {
                b.fixed(TOPIC_ID, 16)
            } else {
                b.string(TOPIC)
            };
            b.array(PARTITIONS, |b| {
                b.fixed(PARTITION, if v >= 5 { 16 } else { 12 }).string(METADATA).fixed(ERROR, 2).tags();
            });
            b.tags();
        });
    };
    if v >= 3 {
        b.skip(4);
    }
    if v >= 8 {
        b.array(Mark::NONE, |b| {
            b.string(GROUP);
            topics(b);
            b.fixed(GROUP_ERROR, 2).tags();
        });
    } else {
        topics(b);
        if v >= 2 {
            b.fixed(GROUP_ERROR, 2);
        }
    }
    b.tags();
}

/// Each protocol with what the member tells its assignor ([`SUBSCRIPTION`]).
pub(super) fn join_group_request(b: &mut Build, v: i16) {
    b.string(GROUP).fixed(SESSION_TIMEOUT, 4);
    if v >= 1 {
        b.fixed(REBALANCE_TIMEOUT, 4);
    }
    b.string(MEMBER);
    if v >= 5 {
        b.string(GROUP_INSTANCE);
    }
    b.string(PROTOCOL_TYPE);
    b.array(Mark::NONE, |b| {
        b.string(PROTOCOL).blob(SUBSCRIPTION, 0).tags();
    });
    if v >= 8 {
        b.string(Mark::NONE);
    }
    b.tags();
}

/// [`MEMBER`] is its receiver; all members are listed for the leader only.
pub(super) fn join_group_response(b: &mut Build, v: i16) {
    if v >= 2 {
        b.skip(4);
    }
    b.fixed(ERROR, 2).fixed(GENERATION, 4);
    if v >= 7 {
        b.string(PROTOCOL_TYPE);
    }
    b.string(PROTOCOL).string(LEADER);
    if v >= 9 {
        b.skip(1);
    }
    b.string(MEMBER);
    b.array(MEMBERS, |b| {
        b.string(OTHER_MEMBER);
        if v >= 5 {
            b.string(Mark::NONE);
        }
        b.blob(Mark::NONE, 0).tags();
    });
    b.tags();
}

fn member(b: &mut Build, v: i16) {
    b.string(GROUP).fixed(GENERATION, 4).string(MEMBER);
    if v >= 3 {
        b.string(GROUP_INSTANCE);
    }
}

pub(super) fn heartbeat_request(b: &mut Build, v: i16) {
    member(b, v);
    b.tags();
}

pub(super) fn heartbeat_response(b: &mut Build, v: i16) {
    if v >= 1 {
        b.skip(4);
    }
    b.fixed(ERROR, 2).tags();
}

pub(super) fn sync_group_request(b: &mut Build, v: i16) {
    member(b, v);
    if v >= 5 {
        b.string(PROTOCOL_TYPE).string(PROTOCOL);
    }
    b.array(MEMBERS, |b| {
        b.string(OTHER_MEMBER).blob(Mark::NONE, 0).tags();
    });
    b.tags();
}

pub(super) fn sync_group_response(b: &mut Build, v: i16) {
    if v >= 1 {
        b.skip(4);
    }
    b.fixed(ERROR, 2);
    if v >= 5 {
        b.string(PROTOCOL_TYPE).string(PROTOCOL);
    }
    b.blob(ASSIGNMENT, 0).tags();
}

/// From version 3 on several members may leave at once.
pub(super) fn leave_group_request(b: &mut Build, v: i16) {
    b.string(GROUP);
    if v <= 2 {
        b.string(MEMBER);
    } else {
        b.array(MEMBERS, |b| {
            b.string(MEMBER).string(GROUP_INSTANCE);
            if v >= 5 {
                b.string(Mark::NONE);
            }
            b.tags();
        });
    }
    b.tags();
}

pub(super) fn leave_group_response(b: &mut Build, v: i16) {
    if v >= 1 {
        b.skip(4);
    }
    b.fixed(ERROR, 2);
    if v >= 3 {
        b.array(MEMBERS, |b| {
            b.string(MEMBER).string(GROUP_INSTANCE).skip(2).tags();
        });
    }
    b.tags();
}

/// Partition: Index i32.
fn topic_partitions(b: &mut Build) {
    b.array(TOPICS, |b| {
        b.fixed(TOPIC_ID, 16);
        b.array(PARTITIONS, |b| {
            b.fixed(PARTITION, 4);
        });
        b.tags();
    });
}

/// The topics are what the member owns; null where that has not changed.
pub(super) fn consumer_group_heartbeat_request(b: &mut Build, v: i16) {
    b.string(GROUP).string(MEMBER).fixed(GENERATION, 4).string(GROUP_INSTANCE);
    b.string(Mark::NONE).fixed(REBALANCE_TIMEOUT, 4);
    b.array(Mark::NONE, |b| {
        b.string(Mark::NONE);
    });
    if v >= 1 {
        b.string(Mark::NONE);
    }
    b.string(Mark::NONE);
    topic_partitions(b);
    b.tags();
}

/// [`ASSIGNMENT`] holds the topics; null where it has not changed.
pub(super) fn consumer_group_heartbeat_response(b: &mut Build, _: i16) {
    b.skip(4).fixed(ERROR, 2).string(Mark::NONE).string(MEMBER).fixed(GENERATION, 4).skip(4);
    b.nullable(ASSIGNMENT, |b| {
        topic_partitions(b);
        b.tags();
    });
    b.tags();
}
