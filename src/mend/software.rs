//! Which client software is at the other end.

use super::Conn;
use crate::wire::api::ApiKey;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Software {
    Java,
    Librdkafka,
    FranzGo,
    Sarama,
    Aiokafka,
    KafkaPython,
    Kafkajs,
}

impl Software {
    /// As people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Software::Java => "apache-kafka-java",
            Software::Librdkafka => "librdkafka",
            Software::FranzGo => "franz-go",
            Software::Sarama => "sarama",
            Software::Aiokafka => "aiokafka",
            Software::KafkaPython => "kafka-python",
            Software::Kafkajs => "kafkajs",
        }
    }
}

/// The newest version of each API that a client has used, over its connections: what tells those
/// apart that announce no software (ApiVersions below 3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fingerprint {
    pub(crate) api_versions: Option<i16>,
    pub(crate) metadata: Option<i16>,
    pub(crate) produce: Option<i16>,
    pub(crate) fetch: Option<i16>,
    pub(crate) join: Option<i16>,
}

impl Fingerprint {
    pub fn see(&mut self, conn: &Conn) {
        self.api_versions = self.api_versions.max(conn.used(ApiKey::API_VERSIONS));
        self.metadata = self.metadata.max(conn.used(ApiKey::METADATA));
        self.produce = self.produce.max(conn.used(ApiKey::PRODUCE));
        self.fetch = self.fetch.max(conn.used(ApiKey::FETCH));
        self.join = self.join.max(conn.used(ApiKey::JOIN_GROUP));
    }

    /// What another connection of the same client has used.
    pub fn join(&mut self, other: &Fingerprint) {
        self.api_versions = self.api_versions.max(other.api_versions);
        self.metadata = self.metadata.max(other.metadata);
        self.produce = self.produce.max(other.produce);
        self.fetch = self.fetch.max(other.fetch);
        self.join = self.join.max(other.join);
    }
}

/// The software that calls itself `name` in ApiVersions, or what looks like it.
pub fn identify(name: Option<&str>, looks: &Fingerprint) -> Option<Software> {
    let Some(name) = name else {
        return by_looks(looks);
    };
    // librdkafka's bindings put their own names before or behind it.
    let known = [
        ("apache-kafka-java", Software::Java),
        ("librdkafka", Software::Librdkafka),
        ("confluent-kafka-", Software::Librdkafka),
        ("node-rdkafka", Software::Librdkafka),
        ("kgo", Software::FranzGo),
        ("franz-go", Software::FranzGo),
        ("sarama", Software::Sarama),
        ("kafka-python", Software::KafkaPython),
        ("aiokafka", Software::Aiokafka),
        ("kafkajs", Software::Kafkajs),
    ];
    known.into_iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, software)| software)
}

/// What kafkajs 2.x and aiokafka 0.1x send, and nobody else that was measured.
fn by_looks(looks: &Fingerprint) -> Option<Software> {
    let only = |seen: Option<i16>, version: i16| seen.is_none_or(|v| v == version);
    if !only(looks.produce, 7) || !only(looks.fetch, 11) || !only(looks.join, 5) {
        return None;
    }
    match (looks.api_versions, looks.metadata) {
        (Some(2), Some(6)) => Some(Software::Kafkajs),
        (Some(0), Some(5)) => Some(Software::Aiokafka),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_software_by_name_or_by_its_looks() {
        let none = Fingerprint::default();
        let named = |name| identify(Some(name), &none);
        assert_eq!(named("apache-kafka-java"), Some(Software::Java));
        assert_eq!(named("confluent-kafka-python"), Some(Software::Librdkafka));
        assert_eq!(named("something-else"), None);
        let looks = |api_versions, metadata, produce| Fingerprint {
            api_versions: Some(api_versions),
            metadata: Some(metadata),
            produce,
            ..none
        };
        assert_eq!(identify(None, &looks(2, 6, None)), Some(Software::Kafkajs));
        assert_eq!(identify(None, &looks(0, 5, Some(7))), Some(Software::Aiokafka));
        assert_eq!(identify(None, &looks(0, 5, Some(3))), None);
        assert_eq!(identify(None, &none), None);
    }
}
