//! OffsetFetch, versions 1 to 10: kafka-protocol's own codec ends at 9, KIP-848 clients use 10
//! (rule P4). `OffsetFetchRequest.json`, `OffsetFetchResponse.json`.

use std::sync::Arc;

use super::super::api::ApiKey;
use super::super::layout::{self, mark};
use super::super::walk::{self, Mark, Visitor};
use super::entry::{self, CommittedOffset};
use super::write::Out;

/// The versions that kmend writes: topics by name.
pub const VERSIONS: (i16, i16) = (1, 9);

/// The body of a request for the offsets of one group. Offsets of open transactions do not make it
/// fail (require_stable is false): what is committed now is wanted.
pub fn write(version: i16, group: &str, topics: &[(Arc<str>, Vec<i32>)]) -> Vec<u8> {
    let mut out = Out::new(ApiKey::OFFSET_FETCH.is_flexible(version));
    let list = |out: &mut Out| {
        out.array(topics, |out, (name, partitions)| {
            out.string(Some(name)).array(partitions, |out, p| {
                out.i32(*p);
            });
            out.tags();
        });
    };
    if version >= 8 {
        out.array(&[()], |out, ()| {
            out.string(Some(group));
            if version >= 9 {
                out.string(None).i32(-1);
            }
            list(out);
            out.tags();
        });
    } else {
        out.string(Some(group));
        list(&mut out);
    }
    if version >= 7 {
        out.i8(0);
    }
    out.tags();
    out.bytes
}

/// The groups that a whole request asks for.
pub fn groups(version: i16, frame: &mut [u8], body: usize) -> Option<Vec<Arc<str>>> {
    let mut reading = Groups(Vec::new());
    walk::whole(layout::request(ApiKey::OFFSET_FETCH, version)?, frame, body, &mut reading).ok()?;
    Some(reading.0)
}

struct Groups(Vec<Arc<str>>);

impl Visitor for Groups {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        if mark == mark::GROUP {
            self.0.push(String::from_utf8_lossy(value.unwrap_or_default()).into());
        }
    }
}

/// One partition of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Empty below version 8: the only group that was asked for.
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub id: [u8; 16],
    pub index: i32,
    /// -1: nothing is committed.
    pub offset: i64,
    pub metadata: Option<Arc<str>>,
    pub error: i16,
}

/// What a whole response says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub partitions: Vec<Committed>,
    /// The first error of a group.
    pub error: i16,
    /// The groups that have one; below version 8 an empty name.
    pub failed: Vec<Arc<str>>,
}

/// Reads a whole response.
pub fn read(version: i16, frame: &mut [u8], body: usize) -> Option<Answer> {
    let mut reading = Reading::default();
    walk::whole(layout::response(ApiKey::OFFSET_FETCH, version)?, frame, body, &mut reading).ok()?;
    Some(reading.answer)
}

#[derive(Default)]
struct Reading {
    answer: Answer,
    group: Arc<str>,
    topic: Arc<str>,
    id: [u8; 16],
}

impl Visitor for Reading {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        let text = || -> Arc<str> { String::from_utf8_lossy(value.unwrap_or_default()).into() };
        match mark {
            mark::GROUP => self.group = text(),
            mark::TOPIC => self.topic = text(),
            mark::METADATA => {
                if let Some(partition) = self.answer.partitions.last_mut() {
                    partition.metadata = value.map(|_| text());
                }
            }
            _ => {}
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        match mark {
            mark::TOPIC_ID => self.id = bytes.first_chunk().copied().unwrap_or_default(),
            mark::PARTITION => {
                let place = CommittedOffset::new(bytes);
                self.answer.partitions.push(Committed {
                    group: self.group.clone(),
                    topic: self.topic.clone(),
                    id: self.id,
                    index: place.index(),
                    offset: place.offset(),
                    metadata: None,
                    error: 0,
                });
            }
            mark::ERROR => {
                if let Some(partition) = self.answer.partitions.last_mut() {
                    partition.error = entry::int16(bytes);
                }
            }
            mark::GROUP_ERROR => {
                let error = entry::int16(bytes);
                if self.answer.error == 0 {
                    self.answer.error = error;
                }
                if error != 0 {
                    self.answer.failed.push(self.group.clone());
                }
            }
            _ => {}
        }
    }
}

/// Moves offsets of a whole response in place; the leader epoch goes with them. `to` says where the
/// partition with this number in the order of the response moves to.
pub fn moved(version: i16, frame: &mut [u8], body: usize, to: &[Option<i64>]) {
    let Some(layout) = layout::response(ApiKey::OFFSET_FETCH, version) else {
        return;
    };
    // It has been read before.
    let _ = walk::whole(layout, frame, body, &mut Moving { to: to.iter() });
}

struct Moving<'a> {
    to: std::slice::Iter<'a, Option<i64>>,
}

impl Visitor for Moving<'_> {
    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        if mark == mark::PARTITION
            && let Some(Some(offset)) = self.to.next()
        {
            CommittedOffset::new(bytes).set_offset(*offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages::offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    };
    use kafka_protocol::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName};
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

    use super::super::local;
    use super::*;

    #[test]
    fn the_library_reads_what_it_asks() {
        let topics = [(Arc::from("orders"), vec![0, 3]), (Arc::from("payments"), vec![1])];
        for version in 1..=9 {
            let body = write(version, "billing", &topics);
            let theirs = OffsetFetchRequest::decode(&mut Bytes::from(body.clone()), version).unwrap();
            let mut back = BytesMut::new();
            theirs.encode(&mut back, version).unwrap();
            assert_eq!(back, body, "{version}");
            let mut frame = local::request(ApiKey::OFFSET_FETCH, version, 1, b"", &body);
            let at = frame.len() - body.len();
            assert_eq!(groups(version, &mut frame, at), Some(vec![Arc::from("billing")]));
        }
    }

    fn answer(version: i16, group_error: i16) -> Vec<u8> {
        let text = StrBytes::from_static_str;
        let mut message = OffsetFetchResponse::default();
        if version >= 8 {
            let partition = |index, offset| {
                OffsetFetchResponsePartitions::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_metadata(Some(text("note")))
            };
            let topic = OffsetFetchResponseTopics::default()
                .with_name(TopicName(text("orders")))
                .with_partitions(vec![partition(0, 50), partition(3, -1)]);
            let group = OffsetFetchResponseGroup::default()
                .with_group_id(GroupId(text("billing")))
                .with_error_code(group_error)
                .with_topics(vec![topic]);
            message = message.with_groups(vec![group]);
        } else {
            let partition = |index, offset| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_metadata(Some(text("note")))
            };
            let topic = OffsetFetchResponseTopic::default()
                .with_name(TopicName(text("orders")))
                .with_partitions(vec![partition(0, 50), partition(3, -1)]);
            message = message.with_error_code(group_error).with_topics(vec![topic]);
        }
        let mut body = BytesMut::new();
        message.encode(&mut body, version).unwrap();
        local::frame(1, ApiKey::OFFSET_FETCH.response_header_has_tags(version), &body)
    }

    #[test]
    fn reads_and_moves_what_is_committed() {
        for version in 1..=9 {
            let error = if version >= 2 { 16 } else { 0 };
            let mut frame = answer(version, error);
            let body = 8 + usize::from(ApiKey::OFFSET_FETCH.response_header_has_tags(version));
            let read_back = read(version, &mut frame, body).unwrap();
            assert_eq!(read_back.error, error, "{version}");
            let failed: Vec<_> = read_back.failed.iter().map(|g| &**g).collect();
            assert_eq!(failed, if error == 0 { vec![] } else { vec![if version >= 8 { "billing" } else { "" }] });
            let offsets = |a: &Answer| a.partitions.iter().map(|p| (p.index, p.offset)).collect::<Vec<_>>();
            assert_eq!(offsets(&read_back), [(0, 50), (3, -1)]);
            assert!(
                read_back.partitions.iter().all(|p| &*p.topic == "orders" && p.metadata.as_deref() == Some("note"))
            );
            assert_eq!(&*read_back.partitions[0].group, if version >= 8 { "billing" } else { "" });
            moved(version, &mut frame, body, &[Some(70), None]);
            assert_eq!(offsets(&read(version, &mut frame, body).unwrap()), [(0, 70), (3, -1)]);
        }
    }
}
