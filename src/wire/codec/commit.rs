//! OffsetCommit, versions 2 to 10: kafka-protocol's own codec ends at 9, KIP-848 clients use 10
//! (rule P4). `OffsetCommitRequest.json`, `OffsetCommitResponse.json`.

use std::sync::Arc;

use super::super::api::ApiKey;
use super::super::layout::{self, mark};
use super::super::walk::{self, Mark, Visitor};
use super::write::Out;
use super::{entry, local};

/// The versions that kmend writes. Kafka 4 still knows 2; version 10 names topics by id.
pub const VERSIONS: (i16, i16) = (2, 9);
pub const VERSIONS_BY_ID: (i16, i16) = (10, 10);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    pub group: Arc<str>,
    /// The generation, in KIP-848 groups the member's epoch; -1: nobody's.
    pub generation: i32,
    pub member: Arc<str>,
    pub instance: Option<Arc<str>>,
    pub topics: Vec<CommitTopic>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitTopic {
    /// Empty from version 10 on.
    pub name: Arc<str>,
    /// All zero below version 10.
    pub id: [u8; 16],
    pub partitions: Vec<CommitPartition>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitPartition {
    pub index: i32,
    /// The next offset to read.
    pub offset: i64,
    /// -1: none.
    pub leader_epoch: i32,
    pub metadata: Option<Arc<str>>,
}

/// Reads a whole request. `None`: it does not fit its layout, or is no text where it should be.
pub fn read(version: i16, frame: &mut [u8], body: usize) -> Option<Commit> {
    let mut reading = Reading::default();
    walk::whole(layout::request(ApiKey::OFFSET_COMMIT, version)?, frame, body, &mut reading).ok()?;
    (!reading.foreign).then_some(reading.commit)
}

#[derive(Default)]
struct Reading {
    commit: Commit,
    /// Some text is no UTF-8: it could not be written again as it was.
    foreign: bool,
}

impl Visitor for Reading {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        let Ok(read) = std::str::from_utf8(value.unwrap_or_default()) else {
            self.foreign = true;
            return;
        };
        let text = || -> Arc<str> { read.into() };
        match mark {
            mark::GROUP => self.commit.group = text(),
            mark::MEMBER => self.commit.member = text(),
            mark::GROUP_INSTANCE => self.commit.instance = value.map(|_| text()),
            mark::TOPIC => self.commit.topics.push(CommitTopic { name: text(), ..CommitTopic::default() }),
            mark::METADATA => {
                if let Some(partition) = self.commit.topics.last_mut().and_then(|t| t.partitions.last_mut()) {
                    partition.metadata = value.map(|_| text());
                }
            }
            _ => {}
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        match mark {
            mark::GENERATION => self.commit.generation = entry::int32(bytes),
            mark::TOPIC_ID => {
                let id = bytes.first_chunk().copied().unwrap_or_default();
                self.commit.topics.push(CommitTopic { id, ..CommitTopic::default() });
            }
            mark::PARTITION => {
                let (offset, epoch) = (bytes.get(4..).unwrap_or_default(), bytes.get(12..));
                let partition = CommitPartition {
                    index: entry::int32(bytes),
                    offset: entry::int64(offset),
                    leader_epoch: epoch.filter(|e| !e.is_empty()).map_or(-1, entry::int32),
                    metadata: None,
                };
                if let Some(topic) = self.commit.topics.last_mut() {
                    topic.partitions.push(partition);
                }
            }
            _ => {}
        }
    }
}

/// The body of a request.
pub fn write(version: i16, commit: &Commit) -> Vec<u8> {
    let mut out = Out::new(ApiKey::OFFSET_COMMIT.is_flexible(version));
    out.string(Some(&commit.group)).i32(commit.generation).string(Some(&commit.member));
    if version >= 7 {
        out.string(commit.instance.as_deref());
    }
    if (2..=4).contains(&version) {
        // RetentionTimeMs: the broker's own.
        out.i64(-1);
    }
    out.array(&commit.topics, |out, topic| {
        if version >= 10 {
            out.raw(&topic.id);
        } else {
            out.string(Some(&topic.name));
        }
        out.array(&topic.partitions, |out, p| {
            out.i32(p.index).i64(p.offset);
            if version >= 6 {
                out.i32(p.leader_epoch);
            }
            out.string(p.metadata.as_deref()).tags();
        });
        out.tags();
    });
    out.tags();
    out.bytes
}

/// The answer that all of it has been committed: a complete frame.
pub fn accepted(version: i16, correlation: i32, commit: &Commit) -> Vec<u8> {
    let api = ApiKey::OFFSET_COMMIT;
    let mut out = Out::new(api.is_flexible(version));
    if version >= 3 {
        out.i32(0);
    }
    out.array(&commit.topics, |out, topic| {
        if version >= 10 {
            out.raw(&topic.id);
        } else {
            out.string(Some(&topic.name));
        }
        out.array(&topic.partitions, |out, p| {
            out.i32(p.index).i16(0).tags();
        });
        out.tags();
    });
    out.tags();
    local::frame(correlation, api.response_header_has_tags(version), &out.bytes)
}

/// What the broker said of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub name: Arc<str>,
    pub id: [u8; 16],
    pub index: i32,
    pub error: i16,
}

/// Reads a whole response.
pub fn outcomes(version: i16, frame: &mut [u8], body: usize) -> Option<Vec<Outcome>> {
    let mut all = Vec::new();
    each(version, frame, body, |name, id, index, error| {
        all.push(Outcome { name: name.clone(), id, index, error });
        error
    })?;
    Some(all)
}

/// Shows every partition of a response; what `each` gives back becomes its error code.
pub fn each(
    version: i16,
    frame: &mut [u8],
    body: usize,
    each: impl FnMut(&Arc<str>, [u8; 16], i32, i16) -> i16,
) -> Option<()> {
    let layout = layout::response(ApiKey::OFFSET_COMMIT, version)?;
    let mut visitor = Each { name: Arc::from(""), id: [0; 16], each };
    walk::whole(layout, frame, body, &mut visitor).ok()
}

struct Each<F> {
    name: Arc<str>,
    id: [u8; 16],
    each: F,
}

impl<F: FnMut(&Arc<str>, [u8; 16], i32, i16) -> i16> Visitor for Each<F> {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        if mark == mark::TOPIC {
            self.name = String::from_utf8_lossy(value.unwrap_or_default()).into();
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        match mark {
            mark::TOPIC_ID => self.id = bytes.first_chunk().copied().unwrap_or_default(),
            mark::PARTITION => {
                let (index, error) = (entry::int32(bytes), entry::int16(bytes.get(4..).unwrap_or_default()));
                let new = (self.each)(&self.name, self.id, index, error);
                if let Some(place) = bytes.get_mut(4..6) {
                    place.copy_from_slice(&new.to_be_bytes());
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::OffsetCommitRequest;
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    fn commit(version: i16) -> Commit {
        let partition = |index, metadata: Option<&str>| CommitPartition {
            index,
            offset: 62_129_856 + i64::from(index),
            leader_epoch: if version >= 6 { 7 } else { -1 },
            metadata: metadata.map(Arc::from),
        };
        let topic = |name: &str, id| CommitTopic {
            name: if version >= 10 { Arc::from("") } else { Arc::from(name) },
            id: if version >= 10 { [id; 16] } else { [0; 16] },
            partitions: vec![partition(0, None), partition(3, Some("note"))],
        };
        Commit {
            group: "billing".into(),
            generation: 5,
            member: "m-1".into(),
            instance: (version >= 7).then(|| "i-1".into()),
            topics: vec![topic("orders", 1), topic("payments", 2)],
        }
    }

    fn framed(version: i16, body: &[u8]) -> (Vec<u8>, usize) {
        let frame = local::request(ApiKey::OFFSET_COMMIT, version, 1, b"", body);
        let at = frame.len() - body.len();
        (frame, at)
    }

    #[test]
    fn reads_what_it_writes_and_so_does_the_library() {
        for version in 2..=10 {
            let commit = commit(version);
            let body = write(version, &commit);
            let (mut frame, at) = framed(version, &body);
            assert_eq!(read(version, &mut frame, at), Some(commit), "{version}");
            if version <= 9 {
                let theirs = OffsetCommitRequest::decode(&mut bytes::Bytes::from(body.clone()), version).unwrap();
                let mut back = BytesMut::new();
                theirs.encode(&mut back, version).unwrap();
                assert_eq!(back, body, "{version}");
            }
            for cut in at..frame.len() - 1 {
                assert_eq!(read(version, &mut frame[..=cut].to_vec()[..cut], at), None, "{version} {cut}");
            }
        }
    }

    #[test]
    fn its_answer_has_an_outcome_for_each_partition_and_errors_change_in_place() {
        for version in 2..=10 {
            let commit = commit(version);
            let mut frame = accepted(version, 9, &commit);
            let body = 8 + usize::from(ApiKey::OFFSET_COMMIT.response_header_has_tags(version));
            let before = outcomes(version, &mut frame, body).unwrap();
            let expected =
                commit.topics.iter().flat_map(|t| t.partitions.iter().map(|p| (t.name.clone(), t.id, p.index, 0)));
            let found: Vec<_> = before.iter().map(|o| (o.name.clone(), o.id, o.index, o.error)).collect();
            assert_eq!(found, expected.collect::<Vec<_>>(), "{version}");
            let size = frame.len();
            each(version, &mut frame, body, |_, _, index, _| if index == 3 { 22 } else { 0 }).unwrap();
            let errors: Vec<i16> = outcomes(version, &mut frame, body).unwrap().iter().map(|o| o.error).collect();
            assert_eq!((errors, frame.len()), (vec![0, 22, 0, 22], size));
        }
    }
}
