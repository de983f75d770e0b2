//! The layouts of the messages that kmend looks into, one per API, direction and version.
//!
//! Built once from the field lists of Kafka's message specs (4.4) and kept for the life of the
//! process. A version that is not here has no layout, and a frame without a layout passes
//! untouched (or, where it would carry broker addresses, not at all: rule P2b).

mod build;
mod data;
mod groups;
mod meta;

use std::sync::LazyLock;

use super::api::{ApiKey, KEYS};
use super::walk::Op;
use build::Build;

/// A message body's layout.
pub type Layout = &'static [Op];

/// More versions than any API has.
const VERSIONS: usize = 32;

/// What the layouts' marks mean. Within one message each is used for one field.
pub mod mark {
    use super::super::walk::Mark;

    /// Fetch request: SessionId i32, SessionEpoch i32 (v7+).
    pub const SESSION: Mark = Mark(1);
    /// Fetch, ListOffsets, OffsetForLeaderEpoch request: ReplicaId i32.
    pub const REPLICA: Mark = Mark(2);
    /// IsolationLevel i8.
    pub const ISOLATION: Mark = Mark(3);
    /// The array of topics.
    pub const TOPICS: Mark = Mark(4);
    /// A topic's name.
    pub const TOPIC: Mark = Mark(5);
    /// A topic's id (16 bytes).
    pub const TOPIC_ID: Mark = Mark(6);
    /// The array of partitions.
    pub const PARTITIONS: Mark = Mark(7);
    /// The fixed fields of a partition; which ones, the message says.
    pub const PARTITION: Mark = Mark(8);
    /// Fetch request: topics that the session forgets, and their partitions.
    pub const FORGOTTEN_TOPIC: Mark = Mark(9);
    pub const FORGOTTEN_TOPIC_ID: Mark = Mark(10);
    pub const FORGOTTEN_PARTITION: Mark = Mark(11);
    /// Fetch response: ErrorCode i16, SessionId i32 (v7+).
    pub const TOP: Mark = Mark(12);
    /// Record batches.
    pub const RECORDS: Mark = Mark(13);
    /// The tagged fields at the end of the message.
    pub const END_TAGS: Mark = Mark(14);
    /// Brokers, coordinators or node endpoints.
    pub const NODES: Mark = Mark(15);
    /// A node's id, host and port.
    pub const NODE_ID: Mark = Mark(16);
    pub const HOST: Mark = Mark(17);
    pub const PORT: Mark = Mark(18);
    pub const CLUSTER_ID: Mark = Mark(19);
    /// The group's id, a member's id, the protocol's type.
    pub const GROUP: Mark = Mark(20);
    pub const MEMBER: Mark = Mark(21);
    pub const PROTOCOL_TYPE: Mark = Mark(22);
    /// Produce request: Acks i16.
    pub const ACKS: Mark = Mark(23);
    /// ApiVersions response: ApiKey i16, MinVersion i16, MaxVersion i16.
    pub const API_RANGE: Mark = Mark(24);
    /// An error code i16.
    pub const ERROR: Mark = Mark(25);
    /// ApiVersions request: the client's software.
    pub const SOFTWARE_NAME: Mark = Mark(26);
    pub const SOFTWARE_VERSION: Mark = Mark(27);
    /// SaslAuthenticate response: SessionLifetimeMs i64.
    pub const LIFETIME: Mark = Mark(28);
    /// Metadata response: ErrorCode i16 of a topic.
    pub const TOPIC_ERROR: Mark = Mark(29);
    /// Produce request: the transactional id.
    pub const TRANSACTIONAL_ID: Mark = Mark(30);
    /// SaslHandshake request: the mechanism.
    pub const MECHANISM: Mark = Mark(31);
    /// The group's generation (or the member's epoch) i32, the protocol that was chosen, the member that assigns.
    pub const GENERATION: Mark = Mark(32);
    pub const PROTOCOL: Mark = Mark(33);
    pub const LEADER: Mark = Mark(34);
    /// The id of a static member.
    pub const GROUP_INSTANCE: Mark = Mark(35);
    /// JoinGroup response, SyncGroup request: the other members, their ids.
    pub const MEMBERS: Mark = Mark(36);
    pub const OTHER_MEMBER: Mark = Mark(37);
    /// SyncGroup, ConsumerGroupHeartbeat response: what its receiver was assigned.
    pub const ASSIGNMENT: Mark = Mark(38);
    /// JoinGroup request: what a member tells its assignor.
    pub const SUBSCRIPTION: Mark = Mark(39);
    /// What a client keeps with a committed offset: any text.
    pub const METADATA: Mark = Mark(40);
    /// OffsetFetch response: ErrorCode i16 of the whole group, behind its topics.
    pub const GROUP_ERROR: Mark = Mark(41);
    /// JoinGroup, ConsumerGroupHeartbeat request: milliseconds, i32.
    pub const SESSION_TIMEOUT: Mark = Mark(42);
    pub const REBALANCE_TIMEOUT: Mark = Mark(43);
}

struct Tables {
    requests: Vec<Option<Layout>>,
    responses: Vec<Option<Layout>>,
}

type Fields = fn(&mut Build, i16);

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut tables = Tables { requests: vec![None; KEYS * VERSIONS], responses: vec![None; KEYS * VERSIONS] };
    for (api, versions, request, response) in messages() {
        for version in versions {
            let flexible = api.is_flexible(version);
            let build = |fields: Fields| -> Layout {
                let mut b = Build::new(flexible);
                fields(&mut b, version);
                // Kept for the life of the process: one table, built once.
                Box::leak(b.finish().into_boxed_slice())
            };
            if let Some(slot) = tables.requests.get_mut(slot(api, version)) {
                *slot = request.map(build);
            }
            if let Some(slot) = tables.responses.get_mut(slot(api, version)) {
                *slot = response.map(build);
            }
        }
    }
    tables
});

type Message = (ApiKey, std::ops::RangeInclusive<i16>, Option<Fields>, Option<Fields>);

/// Every message with a layout: API, versions, request, response.
fn messages() -> Vec<Message> {
    vec![
        (ApiKey::PRODUCE, 3..=13, Some(data::produce_request), Some(data::produce_response)),
        // Gone with Kafka 4; only the acks matter, and the answers name no broker.
        (ApiKey::PRODUCE, 0..=2, Some(data::produce_request), None),
        (ApiKey::FETCH, 4..=18, Some(data::fetch_request), Some(data::fetch_response)),
        (ApiKey::LIST_OFFSETS, 1..=11, Some(data::list_offsets_request), Some(data::list_offsets_response)),
        // Of what it is asked for; its answers are not looked at.
        (ApiKey::OFFSET_FOR_LEADER_EPOCH, 0..=4, Some(data::offset_for_leader_epoch_request), None),
        (ApiKey::SHARE_FETCH, 0..=2, None, Some(data::share_fetch_response)),
        (ApiKey::SHARE_ACKNOWLEDGE, 0..=2, None, Some(data::share_acknowledge_response)),
        (ApiKey::METADATA, 0..=13, None, Some(meta::metadata_response)),
        (ApiKey::FIND_COORDINATOR, 0..=6, None, Some(meta::find_coordinator_response)),
        (ApiKey::DESCRIBE_CLUSTER, 0..=2, None, Some(meta::describe_cluster_response)),
        (ApiKey::API_VERSIONS, 0..=5, Some(meta::api_versions_request), Some(meta::api_versions_response)),
        (ApiKey::SASL_HANDSHAKE, 0..=1, Some(meta::sasl_handshake_request), Some(meta::sasl_handshake_response)),
        (ApiKey::SASL_AUTHENTICATE, 0..=2, None, Some(meta::sasl_authenticate_response)),
        (ApiKey::OFFSET_COMMIT, 2..=10, Some(groups::offset_commit_request), Some(groups::offset_commit_response)),
        (ApiKey::OFFSET_FETCH, 1..=10, Some(groups::offset_fetch_request), Some(groups::offset_fetch_response)),
        (ApiKey::JOIN_GROUP, 0..=9, Some(groups::join_group_request), Some(groups::join_group_response)),
        (ApiKey::HEARTBEAT, 0..=4, Some(groups::heartbeat_request), Some(groups::heartbeat_response)),
        (ApiKey::SYNC_GROUP, 0..=5, Some(groups::sync_group_request), Some(groups::sync_group_response)),
        (ApiKey::LEAVE_GROUP, 0..=5, Some(groups::leave_group_request), Some(groups::leave_group_response)),
        (
            ApiKey::CONSUMER_GROUP_HEARTBEAT,
            0..=1,
            Some(groups::consumer_group_heartbeat_request),
            Some(groups::consumer_group_heartbeat_response),
        ),
    ]
}

fn slot(api: ApiKey, version: i16) -> usize {
    match usize::try_from(version) {
        Ok(v) if v < VERSIONS && api.slot() < KEYS - 1 => api.slot() * VERSIONS + v,
        _ => usize::MAX,
    }
}

/// The layout of a request's body.
pub fn request(api: ApiKey, version: i16) -> Option<Layout> {
    TABLES.requests.get(slot(api, version)).copied().flatten()
}

/// The layout of a response's body.
pub fn response(api: ApiKey, version: i16) -> Option<Layout> {
    TABLES.responses.get(slot(api, version)).copied().flatten()
}

/// The layout of the `NodeEndpoints` tag of Produce and Fetch responses (KIP-951).
pub fn node_endpoints() -> Layout {
    static LAYOUT: LazyLock<Layout> = LazyLock::new(|| {
        let mut b = Build::new(true);
        data::node_endpoints(&mut b);
        Box::leak(b.finish().into_boxed_slice())
    });
    &LAYOUT
}

/// A Metadata response in two parts: up to the topics, and from them on.
pub fn metadata_parts(version: i16) -> Option<(Layout, Layout)> {
    static PARTS: LazyLock<Vec<(Layout, Layout)>> = LazyLock::new(|| {
        let part = |fields: Fields, version: i16| -> Layout {
            let mut b = Build::new(ApiKey::METADATA.is_flexible(version));
            fields(&mut b, version);
            Box::leak(b.finish().into_boxed_slice())
        };
        (0..=13).map(|v| (part(meta::metadata_front, v), part(meta::metadata_back, v))).collect()
    });
    usize::try_from(version).ok().and_then(|v| PARTS.get(v)).copied()
}

/// Every API and version that has a layout, for tests and fuzzing: `(api, version, is_request)`.
pub fn all() -> Vec<(ApiKey, i16, bool)> {
    let mut all = Vec::new();
    for (api, versions, request, response) in messages() {
        for version in versions {
            all.extend(request.map(|_| (api, version, true)));
            all.extend(response.map(|_| (api, version, false)));
        }
    }
    all
}
