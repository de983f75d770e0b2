//! Which broker coordinates a group: FindCoordinator as kmend asks it.

use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::super::api::ApiKey;
use super::ask::{CodecError, decode, encode};

/// FindCoordinator 1 is the first that knows what a key stands for; from 4 on keys come in lists.
pub const VERSIONS: (i16, i16) = (1, 6);
/// ILLEGAL_SASL_STATE, and what Kafka calls SASL_AUTHENTICATION_FAILED: nobody is told without a login.
const LOGIN_ERRORS: [i16; 2] = [34, 58];

/// The answer: where the coordinator is, or why nobody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinator {
    pub error: i16,
    pub node: i32,
    pub host: String,
    pub port: i32,
}

impl Coordinator {
    pub fn needs_login(&self) -> bool {
        LOGIN_ERRORS.contains(&self.error)
    }
}

/// Asks for the coordinator of `group`.
pub fn find(version: i16, group: &str) -> Result<Vec<u8>, CodecError> {
    let key = StrBytes::from_string(group.to_owned());
    // Key type 0: a group.
    let request = FindCoordinatorRequest::default();
    let request = if version >= 4 { request.with_coordinator_keys(vec![key]) } else { request.with_key(key) };
    encode(ApiKey::FIND_COORDINATOR, version, &request)
}

/// The answer to [`find`].
pub fn found(version: i16, frame: &[u8], body: usize) -> Result<Coordinator, CodecError> {
    let answer: FindCoordinatorResponse = decode(ApiKey::FIND_COORDINATOR, version, frame, body)?;
    if version < 4 {
        let (node, host) = (answer.node_id.0, answer.host.to_string());
        return Ok(Coordinator { error: answer.error_code, node, host, port: answer.port });
    }
    let why = || CodecError::Decode(ApiKey::FIND_COORDINATOR, version, "no coordinator in it".into());
    let one = answer.coordinators.into_iter().next().ok_or_else(why)?;
    Ok(Coordinator { error: one.error_code, node: one.node_id.0, host: one.host.to_string(), port: one.port })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::messages::find_coordinator_response;
    use kafka_protocol::protocol::Decodable;

    use super::*;

    #[test]
    fn asks_for_one_group_in_every_version() {
        for version in VERSIONS.0..=VERSIONS.1 {
            let mut bytes = Bytes::from(find(version, "orders").unwrap());
            let request = FindCoordinatorRequest::decode(&mut bytes, version).unwrap();
            assert!(bytes.is_empty());
            let key = if version >= 4 { request.coordinator_keys[0].clone() } else { request.key };
            assert_eq!((key.as_str(), request.key_type), ("orders", 0));
        }
    }

    #[test]
    fn reads_the_answer_in_every_version() {
        for version in VERSIONS.0..=VERSIONS.1 {
            let host = StrBytes::from_static_str("b7");
            let response = match version {
                ..4 => FindCoordinatorResponse::default().with_node_id(BrokerId(7)).with_host(host).with_port(9092),
                _ => FindCoordinatorResponse::default().with_coordinators(vec![
                    find_coordinator_response::Coordinator::default()
                        .with_node_id(BrokerId(7))
                        .with_host(host)
                        .with_port(9092),
                ]),
            };
            let mut frame = vec![0; 8];
            frame.extend(encode(ApiKey::FIND_COORDINATOR, version, &response).unwrap());
            let expected = Coordinator { error: 0, node: 7, host: "b7".into(), port: 9092 };
            assert_eq!(found(version, &frame, 8).unwrap(), expected);
            for cut in 8..frame.len() {
                assert!(found(version, &frame[..cut], 8).is_err());
            }
        }
        // An empty list of coordinators.
        assert!(found(4, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], 8).is_err());
    }
}
