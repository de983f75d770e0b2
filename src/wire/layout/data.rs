//! Produce, Fetch, ListOffsets, OffsetForLeaderEpoch, ShareFetch, ShareAcknowledge.

use super::super::walk::Mark;
use super::build::Build;
use super::mark::*;

/// As much of a record batch as tells producer id, epoch and base sequence (57 of 61 header bytes).
pub(super) const BATCH_PEEK: usize = 57;

/// A topic: by name, or by id from version `ids_from` on.
fn topic(b: &mut Build, v: i16, ids_from: i16) {
    if v >= ids_from {
        b.fixed(TOPIC_ID, 16)
    } else {
        b.string(TOPIC)
    };
}

pub(super) fn produce_request(b: &mut Build, v: i16) {
    if v >= 3 {
        b.string(TRANSACTIONAL_ID);
    }
    b.fixed(ACKS, 2);
    b.skip(4);
    b.array(TOPICS, |b| {
        topic(b, v, 13);
        b.array(PARTITIONS, |b| {
            b.fixed(PARTITION, 4).blob(RECORDS, BATCH_PEEK).tags();
        });
        b.tags();
    });
    b.tags();
}

/// Partition: Index i32, ErrorCode i16, BaseOffset i64, LogAppendTimeMs i64, LogStartOffset i64 (5+).
pub(super) fn produce_response(b: &mut Build, v: i16) {
    b.array(TOPICS, |b| {
        topic(b, v, 13);
        b.array(PARTITIONS, |b| {
            b.fixed(PARTITION, if v >= 5 { 30 } else { 22 });
            if v >= 8 {
                b.array(Mark::NONE, |b| {
                    b.skip(4).string(Mark::NONE).tags();
                });
                b.string(Mark::NONE);
            }
            b.tags();
        });
        b.tags();
    });
    b.skip(4).marked_tags(if v >= 10 { END_TAGS } else { Mark::NONE });
}

/// Partition: see [`crate::wire::codec::fetch`] for what stands where.
pub(super) fn fetch_request(b: &mut Build, v: i16) {
    if v <= 14 {
        b.fixed(REPLICA, 4);
    }
    b.skip(12).fixed(ISOLATION, 1);
    if v >= 7 {
        b.fixed(SESSION, 8);
    }
    b.array(TOPICS, |b| {
        topic(b, v, 13);
        let size = match v {
            ..=4 => 16,
            5..=8 => 24,
            9..=11 => 28,
            _ => 32,
        };
        b.array(PARTITIONS, |b| {
            b.fixed(PARTITION, size).tags();
        });
        b.tags();
    });
    if v >= 7 {
        b.array(Mark::NONE, |b| {
            if v >= 13 {
                b.fixed(FORGOTTEN_TOPIC_ID, 16)
            } else {
                b.string(FORGOTTEN_TOPIC)
            };
            b.array(FORGOTTEN_PARTITION, |b| {
                b.fixed(FORGOTTEN_PARTITION, 4);
            });
            b.tags();
        });
    }
    if v >= 11 {
        b.string(Mark::NONE);
    }
    // Tag 1 (15+) is the state of a replica: a broker that follows.
    b.marked_tags(if v >= 15 { END_TAGS } else { Mark::NONE });
}

/// Partition: Index i32, ErrorCode i16, HighWatermark i64, LastStableOffset i64, LogStartOffset i64 (5+).
pub(super) fn fetch_response(b: &mut Build, v: i16) {
    b.skip(4);
    if v >= 7 {
        b.fixed(TOP, 6);
    }
    b.array(TOPICS, |b| {
        topic(b, v, 13);
        b.array(PARTITIONS, |b| {
            b.fixed(PARTITION, if v >= 5 { 30 } else { 22 });
            b.array(Mark::NONE, |b| {
                b.skip(16).tags();
            });
            if v >= 11 {
                b.skip(4);
            }
            b.blob(RECORDS, 0).tags();
        });
        b.tags();
    });
    b.marked_tags(if v >= 16 { END_TAGS } else { Mark::NONE });
}

/// Partition: Index i32, CurrentLeaderEpoch i32 (4+), Timestamp i64.
pub(super) fn list_offsets_request(b: &mut Build, v: i16) {
    b.fixed(REPLICA, 4);
    if v >= 2 {
        b.fixed(ISOLATION, 1);
    }
    b.array(TOPICS, |b| {
        b.string(TOPIC);
        b.array(PARTITIONS, |b| {
            b.fixed(PARTITION, if v >= 4 { 16 } else { 12 }).tags();
        });
        b.tags();
    });
    if v >= 10 {
        b.skip(4);
    }
    b.tags();
}

/// Partition: Index i32, ErrorCode i16, Timestamp i64, Offset i64, LeaderEpoch i32 (4+).
pub(super) fn list_offsets_response(b: &mut Build, v: i16) {
    if v >= 2 {
        b.skip(4);
    }
    b.array(TOPICS, |b| {
        b.string(TOPIC);
        b.array(PARTITIONS, |b| {
            b.fixed(PARTITION, if v >= 4 { 26 } else { 22 }).tags();
        });
        b.tags();
    });
    b.tags();
}

/// Partition: Index i32, CurrentLeaderEpoch i32 (2+), LeaderEpoch i32.
pub(super) fn offset_for_leader_epoch_request(b: &mut Build, v: i16) {
    if v >= 3 {
        b.fixed(REPLICA, 4);
    }
    b.array(TOPICS, |b| {
        b.string(TOPIC);
        b.array(PARTITIONS, |b| {
            b.fixed(PARTITION, if v >= 2 { 12 } else { 8 }).tags();
        });
        b.tags();
    });
    b.tags();
}

fn current_leader(b: &mut Build) {
    b.skip(8).tags();
}

pub(super) fn share_fetch_response(b: &mut Build, v: i16) {
    b.skip(6).string(Mark::NONE);
    if v >= 1 {
        b.skip(4);
    }
    b.array(TOPICS, |b| {
        b.fixed(TOPIC_ID, 16);
        b.array(PARTITIONS, |b| {
            b.skip(6).string(Mark::NONE).skip(2).string(Mark::NONE);
            current_leader(b);
            b.blob(Mark::NONE, 0);
            b.array(Mark::NONE, |b| {
                b.skip(18).tags();
            });
            b.tags();
        });
        b.tags();
    });
    nodes(b);
    b.tags();
}

pub(super) fn share_acknowledge_response(b: &mut Build, v: i16) {
    b.skip(6).string(Mark::NONE);
    if v >= 2 {
        b.skip(4);
    }
    b.array(TOPICS, |b| {
        b.fixed(TOPIC_ID, 16);
        b.array(PARTITIONS, |b| {
            b.skip(6).string(Mark::NONE);
            current_leader(b);
            b.tags();
        });
        b.tags();
    });
    nodes(b);
    b.tags();
}

fn nodes(b: &mut Build) {
    b.array(NODES, |b| {
        b.fixed(NODE_ID, 4).string(HOST).fixed(PORT, 4).string(Mark::NONE).tags();
    });
}

/// The content of tag 0 at the end of Produce (10+) and Fetch (16+) responses.
pub(super) fn node_endpoints(b: &mut Build) {
    nodes(b);
}
