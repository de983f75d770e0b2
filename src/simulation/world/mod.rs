//! The clock, the network and the processes of a run.

mod brokers;
mod faults;
mod kmends;
mod links;
mod lost;
mod members;
mod nudged;
mod watched;
mod writers;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::broker::Broker;
use super::check::{Coverage, Truth, Violation};
use super::dice::Dice;
use super::evicted::{self, Wanted};
use super::member::{Member, What};
use super::menders::Make;
use super::plan::{Plan, ms};
use super::writer::Writer;
use super::{At, SECOND};
use kmends::Process;
use links::{Hop, Links, Packet};

#[derive(Debug)]
enum Event {
    Packet {
        conn: u64,
        hop: Hop,
        packet: Packet,
    },
    /// The broker takes the next request of a connection.
    Serve(u64),
    /// kmend wants to be woken.
    Deadline(u64),
    Group,
    Timer {
        member: usize,
        life: u32,
        what: What,
    },
    Start {
        member: usize,
        life: u32,
    },
    WriterTimer {
        writer: usize,
        life: u32,
        what: What,
    },
    WriterStart {
        writer: usize,
        life: u32,
    },
    /// A topic that was deleted is there again.
    Made {
        partitions: i32,
        late: At,
    },
    Fault(usize),
    Thaw(usize),
    Unstick {
        member: usize,
        life: u32,
    },
    Crash {
        kmend: usize,
        life: u32,
        down: At,
    },
    Restart(usize),
    Journal {
        kmend: usize,
        life: u32,
    },
    Errands {
        kmend: usize,
        life: u32,
    },
    /// No more faults.
    Calm,
}

/// A member and its lives.
struct Person {
    member: Member,
    life: u32,
    /// Stands still until then; what arrives waits.
    frozen: bool,
    mail: Vec<(u64, Packet)>,
    timers: Vec<What>,
    has_lived: bool,
    /// When it was last assigned something.
    assigned: At,
}

pub struct World<'a> {
    plan: &'a Plan,
    make: Make<'a>,
    demand: Demand,
    /// The group rebalances.
    rebalances_since: Option<At>,
    base: Instant,
    now: At,
    events: BTreeMap<(At, u64), Event>,
    steps: u64,
    broker: Broker,
    group_armed: Option<At>,
    links: Links,
    next_conn: u64,
    processes: Vec<Process>,
    people: Vec<Option<Person>>,
    writers: Vec<Option<Writer>>,
    truth: Truth,
    trace: Option<Vec<String>>,
}

/// What came of a run.
pub struct Outcome {
    pub violation: Option<Violation>,
    pub coverage: Coverage,
    pub trace: Vec<String>,
    /// Of everything that happened, in order: two runs of a plan agree.
    pub print: u64,
}

/// What a run has to hold beyond what every run has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    Usual,
    /// Nothing may be changed on the way (rule I6).
    Transparent,
    /// In the end everything is read (rule W5).
    AllRead,
    /// Nobody hears of an eviction (rule E2).
    Mended,
    /// The same, and who stands above the log end is led to the earliest.
    Steered,
    /// Both W5 and E2.
    All,
    /// In the end everybody knows of new partitions (rules N5, N6).
    Grown,
    /// All of that.
    AllGrown,
}

impl Demand {
    fn wanted(self) -> Wanted {
        let mends = matches!(self, Demand::Mended | Demand::Steered | Demand::All | Demand::AllGrown);
        Wanted { mends, steers: (self == Demand::Steered).then_some(EARLIEST) }
    }

    fn makes_look(self) -> bool {
        matches!(self, Demand::Grown | Demand::AllGrown)
    }
}

const EARLIEST: i64 = -2;

/// A run is over by then, or it runs in circles.
const MOST_STEPS: u64 = 2_000_000;

pub fn run(plan: &Plan, make: Make<'_>, demand: Demand, tell: bool) -> Outcome {
    let mut world = World {
        plan,
        make,
        demand,
        rebalances_since: None,
        base: Instant::now(),
        now: 0,
        events: BTreeMap::new(),
        steps: 0,
        broker: Broker::new(plan.partitions, Dice::new(plan.seed, 2), Dice::new(plan.seed, 3)),
        group_armed: None,
        links: Links::new(),
        next_conn: 1,
        processes: Vec::new(),
        people: Vec::new(),
        writers: Vec::new(),
        truth: Truth::default(),
        trace: tell.then(Vec::new),
    };
    world.begin();
    let mut print = 0u64;
    while let Some(((at, _), event)) = world.events.pop_first() {
        if at > plan.end || world.truth.violation.is_some() {
            break;
        }
        world.now = at;
        let mark = match &event {
            Event::Packet { conn, hop, packet: Packet::Bytes(bytes) } => conn ^ ((*hop as u64) << 8) ^ sum(bytes) << 16,
            other => u64::from(crc32c::crc32c(format!("{other:?}").as_bytes())),
        };
        print = (print.rotate_left(5) ^ mark ^ at).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        world.steps += 1;
        if world.steps > MOST_STEPS {
            world.broken("I5", "it never comes to rest".into());
        }
        world.handle(event);
        world.after();
    }
    if world.truth.violation.is_none() {
        world.now = plan.end;
        world.at_the_end();
    }
    if let Some(found) = world.truth.violation.clone() {
        world.say(|| format!("BROKEN {}: {}", found.rule, found.what));
    }
    Outcome {
        violation: world.truth.violation,
        coverage: world.truth.coverage,
        trace: world.trace.unwrap_or_default(),
        print,
    }
}

/// Partitions may stand in any order within a request of kmend's own: it keeps them in hash maps.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|b| u64::from(*b)).sum()
}

impl World<'_> {
    fn begin(&mut self) {
        self.broker.logs.evicts = self.plan.evicts;
        if self.plan.grows {
            self.broker.logs.are_produced();
        }
        for kmend in 0..self.plan.kmends {
            self.processes.push(Process::new(kmend, self.plan.seed));
            self.start_kmend(kmend);
        }
        for (number, spec) in self.plan.members.iter().enumerate() {
            let person = spec.as_ref().map(|spec| {
                self.events.insert((spec.start, number as u64), Event::Start { member: number, life: 0 });
                Person {
                    member: Member::new(spec.clone(), Dice::new(self.plan.seed, 100 + number as u64)),
                    life: 0,
                    frozen: false,
                    mail: Vec::new(),
                    timers: Vec::new(),
                    has_lived: false,
                    assigned: 0,
                }
            });
            self.people.push(person);
        }
        self.begin_writers();
        self.steps = 1000;
        for (index, (at, _)) in self.plan.faults.iter().enumerate() {
            self.schedule(*at, Event::Fault(index));
        }
        self.schedule(self.plan.faults_end, Event::Calm);
    }

    fn schedule(&mut self, at: At, event: Event) {
        self.steps += 1;
        self.events.insert((at.max(self.now), self.steps), event);
    }

    fn later(&mut self, after: At, event: Event) {
        self.schedule(self.now + after, event);
    }

    fn instant(&self) -> Instant {
        self.base + Duration::from_micros(self.now)
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10}  {}", ms(self.now), what()));
        }
    }

    fn broken(&mut self, rule: &'static str, what: String) {
        self.truth.broken(rule, self.now, what);
    }

    fn send(&mut self, conn: u64, hop: Hop, packet: Packet) {
        let (now, calm) = (self.now, self.plan.calm);
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        let at = link.arrival(hop, now, calm);
        self.schedule(at, Event::Packet { conn, hop, packet });
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Packet { conn, hop, packet } => self.arrived(conn, hop, packet),
            Event::Serve(conn) => self.serve(conn),
            Event::Deadline(conn) => self.wake(conn),
            Event::Group => {
                self.group_armed = None;
                self.broker.on_time(self.now);
            }
            Event::Timer { member, life, what } => self.member_timer(member, life, what),
            Event::Start { member, life } => self.start_member(member, life),
            Event::WriterTimer { writer, life, what } => self.writer_timer(writer, life, what),
            Event::WriterStart { writer, life } => self.start_writer(writer, life),
            Event::Made { partitions, late } => {
                self.broker.topic.make(self.now, partitions, late);
                self.truth.count("topics made anew");
            }
            Event::Fault(index) => self.fault(index),
            Event::Thaw(member) => self.thaw(member),
            Event::Unstick { member, life } => self.unstick(member, life),
            Event::Crash { kmend, life, down } => {
                if self.processes[kmend].life == life && self.now < self.plan.faults_end {
                    self.crash_for(kmend, down);
                }
            }
            Event::Restart(kmend) => self.start_kmend(kmend),
            Event::Journal { kmend, life } => self.journal_due(kmend, life),
            Event::Errands { kmend, life } => self.errands(kmend, life),
            Event::Calm => self.calm_down(),
        }
    }

    fn arrived(&mut self, conn: u64, hop: Hop, packet: Packet) {
        let is_close = packet == Packet::Close;
        if self.links.get(&conn).is_none_or(|l| l.is_lost(hop, self.now) && !is_close) {
            return;
        }
        match hop {
            Hop::MemberToKmend => self.kmend_gets(conn, 0, packet),
            Hop::BrokerToKmend => self.kmend_gets(conn, 1, packet),
            Hop::KmendToBroker => self.broker_gets(conn, packet),
            Hop::KmendToMember => self.member_gets(conn, packet),
        }
    }

    /// After every event: what the broker has to say, and when it wants to be asked again.
    fn after(&mut self) {
        self.broker_speaks();
        if let Some(at) = self.broker.deadline()
            && self.group_armed.is_none_or(|armed| armed > at)
        {
            self.group_armed = Some(at.max(self.now + 1));
            self.schedule(at.max(self.now + 1), Event::Group);
        }
    }

    /// A member that reads, at a position that is out of range.
    fn left_where_nothing_is(&mut self) -> Option<String> {
        let (now, logs) = (self.now, &self.broker.logs);
        let running = self.people.iter_mut().enumerate().filter_map(|(n, p)| Some((n, &mut p.as_mut()?.member)));
        let mut running = running.filter(|(_, m)| m.phase == super::member::Phase::Running);
        running.find_map(|(number, member)| {
            let left = |(p, at): (i32, i64)| evicted::is_left(logs, now, p, at);
            let found = member.stands().into_iter().find_map(left);
            found.map(|what| format!("member {number} {what}"))
        })
    }

    fn at_the_end(&mut self) {
        let now = self.now;
        let committed = self.broker.group.offsets.clone();
        self.truth.at_the_end(now, &committed);
        if let Some(what) = self.left_unread()
            && matches!(self.demand, Demand::AllRead | Demand::All | Demand::AllGrown)
        {
            self.broken("W5", what);
        }
        let knows = self.demand.makes_look();
        self.writers_at_the_end(knows);
        if knows && let Some(what) = self.left_unassigned() {
            self.broken("N6", what);
        }
        // Who only commits goes beyond the log end in plans in which logs keep what they have.
        if self.plan.evicts
            && let Some(what) = self.left_where_nothing_is()
        {
            self.broken("E4", what);
        }
        let state = self.broker.group.state;
        let mut wrong = Vec::new();
        for (number, person) in self.people.iter().enumerate() {
            let Some(person) = person.as_ref().filter(|p| p.member.is_up()) else { continue };
            let known = self.broker.group.members.contains_key(&person.member.who.id);
            if person.member.phase != super::member::Phase::Running || !known {
                wrong.push(format!("member {number} is {:?}, known: {known}", person.member.phase));
            }
        }
        for (conn, link) in &self.links {
            if let Some(waiting) = link.waiting.front()
                && link.member_open
                && waiting.at + 10 * SECOND < now
            {
                wrong.push(format!("{:?} on connection {conn} waits since {}", waiting.asked, ms(waiting.at)));
            }
        }
        if !wrong.is_empty() {
            self.broken("I5", format!("in the end, the group {state:?}: {}", wrong.join("; ")));
        }
    }
}
