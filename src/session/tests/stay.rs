//! A mender that needs the broker's side for longer than the client does.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::mend::{Asked, ConnMender, Cx, Injected, Interest, Mender, ProduceRequest, Treatment, Verdict};
use crate::wire::api::ApiKey;
use crate::wire::head::RequestHead;

/// What it holds.
pub const HELD: ApiKey = ApiKey::OFFSET_COMMIT;
/// What it sends, and how long it waits for the answer.
pub const SENDS: ApiKey = ApiKey::LIST_GROUPS;
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Plan {
    /// How long it wishes to stay once the client has gone.
    pub stay: Option<Duration>,
    /// It sends so many requests when the client goes, and stays no longer than for their answers.
    pub sends: u64,
    /// The same when it is woken or ticks.
    pub sends_again: u64,
    /// It wakes so much after the client went.
    pub wake: Option<Duration>,
    /// It holds requests, for ever.
    pub hold: bool,
    /// It wants Produce requests whole.
    pub gather: bool,
    /// It closes when it is woken.
    pub close: bool,
    pub heard: Vec<String>,
    /// How often it was asked whether it stays.
    pub asked: usize,
}

#[derive(Default, Clone)]
pub struct Stay(pub Arc<Mutex<Plan>>);

impl Stay {
    pub fn new(set: impl FnOnce(&mut Plan)) -> Stay {
        let stay = Stay::default();
        set(&mut stay.0.lock().unwrap());
        stay
    }

    pub fn mender(&self) -> Vec<Arc<dyn Mender>> {
        vec![Arc::new(self.clone())]
    }

    pub fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().heard)
    }
}

impl Mender for Stay {
    fn name(&self) -> &'static str {
        "stay"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![
            Interest::Request(HELD, Treatment::Whole),
            Interest::Response(HELD, Treatment::Whole),
            Interest::Request(ApiKey::PRODUCE, Treatment::Stream),
            Interest::Request(ApiKey::FETCH, Treatment::Stream),
            Interest::Request(ApiKey::JOIN_GROUP, Treatment::Whole),
            Interest::Response(ApiKey::JOIN_GROUP, Treatment::Whole),
        ]
    }

    fn connect(&self) -> Box<dyn ConnMender> {
        Box::new(OnConnection { plan: self.0.clone(), until: None, sent: 0, out: 0, gone: false })
    }

    fn reload(&self, _: &crate::config::model::Config) {}
}

struct OnConnection {
    plan: Arc<Mutex<Plan>>,
    until: Option<Instant>,
    sent: u64,
    out: u64,
    gone: bool,
}

impl OnConnection {
    fn hear(&self, what: impl Into<String>) {
        self.plan.lock().unwrap().heard.push(what.into());
    }

    fn send(&mut self, cx: &mut Cx<'_>, n: u64) {
        for _ in 0..n {
            self.sent += 1;
            if cx.inject(self.sent, SENDS, 0, Vec::new(), cx.now + PATIENCE) {
                self.out += 1;
            } else {
                self.hear(format!("refused {}", self.sent));
            }
        }
    }
}

impl ConnMender for OnConnection {
    fn request(&mut self, cx: &mut Cx<'_>, _: Asked, _: &RequestHead, _: &mut [u8]) -> Verdict {
        if self.plan.lock().unwrap().hold { Verdict::Hold(cx.now + 100 * PATIENCE) } else { Verdict::Pass }
    }

    fn response(&mut self, _: &mut Cx<'_>, asked: Asked, _: &mut [u8], _: usize) -> Verdict {
        self.hear(format!("response {}", asked.api.name().unwrap_or("?")));
        Verdict::Pass
    }

    fn produce_request(&mut self, _: &mut Cx<'_>, _: &ProduceRequest) -> Verdict {
        if self.plan.lock().unwrap().gather { Verdict::Gather } else { Verdict::Pass }
    }

    fn injected(&mut self, _: &mut Cx<'_>, token: u64, outcome: Injected<'_>) {
        self.out -= 1;
        match outcome {
            Injected::Answer { .. } => self.hear(format!("answer {token}")),
            Injected::Lost => self.hear(format!("lost {token}")),
        }
    }

    fn woken(&mut self, cx: &mut Cx<'_>) {
        self.hear("woken");
        let again = self.plan.lock().unwrap().sends_again;
        self.send(cx, again);
        if self.plan.lock().unwrap().close {
            cx.close_if_quiet();
        }
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        self.hear("tick");
        let again = self.plan.lock().unwrap().sends_again;
        self.send(cx, again);
    }

    fn draining(&mut self, _: &mut Cx<'_>) {
        self.hear("draining");
    }

    fn lingers(&mut self, cx: &mut Cx<'_>) -> Option<Instant> {
        let (stay, sends, wake) = {
            let mut plan = self.plan.lock().unwrap();
            plan.asked += 1;
            (plan.stay, plan.sends, plan.wake)
        };
        if !std::mem::replace(&mut self.gone, true) {
            let live = cx.shared.peers.live(&cx.conn.client());
            self.hear(format!("gone, {live} live"));
            self.until = stay.map(|stay| cx.now + stay);
            if let Some(after) = wake {
                cx.wake_at(cx.now + after);
            }
            self.send(cx, sends);
        }
        self.until.filter(|_| sends == 0 || self.out > 0)
    }

    fn closed(&mut self, _: &mut Cx<'_>) {
        self.hear("closed");
    }
}
