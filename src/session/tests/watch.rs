//! A mender that hears of Produce and Fetch requests, topics and times, and does what a test
//! tells it to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::kit::response;
use crate::mend::{
    ConnMender, Cx, FetchRequest, Interest, Mender, MetadataTopic, ProduceRequest, Produced, Topic, Treatment, Verdict,
    Wanted,
};
use crate::wire::api::ApiKey;
use crate::wire::codec::entry::FetchPartition;

#[derive(Debug, Default)]
pub struct Plan {
    /// Produce and Fetch requests are to be held whole, and then answered.
    pub gather: bool,
    pub answer: bool,
    /// Every Produce request makes it wake so much later.
    pub wake_after: Option<Duration>,
    /// When it wakes, it wakes so much later again.
    pub wake_again: Option<Duration>,
    /// It closes when it wakes, or is woken.
    pub close: bool,
    /// What it was told, in order.
    pub heard: Vec<String>,
    pub requests: Vec<ProduceRequest>,
}

#[derive(Default, Clone)]
pub struct Watch(pub Arc<Mutex<Plan>>);

impl Watch {
    pub fn new(set: impl FnOnce(&mut Plan)) -> Watch {
        let watch = Watch::default();
        set(&mut watch.0.lock().unwrap());
        watch
    }

    pub fn mender(&self) -> Vec<Arc<dyn Mender>> {
        vec![Arc::new(self.clone())]
    }

    pub fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().heard)
    }

    pub fn requests(&self) -> Vec<ProduceRequest> {
        std::mem::take(&mut self.0.lock().unwrap().requests)
    }
}

impl Mender for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }

    fn interests(&self) -> Vec<Interest> {
        let mut interests = vec![
            Interest::Request(ApiKey::PRODUCE, Treatment::Stream),
            Interest::Request(ApiKey::FETCH, Treatment::Stream),
            Interest::Response(ApiKey::FETCH, Treatment::Stream),
            Interest::Response(ApiKey::METADATA, Treatment::Stream),
            Interest::Request(ApiKey::LEAVE_GROUP, Treatment::Whole),
        ];
        for api in [
            ApiKey::JOIN_GROUP,
            ApiKey::SYNC_GROUP,
            ApiKey::HEARTBEAT,
            ApiKey::OFFSET_COMMIT,
            ApiKey::OFFSET_FETCH,
            ApiKey::LIST_OFFSETS,
            ApiKey::OFFSET_FOR_LEADER_EPOCH,
            ApiKey::CONSUMER_GROUP_HEARTBEAT,
        ] {
            interests.push(Interest::Request(api, Treatment::Whole));
            interests.push(Interest::Response(api, Treatment::Whole));
        }
        interests
    }

    fn connect(&self) -> Box<dyn ConnMender> {
        Box::new(OnConnection(self.0.clone()))
    }

    fn reload(&self, _: &crate::config::model::Config) {}
}

struct OnConnection(Arc<Mutex<Plan>>);

impl OnConnection {
    fn hear(&self, what: String) {
        self.0.lock().unwrap().heard.push(what);
    }

    fn front(&self) -> Verdict {
        if self.0.lock().unwrap().gather { Verdict::Gather } else { Verdict::Pass }
    }

    fn whole(&self, api: ApiKey, version: i16, correlation: i32) -> Verdict {
        let answer = || Verdict::Answer(response(api, version, correlation, b"local"));
        if self.0.lock().unwrap().answer { answer() } else { Verdict::Pass }
    }
}

fn name(topic: &Topic) -> &str {
    topic.name.as_deref().unwrap_or("?")
}

pub fn text(produced: &Produced) -> String {
    let batch = produced.batch.map(|b| format!(" {} {} {}", b.producer_id, b.epoch, b.base_sequence));
    format!("{}-{}{}", name(&produced.topic), produced.partition, batch.unwrap_or_default())
}

impl ConnMender for OnConnection {
    fn fetch_request(&mut self, _: &mut Cx<'_>, request: &FetchRequest) -> Verdict {
        self.hear(format!("fetch {}", request.correlation));
        self.front()
    }

    fn fetch_whole(&mut self, _: &mut Cx<'_>, request: &FetchRequest, wanted: &[Wanted]) -> Verdict {
        let all: Vec<_> = wanted.iter().map(|w| format!("{}-{}@{}", name(&w.topic), w.partition, w.offset)).collect();
        self.hear(format!("whole {}", all.join(" ")));
        self.whole(ApiKey::FETCH, request.version, request.correlation)
    }

    fn fetch_request_partition(
        &mut self,
        _: &mut Cx<'_>,
        _: &FetchRequest,
        topic: &Topic,
        partition: &mut FetchPartition<'_>,
    ) {
        self.hear(format!("wants {}-{}", name(topic), partition.index()));
    }

    fn produce_request(&mut self, cx: &mut Cx<'_>, request: &ProduceRequest) -> Verdict {
        self.hear(format!("produce {}", request.correlation));
        let mut plan = self.0.lock().unwrap();
        plan.requests.push(*request);
        if let Some(after) = plan.wake_after {
            cx.wake_at(cx.now + after);
        }
        drop(plan);
        self.front()
    }

    fn produce_whole(&mut self, cx: &mut Cx<'_>, request: &ProduceRequest, partitions: &[Produced]) -> Verdict {
        for produced in partitions {
            assert_eq!(cx.topics.get(produced.topic.number), Some(&produced.topic));
        }
        let all: Vec<_> = partitions.iter().map(text).collect();
        self.hear(format!("whole {}", all.join(" ")));
        self.0.lock().unwrap().requests.push(*request);
        self.whole(ApiKey::PRODUCE, request.version, request.correlation)
    }

    fn produce_partition(&mut self, _: &mut Cx<'_>, _: &ProduceRequest, partition: &Produced) {
        self.hear(text(partition));
    }

    fn metadata_topic(&mut self, cx: &mut Cx<'_>, topic: &MetadataTopic<'_>) {
        let known = cx.shared.catalog.leader(topic.name, 0);
        self.hear(format!("topic {} {} {:?} {known:?}", topic.name, topic.error, topic.leaders));
    }

    fn woken(&mut self, cx: &mut Cx<'_>) {
        self.hear("woken".into());
        if self.0.lock().unwrap().close {
            cx.close_if_quiet();
        }
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        self.hear("tick".into());
        let plan = self.0.lock().unwrap();
        if plan.close {
            cx.close_if_quiet();
        }
        if let Some(after) = plan.wake_again {
            cx.wake_at(cx.now + after);
        }
    }
}
