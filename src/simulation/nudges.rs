//! Menders that make clients look wrongly on purpose: they show that each rule in
//! [`grown`](super::grown) can be broken.

use std::sync::Arc;
use std::time::Duration;

use super::menders::Start;
use super::reads::{self, Part, Record};
use super::wire::{encode, topic};
use crate::config::Config;
use crate::mend::{
    Asked, ConnMender, Cx, FetchRequest, Injected, Interest, Mender, ProduceRequest, Produced, Treatment, Verdict,
};
use crate::session::tests::kit::response;
use crate::wire::api::ApiKey;
use crate::wire::codec::member;
use crate::wire::codec::refuse::{self, Refused};
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nudging {
    /// One batch is refused, and what is behind it passes.
    One,
    /// It says that something is written, and drops it.
    Swallows,
    /// Something that need not come again is refused.
    Refuses,
    /// What carried acks=0 is closed as well.
    Closes,
    /// Everybody is told to rejoin, again and again.
    Rejoins,
    /// A Fetch is answered with a record.
    Answers,
    /// It asks for everything.
    All,
    /// It asks all the time.
    Often,
}

pub struct Nudges(Nudging);

/// For each life of a kmend.
pub fn nudges(nudging: Nudging) -> impl Fn(Start<'_>) -> Vec<Arc<dyn Mender>> {
    move |_| vec![Arc::new(Nudges(nudging))]
}

impl Mender for Nudges {
    fn name(&self) -> &'static str {
        "nudges"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![
            Interest::Request(ApiKey::PRODUCE, Treatment::Stream),
            Interest::Request(ApiKey::FETCH, Treatment::Stream),
            Interest::Response(ApiKey::HEARTBEAT, Treatment::Whole),
        ]
    }

    fn connect(&self) -> Box<dyn ConnMender> {
        Box::new(OnConnection { nudging: self.0, requests: 0 })
    }

    fn reload(&self, _: &Config) {}
}

struct OnConnection {
    nudging: Nudging,
    requests: u32,
}

impl OnConnection {
    fn ask(&self, cx: &mut Cx<'_>) {
        let named = MetadataRequestTopic::default().with_name(Some(topic()));
        let topics = (self.nudging == Nudging::Often).then(|| vec![named]);
        let message = MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false);
        // Where it may not go now, another one does.
        let _ = cx.inject(1, ApiKey::METADATA, 9, encode(&message, 9), cx.now + Duration::from_secs(5));
    }
}

impl ConnMender for OnConnection {
    fn produce_request(&mut self, cx: &mut Cx<'_>, request: &ProduceRequest) -> Verdict {
        self.requests += 1;
        let is_fifth = self.requests == 5;
        match self.nudging {
            Nudging::One if is_fifth && request.acks != 0 => Verdict::Gather,
            Nudging::Swallows | Nudging::Refuses if request.acks != 0 => Verdict::Gather,
            Nudging::Closes | Nudging::All | Nudging::Often => {
                cx.wake_at(cx.now + Duration::from_millis(20));
                Verdict::Pass
            }
            _ => Verdict::Pass,
        }
    }

    fn produce_whole(&mut self, _: &mut Cx<'_>, request: &ProduceRequest, partitions: &[Produced]) -> Verdict {
        let again = |p: &Produced| p.batch.is_some_and(|b| b.producer_id >= 0 && b.base_sequence > 0);
        let safe = partitions.iter().all(again);
        let error = match self.nudging {
            Nudging::One if safe => 6,
            Nudging::Swallows => 0,
            Nudging::Refuses if !safe => 6,
            _ => return Verdict::Pass,
        };
        let named =
            |p: &Produced| (p.topic.name.clone().unwrap_or_default(), p.topic.id.unwrap_or_default(), p.partition);
        let all: Vec<_> = partitions.iter().map(named).collect();
        let entries: Vec<_> =
            all.iter().map(|(name, id, partition)| Refused { name, id: *id, partition: *partition }).collect();
        let answer = refuse::produce_refused(request.version, request.correlation, &entries, error);
        answer.map_or(Verdict::Pass, Verdict::Answer)
    }

    fn fetch_request(&mut self, _: &mut Cx<'_>, request: &FetchRequest) -> Verdict {
        self.requests += 1;
        if self.nudging != Nudging::Answers || self.requests != 5 {
            return Verdict::Pass;
        }
        let records = vec![Record { partition: 0, offset: 0, epoch: 0 }];
        let part = Part { partition: 0, error: 0, records, start: 0, end: 1 };
        let body = reads::answer(request.version, 0, request.session, &[part]);
        Verdict::Answer(response(ApiKey::FETCH, request.version, request.correlation, &body))
    }

    fn response(&mut self, _: &mut Cx<'_>, asked: Asked, frame: &mut [u8], body: usize) -> Verdict {
        if (self.nudging, asked.api) == (Nudging::Rejoins, ApiKey::HEARTBEAT) {
            let change = |error| if error == 0 { 27 } else { error };
            let _ = member::error(asked.api, asked.version, frame, body, change);
        }
        Verdict::Pass
    }

    fn injected(&mut self, _: &mut Cx<'_>, _: u64, _: Injected<'_>) {}

    fn tick(&mut self, cx: &mut Cx<'_>) {
        if self.nudging != Nudging::Closes {
            return self.ask(cx);
        }
        cx.close_if_quiet();
        cx.wake_at(cx.now + Duration::from_millis(50));
    }
}
