//! The kmends: their connections, their journal, their end and their return.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;

use super::links::{Hop, Link, Packet, frames};
use super::{Demand, Event, World};
use crate::mend::{Chances, Errand, Errands, Injected, Shared};
use crate::session::tests::kit::World as Kit;
use crate::simulation::dice::Dice;
use crate::simulation::journal::ModelJournal;
use crate::simulation::menders::Start;
use crate::simulation::plan::Moment;
use crate::simulation::{At, MS, SECOND, wire};
use crate::wire::api::ApiKey;
use crate::wire::codec::local;
use crate::wire::head;

pub struct Process {
    number: usize,
    seed: u64,
    pub life: u32,
    pub started: At,
    /// `None`: it is down.
    pub kit: Option<Kit>,
    pub journal: Arc<ModelJournal>,
    journal_armed: Option<At>,
    errands: Vec<Arc<dyn Errands>>,
    own: Option<Own>,
    /// It crashes so long after such a moment, for so long.
    pub doom: Option<(Moment, At, At)>,
}

/// A connection of kmend's own, and what it waits for there.
struct Own {
    conn: u64,
    node: i32,
    waiting: Option<(i32, Errand, At)>,
    /// What is asked for errands one after another: whose, and for which group.
    todo: VecDeque<(usize, Arc<str>)>,
    correlation: i32,
}

const ERRANDS_EVERY: At = 200 * MS;

impl Process {
    pub fn new(number: usize, seed: u64) -> Process {
        let dice = Dice::new(seed, 50 + number as u64);
        let journal = Arc::new(ModelJournal::new(BTreeMap::new(), 0, dice));
        Process {
            number,
            seed,
            life: 0,
            started: 0,
            kit: None,
            journal,
            journal_armed: None,
            errands: Vec::new(),
            own: None,
            doom: None,
        }
    }
}

impl World<'_> {
    pub(super) fn start_kmend(&mut self, kmend: usize) {
        let (now, instant) = (self.now, self.instant());
        let make = self.make;
        let process = &mut self.processes[kmend];
        if process.kit.is_some() {
            return;
        }
        process.life += 1;
        process.started = now;
        let life = process.life;
        let kept = process.journal.after_crash();
        let (lost, refused) = process.journal.lost();
        (0..lost).for_each(|_| self.truth.count("journal writes lost in a crash"));
        (0..refused).for_each(|_| self.truth.count("journal writes refused"));
        let restored = kept.values().cloned().collect();
        let own = 100 * u64::from(life) + process.number as u64;
        process.journal = Arc::new(ModelJournal::new(kept, now, Dice::new(process.seed, 5000 + own)));
        process.journal_armed = None;
        let registry = Registry::new();
        let journal = process.journal.clone();
        let chances = Arc::new(Chances::seeded(Dice::new(process.seed, 900_000 + own).next()));
        let shared = Arc::new(Shared { chances, ..Shared::default() });
        let menders = make(Start { registry: &registry, journal, restored, now: instant, shared: &shared });
        process.own = None;
        let kit = Kit::sharing(menders, registry, shared);
        process.errands = kit.env.menders.iter().filter_map(|m| m.errands(kit.env.shared.clone())).collect();
        let has_errands = !process.errands.is_empty();
        process.kit = Some(kit);
        self.say(|| format!("kmend {kmend} starts (life {life})"));
        if has_errands {
            self.later(ERRANDS_EVERY, Event::Errands { kmend, life });
        }
    }

    /// The moment at which it is to crash may have come.
    fn moment(&mut self, kmend: usize, moment: Moment) {
        let process = &mut self.processes[kmend];
        if let Some((wanted, after, down)) = process.doom
            && wanted == moment
        {
            process.doom = None;
            let life = process.life;
            self.truth.count("crashes in the middle of something");
            self.later(after, Event::Crash { kmend, life, down });
        }
    }

    pub(super) fn crash_for(&mut self, kmend: usize, down: At) {
        self.crash(kmend);
        self.later(down, Event::Restart(kmend));
    }

    /// Its connections break, what it has in memory is lost.
    fn crash(&mut self, kmend: usize) {
        let Some(kit) = self.processes[kmend].kit.take() else {
            return;
        };
        self.say(|| format!("kmend {kmend} crashes"));
        self.truth.count("crashes");
        let now = self.now;
        let open: Vec<_> = self.links.iter().filter(|(_, l)| l.kmend == kmend).map(|(c, _)| *c).collect();
        for conn in open {
            let Some(link) = self.links.get_mut(&conn) else { continue };
            let own = link.is_own();
            if link.rig.take().is_none() && !own {
                continue;
            }
            // Of what it had written, a beginning arrives.
            let arrives = link.dice.range(0, 4000);
            link.lose(Hop::KmendToBroker, now + arrives);
            let arrives = link.dice.range(0, 4000);
            link.lose(Hop::KmendToMember, now + arrives);
            self.send(conn, Hop::KmendToBroker, Packet::Close);
            self.send(conn, Hop::KmendToMember, Packet::Close);
        }
        let process = &mut self.processes[kmend];
        process.errands.clear();
        process.own = None;
        drop(kit);
    }

    /// Bytes from the client (0) or from the broker (1), or its end.
    pub(super) fn kmend_gets(&mut self, conn: u64, side: usize, packet: Packet) {
        let instant = self.instant();
        let now = self.now;
        let Some(link) = self.links.get_mut(&conn) else { return };
        if link.is_own() {
            return self.own_gets(conn, packet);
        }
        let kmend = link.kmend;
        if let (1, Packet::Bytes(bytes)) = (side, &packet) {
            self.is_answered(conn, bytes);
        }
        let Some(link) = self.links.get_mut(&conn) else { return };
        self.processes[kmend].journal.at(now);
        match packet {
            Packet::Bytes(bytes) => {
                let Some(rig) = link.rig.as_mut() else { return };
                if self.demand == Demand::Transparent {
                    link.mirror[side].extend(&bytes);
                }
                rig.at(instant);
                match side {
                    0 => rig.client(&bytes),
                    _ => rig.broker(&bytes),
                }
                self.flush(conn);
            }
            Packet::Close if side == 0 => {
                let Some(rig) = link.rig.as_mut().filter(|r| r.lingers.is_none()) else { return };
                rig.at(instant);
                rig.client_gone();
                // Nobody reads what is still on its way to the client.
                link.lose(Hop::KmendToMember, 0);
                self.flush(conn);
            }
            Packet::Close => self.kmend_closes(conn),
        }
        self.pump(kmend);
    }

    /// One side has gone: so does the other.
    pub(super) fn kmend_closes(&mut self, conn: u64) {
        let instant = self.instant();
        let Some(mut rig) = self.links.get_mut(&conn).and_then(|l| l.rig.take()) else {
            return;
        };
        rig.core.begin(instant);
        if rig.is_lingering() {
            rig.core.linger_over();
        }
        if rig.lingers != Some(None) {
            rig.core.close();
        }
        self.truth.grown.ended(self.now, conn);
        self.send(conn, Hop::KmendToBroker, Packet::Close);
        self.send(conn, Hop::KmendToMember, Packet::Close);
    }

    /// What kmend has written goes out.
    fn flush(&mut self, conn: u64) {
        let base = self.base;
        let transparent = self.demand == Demand::Transparent;
        let now = self.now;
        let Some(link) = self.links.get_mut(&conn) else { return };
        let kmend = link.kmend;
        let Some(rig) = link.rig.as_mut() else { return };
        let (up, down) = (rig.at_broker(), rig.at_client());
        let ended = rig.end.as_ref().map(|e| format!("{e:?}"));
        let wants_close = rig.core.take_close();
        let has_ended = rig.lingers == Some(None);
        let is_alone = rig.lingers.is_some();
        let deadline = rig.core.deadline().into_iter().chain(rig.lingers.flatten()).min().filter(|_| !has_ended);
        let deadline = deadline.map(|at| {
            let at = at.saturating_duration_since(base);
            (at.as_micros() as u64 + u64::from(!at.subsec_nanos().is_multiple_of(1000))).max(now + 1)
        });
        let mut changed = None;
        if transparent {
            for (side, bytes) in [(0, &up), (1, &down)] {
                let given: Vec<u8> = link.mirror[side].drain(..bytes.len().min(link.mirror[side].len())).collect();
                if given != *bytes {
                    changed = Some(format!("kmend changes what passes on connection {conn}, side {side}"));
                }
            }
        }
        if let Some(at) = deadline
            && link.armed.is_none_or(|armed| armed > at)
        {
            link.armed = Some(at);
            self.schedule(at, Event::Deadline(conn));
        }
        if let Some(what) = changed {
            self.broken("I6", what);
        }
        if sends_own(&up) {
            self.moment(kmend, Moment::Sending);
        }
        self.kmend_says(conn, &down);
        if self.plan.grows {
            self.passes(conn, &up, &down);
            if wants_close {
                self.kmend_nudges_by_close(conn);
            }
        }
        for (hop, bytes) in [(Hop::KmendToBroker, up), (Hop::KmendToMember, down)] {
            if !bytes.is_empty() {
                self.send(conn, hop, Packet::Bytes(bytes));
            }
        }
        if let Some(end) = ended {
            self.broken("I5", format!("kmend ends connection {conn}: {end}"));
        }
        if is_alone && !has_ended {
            self.truth.count("rounds without a client");
        }
        if wants_close || has_ended {
            self.kmend_closes(conn);
        }
    }

    pub(super) fn wake(&mut self, conn: u64) {
        let instant = self.instant();
        let now = self.now;
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.armed = None;
        let kmend = link.kmend;
        self.processes[kmend].journal.at(now);
        if let Some(rig) = link.rig.as_mut() {
            rig.at(instant);
            self.flush(conn);
            self.pump(kmend);
        }
    }

    /// Connections that have been told something by others look at it; the journal's clock is set.
    pub(super) fn pump(&mut self, kmend: usize) {
        let instant = self.instant();
        for _ in 0..1000 {
            let has_mail =
                |l: &Link| l.kmend == kmend && l.rig.as_ref().is_some_and(|r| r.end.is_none() && r.has_mail());
            let Some(conn) = self.links.iter().find(|(_, l)| has_mail(l)).map(|(conn, _)| *conn) else {
                break;
            };
            if let Some(rig) = self.links.get_mut(&conn).and_then(|l| l.rig.as_mut()) {
                rig.at(instant);
            }
            self.flush(conn);
        }
        let process = &mut self.processes[kmend];
        if let Some(due) = process.journal.due()
            && process.journal_armed != Some(due)
        {
            process.journal_armed = Some(due);
            let life = process.life;
            self.schedule(due, Event::Journal { kmend, life });
            self.moment(kmend, Moment::Writing);
        }
    }

    pub(super) fn journal_due(&mut self, kmend: usize, life: u32) {
        let now = self.now;
        let process = &mut self.processes[kmend];
        let Some(kit) = process.kit.as_ref().filter(|_| process.life == life) else {
            return;
        };
        process.journal.at(now);
        process.journal_armed = None;
        for waiter in process.journal.settle(now) {
            kit.env.shared.peers.wake(waiter);
        }
        self.pump(kmend);
        self.moment(kmend, Moment::Written);
    }

    /// What menders want sent without a client goes on a connection of kmend's own.
    pub(super) fn errands(&mut self, kmend: usize, life: u32) {
        let (instant, now) = (self.instant(), self.now);
        let process = &mut self.processes[kmend];
        if process.life != life || process.kit.is_none() {
            return;
        }
        process.journal.at(now);
        let late = process.own.as_ref().is_some_and(|o| o.waiting.as_ref().is_some_and(|w| w.2 + 5 * SECOND < now));
        let moved = process.own.as_ref().is_some_and(|o| o.node != self.broker.coordinator);
        if late || moved {
            self.own_ends(kmend);
        }
        let process = &mut self.processes[kmend];
        if process.own.as_ref().is_none_or(|o| o.waiting.is_none()) {
            let asked = process.errands.iter().enumerate();
            let todo: VecDeque<_> =
                asked.flat_map(|(i, e)| e.wanted(instant).into_iter().map(move |g| (i, g))).collect();
            if !todo.is_empty() {
                if self.processes[kmend].own.is_none() {
                    self.own_begins(kmend);
                }
                if let Some(own) = self.processes[kmend].own.as_mut() {
                    own.todo = todo;
                }
                self.own_goes_on(kmend);
            }
        }
        self.pump(kmend);
        self.later(ERRANDS_EVERY, Event::Errands { kmend, life });
    }

    fn own_begins(&mut self, kmend: usize) {
        let (conn, node) = (self.next_conn, self.broker.coordinator);
        self.next_conn += 1;
        let dice = Dice::new(self.plan.seed, 1_000_000 + conn);
        self.links.insert(conn, Link::new(None, kmend, node, None, dice));
        self.processes[kmend].own = Some(Own { conn, node, waiting: None, todo: VecDeque::new(), correlation: 0 });
    }

    /// Sends the next errand, if there is one.
    fn own_goes_on(&mut self, kmend: usize) {
        let (instant, now) = (self.instant(), self.now);
        let version = |api: ApiKey, want: (i16, i16)| {
            let known = wire::VERSIONS.iter().find(|(key, ..)| *key == api)?;
            (known.1.max(want.0) <= known.2.min(want.1)).then(|| known.2.min(want.1))
        };
        let process = &mut self.processes[kmend];
        let Some(own) = process.own.as_mut() else { return };
        while let Some((index, group)) = own.todo.front() {
            let errands = process.errands.get(*index);
            let Some(errand) = errands.and_then(|e| e.take(group, &version, instant)) else {
                own.todo.pop_front();
                continue;
            };
            own.correlation += 1;
            let (conn, correlation) = (own.conn, own.correlation);
            let frame = local::request(errand.api, errand.version, correlation, b"kmend", &errand.body);
            own.waiting = Some((correlation, errand, now));
            self.truth.count("errands");
            self.say(|| format!("kmend {kmend} sends #{correlation} on its own connection {conn}"));
            self.moment(kmend, Moment::Sending);
            return self.send(conn, Hop::KmendToBroker, Packet::Bytes(frame));
        }
    }

    pub(super) fn own_gets(&mut self, conn: u64, packet: Packet) {
        let instant = self.instant();
        let Some(link) = self.links.get_mut(&conn).filter(|l| l.is_own()) else {
            return;
        };
        let kmend = link.kmend;
        if self.processes[kmend].own.as_ref().is_none_or(|o| o.conn != conn) {
            return;
        }
        let Packet::Bytes(bytes) = packet else {
            return self.own_ends(kmend);
        };
        link.to_member.extend(bytes);
        for frame in frames(&mut link.to_member) {
            let process = &mut self.processes[kmend];
            let Some(own) = process.own.as_mut() else { return };
            let (Some((correlation, errand, at)), Some((index, _))) = (own.waiting.take(), own.todo.front()) else {
                return;
            };
            assert_eq!(head::correlation(&frame), Some(correlation), "the model broker answers in order");
            let body = head::response_body(&frame, frame.len(), errand.api, errand.version).expect("a body");
            let took = Duration::from_micros(self.now - at);
            process.errands[*index].done(errand.token, Injected::Answer { frame: &frame, body, took }, instant);
            self.own_goes_on(kmend);
        }
        self.pump(kmend);
    }

    fn own_ends(&mut self, kmend: usize) {
        let instant = self.instant();
        let Some(own) = self.processes[kmend].own.take() else {
            return;
        };
        self.send(own.conn, Hop::KmendToBroker, Packet::Close);
        if let (Some((_, errand, _)), Some((index, _))) = (own.waiting, own.todo.front())
            && let Some(errands) = self.processes[kmend].errands.get(*index)
        {
            errands.done(errand.token, Injected::Lost, instant);
        }
    }
}

/// Whether a request of kmend's own begins these bytes.
fn sends_own(bytes: &[u8]) -> bool {
    bytes.get(8..12).and_then(|b| b.first_chunk()).is_some_and(|b| i32::from_be_bytes(*b) < -1)
}
