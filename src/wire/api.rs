//! API keys: names, first flexible versions, and the versions whose layout kmend knows.

/// An API key as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiKey(pub i16);

macro_rules! api_keys {
    ($($konst:ident = $key:literal $name:literal flex $flex:expr;)*) => {
        impl ApiKey {
            $(pub const $konst: ApiKey = ApiKey($key);)*

            /// The name in Kafka's message specs; `None` for a key that kmend does not know.
            pub fn name(self) -> Option<&'static str> {
                match self.0 { $($key => Some($name),)* _ => None }
            }

            /// The first version with compact types and tagged fields (KIP-482).
            fn flexible_from(self) -> i16 {
                match self.0 {
                    $($key => $flex,)*
                    // Every key from 68 on was flexible at birth; an unknown one is taken for such.
                    _ => 0,
                }
            }
        }
    };
}

/// "Never": for the APIs that stay with the old types.
const NEVER: i16 = i16::MAX;

api_keys! {
    PRODUCE = 0 "Produce" flex 9;
    FETCH = 1 "Fetch" flex 12;
    LIST_OFFSETS = 2 "ListOffsets" flex 6;
    METADATA = 3 "Metadata" flex 9;
    OFFSET_COMMIT = 8 "OffsetCommit" flex 8;
    OFFSET_FETCH = 9 "OffsetFetch" flex 6;
    FIND_COORDINATOR = 10 "FindCoordinator" flex 3;
    JOIN_GROUP = 11 "JoinGroup" flex 6;
    HEARTBEAT = 12 "Heartbeat" flex 4;
    LEAVE_GROUP = 13 "LeaveGroup" flex 4;
    SYNC_GROUP = 14 "SyncGroup" flex 4;
    DESCRIBE_GROUPS = 15 "DescribeGroups" flex 5;
    LIST_GROUPS = 16 "ListGroups" flex 3;
    SASL_HANDSHAKE = 17 "SaslHandshake" flex NEVER;
    API_VERSIONS = 18 "ApiVersions" flex 3;
    CREATE_TOPICS = 19 "CreateTopics" flex 5;
    DELETE_TOPICS = 20 "DeleteTopics" flex 4;
    DELETE_RECORDS = 21 "DeleteRecords" flex 2;
    INIT_PRODUCER_ID = 22 "InitProducerId" flex 2;
    OFFSET_FOR_LEADER_EPOCH = 23 "OffsetForLeaderEpoch" flex 4;
    ADD_PARTITIONS_TO_TXN = 24 "AddPartitionsToTxn" flex 3;
    ADD_OFFSETS_TO_TXN = 25 "AddOffsetsToTxn" flex 3;
    END_TXN = 26 "EndTxn" flex 3;
    WRITE_TXN_MARKERS = 27 "WriteTxnMarkers" flex 1;
    TXN_OFFSET_COMMIT = 28 "TxnOffsetCommit" flex 3;
    DESCRIBE_ACLS = 29 "DescribeAcls" flex 2;
    CREATE_ACLS = 30 "CreateAcls" flex 2;
    DELETE_ACLS = 31 "DeleteAcls" flex 2;
    DESCRIBE_CONFIGS = 32 "DescribeConfigs" flex 4;
    ALTER_CONFIGS = 33 "AlterConfigs" flex 2;
    ALTER_REPLICA_LOG_DIRS = 34 "AlterReplicaLogDirs" flex 2;
    DESCRIBE_LOG_DIRS = 35 "DescribeLogDirs" flex 2;
    SASL_AUTHENTICATE = 36 "SaslAuthenticate" flex 2;
    CREATE_PARTITIONS = 37 "CreatePartitions" flex 2;
    CREATE_DELEGATION_TOKEN = 38 "CreateDelegationToken" flex 2;
    RENEW_DELEGATION_TOKEN = 39 "RenewDelegationToken" flex 2;
    EXPIRE_DELEGATION_TOKEN = 40 "ExpireDelegationToken" flex 2;
    DESCRIBE_DELEGATION_TOKEN = 41 "DescribeDelegationToken" flex 2;
    DELETE_GROUPS = 42 "DeleteGroups" flex 2;
    ELECT_LEADERS = 43 "ElectLeaders" flex 2;
    INCREMENTAL_ALTER_CONFIGS = 44 "IncrementalAlterConfigs" flex 1;
    ALTER_PARTITION_REASSIGNMENTS = 45 "AlterPartitionReassignments" flex 0;
    LIST_PARTITION_REASSIGNMENTS = 46 "ListPartitionReassignments" flex 0;
    OFFSET_DELETE = 47 "OffsetDelete" flex NEVER;
    DESCRIBE_CLIENT_QUOTAS = 48 "DescribeClientQuotas" flex 1;
    ALTER_CLIENT_QUOTAS = 49 "AlterClientQuotas" flex 1;
    DESCRIBE_USER_SCRAM_CREDENTIALS = 50 "DescribeUserScramCredentials" flex 0;
    ALTER_USER_SCRAM_CREDENTIALS = 51 "AlterUserScramCredentials" flex 0;
    DESCRIBE_QUORUM = 55 "DescribeQuorum" flex 0;
    UPDATE_FEATURES = 57 "UpdateFeatures" flex 0;
    DESCRIBE_CLUSTER = 60 "DescribeCluster" flex 0;
    DESCRIBE_PRODUCERS = 61 "DescribeProducers" flex 0;
    UNREGISTER_BROKER = 64 "UnregisterBroker" flex 0;
    DESCRIBE_TRANSACTIONS = 65 "DescribeTransactions" flex 0;
    LIST_TRANSACTIONS = 66 "ListTransactions" flex 0;
    CONSUMER_GROUP_HEARTBEAT = 68 "ConsumerGroupHeartbeat" flex 0;
    CONSUMER_GROUP_DESCRIBE = 69 "ConsumerGroupDescribe" flex 0;
    GET_TELEMETRY_SUBSCRIPTIONS = 71 "GetTelemetrySubscriptions" flex 0;
    PUSH_TELEMETRY = 72 "PushTelemetry" flex 0;
    LIST_CONFIG_RESOURCES = 74 "ListConfigResources" flex 0;
    DESCRIBE_TOPIC_PARTITIONS = 75 "DescribeTopicPartitions" flex 0;
    SHARE_GROUP_HEARTBEAT = 76 "ShareGroupHeartbeat" flex 0;
    SHARE_GROUP_DESCRIBE = 77 "ShareGroupDescribe" flex 0;
    SHARE_FETCH = 78 "ShareFetch" flex 0;
    SHARE_ACKNOWLEDGE = 79 "ShareAcknowledge" flex 0;
    ADD_RAFT_VOTER = 80 "AddRaftVoter" flex 0;
    REMOVE_RAFT_VOTER = 81 "RemoveRaftVoter" flex 0;
    INITIALIZE_SHARE_GROUP_STATE = 83 "InitializeShareGroupState" flex 0;
    READ_SHARE_GROUP_STATE = 84 "ReadShareGroupState" flex 0;
    WRITE_SHARE_GROUP_STATE = 85 "WriteShareGroupState" flex 0;
    DELETE_SHARE_GROUP_STATE = 86 "DeleteShareGroupState" flex 0;
    READ_SHARE_GROUP_STATE_SUMMARY = 87 "ReadShareGroupStateSummary" flex 0;
    STREAMS_GROUP_HEARTBEAT = 88 "StreamsGroupHeartbeat" flex 0;
    STREAMS_GROUP_DESCRIBE = 89 "StreamsGroupDescribe" flex 0;
    DESCRIBE_SHARE_GROUP_OFFSETS = 90 "DescribeShareGroupOffsets" flex 0;
    ALTER_SHARE_GROUP_OFFSETS = 91 "AlterShareGroupOffsets" flex 0;
    DELETE_SHARE_GROUP_OFFSETS = 92 "DeleteShareGroupOffsets" flex 0;
    STREAMS_GROUP_TOPOLOGY_DESCRIPTION_UPDATE = 93 "StreamsGroupTopologyDescriptionUpdate" flex 0;
    UNREGISTER_CONTROLLER = 94 "UnregisterController" flex 0;
}

/// Keys that get metrics of their own and a slot in per-API tables; others share one.
pub const KEYS: usize = 96;

impl ApiKey {
    /// Whether the body has compact types and tagged fields.
    pub fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from()
    }

    /// Whether the response header ends with tagged fields. ApiVersions never has them, so that a
    /// client can read an answer of a version that it did not expect (KIP-511).
    pub fn response_header_has_tags(self, version: i16) -> bool {
        self != ApiKey::API_VERSIONS && self.is_flexible(version)
    }

    /// For the APIs whose response carries broker addresses: the newest version whose layout kmend
    /// knows. A newer one is lowered in the ApiVersions response, for no address may pass (rule P1).
    pub fn newest_with_addresses(self) -> Option<i16> {
        match self {
            ApiKey::PRODUCE => Some(13),
            ApiKey::FETCH => Some(18),
            ApiKey::METADATA => Some(13),
            ApiKey::FIND_COORDINATOR => Some(6),
            ApiKey::DESCRIBE_CLUSTER => Some(2),
            ApiKey::SHARE_FETCH | ApiKey::SHARE_ACKNOWLEDGE => Some(2),
            _ => None,
        }
    }

    /// The slot in a table of [`KEYS`] entries; unknown keys share the last.
    pub fn slot(self) -> usize {
        usize::try_from(self.0).map_or(KEYS - 1, |k| k.min(KEYS - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_kafka_protocol_on_headers() {
        use kafka_protocol::messages::ApiKey as Theirs;
        for key in 0..=92i16 {
            let Ok(theirs) = Theirs::try_from(key) else {
                continue;
            };
            let ours = ApiKey(key);
            if ours.name().is_none() {
                continue; // spoken between brokers and controllers only
            }
            for version in 0..=20 {
                if !(theirs.valid_versions().min..=theirs.valid_versions().max).contains(&version) {
                    continue;
                }
                assert_eq!(
                    theirs.request_header_version(version) == 2,
                    ours.is_flexible(version),
                    "{theirs:?} {version}"
                );
                assert_eq!(
                    theirs.response_header_version(version) == 1,
                    ours.response_header_has_tags(version),
                    "{theirs:?} {version}"
                );
            }
        }
    }
}
