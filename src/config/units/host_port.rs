//! Addresses: `host:port`, an IPv6 address in brackets.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

use super::text::text_value;

/// `host:port`; an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Without brackets.
    pub host: String,
    pub port: u16,
}

impl HostPort {
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// The host as an address, where it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        // A zone (`fe80::1%eth0`) is for the resolver.
        self.host.parse().ok()
    }

    /// `localhost` or a loopback address: nobody else can reach it.
    pub fn is_loopback(&self) -> bool {
        match self.ip() {
            Some(ip) => ip.to_canonical().is_loopback(),
            None => {
                let host = self.host.trim_end_matches('.').to_ascii_lowercase();
                host == "localhost" || host.ends_with(".localhost")
            }
        }
    }

    /// `0.0.0.0` or `::`.
    pub fn is_unspecified(&self) -> bool {
        self.ip().is_some_and(|ip| ip.is_unspecified())
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip().to_string(), address.port())
    }
}

const VALID: &str = "host:port (an IPv6 address in brackets: [::1]:9092)";

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(format!(
                "`{text}` starts with `{scheme}://`: expected {VALID}, perhaps {}",
                rest.trim_end_matches('/')
            ));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:").ok_or_else(|| format!("`{text}` is not {VALID}"))?,
            None => text.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port: expected {VALID}"))?,
        };
        if host.contains(':') && !text.starts_with('[') {
            return Err(format!("`{text}` is not {VALID}"));
        }
        if host.is_empty() {
            return Err(format!("`{text}` has no host: expected {VALID}"));
        }
        if host.chars().any(|c| c.is_whitespace() || c.is_control() || "/,@[]\"".contains(c)) {
            return Err(format!("`{text}` is not {VALID}"));
        }
        let port = port
            .parse::<u16>()
            .map_err(|_| format!("`{text}` has the port `{port}`: expected a number up to 65535"))?;
        Ok(Self::new(host, port))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

text_value!(HostPort, "HostPort", "host:port (an IPv6 address in brackets: [::1]:9092)", {
    "type": "string",
    "pattern": "^(\\[[^\\]]+\\]|[^:/\\s]+):[0-9]{1,5}$",
    "examples": ["localhost:9092", "[::1]:9092"]
});

/// A list of addresses that may also be written as one string, `a:1` or `a:1,b:2`.
pub fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<HostPort>, D::Error> {
    struct OneOrMany;

    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<HostPort>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("host:port, or a list of them")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            text.split(',').map(|part| part.parse().map_err(E::custom)).collect()
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element::<Item>()? {
                list.push(item.0);
            }
            Ok(list)
        }
    }

    struct Item(HostPort);

    impl<'de> Deserialize<'de> for Item {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            HostPort::deserialize(deserializer).map(Item)
        }
    }

    deserializer.deserialize_any(OneOrMany)
}

/// The schema that goes with [`one_or_many`].
pub fn one_or_many_schema(generator: &mut SchemaGenerator) -> Schema {
    let one = generator.subschema_for::<HostPort>();
    let many: Cow<'_, Schema> = Cow::Owned(generator.subschema_for::<Vec<HostPort>>());
    json_schema!({ "anyOf": [many.as_ref(), one] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_the_same_text() {
        for text in ["kafka-0.kafka:9092", "127.0.0.1:0", "[::1]:9092", "[fe80::1%eth0]:1"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        assert_eq!("[::1]:9092".parse(), Ok(HostPort::new("::1", 9092)));
    }

    #[test]
    fn says_what_would_be_valid() {
        assert_eq!(
            "kafka".parse::<HostPort>().unwrap_err(),
            "`kafka` has no port: expected host:port (an IPv6 address in brackets: [::1]:9092)"
        );
        assert_eq!(
            "kafka:http".parse::<HostPort>().unwrap_err(),
            "`kafka:http` has the port `http`: expected a number up to 65535"
        );
        assert_eq!(
            "http://kafka:9092/".parse::<HostPort>().unwrap_err(),
            "`http://kafka:9092/` starts with `http://`: expected host:port \
             (an IPv6 address in brackets: [::1]:9092), perhaps kafka:9092"
        );
        for text in ["", ":9092", "::1:9092", "[::1]", "a b:1", "a:70000", "[]:1"] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn knows_loopback() {
        for text in ["localhost:1", "127.3.2.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(text.parse::<HostPort>().unwrap().is_loopback(), "{text}");
        }
        assert!(!HostPort::new("0.0.0.0", 1).is_loopback());
        assert!(!HostPort::new("kafka", 1).is_loopback());
    }
}
