//! Menders that are wrong on purpose: each must be caught, and told by the rule that it breaks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::menders::Start;
use crate::config::Config;
use crate::mend::{Asked, ConnMender, Cx, Injected, Interest, Mender, Treatment, Verdict};
use crate::wire::api::ApiKey;
use crate::wire::codec::commit::{self, Commit};
use crate::wire::codec::{committed, member};
use crate::wire::head::RequestHead;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It acknowledges what the broker refused, and keeps nothing.
    Forgets,
    /// It keeps that, and commits it as whoever is assigned something next, without a look.
    Replays,
    /// The same, one record further than was asked for.
    Invents,
    /// It shows consumers a committed offset that nobody has reached.
    Lifts,
    /// It answers a request by itself, and the broker's answer comes as well.
    Interrupts,
    /// It holds JoinGroup, whatever happens.
    Holds,
}

type Kept = Arc<Mutex<Vec<Commit>>>;

pub struct Bad {
    how: How,
    kept: Kept,
}

/// For each life of a kmend.
pub fn bad(how: How) -> impl Fn(Start<'_>) -> Vec<Arc<dyn Mender>> {
    move |_| vec![Arc::new(Bad { how, kept: Kept::default() })]
}

impl Mender for Bad {
    fn name(&self) -> &'static str {
        "bad"
    }

    fn interests(&self) -> Vec<Interest> {
        let all =
            [ApiKey::OFFSET_COMMIT, ApiKey::OFFSET_FETCH, ApiKey::SYNC_GROUP, ApiKey::JOIN_GROUP, ApiKey::HEARTBEAT];
        let both = |api| [Interest::Request(api, Treatment::Whole), Interest::Response(api, Treatment::Whole)];
        all.into_iter().flat_map(both).collect()
    }

    fn connect(&self) -> Box<dyn ConnMender> {
        Box::new(OnConnection {
            how: self.how,
            kept: self.kept.clone(),
            commits: HashMap::new(),
            syncs: HashMap::new(),
            due: Vec::new(),
            beats: 0,
        })
    }

    fn reload(&self, _: &Config) {}
}

struct OnConnection {
    how: How,
    kept: Kept,
    commits: HashMap<u64, Commit>,
    syncs: HashMap<u64, (Arc<str>, i32)>,
    due: Vec<Commit>,
    beats: u32,
}

impl OnConnection {
    fn replay(&mut self, cx: &mut Cx<'_>) {
        for commit in std::mem::take(&mut self.due) {
            let body = commit::write(5, &commit);
            if !cx.inject(1, ApiKey::OFFSET_COMMIT, 5, body, cx.now + Duration::from_secs(5)) {
                self.due.push(commit);
                cx.wake_at(cx.now + Duration::from_millis(20));
            }
        }
    }
}

impl ConnMender for OnConnection {
    fn request(&mut self, cx: &mut Cx<'_>, asked: Asked, head: &RequestHead, frame: &mut [u8]) -> Verdict {
        match asked.api {
            ApiKey::OFFSET_COMMIT => {
                self.commits.extend(commit::read(asked.version, frame, head.body).map(|c| (asked.seq, c)));
            }
            ApiKey::SYNC_GROUP => {
                let who = member::read(asked.api, asked.version, frame, head.body);
                self.syncs.extend(who.map(|w| (asked.seq, (w.member, w.generation))));
            }
            ApiKey::HEARTBEAT if self.how == How::Interrupts => {
                self.beats += 1;
                if self.beats == 10 {
                    let body = [0; 6];
                    let correlation = head.correlation + 1;
                    let answer = [&11u32.to_be_bytes()[..], &correlation.to_be_bytes(), &[0], &body].concat();
                    return Verdict::Answer(answer);
                }
            }
            ApiKey::JOIN_GROUP if self.how == How::Holds => return Verdict::Hold(cx.now + Duration::from_secs(600)),
            _ => {}
        }
        Verdict::Pass
    }

    fn response(&mut self, cx: &mut Cx<'_>, asked: Asked, frame: &mut [u8], body: usize) -> Verdict {
        let keeps = matches!(self.how, How::Forgets | How::Replays | How::Invents);
        match asked.api {
            ApiKey::OFFSET_COMMIT if keeps => {
                let mut refused = false;
                let _ = commit::each(asked.version, frame, body, |_, _, _, error| {
                    refused |= matches!(error, 22 | 25 | 27);
                    if matches!(error, 22 | 25 | 27) { 0 } else { error }
                });
                let commit = self.commits.remove(&asked.seq);
                if refused && self.how != How::Forgets {
                    self.kept.lock().expect("not poisoned").extend(commit);
                }
            }
            ApiKey::SYNC_GROUP => {
                if let Some((member, generation)) = self.syncs.remove(&asked.seq) {
                    let mut all = std::mem::take(&mut *self.kept.lock().expect("not poisoned"));
                    for commit in &mut all {
                        (commit.member, commit.generation) = (member.clone(), generation);
                        let partitions = commit.topics.iter_mut().flat_map(|t| &mut t.partitions);
                        partitions.for_each(|p| p.offset += i64::from(self.how == How::Invents));
                    }
                    self.due.extend(all);
                    cx.wake_at(cx.now);
                }
            }
            ApiKey::OFFSET_FETCH if self.how == How::Lifts => {
                if let Some(answer) = committed::read(asked.version, frame, body) {
                    let higher: Vec<_> = answer.partitions.iter().map(|p| Some(p.offset + 1000)).collect();
                    committed::moved(asked.version, frame, body, &higher);
                }
            }
            _ => {}
        }
        Verdict::Pass
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        self.replay(cx);
    }

    fn injected(&mut self, _: &mut Cx<'_>, _: u64, _: Injected<'_>) {}
}
