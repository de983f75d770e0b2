//! Produce requests: their front is read, then they flow, partition by partition where menders look.

use super::core::{Core, Wait, around};
use super::end::End;
use super::gather::Gathered;
use super::pump::Pump;
use super::request::{RequestState, bad};
use crate::mend::{Batch, ProduceRequest, Produced, Topic, Treatment, Verdict};
use crate::wire::api::ApiKey;
use crate::wire::codec::{entry, produce};
use crate::wire::head::{HeadError, RequestHead};
use crate::wire::layout::{self, Layout, mark};
use crate::wire::walk::{Mark, Visitor, WalkError, Walker};

impl Core {
    /// Nothing of the request has been let go before its acks are known: those without an answer
    /// have no entry in the queue.
    pub(super) fn produce_head(
        &mut self,
        pump: &mut Pump,
        head: RequestHead,
        total: usize,
    ) -> Result<Option<Wait>, End> {
        let Some(layout) = layout::request(head.api, head.version) else {
            return Err(End::BadHead(HeadError::Malformed));
        };
        let front = match produce::front(pump.window.undecided(), head.version, head.body, total) {
            Ok(Ok(front)) => front,
            Ok(Err(need)) => {
                pump.window.reach(need);
                return Ok(Some(Wait::Bytes));
            }
            Err(why) => return Err(bad("Produce")(why)),
        };
        let request = ProduceRequest {
            seq: self.seq + 1,
            version: head.version,
            correlation: head.correlation,
            acks: front.acks,
            transactional: front.transactional,
            size: total,
            quiet: self.broke_quiet,
            alone: self.is_alone(pump, total),
        };
        if self.interests.request(ApiKey::PRODUCE) == Treatment::Skip {
            self.produce_forwarded(head, request.acks);
            self.request = RequestState::Pass(total);
            return Ok(None);
        }
        let who = self.interests.readers(ApiKey::PRODUCE);
        let around = around!(self);
        let verdict = self.chain.verdict(&around, who, |m, cx| m.produce_request(cx, &request));
        self.apply_effects();
        match verdict {
            Verdict::Gather => Ok(self.gather_request(head, total, Gathered::Produce(request))),
            Verdict::Answer(answer) if request.acks != 0 => Ok(self.answer(head, total, answer)),
            _ => self.produce_on(pump, head, total, layout, request),
        }
    }

    fn produce_forwarded(&mut self, head: RequestHead, acks: i16) {
        if acks != 0 {
            return self.forwarded(head, None);
        }
        self.next_seq();
        self.env.metrics.request(head.api, head.version);
    }

    /// Lets a Produce request flow upstream under the menders' eyes.
    pub(super) fn produce_on(
        &mut self,
        pump: &mut Pump,
        head: RequestHead,
        total: usize,
        layout: Layout,
        request: ProduceRequest,
    ) -> Result<Option<Wait>, End> {
        // What the menders want to know goes first.
        self.send_injects(pump);
        self.approve_head(pump, head, total)?;
        self.produce_forwarded(head, request.acks);
        let mut state = (Walker::new(layout, head.body, total), request, ProduceScan::default());
        let done = self.produce_step(pump, &mut state);
        // Most are here as a whole: they need no memory of their own.
        if !matches!(done, Ok(None)) {
            self.request = RequestState::Produce(Box::new(state));
        }
        done
    }

    pub(super) fn produce(&mut self, pump: &mut Pump) -> Result<Option<Wait>, End> {
        let RequestState::Produce(mut state) = std::mem::replace(&mut self.request, RequestState::Head) else {
            return Ok(None);
        };
        let done = self.produce_step(pump, &mut state);
        if !matches!(done, Ok(None)) {
            self.request = RequestState::Produce(state);
        }
        done
    }

    /// As far as the bytes allow. `Ok(None)`: it is done, or the rest passes.
    fn produce_step(&mut self, pump: &mut Pump, state: &mut ProduceState) -> Result<Option<Wait>, End> {
        let (walker, request, scan) = state;
        let from = walker.at();
        let mut visitor = ProduceVisitor { scan, core: self, each: Each::Tell(request) };
        let progress = match walker.step(pump.window.undecided_mut(), &mut visitor) {
            Ok(progress) => progress,
            // A broker does not mind bytes behind a request.
            Err(WalkError::Trailing(at)) => {
                self.apply_effects();
                pump.window.approve(at - from);
                self.request = RequestState::Pass(walker.left());
                return Ok(None);
            }
            // Upstream it stays in the middle of a frame.
            Err(why) => return Err(bad("Produce")(why)),
        };
        self.apply_effects();
        pump.window.approve(progress.consumed);
        Ok(progress.need.map(|need| {
            pump.window.reach(need);
            Wait::Bytes
        }))
    }
}

/// Where the walk over a Produce request is.
pub(super) type ProduceState = (Walker, ProduceRequest, ProduceScan);

/// Between the steps of a walk over a Produce request.
#[derive(Debug, Default)]
pub(super) struct ProduceScan {
    topic: Option<Topic>,
    partition: i32,
}

/// What is done with a partition.
pub(super) enum Each<'a> {
    /// It goes upstream: the menders are told.
    Tell(&'a ProduceRequest),
    /// It is kept for them; `None` where the request lists more than is kept.
    Keep(&'a mut Option<Vec<Produced>>),
}

pub(super) struct ProduceVisitor<'a> {
    pub scan: &'a mut ProduceScan,
    pub core: &'a mut Core,
    pub each: Each<'a>,
}

/// More partitions than any producer writes to in one request.
pub(super) const MOST: usize = 20_000;

impl Visitor for ProduceVisitor<'_> {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        if mark == mark::TOPIC {
            self.scan.topic = self.core.topics.topic_by_name(value.unwrap_or_default());
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        match mark {
            mark::TOPIC_ID => {
                if let Some(id) = bytes.first_chunk::<16>() {
                    self.scan.topic = self.core.topics.topic_by_id(*id, &self.core.env.shared.catalog);
                }
            }
            mark::PARTITION => self.scan.partition = entry::int32(bytes),
            _ => {}
        }
    }

    fn blob(&mut self, mark: Mark, _at: usize, _len: Option<usize>, _length: &mut [u8], peek: &[u8]) {
        if mark != mark::RECORDS {
            return;
        }
        let topic = self.scan.topic.clone();
        let produced = topic.map(|topic| Produced { topic, partition: self.scan.partition, batch: batch(peek) });
        match (&mut self.each, produced) {
            (Each::Tell(request), Some(produced)) => {
                let core = &mut *self.core;
                let who = core.interests.readers(ApiKey::PRODUCE);
                let around = around!(core);
                core.chain.some(&around, who, |m, cx| m.produce_partition(cx, request, &produced));
            }
            (Each::Tell(_), None) => {}
            (Each::Keep(kept), Some(produced)) if kept.as_ref().is_some_and(|k| k.len() < MOST) => {
                if let Some(kept) = kept {
                    kept.push(produced);
                }
            }
            (Each::Keep(kept), _) => **kept = None,
        }
    }
}

/// Whose a record batch is, where it is one of format v2 (magic @16).
fn batch(front: &[u8]) -> Option<Batch> {
    let (magic, whose) = (front.get(16)?, front.get(43..57)?);
    (*magic == 2).then(|| Batch {
        producer_id: entry::int64(whose),
        epoch: entry::int16(whose.get(8..).unwrap_or_default()),
        base_sequence: entry::int32(whose.get(10..).unwrap_or_default()),
    })
}
