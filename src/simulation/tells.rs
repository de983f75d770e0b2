//! Menders that tell members to rejoin: one as it should be done, and others that are wrong on
//! purpose. They show that the rules in [`told`](super::told) can be held, and that each can be broken.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::broker::{ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS};
use super::menders::Start;
use super::wire::{self, decode};
use crate::config::Config;
use crate::mend::{Asked, ConnMender, Cx, Interest, Mender, Treatment, Verdict};
use crate::wire::api::ApiKey;
use crate::wire::codec::{committed, member};
use crate::wire::head::RequestHead;
use kafka_protocol::messages::SyncGroupResponse;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Whoever leaves a partition alone for some seconds, once, at a pace.
    Well,
    /// Everybody, some time after an assignment.
    Everybody,
    /// While the group rebalances.
    Amid,
    /// Again and again.
    Again,
    /// All at once.
    Flood,
}

/// A partition goes unread for so long.
const AFTER: Duration = Duration::from_secs(3);
const ONE_EACH: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Member {
    generation: i32,
    client: Arc<str>,
    cooperative: bool,
    /// It was seen in an eager round: where it begins in a cooperative one, nothing is older.
    was_eager: bool,
    since: BTreeMap<i32, Instant>,
    synced: Option<Instant>,
    told: Option<Instant>,
}

#[derive(Default)]
struct State {
    members: HashMap<Arc<str>, Member>,
    looked_up: BTreeMap<(Arc<str>, i32), Instant>,
    /// Told in this generation.
    once: BTreeSet<(Arc<str>, i32)>,
    tokens: Option<(u32, Instant)>,
}

impl State {
    fn token(&mut self, now: Instant) -> bool {
        let (mut tokens, mut since) = self.tokens.unwrap_or((4, now));
        while tokens < 4 && now - since >= ONE_EACH {
            (tokens, since) = (tokens + 1, since + ONE_EACH);
        }
        if tokens == 4 {
            since = now;
        }
        let has = tokens > 0;
        self.tokens = Some((tokens - u32::from(has), since));
        has
    }

    fn leaves_alone(&self, id: &Arc<str>, now: Instant, after: Duration) -> bool {
        let Some(member) = self.members.get(id).filter(|m| m.cooperative && m.was_eager) else { return false };
        let looked_up = |p: &i32| self.looked_up.get(&(member.client.clone(), *p)).copied();
        member.since.iter().any(|(p, since)| now - *since >= after && looked_up(p).is_none_or(|at| at < *since))
    }

    fn synced(&mut self, id: &Arc<str>, generation: i32, client: &Arc<str>, said: &SyncGroupResponse, now: Instant) {
        let known = &self.looked_up;
        let member = self.members.entry(id.clone()).or_default();
        (member.generation, member.client, member.synced) = (generation, client.clone(), Some(now));
        // Where everything was given up before, nothing goes on.
        let was = std::mem::replace(&mut member.cooperative, said.protocol_name.as_deref() == Some(wire::COOPERATIVE));
        let assigned = wire::assigned(&said.assignment);
        let before = std::mem::take(&mut member.since);
        member.was_eager |= !member.cooperative;
        let cooperative = was && member.cooperative;
        let since = |p: &i32| {
            let looked_up = known.get(&(client.clone(), *p)).copied();
            before.get(p).filter(|at| cooperative && looked_up.is_some_and(|l| l >= **at)).copied().unwrap_or(now)
        };
        member.since = assigned.iter().map(|p| (*p, since(p))).collect();
    }
}

pub struct Tells {
    telling: Telling,
    state: Arc<Mutex<State>>,
}

/// For each life of a kmend.
pub fn tells(telling: Telling) -> impl Fn(Start<'_>) -> Vec<Arc<dyn Mender>> {
    move |_| vec![Arc::new(Tells { telling, state: Arc::default() })]
}

impl Mender for Tells {
    fn name(&self) -> &'static str {
        "tells"
    }

    fn interests(&self) -> Vec<Interest> {
        let all = [ApiKey::OFFSET_FETCH, ApiKey::SYNC_GROUP, ApiKey::HEARTBEAT];
        let both = |api| [Interest::Request(api, Treatment::Whole), Interest::Response(api, Treatment::Whole)];
        all.into_iter().flat_map(both).collect()
    }

    fn connect(&self) -> Box<dyn ConnMender> {
        Box::new(OnConnection { telling: self.telling, state: self.state.clone(), asked: HashMap::new() })
    }

    fn reload(&self, _: &Config) {}
}

struct OnConnection {
    telling: Telling,
    state: Arc<Mutex<State>>,
    /// Member and generation of requests under way.
    asked: HashMap<u64, (Arc<str>, i32)>,
}

impl OnConnection {
    fn is_due(&self, state: &mut State, id: &Arc<str>, generation: i32, error: i16, now: Instant) -> bool {
        let is_current = state.members.get(id).is_some_and(|m| m.generation == generation);
        let leaves = |after| error == 0 && is_current && state.leaves_alone(id, now, after);
        match self.telling {
            Telling::Well => {
                leaves(AFTER)
                    && !state.once.contains(&(id.clone(), generation))
                    && state.token(now)
                    && state.once.insert((id.clone(), generation))
            }
            Telling::Everybody => {
                error == 0 && state.members.get(id).and_then(|m| m.synced).is_some_and(|at| now - at > AFTER)
            }
            Telling::Amid => error == REBALANCE_IN_PROGRESS,
            Telling::Again => {
                let just = state.members.get(id).and_then(|m| m.told).is_some_and(|at| now - at < AFTER);
                error == 0 && (just || leaves(AFTER))
            }
            // Its members rejoin one by one.
            Telling::Flood => leaves(Duration::from_secs(1)),
        }
    }
}

impl ConnMender for OnConnection {
    fn request(&mut self, _: &mut Cx<'_>, asked: Asked, head: &RequestHead, frame: &mut [u8]) -> Verdict {
        if asked.api != ApiKey::OFFSET_FETCH {
            let who = member::read(asked.api, asked.version, frame, head.body);
            self.asked.extend(who.map(|w| (asked.seq, (w.member, w.generation))));
        }
        Verdict::Pass
    }

    fn response(&mut self, cx: &mut Cx<'_>, asked: Asked, frame: &mut [u8], body: usize) -> Verdict {
        let who = self.asked.remove(&asked.seq);
        let state = self.state.clone();
        let state = &mut *state.lock().expect("not poisoned");
        let client = cx.conn.client_id.clone();
        match (asked.api, who) {
            (ApiKey::OFFSET_FETCH, _) => {
                let answer = committed::read(asked.version, frame, body).unwrap_or_default();
                let partitions = answer.partitions.iter().map(|p| ((client.clone(), p.index), cx.now));
                state.looked_up.extend(partitions);
            }
            (ApiKey::SYNC_GROUP, Some((id, generation))) => {
                let said: SyncGroupResponse = decode(frame, body, asked.version);
                if said.error_code == 0 {
                    state.synced(&id, generation, &client, &said, cx.now);
                }
            }
            (ApiKey::HEARTBEAT, Some((id, generation))) => {
                let change = |error| match self.is_due(state, &id, generation, error, cx.now) {
                    true => {
                        if let Some(member) = state.members.get_mut(&id) {
                            member.told = Some(cx.now);
                        }
                        ILLEGAL_GENERATION
                    }
                    false => error,
                };
                let _ = member::error(asked.api, asked.version, frame, body, change);
            }
            _ => {}
        }
        Verdict::Pass
    }
}
