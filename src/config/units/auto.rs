//! `auto`, or a value.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::Error as ValueError;
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// `auto`, or a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auto<T> {
    #[default]
    Auto,
    Set(T),
}

impl<T> Auto<T> {
    /// The value that was set, if any.
    pub fn set(&self) -> Option<&T> {
        match self {
            Self::Auto => None,
            Self::Set(value) => Some(value),
        }
    }

    pub fn is_auto(&self) -> bool {
        matches!(self, Self::Auto)
    }
}

impl<T: fmt::Display> fmt::Display for Auto<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Set(value) => value.fmt(f),
        }
    }
}

impl<T: Serialize> Serialize for Auto<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Set(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Auto<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = deserializer.deserialize_any(ScalarVisitor)?;
        scalar.read().map_err(de::Error::custom)
    }
}

impl<T: JsonSchema> JsonSchema for Auto<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("AutoOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "const": "auto" }, value] })
    }
}

/// What a file or a variable can hold in such a place. A variable's number arrives as text.
enum Scalar {
    Text(String),
    Unsigned(u64),
    Signed(i64),
    Bool(bool),
}

impl Scalar {
    fn read<T: DeserializeOwned>(self) -> Result<Auto<T>, String> {
        let read: Result<T, ValueError> = match &self {
            Self::Text(text) if text == "auto" => return Ok(Auto::Auto),
            Self::Text(text) => T::deserialize(text.as_str().into_deserializer()).or_else(|error| {
                text.parse::<u64>().map_err(|_| error).and_then(|number| T::deserialize(number.into_deserializer()))
            }),
            Self::Unsigned(number) => T::deserialize((*number).into_deserializer()),
            Self::Signed(number) => T::deserialize((*number).into_deserializer()),
            Self::Bool(value) => T::deserialize((*value).into_deserializer()),
        };
        read.map(Auto::Set).map_err(|error| format!("{error}, or `auto`"))
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`auto`, or a value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Unsigned(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Signed(number))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ByteSize, HostPort};
    use super::*;

    fn read<T: DeserializeOwned>(json: &str) -> Result<Auto<T>, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_auto_text_and_numbers() {
        assert_eq!(read::<u16>("\"auto\""), Ok(Auto::Auto));
        assert_eq!(read::<u16>("9093"), Ok(Auto::Set(9093)));
        assert_eq!(read::<u16>("\"9093\""), Ok(Auto::Set(9093)));
        assert_eq!(read::<ByteSize>("\"1MiB\""), Ok(Auto::Set(ByteSize::mib(1))));
        assert_eq!(read::<ByteSize>("10"), Ok(Auto::Set(ByteSize(10))));
        assert_eq!(read::<String>("\"host\""), Ok(Auto::Set("host".into())));
        assert_eq!(read::<HostPort>("\"a:1\""), Ok(Auto::Set(HostPort::new("a", 1))));
    }

    #[test]
    fn says_that_auto_would_be_valid_too() {
        let error = read::<u16>("\"many\"").unwrap_err();
        assert!(error.contains("expected u16, or `auto`"), "unexpected: {error}");
    }
}
