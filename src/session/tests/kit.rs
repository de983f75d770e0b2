//! One [`Core`] driven as the driver does it, with byte strings for sockets and a clock that the
//! test moves.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use prometheus::Registry;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{mpsc, watch};

use crate::mend::directory::{Directory, Overview};
use crate::mend::{Conn, Interests, Mender, Shared};
use crate::session::core::{Core, Wait};
use crate::session::end::End;
use crate::session::env::Env;
use crate::session::limits::{Budget, Limits};
use crate::session::metrics::SessionMetrics;
use crate::session::pump::Pump;
use crate::session::ways::{Phase, Ways};
use crate::wire::api::ApiKey;
use crate::wire::codec::local;

/// What clients are told in place of every broker's host; the port is this and the node id.
pub const HOST: &str = "kmend.local";
pub const PORT: u16 = 19_000;
pub const CLIENT_ID: &[u8] = b"app";
/// Whatever the view of groups, and of how far they are, learns from. Recorded fuzz inputs count on the order.
pub const GROUP_APIS: [ApiKey; 9] = [
    ApiKey::JOIN_GROUP,
    ApiKey::SYNC_GROUP,
    ApiKey::HEARTBEAT,
    ApiKey::OFFSET_COMMIT,
    ApiKey::LEAVE_GROUP,
    ApiKey::CONSUMER_GROUP_HEARTBEAT,
    ApiKey::OFFSET_FETCH,
    ApiKey::LIST_OFFSETS,
    ApiKey::OFFSET_FOR_LEADER_EPOCH,
];

/// Where bytes are cut on their way in.
#[derive(Debug, Clone)]
pub enum Cuts {
    Whole,
    Bytes,
    Random(Box<StdRng>),
}

impl Cuts {
    pub fn random(seed: u64) -> Cuts {
        Cuts::Random(Box::new(StdRng::seed_from_u64(seed)))
    }

    fn next(&mut self) -> usize {
        match self {
            Cuts::Whole => usize::MAX,
            Cuts::Bytes => 1,
            Cuts::Random(rng) => match rng.random_range(0..4) {
                0 => rng.random_range(1..4),
                1 => rng.random_range(1..100),
                2 => rng.random_range(1..5000),
                _ => rng.random_range(1..40_000),
            },
        }
    }
}

/// Runs a test with its bytes whole, byte by byte and in random cuts.
pub fn in_all_cuts(test: impl Fn(Cuts)) {
    test(Cuts::Whole);
    test(Cuts::Bytes);
    for seed in 0..6 {
        test(Cuts::random(seed));
    }
}

#[derive(Default)]
pub struct Told {
    pub clusters: Mutex<Vec<String>>,
    pub nodes: Mutex<Vec<(i32, String, i32)>>,
    pub refuse: bool,
}

impl Directory for Told {
    fn learn_cluster(&self, cluster_id: &str) {
        self.clusters.lock().unwrap().push(cluster_id.to_owned());
    }

    fn advertise(&self, node: i32, host: &str, port: i32, _: IpAddr) -> Result<(String, u16), String> {
        if self.refuse {
            return Err("refused".into());
        }
        self.nodes.lock().unwrap().push((node, host.to_owned(), port));
        Ok((HOST.to_owned(), PORT.wrapping_add(node as u16)))
    }

    fn overview(&self) -> Overview {
        Overview::default()
    }
}

/// What several connections of a test share.
pub struct World {
    pub env: Arc<Env>,
    pub directory: Arc<Told>,
    pub registry: Registry,
}

pub fn limits(memory: u64) -> Limits {
    Limits {
        max_frame: 100 << 20,
        max_whole_frame: 4 << 20,
        handshake_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(600),
        progress_timeout: Duration::from_secs(120),
        memory: Budget::new(memory),
    }
}

impl World {
    pub fn new(menders: Vec<Arc<dyn Mender>>, registry: Registry) -> World {
        World::with(menders, registry, limits(64 << 20), Told::default())
    }

    pub fn plain() -> World {
        World::new(Vec::new(), Registry::new())
    }

    /// Menders that know what all connections share.
    pub fn sharing(menders: Vec<Arc<dyn Mender>>, registry: Registry, shared: Arc<Shared>) -> World {
        World::of(menders, registry, limits(64 << 20), Told::default(), shared)
    }

    pub fn with(menders: Vec<Arc<dyn Mender>>, registry: Registry, limits: Limits, directory: Told) -> World {
        World::of(menders, registry, limits, directory, Arc::default())
    }

    pub fn of(
        menders: Vec<Arc<dyn Mender>>,
        registry: Registry,
        limits: Limits,
        directory: Told,
        shared: Arc<Shared>,
    ) -> World {
        let directory = Arc::new(directory);
        let env = Env {
            limits: ArcSwap::from_pointee(limits),
            interests: ArcSwap::from_pointee(Interests::fold(menders.iter().map(|m| m.interests()))),
            menders,
            shared,
            directory: directory.clone(),
            metrics: SessionMetrics::new(&registry),
        };
        World { env: Arc::new(env), directory, registry }
    }

    pub fn held(&self) -> u64 {
        self.env.limits.load().memory.held()
    }

    pub fn connect(&self, cuts: Cuts) -> Rig {
        self.connect_to(cuts, 1, Some(1))
    }

    pub fn connect_to(&self, cuts: Cuts, number: u64, node: Option<i32>) -> Rig {
        self.connect_at(cuts, number, node, Instant::now())
    }

    pub fn connect_at(&self, cuts: Cuts, number: u64, node: Option<i32>, now: Instant) -> Rig {
        let (mailbox, messages) = mpsc::channel(64);
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let core = Core::new(self.env.clone(), Conn::new(number, local, node), local, mailbox, now);
        Rig {
            pumps: [core.pump(), core.pump()],
            core,
            pending: Default::default(),
            out: Default::default(),
            waits: [Wait::Bytes; 2],
            messages,
            now,
            cuts,
            peak: 0,
            end: None,
            lingers: None,
        }
    }

    /// The value of a counter or gauge; 0 where nobody has touched it.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut sum = 0.0;
        for family in self.registry.gather() {
            for metric in family.get_metric() {
                let has = |(k, v): &(&str, &str)| metric.get_label().iter().any(|l| l.name() == *k && l.value() == *v);
                if family.name() == name && labels.iter().all(has) {
                    sum += metric.get_counter().get_value() + metric.get_gauge().get_value();
                }
            }
        }
        sum
    }
}

const REQUESTS: usize = 0;
const RESPONSES: usize = 1;

pub struct Rig {
    pub core: Core,
    pumps: [Pump; 2],
    pending: [VecDeque<u8>; 2],
    out: [Vec<u8>; 2],
    pub waits: [Wait; 2],
    messages: mpsc::Receiver<crate::mend::peers::Message>,
    pub now: Instant,
    cuts: Cuts,
    /// The largest window so far.
    pub peak: usize,
    pub end: Option<End>,
    /// The client has gone: until when the connection lingers. The inner `None`: it has ended.
    pub lingers: Option<Option<Instant>>,
}

impl Rig {
    /// The client sends.
    pub fn client(&mut self, bytes: &[u8]) {
        self.pending[REQUESTS].extend(bytes);
        self.settle();
    }

    /// The broker sends.
    pub fn broker(&mut self, bytes: &[u8]) {
        self.pending[RESPONSES].extend(bytes);
        self.settle();
    }

    /// The client goes.
    pub fn client_gone(&mut self) {
        self.core.begin(self.now);
        self.pending[REQUESTS].clear();
        self.lingers = Some(self.core.client_gone(&mut self.pumps[REQUESTS]));
        match self.is_lingering() {
            true => self.settle(),
            false => self.core.close(),
        }
    }

    /// The broker goes.
    pub fn broker_gone(&mut self) {
        self.core.begin(self.now);
        if self.is_lingering() {
            self.lingers = Some(None);
            self.core.linger_over();
        }
        self.end.get_or_insert(End::UpstreamClosed);
        self.core.close();
    }

    /// The connection goes on without its client.
    pub fn is_lingering(&self) -> bool {
        matches!(self.lingers, Some(Some(_)))
    }

    /// Takes what the client has got.
    pub fn at_client(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out[RESPONSES])
    }

    /// Takes what the broker has got.
    pub fn at_broker(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out[REQUESTS])
    }

    /// Another connection has told it something.
    pub fn has_mail(&self) -> bool {
        !self.messages.is_empty()
    }

    pub fn later(&mut self, by: Duration) {
        self.at(self.now + by);
    }

    /// It is this late now.
    pub fn at(&mut self, now: Instant) {
        self.now = now;
        self.core.begin(self.now);
        if self.core.deadline().is_some_and(|at| at <= self.now) {
            self.core.on_time();
        }
        self.settle();
    }

    /// Moves everything as far as it goes.
    pub fn settle(&mut self) {
        self.rounds();
        let (queued, _) = self.core.weight();
        self.pumps[REQUESTS].settle(queued);
        self.pumps[RESPONSES].settle(0);
    }

    fn rounds(&mut self) {
        while self.end.is_none() && self.lingers != Some(None) {
            self.core.begin(self.now);
            let mut moved = false;
            while let Ok(message) = self.messages.try_recv() {
                self.core.on_message(message);
                moved = true;
            }
            for side in [REQUESTS, RESPONSES] {
                match self.round(side) {
                    Ok(more) => moved |= more,
                    Err(end) => {
                        self.end = Some(end);
                        return;
                    }
                }
            }
            let [requests, responses] = &self.pumps;
            self.core.note_quiet(requests, responses);
            if self.lingers.is_some() {
                self.lingers = Some(self.core.lingers());
                if self.lingers == Some(None) {
                    self.core.linger_over();
                    return self.core.close();
                }
            }
            if !moved && !self.core.take_stirred() {
                return;
            }
        }
    }

    fn round(&mut self, side: usize) -> Result<bool, End> {
        let pump = &mut self.pumps[side];
        let wait = if side == REQUESTS { self.core.requests(pump)? } else { self.core.responses(pump)? };
        self.waits[side] = wait;
        if side == RESPONSES && self.lingers.is_some() {
            pump.drop_output();
        }
        let before = pump.has_output();
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(_)) = pump.poll_drain(&mut pin!(&mut self.out[side]), &mut cx) else {
            panic!("a byte string takes everything");
        };
        if wait != Wait::Bytes || self.pending[side].is_empty() {
            return Ok(before);
        }
        let room = pump.window.room();
        assert!(!room.is_empty(), "no room: the driver would take this for the sender's end");
        let n = self.cuts.next().min(room.len()).min(self.pending[side].len());
        for (to, from) in room.iter_mut().zip(self.pending[side].drain(..n)) {
            *to = from;
        }
        pump.window.filled(n);
        self.peak = self.peak.max(pump.window.capacity());
        Ok(true)
    }
}

pub fn request(api: ApiKey, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    local::request(api, version, correlation, CLIENT_ID, body)
}

pub fn response(api: ApiKey, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = correlation.to_be_bytes().to_vec();
    if api.response_header_has_tags(version) {
        frame.push(0);
    }
    frame.extend_from_slice(body);
    raw(&frame)
}

/// A frame around bytes.
pub fn raw(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as i32).to_be_bytes()[..], bytes].concat()
}

/// Cuts bytes into frames.
pub fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(prefix) = bytes.first_chunk::<4>() {
        let (frame, rest) = bytes.split_at(4 + i32::from_be_bytes(*prefix) as usize);
        all.push(frame.to_vec());
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a frame");
    all
}

/// No way out, and no place to give back.
pub fn ways() -> Ways {
    Ways { accepted: Instant::now(), session: None, phase: watch::channel(Phase::Running).1, place: Box::new(()) }
}

/// A connection on which a request has been answered: kmend may speak on it.
pub fn proven(rig: &mut Rig) {
    rig.client(&request(ApiKey::LIST_GROUPS, 0, 900, &[]));
    rig.broker(&response(ApiKey::LIST_GROUPS, 0, 900, &[0, 0, 0, 0, 0, 0]));
    rig.at_broker();
    rig.at_client();
}
