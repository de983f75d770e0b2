//! Answers to Produce and Fetch requests that name each of their partitions.

use super::super::api::ApiKey;
use super::super::layout;
use super::super::varint;
use super::local::frame;

/// A partition of a Produce request that is refused. Only the field that the version writes is read:
/// `name` up to version 12, `id` after that.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    pub name: &'a str,
    pub id: [u8; 16],
    pub partition: i32,
}

/// A partition of a Fetch response that has no records.
#[derive(Debug, Clone, Copy)]
pub struct FetchEmpty<'a> {
    pub name: &'a str,
    pub id: [u8; 16],
    pub partition: i32,
    pub error: i16,
    pub high_watermark: i64,
    pub last_stable: i64,
    pub log_start: i64,
}

/// -1: not known.
const UNKNOWN: [u8; 8] = (-1i64).to_be_bytes();

/// A Produce response in which every partition has `error`, and no leader is named. In the order of
/// `partitions`, neighbours of one topic together. `None`: a version without a layout.
pub fn produce_refused(version: i16, correlation: i32, partitions: &[Refused<'_>], error: i16) -> Option<Vec<u8>> {
    layout::response(ApiKey::PRODUCE, version)?;
    let mut out = Writer::new(ApiKey::PRODUCE, version);
    out.topics(
        partitions,
        |p| Topic { name: p.name, id: p.id },
        |out, p| {
            out.put(&p.partition.to_be_bytes()).put(&error.to_be_bytes()).put(&UNKNOWN).put(&UNKNOWN);
            if version >= 5 {
                out.put(&UNKNOWN);
            }
            if version >= 8 {
                out.count(0).null_text();
            }
            out.tags();
        },
    );
    out.put(&[0; 4]).tags();
    Some(out.finish(correlation))
}

/// A Fetch response without records, of the fetch session `session` (0: none). In the order of
/// `partitions`, neighbours of one topic together. `None`: a version without a layout.
pub fn fetch_empty(version: i16, correlation: i32, session: i32, partitions: &[FetchEmpty<'_>]) -> Option<Vec<u8>> {
    layout::response(ApiKey::FETCH, version)?;
    let mut out = Writer::new(ApiKey::FETCH, version);
    out.put(&[0; 4]);
    if version >= 7 {
        out.put(&[0; 2]).put(&session.to_be_bytes());
    }
    out.topics(
        partitions,
        |p| Topic { name: p.name, id: p.id },
        |out, p| {
            out.put(&p.partition.to_be_bytes()).put(&p.error.to_be_bytes());
            out.put(&p.high_watermark.to_be_bytes()).put(&p.last_stable.to_be_bytes());
            if version >= 5 {
                out.put(&p.log_start.to_be_bytes());
            }
            out.null_array();
            if version >= 11 {
                out.put(&(-1i32).to_be_bytes());
            }
            // Records that are empty, never null: librdkafka takes null for a broken response.
            out.count(0).tags();
        },
    );
    out.tags();
    Some(out.finish(correlation))
}

#[derive(Clone, Copy)]
struct Topic<'a> {
    name: &'a str,
    id: [u8; 16],
}

struct Writer {
    out: Vec<u8>,
    flexible: bool,
    header_tags: bool,
    /// Topics go by their id.
    ids: bool,
}

impl Writer {
    fn new(api: ApiKey, version: i16) -> Writer {
        Writer {
            out: Vec::new(),
            flexible: api.is_flexible(version),
            header_tags: api.response_header_has_tags(version),
            ids: version >= 13,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// The length of an array or of bytes.
    fn count(&mut self, n: usize) -> &mut Self {
        if self.flexible {
            varint::write(&mut self.out, n as u32 + 1);
        } else {
            self.put(&(n as i32).to_be_bytes());
        }
        self
    }

    fn null_array(&mut self) -> &mut Self {
        if self.flexible { self.put(&[0]) } else { self.put(&[0xff; 4]) }
    }

    fn null_text(&mut self) -> &mut Self {
        if self.flexible { self.put(&[0]) } else { self.put(&[0xff; 2]) }
    }

    fn tags(&mut self) -> &mut Self {
        if self.flexible {
            self.out.push(0);
        }
        self
    }

    fn topic(&mut self, topic: Topic<'_>) -> &mut Self {
        let name = topic.name.as_bytes();
        if self.ids {
            self.put(&topic.id)
        } else if self.flexible {
            self.count(name.len()).put(name)
        } else {
            self.put(&(name.len() as i16).to_be_bytes()).put(name)
        }
    }

    fn is_same(&self, a: Topic<'_>, b: Topic<'_>) -> bool {
        if self.ids { a.id == b.id } else { a.name == b.name }
    }

    fn topics<P: Copy>(
        &mut self,
        partitions: &[P],
        topic: impl for<'p> Fn(&'p P) -> Topic<'p>,
        write: impl Fn(&mut Writer, P),
    ) {
        let groups = || partitions.chunk_by(|a, b| self.is_same(topic(a), topic(b)));
        let groups: Vec<&[P]> = groups().collect();
        self.count(groups.len());
        for group in groups {
            if let Some(first) = group.first() {
                self.topic(topic(first));
            }
            self.count(group.len());
            for partition in group {
                write(self, *partition);
            }
            self.tags();
        }
    }

    fn finish(self, correlation: i32) -> Vec<u8> {
        frame(correlation, self.header_tags, &self.out)
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Buf, Bytes};
    use kafka_protocol::messages::{FetchResponse, ProduceResponse};
    use kafka_protocol::protocol::Decodable;

    use super::*;
    use crate::wire::head;

    /// The body of a complete frame.
    fn body(api: ApiKey, version: i16, frame: &[u8]) -> Bytes {
        assert_eq!(frame.len() - 4, i32::from_be_bytes(frame[..4].try_into().unwrap()) as usize);
        assert_eq!(head::correlation(frame), Some(9));
        let mut bytes = Bytes::copy_from_slice(frame);
        bytes.advance(head::response_body(frame, frame.len(), api, version).unwrap());
        bytes
    }

    const PLACES: [(&str, u8, i32); 4] = [("a", 1, 4), ("a", 1, 2), ("b", 2, 0), ("a", 1, 3)];

    #[test]
    fn every_version_of_a_refusal_is_read_by_kafka_protocol() {
        let all = PLACES.map(|(name, id, partition)| Refused { name, id: [id; 16], partition });
        for version in 3..=13 {
            let mut bytes = body(ApiKey::PRODUCE, version, &produce_refused(version, 9, &all, 6).unwrap());
            let answer = ProduceResponse::decode(&mut bytes, version).unwrap();
            assert!(bytes.is_empty(), "{version}");
            assert_eq!((answer.throttle_time_ms, answer.node_endpoints.len()), (0, 0));
            let mut seen = Vec::new();
            for topic in &answer.responses {
                for p in &topic.partition_responses {
                    assert_eq!((p.error_code, p.base_offset, p.log_append_time_ms), (6, -1, -1), "{version}");
                    assert_eq!((p.log_start_offset, p.record_errors.len()), (-1, 0), "{version}");
                    assert_eq!((&p.error_message, p.current_leader.leader_id.0), (&None, -1));
                    let named =
                        if version >= 13 { topic.topic_id.as_bytes()[0] } else { topic.name.as_bytes()[0] - b'a' + 1 };
                    seen.push((named, p.index));
                }
            }
            assert_eq!((answer.responses.len(), seen), (3, PLACES.map(|(_, id, p)| (id, p)).to_vec()), "{version}");
        }
        assert!(produce_refused(2, 9, &all, 6).is_none() && produce_refused(14, 9, &all, 6).is_none());
        assert!(produce_refused(9, 9, &[], 6).is_some());
    }

    #[test]
    fn every_version_of_an_empty_fetch_is_read_by_kafka_protocol() {
        let all = PLACES.map(|(name, id, partition)| FetchEmpty {
            name,
            id: [id; 16],
            partition,
            error: partition as i16,
            high_watermark: 30,
            last_stable: 20,
            log_start: 10,
        });
        for version in 4..=18 {
            let mut bytes = body(ApiKey::FETCH, version, &fetch_empty(version, 9, 77, &all).unwrap());
            let answer = FetchResponse::decode(&mut bytes, version).unwrap();
            assert!(bytes.is_empty(), "{version}");
            let session = if version >= 7 { 77 } else { 0 };
            assert_eq!((answer.error_code, answer.session_id, answer.throttle_time_ms), (0, session, 0));
            let mut seen = Vec::new();
            for topic in &answer.responses {
                for p in &topic.partitions {
                    assert_eq!((p.error_code, p.high_watermark), (p.partition_index as i16, 30), "{version}");
                    assert_eq!((p.last_stable_offset, p.preferred_read_replica.0), (20, -1), "{version}");
                    assert_eq!(p.log_start_offset, if version >= 5 { 10 } else { -1 }, "{version}");
                    assert_eq!((&p.aborted_transactions, p.records.as_ref().map(Bytes::len)), (&None, Some(0)));
                    let named =
                        if version >= 13 { topic.topic_id.as_bytes()[0] } else { topic.topic.as_bytes()[0] - b'a' + 1 };
                    seen.push((named, p.partition_index));
                }
            }
            assert_eq!((answer.responses.len(), seen), (3, PLACES.map(|(_, id, p)| (id, p)).to_vec()), "{version}");
        }
        assert!(fetch_empty(3, 9, 0, &all).is_none());
    }
}
