//! The producers, and their end of the connections.

use super::links::{Hop, Link, Packet, Waiting, frames};
use super::{Event, World};
use crate::session::tests::kit::Cuts;
use crate::simulation::broker::{Broker, Written};
use crate::simulation::dice::Dice;
use crate::simulation::grown::SOON;
use crate::simulation::member::{Act, Acts, Asked, What};
use crate::simulation::plan::ms;
use crate::simulation::writer::{RECORDS, Software, Writer};
use crate::simulation::writes;
use crate::simulation::{At, SECOND};
use crate::wire::codec::local;
use crate::wire::head;

impl World<'_> {
    pub(super) fn begin_writers(&mut self) {
        for (number, spec) in self.plan.writers.iter().enumerate() {
            let writer = spec.as_ref().map(|spec| {
                self.events.insert((spec.start, 500 + number as u64), Event::WriterStart { writer: number, life: 0 });
                Writer::new(spec.clone(), (number, 0), Dice::new(self.plan.seed, 300 + number as u64))
            });
            self.writers.push(writer);
        }
    }

    pub(super) fn start_writer(&mut self, writer: usize, life: u32) {
        let Some(person) = self.writers[writer].as_mut().filter(|w| w.life.1 == life && !w.is_up) else { return };
        let mut acts = Acts::new();
        person.start(&mut acts);
        self.say(|| format!("writer {writer} starts (life {life})"));
        self.writer_acts(writer, acts);
    }

    pub(super) fn writer_timer(&mut self, writer: usize, life: u32, what: What) {
        let now = self.now;
        let Some(person) = self.writers[writer].as_mut().filter(|w| w.life.1 == life && w.is_up) else { return };
        let mut acts = Acts::new();
        person.timer(now, what, &mut acts);
        self.writer_acts(writer, acts);
    }

    pub(super) fn writer_gets(&mut self, conn: u64, packet: Packet) {
        let Some(link) = self.links.get_mut(&conn).filter(|l| l.member_open) else { return };
        let Some(life) = link.writer else { return };
        let Some(person) = self.writers[life.0].as_mut().filter(|w| w.life == life && w.is_up) else { return };
        match packet {
            Packet::Close => {
                link.member_open = false;
                let mut acts = Acts::new();
                person.closed(conn, &mut acts);
                self.say(|| format!("writer {}: connection {conn} is closed", life.0));
                self.writer_acts(life.0, acts);
            }
            Packet::Bytes(bytes) => {
                link.to_member.extend(bytes);
                for frame in frames(&mut link.to_member) {
                    self.writer_reads(life.0, conn, &frame);
                }
            }
        }
    }

    fn writer_reads(&mut self, writer: usize, conn: u64, frame: &[u8]) {
        let now = self.now;
        let got = head::correlation(frame).expect("a correlation id");
        let Some(link) = self.links.get_mut(&conn).filter(|l| l.member_open) else { return };
        let Some(waiting) = link.waiting.pop_front().filter(|w| w.correlation == got) else {
            return self.broken("I5", format!("writer {writer} gets an answer #{got} that is not due"));
        };
        let body = head::response_body(frame, frame.len(), waiting.api, waiting.version).expect("a body");
        if let Asked::Written(batches) = &waiting.asked {
            let (results, names_leader) = writes::answered(frame, body, waiting.version);
            self.is_told_of_writes(writer, (conn, got), batches, &results, names_leader);
        }
        let Some(person) = self.writers[writer].as_mut() else { return };
        let mut acts = Acts::new();
        person.answered(now, conn, &waiting.asked, waiting.version, frame, body, &mut acts);
        // Without ids one topic is like another.
        let number = if person.spec.metadata < 10 { self.broker.topic.number() } else { person.number };
        let (life, knows) = (person.life, self.broker.topic.is_known(number, &person.leaders));
        self.truth.grown.knows(now, life, knows);
        self.say(|| format!("writer {writer} reads #{got} {} on {conn}", waiting.api.name().unwrap_or("?")));
        self.writer_acts(writer, acts);
    }

    fn is_told_of_writes(
        &mut self,
        writer: usize,
        place: (u64, i32),
        batches: &[(i32, writes::Batch)],
        results: &[Written],
        names_leader: bool,
    ) {
        let Some(person) = self.writers[writer].as_ref() else { return };
        let (found, is_refused) = self.truth.grown.told(place, &person.spec, batches, results, names_leader);
        self.found(found, None);
        if is_refused {
            self.truth.count("batches refused by kmend");
            self.say(|| format!("writer {writer} is refused #{} by kmend", place.1));
            // What is refused behind it belongs to the same nudge.
            let again = self.writers[writer].as_ref().is_some_and(Writer::is_refused_already);
            if !again {
                self.is_nudged(place.0, "producers refused");
            }
        } else if results.iter().any(|(_, error, _)| *error != 0) {
            self.truth.count("batches refused by the broker");
        }
    }

    pub(super) fn writer_acts(&mut self, writer: usize, acts: Acts) {
        let Some(life) = self.writers[writer].as_ref().map(|w| w.life) else { return };
        for act in acts {
            match act {
                Act::Open(slot) => self.open_for_writer(writer, slot),
                Act::Close(conn) => self.member_closes(conn),
                Act::Send { conn, api, version, body, asked } => {
                    self.writer_sends(writer, conn, (api, version), &body, asked);
                }
                Act::Timer(after, what) => self.later(after, Event::WriterTimer { writer, life: life.1, what }),
                Act::Died(why) => {
                    self.say(|| format!("writer {writer} dies: {why}"));
                    self.truth.count("producers that died");
                    self.next_writer(writer);
                }
                other => panic!("a producer does nothing like {other:?}"),
            }
        }
    }

    /// Its next life: another producer id.
    pub(super) fn next_writer(&mut self, writer: usize) {
        let seed = self.plan.seed;
        let Some(person) = self.writers[writer].as_mut() else { return };
        let life = (writer, person.life.1 + 1);
        let restart = person.spec.restart;
        let dice = Dice::new(seed, 3000 + 1000 * u64::from(life.1) + writer as u64);
        *person = Writer::new(person.spec.clone(), life, dice);
        if let Some(after) = restart {
            self.later(after, Event::WriterStart { writer, life: life.1 });
        }
    }

    fn open_for_writer(&mut self, writer: usize, slot: usize) {
        let Some(person) = self.writers[writer].as_ref() else { return };
        let (kmend, life) = (person.spec.kmend, person.life);
        let node = if slot == RECORDS { person.leader } else { Broker::other(person.leader) };
        let conn = self.next_conn;
        let mut dice = Dice::new(self.plan.seed, 1_000_000 + conn);
        let cuts = match dice.one_in(4) && !self.plan.calm {
            true => Cuts::random(dice.next()),
            false => Cuts::Whole,
        };
        let now = self.instant();
        let rig = self.processes[kmend].kit.as_ref().map(|kit| kit.connect_at(cuts, conn, Some(node), now));
        let opened = rig.map(|rig| {
            self.next_conn += 1;
            let mut link = Link::new(None, kmend, node, Some(rig), dice);
            (link.writer, link.reads) = (Some(life), true);
            self.links.insert(conn, link);
            (conn, node)
        });
        self.say(|| format!("writer {writer} opens {opened:?} through kmend {kmend}"));
        let Some(person) = self.writers[writer].as_mut() else { return };
        let mut acts = Acts::new();
        person.opened(slot, opened, &mut acts);
        self.writer_acts(writer, acts);
    }

    fn writer_sends(
        &mut self,
        writer: usize,
        conn: u64,
        (api, version): (crate::wire::api::ApiKey, i16),
        body: &[u8],
        asked: Asked,
    ) {
        let now = self.now;
        let Some(spec) = self.writers[writer].as_ref().map(|w| &w.spec) else { return };
        let Some(link) = self.links.get_mut(&conn).filter(|l| l.member_open) else { return };
        link.correlation += 1;
        let correlation = link.correlation;
        let frame = local::request(api, version, correlation, spec.client_id.as_bytes(), body);
        let mut is_answered = true;
        if let Asked::Written(batches) = &asked {
            is_answered = spec.acks != 0;
            link.unanswered |= !is_answered;
            self.truth.grown.sends(conn, batches);
        }
        if is_answered {
            link.waiting.push_back(Waiting { correlation, api, version, asked, at: now, behind_join: false });
        }
        self.say(|| format!("writer {writer} sends #{correlation} {} on {conn}", api.name().unwrap_or("?")));
        self.send(conn, Hop::MemberToKmend, Packet::Bytes(frame));
    }

    /// What no producer may be left with in the end.
    pub(super) fn writers_at_the_end(&mut self, knows: bool) {
        let now = self.now;
        let settled = self.broker.topic.settled();
        for (number, writer) in self.writers.iter().enumerate() {
            let Some(writer) = writer.as_ref().filter(|w| w.is_up) else { continue };
            if writer.unwritten() > 0 {
                let what = format!("{} batches of writer {number} are not written in the end", writer.unwritten());
                return self.broken("N1", what);
            }
            let Writer { spec, .. } = writer;
            let can_be_told = spec.software != Software::Other && spec.idempotent && writer.has_sequences();
            let client = self.client_of(spec.kmend, &spec.client_id, spec.software);
            let excused = self.truth.grown.excused(&client);
            let from = settled.max(self.plan.faults_end).max(self.processes[spec.kmend].started).max(excused);
            let had_to: At = from + SOON;
            if !knows || !can_be_told || had_to > spec.works_until.min(now) {
                continue;
            }
            self.truth.count("producers that had to know");
            let since = self.truth.grown.knows_since(writer.life);
            if since.is_none_or(|since| since > had_to) {
                let what = format!(
                    "writer {number} knows {} partitions since {since:?}; there are {} since {}",
                    writer.leaders.len(),
                    self.broker.topic.partitions(),
                    ms(settled)
                );
                return self.broken("N5", what);
            }
        }
    }

    /// The topic has changed.
    pub(super) fn writers_know_less(&mut self) {
        for writer in self.writers.iter().flatten() {
            self.truth.grown.knows(self.now, writer.life, false);
        }
    }

    pub(super) fn cut_writer(&mut self, writer: usize, slot: usize, upstream: bool) {
        let conn = self.writers[writer].as_ref().and_then(|w| w.slots[slot].conn);
        if let Some(conn) = conn {
            self.cut_link(conn, upstream);
        }
    }

    pub(super) fn stall_writer(&mut self, writer: usize, slot: usize, time: At) {
        let conn = self.writers[writer].as_ref().and_then(|w| w.slots[slot].conn);
        if let Some(link) = conn.and_then(|c| self.links.get_mut(&c)) {
            link.stalled = self.now + time;
            self.truth.count("stalls");
        }
    }

    pub(super) fn kill_writer(&mut self, writer: usize) {
        let Some(person) = self.writers[writer].as_mut().filter(|w| w.is_up) else { return };
        let mut acts = Acts::new();
        person.end(&mut acts);
        self.truth.count("producers that were killed");
        self.writer_acts(writer, acts);
        self.next_writer(writer);
    }

    /// A topic that is deleted comes back soon, as another one.
    pub(super) fn remake(&mut self, away: At, partitions: i32, late: At) {
        if self.broker.topic.partitions() > 0 {
            self.broker.topic.delete(self.now);
            self.writers_know_less();
            self.truth.count("topics deleted");
            self.later(away.max(SECOND / 100), Event::Made { partitions, late });
        }
    }
}
