//! Produce and Fetch requests that a mender wants to see as a whole before anything of them goes
//! upstream.

use super::core::{Core, Wait, around};
use super::end::End;
use super::produce::{Each, MOST, ProduceScan, ProduceVisitor};
use super::pump::Pump;
use super::request::{RequestState, bad};
use crate::mend::{FetchRequest, ProduceRequest, Produced, Readers, Topic, Verdict, Wanted};
use crate::wire::api::ApiKey;
use crate::wire::codec::entry::FetchPartition;
use crate::wire::head::{HeadError, RequestHead};
use crate::wire::layout::{self, Layout, mark};
use crate::wire::walk::{self, Action, Mark, Visitor, WalkError};

/// A request that is being held whole.
#[derive(Debug)]
pub(super) struct Gathering {
    head: RequestHead,
    total: usize,
    what: Gathered,
}

#[derive(Debug)]
pub(super) enum Gathered {
    Produce(ProduceRequest),
    Fetch(FetchRequest),
}

impl Core {
    /// Holds it from here on; the menders are not asked about its front again.
    pub(super) fn gather_request(&mut self, head: RequestHead, total: usize, what: Gathered) -> Option<Wait> {
        self.hold = None;
        self.request = RequestState::Gather(Box::new(Gathering { head, total, what }));
        None
    }

    pub(super) fn gathering(&mut self, pump: &mut Pump) -> Result<Option<Wait>, End> {
        let RequestState::Gather(state) = std::mem::replace(&mut self.request, RequestState::Head) else {
            return Ok(None);
        };
        let (head, total) = (state.head, state.total);
        let Some(layout) = layout::request(head.api, head.version) else {
            return Err(End::BadHead(HeadError::Malformed));
        };
        if total > self.limits.max_whole_frame {
            self.unseen(head.api);
            return self.gathered_on(pump, *state, layout);
        }
        let wait = match self.reserve(pump, total, head.api)? {
            None if pump.window.undecided().len() < total => Some(Wait::Bytes),
            wait => wait,
        };
        if wait.is_some() {
            self.request = RequestState::Gather(state);
            return Ok(wait);
        }
        let frame = pump.window.undecided_mut().get_mut(..total).unwrap_or_default();
        let verdict = match &state.what {
            Gathered::Produce(request) => {
                let mut kept = Some(Vec::new());
                let scan = &mut ProduceScan::default();
                let mut visitor = ProduceVisitor { scan, core: self, each: Each::Keep(&mut kept) };
                unless_trailing(walk::whole(layout, frame, head.body, &mut visitor)).map_err(bad("Produce"))?;
                // As it is now: more may have come behind it than when its front was read.
                let request = ProduceRequest { alone: self.is_alone(pump, total), ..*request };
                self.judge_produce(&request, kept)
            }
            Gathered::Fetch(request) => {
                let mut wants = Wants {
                    version: head.version,
                    topic: None,
                    replica: request.replica,
                    all: Some(Vec::new()),
                    core: self,
                };
                unless_trailing(walk::whole(layout, frame, head.body, &mut wants)).map_err(bad("Fetch"))?;
                // A broker that follows may be told only by its last tags (rule M4).
                let wanted = if wants.replica { None } else { wants.all };
                self.judge_fetch(request, wanted)
            }
        };
        match verdict {
            Verdict::Answer(answer) => Ok(self.answer(head, total, answer)),
            _ => self.gathered_on(pump, *state, layout),
        }
    }

    fn judge_produce(&mut self, request: &ProduceRequest, partitions: Option<Vec<Produced>>) -> Verdict {
        let Some(partitions) = partitions else {
            self.unseen(ApiKey::PRODUCE);
            return Verdict::Pass;
        };
        let who = self.interests.readers(ApiKey::PRODUCE);
        let around = around!(self);
        let verdict = self.chain.verdict(&around, who, |m, cx| m.produce_whole(cx, request, &partitions));
        self.apply_effects();
        // Whoever expects no answer must not get one.
        if request.acks == 0 { Verdict::Pass } else { verdict }
    }

    fn judge_fetch(&mut self, request: &FetchRequest, wanted: Option<Vec<Wanted>>) -> Verdict {
        let Some(wanted) = wanted else {
            return Verdict::Pass;
        };
        let around = around!(self);
        let verdict = self.chain.verdict(&around, Readers::ALL, |m, cx| m.fetch_whole(cx, request, &wanted));
        self.apply_effects();
        verdict
    }

    /// It goes upstream after all, as one that nobody wanted to gather.
    fn gathered_on(&mut self, pump: &mut Pump, state: Gathering, layout: Layout) -> Result<Option<Wait>, End> {
        let Gathering { head, total, what } = state;
        match what {
            Gathered::Produce(request) => self.produce_on(pump, head, total, layout, request),
            Gathered::Fetch(request) => self.fetch_on(pump, head, total, layout, request),
        }
    }
}

/// A broker does not mind bytes behind a request.
fn unless_trailing(walked: Result<(), WalkError>) -> Result<(), WalkError> {
    match walked {
        Err(WalkError::Trailing(_)) => Ok(()),
        other => other,
    }
}

/// Collects what a Fetch request lists.
struct Wants<'a> {
    version: i16,
    topic: Option<Topic>,
    replica: bool,
    /// `None`: more than is kept.
    all: Option<Vec<Wanted>>,
    core: &'a mut Core,
}

impl Visitor for Wants<'_> {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        if mark == mark::TOPIC {
            self.topic = self.core.topics.topic_by_name(value.unwrap_or_default());
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        match mark {
            mark::TOPIC_ID => {
                if let Some(id) = bytes.first_chunk::<16>() {
                    self.topic = self.core.topics.topic_by_id(*id, &self.core.env.shared.catalog);
                }
            }
            mark::PARTITION => {
                let partition = FetchPartition::new(bytes, self.version);
                let (partition, offset) = (partition.index(), partition.offset());
                match (&self.topic, &mut self.all) {
                    (Some(topic), Some(all)) if all.len() < MOST => {
                        all.push(Wanted { topic: topic.clone(), partition, offset });
                    }
                    _ => self.all = None,
                }
            }
            _ => {}
        }
    }

    fn tag(&mut self, mark: Mark, _at: usize, tag: u32, _content: usize, _size: usize) -> Action {
        self.replica |= mark == mark::END_TAGS && tag == 1;
        Action::Keep
    }
}
