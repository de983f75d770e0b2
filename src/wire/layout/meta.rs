//! Metadata, FindCoordinator, DescribeCluster, ApiVersions, SASL.

use super::super::walk::Mark;
use super::build::Build;
use super::mark::*;

/// Topic: ErrorCode i16 ([`TOPIC_ERROR`]); partition: ErrorCode i16, PartitionIndex i32, LeaderId i32.
pub(super) fn metadata_response(b: &mut Build, v: i16) {
    metadata_front(b, v);
    metadata_back(b, v);
}

/// Up to the topics: everything that carries an address.
pub(super) fn metadata_front(b: &mut Build, v: i16) {
    if v >= 3 {
        b.skip(4);
    }
    b.array(NODES, |b| {
        b.fixed(NODE_ID, 4).string(HOST).fixed(PORT, 4);
        if v >= 1 {
            b.string(Mark::NONE);
        }
        b.tags();
    });
    if v >= 2 {
        b.string(CLUSTER_ID);
    }
    if v >= 1 {
        b.skip(4);
    }
}

/// The topics and what follows them.
pub(super) fn metadata_back(b: &mut Build, v: i16) {
    b.array(TOPICS, |b| {
        b.fixed(TOPIC_ERROR, 2).string(TOPIC);
        if v >= 10 {
            b.fixed(TOPIC_ID, 16);
        }
        if v >= 1 {
            b.skip(1);
        }
        b.array(PARTITIONS, |b| {
            b.fixed(PARTITION, 10);
            if v >= 7 {
                b.skip(4);
            }
            b.ints().ints();
            if v >= 5 {
                b.ints();
            }
            b.tags();
        });
        if v >= 8 {
            b.skip(4);
        }
        b.tags();
    });
    if (8..=10).contains(&v) {
        b.skip(4);
    }
    if v >= 13 {
        b.skip(2);
    }
    b.tags();
}

pub(super) fn find_coordinator_response(b: &mut Build, v: i16) {
    if v >= 1 {
        b.skip(4);
    }
    if v <= 3 {
        b.skip(2);
        if v >= 1 {
            b.string(Mark::NONE);
        }
        b.fixed(NODE_ID, 4).string(HOST).fixed(PORT, 4);
    } else {
        b.array(NODES, |b| {
            b.string(Mark::NONE).fixed(NODE_ID, 4).string(HOST).fixed(PORT, 4);
            b.skip(2).string(Mark::NONE).tags();
        });
    }
    b.tags();
}

pub(super) fn describe_cluster_response(b: &mut Build, v: i16) {
    b.skip(6).string(Mark::NONE);
    if v >= 1 {
        b.skip(1);
    }
    b.string(CLUSTER_ID).skip(4);
    b.array(NODES, |b| {
        b.fixed(NODE_ID, 4).string(HOST).fixed(PORT, 4).string(Mark::NONE);
        if v >= 2 {
            b.skip(1);
        }
        b.tags();
    });
    b.skip(4).tags();
}

/// From version 5 on ClusterId and NodeId follow (KIP-1242); they pass as they are.
pub(super) fn api_versions_request(b: &mut Build, v: i16) {
    if v >= 3 {
        b.string(SOFTWARE_NAME).string(SOFTWARE_VERSION);
    }
    if v >= 5 {
        b.string(Mark::NONE).skip(4);
    }
    b.tags();
}

pub(super) fn api_versions_response(b: &mut Build, v: i16) {
    b.fixed(ERROR, 2);
    b.array(Mark::NONE, |b| {
        b.fixed(API_RANGE, 6).tags();
    });
    if v >= 1 {
        b.skip(4);
    }
    b.tags();
}

pub(super) fn sasl_handshake_request(b: &mut Build, _: i16) {
    b.string(MECHANISM);
}

pub(super) fn sasl_handshake_response(b: &mut Build, _: i16) {
    b.fixed(ERROR, 2).array(Mark::NONE, |b| {
        b.string(Mark::NONE);
    });
}

pub(super) fn sasl_authenticate_response(b: &mut Build, v: i16) {
    b.fixed(ERROR, 2).string(Mark::NONE).blob(Mark::NONE, 0);
    if v >= 1 {
        b.fixed(LIFETIME, 8);
    }
    b.tags();
}
