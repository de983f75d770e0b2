//! A kmend with all its menders, some connections, and a clock.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use prometheus::Registry;

use super::line::Line;
use super::paper::{self, Paper};
use crate::config::Config;
use crate::config::assignment_watchdog::{StalledScope, WatchdogScope};
use crate::config::model::Mode;
use crate::fuzzing::feed::Feed;
use crate::fuzzing::shape;
use crate::mend::{Errand, Errands, Injected, Interests, view};
use crate::menders::{self, commit_buffer::Kept};
use crate::session::kit::{self, Cuts, Told, World};
use crate::session::limits::Limits;
use crate::session::window::WINDOW;
use crate::store::checkpoints::Checkpoints;
use crate::wire::api::ApiKey;
use crate::wire::codec::local;
use crate::wire::head;
use crate::wire::layout;
use crate::wire::walk::{self, Nobody};

/// Connections at the same time.
const LINES: usize = 3;

/// Off, observing, and three ways of mending.
static CONFIGS: LazyLock<Vec<Config>> = LazyLock::new(|| {
    let with = |mode| {
        let mut config = Config::default();
        config.menders.offset_reset.mode = mode;
        config.menders.partition_discovery.mode = mode;
        config.menders.commit_buffer.mode = mode;
        config.menders.assignment_watchdog.mode = mode;
        config
    };
    let mut behind = with(Mode::Repair);
    behind.menders.commit_buffer.write_behind.enabled = true;
    behind.menders.commit_buffer.delivered.enabled = true;
    let mut eager = behind.clone();
    eager.menders.commit_buffer.delivered.unmeasured = true;
    eager.menders.partition_discovery.interval = "1s".parse().expect("a duration");
    eager.menders.assignment_watchdog.after = "1s".parse().expect("a duration");
    eager.menders.assignment_watchdog.stalled_after = "5s".parse().expect("a duration");
    eager.menders.assignment_watchdog.scope = WatchdogScope::Any;
    eager.menders.assignment_watchdog.stalled_scope = StalledScope::Any;
    vec![with(Mode::Repair), eager, with(Mode::Observe), with(Mode::Off), behind]
});

fn config(which: u8) -> &'static Config {
    &CONFIGS[usize::from(which) % CONFIGS.len()]
}

/// What one connection may hold whole, and what all may.
fn bounds(which: u8) -> (usize, u64) {
    [(64 << 10, 1 << 20), (24 << 10, 40 << 10), (1 << 20, 64 << 20), (1000, 64 << 10)][usize::from(which & 3)]
}

pub struct Play {
    world: World,
    journal: Arc<Paper>,
    errands: Vec<Arc<dyn Errands>>,
    lines: Vec<Line>,
    turn: usize,
    now: Instant,
    next: u64,
    correlation: i32,
    cuts: u8,
    /// Nothing changes what passes.
    is_transparent: bool,
    whole: usize,
    memory: u64,
}

impl Play {
    pub fn new(feed: &mut Feed<'_>) -> Play {
        let (which, limits, cuts, left) = (feed.byte(), feed.byte(), feed.byte(), feed.byte());
        let (registry, shared) = (Registry::new(), Arc::default());
        let now = Instant::now();
        let journal = Arc::new(Paper::default());
        let kept = Kept { journal: journal.clone(), restored: paper::restored(left) };
        let config = config(which);
        let menders =
            menders::all(config, &registry, &menders::repairs(&registry), &shared, Checkpoints::none(), kept, now);
        let (whole, memory) = bounds(limits);
        let told = Told { refuse: limits & 0xf0 == 0xf0, ..Told::default() };
        let limits = Limits { max_whole_frame: whole, max_frame: 4 << 20, ..kit::limits(memory) };
        let world = World::of(menders, registry, limits, told, shared);
        let errands = world.env.menders.iter().filter_map(|m| m.errands(world.env.shared.clone())).collect();
        let mut play = Play {
            world,
            journal,
            errands,
            lines: Vec::new(),
            turn: 0,
            now,
            next: 1,
            correlation: 0,
            cuts,
            is_transparent: config.menders.commit_buffer.mode != Mode::Repair && left % 8 == 0,
            whole,
            memory,
        };
        let first = play.connect();
        play.lines.push(first);
        play
    }

    fn connect(&mut self) -> Line {
        let number = self.next;
        self.next += 1;
        let cuts = match self.cuts % 4 {
            0 => Cuts::Whole,
            // Byte by byte: only small frames are worth it.
            1 if self.cuts > 240 => Cuts::Bytes,
            _ => Cuts::random(u64::from(self.cuts) + number),
        };
        // The second leads to another broker, the third is a bootstrap connection.
        let node = [Some(1), Some(2), None][self.turn % LINES];
        Line::new(self.world.connect_at(cuts, number, node, self.now), self.is_transparent)
    }

    fn line(&mut self) -> &mut Line {
        &mut self.lines[self.turn]
    }

    pub fn turn_to(&mut self, which: u8) {
        self.turn = usize::from(which) % LINES;
        while self.lines.len() <= self.turn {
            let turn = std::mem::replace(&mut self.turn, self.lines.len());
            let line = self.connect();
            self.lines.push(line);
            self.turn = turn;
        }
        // One that has ended makes room for a new one.
        if self.line().has_ended() {
            self.line().close();
            let line = self.connect();
            self.lines[self.turn] = line;
        }
    }

    pub fn client(&mut self, bytes: &[u8]) {
        self.line().client(bytes);
    }

    pub fn broker(&mut self, bytes: &[u8]) {
        self.line().broker(bytes);
    }

    pub fn request(&mut self, api: ApiKey, version: i16, body: &[u8]) {
        self.correlation += 1;
        let frame = local::request(api, version, self.correlation, kit::CLIENT_ID, body);
        self.line().client(&frame);
    }

    pub fn answer(&mut self, feed: &mut Feed<'_>) {
        self.line().answer(feed);
    }

    /// Answers the oldest request with these bytes behind the correlation id.
    pub fn answer_with(&mut self, rest: &[u8]) {
        self.line().answer_with(rest);
    }

    pub fn client_gone(&mut self) {
        self.line().client_gone();
    }

    pub fn broker_gone(&mut self) {
        self.line().broker_gone();
    }

    pub fn finished(&mut self) {
        self.line().rig.core.finished();
    }

    pub fn drain(&mut self) {
        self.lines.iter_mut().for_each(|line| line.rig.core.drain());
    }

    pub fn later(&mut self, by: Duration) {
        self.now += by;
        self.lines.iter_mut().for_each(|line| line.at(self.now));
    }

    /// On to what is due next.
    pub fn until_due(&mut self) {
        let due = self.lines.iter().filter_map(Line::due).min();
        if let Some(due) = due {
            self.now = self.now.max(due);
            self.lines.iter_mut().for_each(|line| line.at(self.now));
        }
    }

    pub fn reload(&mut self, which: u8) {
        let config = config(which);
        self.world.env.menders.iter().for_each(|m| m.reload(config));
        let interests = Interests::fold(self.world.env.menders.iter().map(|m| m.interests()));
        self.world.env.interests.store(Arc::new(interests));
        self.is_transparent = false;
        self.lines.iter_mut().for_each(Line::may_change);
    }

    pub fn limits(&mut self, which: u8) {
        // The budget stays: it is one for the life of the process.
        let whole = bounds(which).0;
        let limits = Limits { max_whole_frame: whole, ..Limits::clone(&self.world.env.limits.load()) };
        self.whole = self.whole.max(whole);
        self.world.env.limits.store(Arc::new(limits));
    }

    pub fn journal_decides(&mut self, how: u8) {
        for waiter in self.journal.decide(how) {
            self.world.env.shared.peers.wake(waiter);
        }
    }

    /// What menders want sent without a client is sent, and answered.
    pub fn errands(&mut self, feed: &mut Feed<'_>) {
        let version = |_: ApiKey, want: (i16, i16)| Some(want.1);
        for errands in self.errands.clone() {
            for group in errands.wanted(self.now) {
                for _ in 0..4 {
                    let Some(errand) = errands.take(&group, &version, self.now) else { break };
                    match feed.byte() {
                        0xff => errands.done(errand.token, Injected::Lost, self.now),
                        _ => self.errand(&*errands, &errand, feed),
                    }
                }
            }
        }
    }

    fn errand(&mut self, errands: &dyn Errands, errand: &Errand, feed: &mut Feed<'_>) {
        if let Some(layout) = layout::request(errand.api, errand.version) {
            assert_eq!(walk::whole(layout, &mut errand.body.clone(), 0, &mut Nobody), Ok(()), "{:?}", errand.api);
        }
        let body = match layout::response(errand.api, errand.version) {
            Some(layout) if !feed.is_empty() => shape::body(layout, feed),
            _ => feed.rest().to_vec(),
        };
        let frame = kit::response(errand.api, errand.version, 7, &body);
        let body = head::response_body(&frame, frame.len(), errand.api, errand.version).expect("a head");
        let took = Duration::from_millis(3);
        errands.done(errand.token, Injected::Answer { frame: &frame, body, took }, self.now);
    }

    /// What connections have told each other is read, and everything is looked at.
    pub fn settle(&mut self) {
        for _ in 0..20 {
            let Some(line) = self.lines.iter_mut().find(|line| line.has_mail()) else { break };
            line.at(self.now);
        }
        for line in &mut self.lines {
            line.check(self.whole);
        }
        let held = self.world.held();
        // What is there already is counted when it is there: a window in each direction may come on top.
        let most = self.memory + (2 * WINDOW * self.lines.len()) as u64;
        assert!(held <= most, "{held} bytes are held, {} may be", self.memory);
        self.world.env.shared.groups.check();
    }

    pub fn end(mut self) {
        let status = view::status(&self.world.env.shared, self.now);
        assert!(serde_json::to_string(&status).is_ok());
        self.lines.iter_mut().for_each(Line::close);
        self.lines.clear();
        assert_eq!(self.world.held(), 0, "bytes are held without a connection");
        let groups = &self.world.env.shared.groups;
        assert_eq!((groups.check(), groups.watched()), (0, 0), "groups without a client");
        // While fuzzing a panic ends the run by itself, also one that is caught.
        if cfg!(not(fuzzing)) {
            assert_eq!(self.world.metric("kmend_mender_panics_total", &[]), 0.0, "a mender panicked");
        }
    }
}
