//! Reading a topic's rule: `latest`, or `{ mode: observe, policy: latest }`.
//!
//! By hand, because a derived untagged enum answers every mistake with "did not match any variant".

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, MapAccess, Visitor};

use super::model::{FullTopicRule, ResetPolicy, TopicRule};

impl<'de> Deserialize<'de> for TopicRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rule;

        impl<'de> Visitor<'de> for Rule {
            type Value = TopicRule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("earliest, latest, nearest or passthrough, or a map with mode and policy")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TopicRule, E> {
                ResetPolicy::deserialize(text.into_deserializer()).map(TopicRule::Policy)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TopicRule, A::Error> {
                FullTopicRule::deserialize(MapAccessDeserializer::new(map)).map(TopicRule::Full)
            }
        }

        deserializer.deserialize_any(Rule)
    }
}
