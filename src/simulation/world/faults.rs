//! What goes wrong.

use super::links::{Hop, Packet};
use super::{Event, World};
use crate::simulation::member::{Acts, Protocols};
use crate::simulation::plan::{Fault, MOST_PARTITIONS, PARTITIONS};
use crate::simulation::{At, MS};

impl World<'_> {
    pub(super) fn fault(&mut self, index: usize) {
        let fault = self.plan.faults[index].1.clone();
        self.say(|| format!("--- {fault:?}"));
        let now = self.now;
        match fault {
            Fault::Kill { member, silent } => self.kill(member, silent),
            Fault::Leave { member, back } => self.leave(member, back),
            Fault::Freeze { member, time } => {
                if self.is_running(member) {
                    self.stop(member, false);
                    self.later(time, Event::Thaw(member));
                }
            }
            Fault::Stick { member, time } => {
                if self.is_running(member) {
                    self.stop(member, true);
                    let life = self.people[member].as_ref().map_or(0, |p| p.life);
                    self.later(time, Event::Unstick { member, life });
                }
            }
            Fault::Rewind { member } => {
                if let Some(person) = self.people[member].as_mut().filter(|p| !p.frozen && !p.member.stuck) {
                    let mut acts = Acts::new();
                    person.member.rewind(&mut acts);
                    self.act(member, acts);
                }
            }
            Fault::Cut { member, slot, upstream } => self.cut(member, slot, upstream),
            Fault::Stall { member, slot, time } => {
                let conn = self.people[member].as_ref().and_then(|p| p.member.slots[slot].conn);
                if let Some(link) = conn.and_then(|c| self.links.get_mut(&c)) {
                    link.stalled = now + time;
                    self.truth.count("stalls");
                    self.truth.evicted.excuse(now + time, conn.unwrap_or_default());
                }
            }
            Fault::Crash { kmend, down } => self.crash_for(kmend, down),
            Fault::Doom { kmend, moment, after, down } => self.processes[kmend].doom = Some((moment, after, down)),
            Fault::Move { away, loading } => {
                if self.broker.is_settled(now) {
                    self.truth.count("coordinator moves");
                    self.broker.relocate(now, away, loading);
                }
            }
            Fault::Reset { percent } => {
                let offsets = (0..PARTITIONS).map(|p| {
                    let has = self.broker.group.offsets.get(&p).copied().unwrap_or(0).max(0);
                    (p, has * percent / 100)
                });
                let offsets = offsets.collect();
                if self.broker.is_settled(now) && self.broker.reset(&offsets) {
                    self.truth.count("resets by an operator");
                    offsets.iter().for_each(|(p, o)| self.truth.reset(now, *p, *o));
                }
            }
            Fault::Disk { kmend, time } => self.processes[kmend].journal.break_until(now + time),
            Fault::Upgrade { member } => {
                let Some(person) = self.people[member].as_mut() else { return };
                person.member.spec.next_protocols = Protocols::Both;
                self.truth.count("members that were upgraded");
                self.leave(member, Some(0));
                // Mostly it has left long before.
                let life = self.people[member].as_ref().map_or(0, |p| p.life);
                self.later(300 * MS, Event::Start { member, life });
            }
            Fault::Evict { partition, percent } => {
                let start = self.broker.logs.evict(now, partition, percent);
                self.truth.count("evictions");
                self.truth.evicted.evicted(now, partition);
                self.say(|| format!("partition {partition} begins at {start}"));
            }
            Fault::Truncate { partition, records } => {
                let end = self.broker.logs.truncate(now, partition, records);
                self.truth.count("logs that lost their end");
                self.say(|| format!("partition {partition} ends at {end}"));
            }
            Fault::Lead { behind } => {
                self.broker.logs.relocate();
                self.truth.count("leaders that move");
                for partition in (0..PARTITIONS).filter(|_| behind > 0) {
                    self.broker.logs.truncate(now, partition, behind);
                }
            }
            Fault::CutWriter { writer, slot, upstream } => self.cut_writer(writer, slot, upstream),
            Fault::StallWriter { writer, slot, time } => self.stall_writer(writer, slot, time),
            Fault::KillWriter { writer } => self.kill_writer(writer),
            Fault::Grow { by, leaderless, late } => {
                let by = by.min(MOST_PARTITIONS - self.broker.topic.partitions());
                if by > 0 && self.broker.topic.grow(now, by, leaderless, late) {
                    self.truth.count("growths");
                    self.writers_know_less();
                }
            }
            Fault::Remake { away, partitions, late } => self.remake(away, partitions, late),
            Fault::Deaf { deaf, time } => self.broker.logs.deaf = (now + time, Some(deaf)),
            Fault::Exodus { back } => {
                for member in 0..self.people.len() {
                    self.leave(member, Some(back + member as At * 100 * MS));
                }
            }
        }
    }

    fn kill(&mut self, member: usize, silent: bool) {
        let Some(person) = self.people[member].as_mut().filter(|p| p.member.is_up()) else {
            return;
        };
        self.truth.count("apps that were killed");
        let conns: Vec<_> = person.member.slots.iter().filter_map(|s| s.conn).collect();
        for conn in conns {
            match silent {
                // Nothing more is heard; kmend finds that out in its own time.
                true => {
                    if let Some(link) = self.links.get_mut(&conn) {
                        link.member_open = false;
                    }
                }
                false => self.member_closes(conn),
            }
        }
        self.come_back(member);
    }

    /// It leaves in good order; who does not listen is not asked.
    fn leave(&mut self, member: usize, back: Option<At>) {
        let Some(person) = self.people[member].as_mut().filter(|p| p.member.is_up() && !p.frozen) else {
            return;
        };
        self.truth.count("apps that left");
        let mut acts = Acts::new();
        person.member.leave(&mut acts);
        self.act(member, acts);
        // Its last life goes on for as long as it needs to leave.
        let life = self.people[member].as_ref().map_or(0, |p| p.life);
        if let Some(back) = back {
            self.later(back.max(2100 * MS), Event::Start { member, life });
        }
    }

    fn stop(&mut self, member: usize, only_handler: bool) {
        let now = self.now;
        let Some(person) = self.people[member].as_mut().filter(|p| !p.frozen && !p.member.stuck) else {
            return;
        };
        let mut acts = Acts::new();
        person.member.take_in_hand(now, &mut acts);
        person.frozen = !only_handler;
        person.member.stuck = only_handler;
        self.truth.count(if only_handler { "handlers that were stuck" } else { "apps that stood still" });
        self.act(member, acts);
    }

    fn cut(&mut self, member: usize, slot: usize, upstream: bool) {
        if let Some(conn) = self.people[member].as_ref().and_then(|p| p.member.slots[slot].conn) {
            self.cut_link(conn, upstream);
        }
    }

    pub(super) fn cut_link(&mut self, conn: u64, upstream: bool) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&conn) else { return };
        self.truth.count("connections that broke");
        let arrives = link.dice.range(0, 3000);
        if upstream {
            link.lose(Hop::KmendToBroker, now + arrives);
            link.lose(Hop::BrokerToKmend, now);
            self.send(conn, Hop::BrokerToKmend, Packet::Close);
        } else {
            link.lose(Hop::MemberToKmend, now + arrives);
            link.lose(Hop::KmendToMember, now);
            self.send(conn, Hop::MemberToKmend, Packet::Close);
            self.send(conn, Hop::KmendToMember, Packet::Close);
        }
    }

    /// Whatever stands still or is away comes back.
    pub(super) fn calm_down(&mut self) {
        self.say(|| "--- no more faults".into());
        for member in 0..self.people.len() {
            self.thaw(member);
            let life = self.people[member].as_ref().map_or(0, |p| p.life);
            self.unstick(member, life);
        }
        for kmend in 0..self.processes.len() {
            self.start_kmend(kmend);
            self.processes[kmend].journal.break_until(0);
            self.processes[kmend].doom = None;
        }
        self.broker.logs.deaf = (0, None);
        for link in self.links.values_mut() {
            link.stalled = link.stalled.min(self.now);
        }
    }
}
