//! A mender that does what a test tells it to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::mend::{Asked, ConnMender, Cx, FetchRequest, Injected, Interest, Mender, Treatment, Verdict};
use crate::wire::api::ApiKey;
use crate::wire::head::RequestHead;

use super::kit::response;

pub const WATCHED: ApiKey = ApiKey::OFFSET_COMMIT;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Do {
    #[default]
    Pass,
    Answer,
    Hold,
    Inject,
    /// Holds until the answer to what it injects has come.
    InjectAndHold,
    Panic,
}

#[derive(Debug, Default)]
pub struct Plan {
    pub on_request: Do,
    pub on_response: Do,
    pub on_fetch: Do,
    /// What became of the injected requests: `answer <n>`, `lost <n>`, `refused`.
    pub heard: Vec<String>,
    pub free: bool,
    pub calls: usize,
}

#[derive(Default, Clone)]
pub struct Scripted(pub Arc<Mutex<Plan>>);

impl Scripted {
    pub fn new(set: impl FnOnce(&mut Plan)) -> Scripted {
        let scripted = Scripted::default();
        set(&mut scripted.0.lock().unwrap());
        scripted
    }

    pub fn heard(&self) -> Vec<String> {
        self.0.lock().unwrap().heard.clone()
    }

    pub fn mender(&self) -> Vec<Arc<dyn Mender>> {
        vec![Arc::new(self.clone())]
    }
}

impl Mender for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![
            Interest::Request(WATCHED, Treatment::Whole),
            Interest::Response(WATCHED, Treatment::Whole),
            Interest::Request(ApiKey::FETCH, Treatment::Stream),
            Interest::Response(ApiKey::FETCH, Treatment::Stream),
        ]
    }

    fn connect(&self) -> Box<dyn ConnMender> {
        Box::new(OnConnection { plan: self.0.clone(), token: 0 })
    }

    fn reload(&self, _: &crate::config::model::Config) {}
}

struct OnConnection {
    plan: Arc<Mutex<Plan>>,
    token: u64,
}

/// How long it holds, and waits for answers.
pub const PATIENCE: Duration = Duration::from_secs(1);

impl OnConnection {
    fn act(&mut self, cx: &mut Cx<'_>, what: Do, answer: impl FnOnce() -> Vec<u8>) -> Verdict {
        let mut plan = self.plan.lock().unwrap();
        plan.calls += 1;
        match what {
            Do::Pass => Verdict::Pass,
            Do::Answer => Verdict::Answer(answer()),
            Do::Hold if plan.free => Verdict::Pass,
            Do::Hold => Verdict::Hold(cx.now + PATIENCE),
            Do::InjectAndHold if plan.free => Verdict::Pass,
            Do::InjectAndHold if self.token > 0 => Verdict::Hold(cx.now + PATIENCE),
            Do::Inject | Do::InjectAndHold => {
                self.token += 1;
                if !cx.inject(self.token, ApiKey::LIST_GROUPS, 0, Vec::new(), cx.now + PATIENCE) {
                    plan.heard.push("refused".into());
                }
                if what == Do::Inject { Verdict::Pass } else { Verdict::Hold(cx.now + PATIENCE) }
            }
            Do::Panic => {
                drop(plan);
                panic!("on purpose")
            }
        }
    }
}

impl ConnMender for OnConnection {
    fn request(&mut self, cx: &mut Cx<'_>, _: Asked, head: &RequestHead, _: &mut [u8]) -> Verdict {
        let what = self.plan.lock().unwrap().on_request;
        self.act(cx, what, || response(head.api, head.version, head.correlation, b"local"))
    }

    fn response(&mut self, cx: &mut Cx<'_>, asked: Asked, frame: &mut [u8], _: usize) -> Verdict {
        let what = self.plan.lock().unwrap().on_response;
        let correlation = i32::from_be_bytes(frame[4..8].try_into().unwrap());
        self.act(cx, what, || response(asked.api, asked.version, correlation, b"another answer"))
    }

    fn fetch_request(&mut self, cx: &mut Cx<'_>, request: &FetchRequest) -> Verdict {
        let what = self.plan.lock().unwrap().on_fetch;
        self.act(cx, what, || response(ApiKey::FETCH, request.version, request.correlation, b"local"))
    }

    fn injected(&mut self, _: &mut Cx<'_>, token: u64, outcome: Injected<'_>) {
        let mut plan = self.plan.lock().unwrap();
        plan.free = true;
        plan.heard.push(match outcome {
            Injected::Answer { .. } => format!("answer {token}"),
            Injected::Lost => format!("lost {token}"),
        });
    }
}
