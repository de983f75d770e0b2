//! Menders that lead readers wrongly on purpose: they show that each rule in
//! [`evicted`](super::evicted) can be broken.

use std::sync::Arc;

use super::menders::Start;
use super::plan::PARTITIONS;
use super::reads::{self, Part, Record};
use crate::config::Config;
use crate::mend::{Asked, ConnMender, Cx, FetchRequest, Interest, Mender, Topic, Treatment, Verdict};
use crate::session::tests::kit::response;
use crate::wire::api::ApiKey;
use crate::wire::codec::committed;
use crate::wire::codec::entry::{AskedOffset, FetchPartition, FetchedPartition};
use crate::wire::head::RequestHead;
use crate::wire::layout::{self, mark};
use crate::wire::walk::{self, Mark, Visitor};

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leading {
    /// It asks for what comes a little later.
    Past,
    /// It shows a committed offset that nobody has reached.
    Lifts,
    /// It tells nobody that a position is out of range.
    Silences,
    /// It asks for the beginning of a log where its client asks for the end.
    Steers,
    /// It answers with a record that it has made up.
    Invents,
}

pub struct Leads(Leading);

/// For each life of a kmend.
pub fn leads(leading: Leading) -> impl Fn(Start<'_>) -> Vec<Arc<dyn Mender>> {
    move |_| vec![Arc::new(Leads(leading))]
}

impl Mender for Leads {
    fn name(&self) -> &'static str {
        "leads"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![
            Interest::Request(ApiKey::FETCH, Treatment::Stream),
            Interest::Response(ApiKey::FETCH, Treatment::Stream),
            Interest::Request(ApiKey::LIST_OFFSETS, Treatment::Whole),
            Interest::Response(ApiKey::OFFSET_FETCH, Treatment::Whole),
        ]
    }

    fn connect(&self) -> Box<dyn ConnMender> {
        Box::new(OnConnection { leading: self.0, rounds: 0 })
    }

    fn reload(&self, _: &Config) {}
}

struct OnConnection {
    leading: Leading,
    rounds: u32,
}

impl ConnMender for OnConnection {
    fn fetch_request(&mut self, _: &mut Cx<'_>, request: &FetchRequest) -> Verdict {
        self.rounds += 1;
        if self.leading != Leading::Invents || self.rounds != 5 {
            return Verdict::Pass;
        }
        let part = |partition| {
            let records = vec![Record { partition, offset: 40, epoch: 9 }];
            Part { partition, error: 0, records, start: 0, end: 41 }
        };
        let parts: Vec<_> = (0..PARTITIONS).map(part).collect();
        let body = reads::answer(request.version, 0, request.session, &parts);
        Verdict::Answer(response(ApiKey::FETCH, request.version, request.correlation, &body))
    }

    fn fetch_request_partition(
        &mut self,
        _: &mut Cx<'_>,
        _: &FetchRequest,
        _: &Topic,
        partition: &mut FetchPartition<'_>,
    ) {
        if self.leading == Leading::Past {
            partition.set_offset(partition.offset() + 3);
        }
    }

    fn fetch_response_partition(
        &mut self,
        _: &mut Cx<'_>,
        _: &FetchRequest,
        _: &Topic,
        partition: &mut FetchedPartition<'_>,
    ) -> bool {
        let silences = self.leading == Leading::Silences && partition.error() == 1;
        if silences {
            partition.clear_error(-1, -1, -1);
        }
        silences
    }

    fn request(&mut self, _: &mut Cx<'_>, asked: Asked, head: &RequestHead, frame: &mut [u8]) -> Verdict {
        if let (Leading::Steers, ApiKey::LIST_OFFSETS) = (self.leading, asked.api)
            && let Some(layout) = layout::request(head.api, head.version)
        {
            let _ = walk::whole(layout, frame, head.body, &mut ToTheBeginning);
        }
        Verdict::Pass
    }

    fn response(&mut self, _: &mut Cx<'_>, asked: Asked, frame: &mut [u8], body: usize) -> Verdict {
        if let (Leading::Lifts, ApiKey::OFFSET_FETCH) = (self.leading, asked.api)
            && let Some(answer) = committed::read(asked.version, frame, body)
        {
            let higher: Vec<_> = answer.partitions.iter().map(|p| Some(p.offset + 1000)).collect();
            committed::moved(asked.version, frame, body, &higher);
        }
        Verdict::Pass
    }
}

struct ToTheBeginning;

impl Visitor for ToTheBeginning {
    fn fixed(&mut self, mark: Mark, _: usize, bytes: &mut [u8]) {
        if mark == mark::PARTITION {
            AskedOffset::new(bytes).set_timestamp(-2);
        }
    }
}
