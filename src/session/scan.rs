//! What the walks over streamed frames do with the fields that they meet.

use super::core::{Core, around};
use crate::mend::{FetchRequest, MetadataTopic, Topic};
use crate::wire::codec::entry::{self, FetchPartition, FetchedPartition};
use crate::wire::layout::mark;
use crate::wire::walk::{Action, Mark, Visitor};

/// Between the steps of a walk over a Fetch request.
#[derive(Debug, Default)]
pub(super) struct FetchRequestScan {
    topic: Option<Topic>,
}

impl FetchRequestScan {
    pub fn visitor<'a>(&'a mut self, core: &'a mut Core, request: &'a mut FetchRequest) -> FetchRequestVisitor<'a> {
        FetchRequestVisitor { scan: self, core, request }
    }
}

pub(super) struct FetchRequestVisitor<'a> {
    scan: &'a mut FetchRequestScan,
    core: &'a mut Core,
    request: &'a mut FetchRequest,
}

impl Visitor for FetchRequestVisitor<'_> {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        if matches!(mark, mark::TOPIC | mark::FORGOTTEN_TOPIC) {
            self.scan.topic = self.core.topics.topic_by_name(value.unwrap_or_default());
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        match mark {
            mark::TOPIC_ID | mark::FORGOTTEN_TOPIC_ID => {
                if let Some(id) = bytes.first_chunk::<16>() {
                    self.scan.topic = self.core.topics.topic_by_id(*id, &self.core.env.shared.catalog);
                }
            }
            mark::PARTITION => {
                let Some(topic) = &self.scan.topic else {
                    return;
                };
                let core = &mut *self.core;
                let mut partition = FetchPartition::new(bytes, self.request.version);
                core.fetch.ask(self.request, topic.number, partition.index(), partition.offset());
                if !self.request.replica {
                    let around = around!(core);
                    core.chain.all(&around, |m, cx| m.fetch_request_partition(cx, self.request, topic, &mut partition));
                }
            }
            mark::FORGOTTEN_PARTITION => {
                let Some(topic) = &self.scan.topic else {
                    return;
                };
                let core = &mut *self.core;
                let partition = entry::int32(bytes);
                core.fetch.forget(topic.number, partition);
                let around = around!(core);
                core.chain.all(&around, |m, cx| m.fetch_request_forget(cx, topic, partition));
            }
            _ => {}
        }
    }

    fn tag(&mut self, mark: Mark, _at: usize, tag: u32, _content: usize, _size: usize) -> Action {
        if mark == mark::END_TAGS && tag == 1 {
            self.request.replica = true;
        }
        Action::Keep
    }
}

/// Between the steps of a walk over a Fetch response.
#[derive(Debug, Default)]
pub(super) struct FetchResponseScan {
    topic: Option<Topic>,
    pub error: i16,
    emptied: bool,
    /// The frame is here as a whole: its node endpoints can be rewritten.
    whole: bool,
    /// It has node endpoints.
    pub endpoints: bool,
}

impl FetchResponseScan {
    pub fn new(whole: bool) -> Self {
        FetchResponseScan { whole, ..Self::default() }
    }

    pub fn visitor<'a>(
        &'a mut self,
        core: &'a mut Core,
        request: Option<&'a FetchRequest>,
    ) -> FetchResponseVisitor<'a> {
        FetchResponseVisitor { scan: self, core, request }
    }
}

pub(super) struct FetchResponseVisitor<'a> {
    scan: &'a mut FetchResponseScan,
    core: &'a mut Core,
    /// What it answers, where the menders saw that.
    request: Option<&'a FetchRequest>,
}

impl Visitor for FetchResponseVisitor<'_> {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        if mark == mark::TOPIC && self.request.is_some() {
            self.scan.topic = self.core.topics.topic_by_name(value.unwrap_or_default());
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        let Some(request) = self.request else { return };
        match mark {
            mark::TOP => self.scan.error = entry::fetch_top(bytes).0,
            mark::TOPIC_ID => {
                if let Some(id) = bytes.first_chunk::<16>() {
                    self.scan.topic = self.core.topics.topic_by_id(*id, &self.core.env.shared.catalog);
                }
            }
            mark::PARTITION => {
                let Some(topic) = &self.scan.topic else {
                    return;
                };
                let core = &mut *self.core;
                let mut partition = FetchedPartition::new(bytes);
                if partition.error() == 0 {
                    let (hw, lso) = (partition.high_watermark(), partition.last_stable_offset());
                    core.fetch.learn(topic.number, partition.index(), partition.log_start(), hw, lso);
                }
                let mut emptied = false;
                if !request.replica {
                    let around = around!(core);
                    core.chain.all(&around, |m, cx| {
                        emptied |= m.fetch_response_partition(cx, request, topic, &mut partition)
                    });
                }
                self.scan.emptied = emptied;
            }
            _ => {}
        }
    }

    fn blob(&mut self, mark: Mark, _at: usize, len: Option<usize>, length: &mut [u8], _peek: &[u8]) {
        // librdkafka takes a null record set for a broken response: an emptied one is never null.
        if mark == mark::RECORDS && self.scan.emptied && len.is_none() {
            match length {
                [compact] => *compact = 1,
                plain => plain.fill(0),
            }
        }
        self.scan.emptied = false;
    }

    fn tag(&mut self, mark: Mark, _at: usize, tag: u32, _content: usize, _size: usize) -> Action {
        if mark == mark::END_TAGS && tag == 0 {
            self.scan.endpoints = true;
            if !self.scan.whole {
                return Action::Hide;
            }
        }
        Action::Keep
    }
}

/// Hides the node endpoints of a ShareFetch response that is streamed.
pub(super) struct HideNodes;

impl Visitor for HideNodes {
    fn array(&mut self, mark: Mark, _at: usize, count: Option<usize>) -> Action {
        if mark == mark::NODES && count.is_some_and(|n| n > 0) { Action::Hide } else { Action::Keep }
    }
}

/// Teaches the catalog the topics of a Metadata response, and tells the menders of them.
#[derive(Debug, Default)]
pub(super) struct TopicsScan {
    error: i16,
    name: String,
    id: [u8; 16],
    leaders: Vec<i32>,
    /// More topics than a client names: the whole cluster's list is not kept.
    listing: bool,
}

/// A response with more topics than this is a listing, not what a client uses.
const LISTING: usize = 1000;

impl TopicsScan {
    pub fn visitor<'a>(&'a mut self, core: &'a mut Core) -> TopicsVisitor<'a> {
        TopicsVisitor { scan: self, core }
    }
}

pub(super) struct TopicsVisitor<'a> {
    scan: &'a mut TopicsScan,
    core: &'a mut Core,
}

impl Visitor for TopicsVisitor<'_> {
    fn array(&mut self, mark: Mark, _at: usize, count: Option<usize>) -> Action {
        if mark == mark::TOPICS {
            self.scan.listing = count.is_some_and(|n| n > LISTING);
        } else if mark == mark::PARTITIONS {
            self.scan.leaders.clear();
        }
        Action::Keep
    }

    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        if mark == mark::TOPIC {
            self.scan.name.clear();
            self.scan.name.push_str(&String::from_utf8_lossy(value.unwrap_or_default()));
            self.scan.id = [0; 16];
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        match mark {
            mark::TOPIC_ERROR => self.scan.error = entry::int16(bytes),
            mark::TOPIC_ID => self.scan.id = bytes.first_chunk().copied().unwrap_or_default(),
            mark::PARTITION => {
                let (_, index, leader) = entry::metadata_partition(bytes);
                // Partitions come in any order; an index is never far beyond how many there are.
                if let Ok(index) = usize::try_from(index)
                    && index < 100_000
                {
                    if self.scan.leaders.len() <= index {
                        self.scan.leaders.resize(index + 1, -1);
                    }
                    if let Some(slot) = self.scan.leaders.get_mut(index) {
                        *slot = leader;
                    }
                }
            }
            _ => {}
        }
    }

    fn element_end(&mut self, mark: Mark) {
        if mark != mark::TOPICS {
            return;
        }
        let TopicsScan { error, name, id, leaders, listing } = &*self.scan;
        let core = &mut *self.core;
        if !listing && *error == 0 && !name.is_empty() {
            core.env.shared.catalog.learn(name, *id, leaders);
        }
        let topic = MetadataTopic { name, id: *id, error: *error, leaders };
        let around = around!(core);
        core.chain.all(&around, |m, cx| m.metadata_topic(cx, &topic));
    }
}
