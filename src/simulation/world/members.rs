//! The members' end of the connections, and what members want done.

use super::links::{Hop, Link, Packet, Waiting, frames};
use super::{Event, World};
use crate::session::tests::kit::Cuts;
use crate::simulation::check::Life;
use crate::simulation::dice::Dice;
use crate::simulation::member::{Act, Acts, Asked, Habit, Member, OUT_OF_RANGE, Phase, READS, What};
use crate::simulation::plan::ms;
use crate::simulation::{At, SECOND};
use crate::wire::codec::local;
use crate::wire::head;

/// So long after the last fault everything is answered within so long.
const CALM: At = 15 * SECOND;
const PROMPT: At = SECOND;

impl World<'_> {
    pub(super) fn start_member(&mut self, member: usize, life: u32) {
        let Some(person) = self.people[member].as_mut() else { return };
        if person.life != life || person.member.is_up() {
            return;
        }
        if person.has_lived {
            return self.next_life(member, Some(0));
        }
        person.has_lived = true;
        let mut acts = Acts::new();
        person.member.start(&mut acts);
        match person.member.spec.habit {
            Habit::PausesFirst { .. } => self.truth.count("members that pause at assignment"),
            Habit::OnlyCommits => self.truth.count("members that only commit"),
            Habit::Slow => self.truth.count("members that are slow"),
            Habit::Usual | Habit::PausesLater { .. } => {}
        }
        self.say(|| format!("member {member} starts (life {life})"));
        self.act(member, acts);
    }

    pub(super) fn member_timer(&mut self, member: usize, life: u32, what: What) {
        let now = self.now;
        let Some(person) = self.people[member].as_mut() else { return };
        if person.life != life || !person.member.is_up() {
            return;
        }
        if person.frozen {
            return person.timers.push(what);
        }
        let mut acts = Acts::new();
        person.member.timer(now, what, &mut acts);
        self.act(member, acts);
    }

    pub(super) fn member_gets(&mut self, conn: u64, packet: Packet) {
        if self.links.get(&conn).is_some_and(|l| l.writer.is_some()) {
            return self.writer_gets(conn, packet);
        }
        let Some((member, life)) = self.links.get(&conn).and_then(|l| l.life) else {
            return self.own_gets(conn, packet);
        };
        let Some(person) = self.people[member].as_mut().filter(|p| p.life == life) else {
            return;
        };
        if person.frozen {
            return person.mail.push((conn, packet));
        }
        let Some(link) = self.links.get_mut(&conn).filter(|l| l.member_open) else {
            return;
        };
        let mut acts = Acts::new();
        match packet {
            Packet::Close => {
                link.member_open = false;
                // Nothing of the group passes on the connection to the leader.
                if !link.reads {
                    self.truth.broke(self.now, (member, life));
                }
                person.member.closed(conn, &mut acts);
                self.say(|| format!("member {member}: connection {conn} is closed"));
                self.may_be_alone((member, life));
                self.act(member, acts);
            }
            Packet::Bytes(bytes) => {
                link.to_member.extend(bytes);
                for frame in frames(&mut link.to_member) {
                    self.member_reads(member, conn, &frame);
                }
            }
        }
    }

    fn member_reads(&mut self, member: usize, conn: u64, frame: &[u8]) {
        let got = head::correlation(frame).expect("a correlation id");
        let Some(link) = self.links.get_mut(&conn).filter(|l| l.member_open) else {
            return;
        };
        let Some(waiting) = link.waiting.pop_front() else {
            return self.broken("I5", format!("member {member} gets an answer #{got} that it did not ask for"));
        };
        if waiting.correlation != got {
            let what = format!("member {member} gets the answer #{got}, #{} is due", waiting.correlation);
            return self.broken("I5", what);
        }
        let is_calm = waiting.at > self.plan.faults_end + CALM;
        if is_calm && !waiting.behind_join && self.now - waiting.at > PROMPT {
            let what = format!("member {member} waits for {:?} from {} on", waiting.asked, ms(waiting.at));
            self.broken("I5", what);
        }
        let body = head::response_body(frame, frame.len(), waiting.api, waiting.version).expect("a body");
        let Some(link) = self.links.get_mut(&conn) else { return };
        if matches!(waiting.asked, Asked::Read { .. }) && !link.served.remove(&got) && self.plan.grows {
            self.kmend_answers_fetch(conn, frame, body, waiting.version);
        }
        if matches!(waiting.asked, Asked::Ends(_)) {
            self.member_is_told(member, conn, got, frame, (body, waiting.version));
        }
        let Some(person) = self.people[member].as_mut() else { return };
        let mut acts = Acts::new();
        let (version, asked) = (waiting.version, &waiting.asked);
        let was = person.member.phase;
        person.member.answered(conn, asked, version, frame, body, &mut acts);
        let phase = person.member.phase;
        let synced = was == Phase::Syncing && matches!(waiting.asked, Asked::Sync(_)) && phase != was;
        if synced {
            let life = (member, person.life);
            person.assigned = self.now;
            self.truth.told_to_rejoin.assigned(self.now, life, person.member.cooperative);
        }
        self.say(|| {
            let name = waiting.api.name().unwrap_or("?");
            format!("member {member} reads #{got} {name} on {conn}; {was:?} -> {phase:?}")
        });
        acts.retain(|act| {
            let Act::Got { at, got } = act else { return true };
            self.member_got(conn, member, *at, got);
            false
        });
        self.act_since(member, acts, waiting.at);
    }

    pub(super) fn act(&mut self, member: usize, acts: Acts) {
        self.act_since(member, acts, self.now);
    }

    /// `asked`: when what has been answered was asked.
    fn act_since(&mut self, member: usize, acts: Acts, asked: At) {
        let Some(life) = self.people[member].as_ref().map(|p| p.life) else { return };
        let who = (member, life);
        for act in acts {
            match act {
                Act::Open(slot) => self.open(member, life, slot),
                Act::Close(conn) => self.member_closes(conn),
                Act::Send { conn, api, version, body, asked } => {
                    self.member_sends(member, conn, api, version, &body, asked)
                }
                Act::Unlinked => self.truth.broke(self.now, (member, life)),
                Act::Timer(after, what) => self.later(after, Event::Timer { member, life, what }),
                Act::Processed { partition, from, to } => self.truth.processed(partition, from, to),
                Act::Started { partition, at } => {
                    self.say(|| format!("member {member} starts on partition {partition} at {at}"));
                    let log_start = self.broker.logs.start(partition);
                    self.truth.started(self.now, asked, who, partition, at, log_start);
                }
                Act::Acked { partition, offset } => {
                    self.say(|| format!("member {member} is acknowledged {partition}:{offset}"));
                    self.truth.acked(self.now, asked, who, partition, offset);
                }
                Act::Rewound { partition, to } => {
                    self.truth.count("rewinds");
                    self.say(|| format!("member {member} goes back to {to} on partition {partition}"));
                    self.truth.rewound(self.now, who, partition, to);
                }
                // It stands before the others, and is gone.
                Act::Got { .. } => {}
                Act::Skipped { partition, from, to } => self.truth.skipped(partition, from, to),
                Act::Reset { partition, from, to } => {
                    self.say(|| format!("member {member} resets partition {partition} from {from} to {to}"));
                    self.truth.went(self.now, who, partition, from, to);
                }
                Act::Dangles(partitions) => {
                    partitions.iter().for_each(|_| self.truth.count("partitions that dangle"));
                    self.say(|| format!("member {member} never reads {partitions:?}"));
                    self.truth.told_to_rejoin.dangles(self.now, who, partitions);
                }
                Act::Paused => {
                    self.truth.count("members that paused later");
                    self.say(|| format!("member {member} pauses"));
                }
                Act::Died(why) => {
                    self.say(|| format!("member {member} dies: {why}"));
                    self.truth.count("apps that died");
                    if why == OUT_OF_RANGE {
                        self.is_looked_at(member);
                    }
                    self.come_back(member);
                }
                Act::Said(what) => self.say(|| format!("member {member} {what}")),
            }
        }
    }

    /// The next life of a member that has ended.
    pub(super) fn come_back(&mut self, member: usize) {
        let restart = self.people[member].as_ref().and_then(|p| p.member.spec.restart);
        self.next_life(member, restart);
    }

    pub(super) fn next_life(&mut self, member: usize, after: Option<At>) {
        let seed = self.plan.seed;
        let Some(person) = self.people[member].as_mut() else { return };
        person.life += 1;
        person.assigned = 0;
        person.frozen = false;
        person.has_lived = false;
        person.mail.clear();
        person.timers.clear();
        let life = person.life;
        let dice = Dice::new(seed, 1000 * u64::from(life) + 100 + member as u64);
        let mut spec = person.member.spec.clone();
        spec.protocols = spec.next_protocols;
        person.member = Member::new(spec, dice);
        if let Some(after) = after {
            self.later(after, Event::Start { member, life });
        }
    }

    fn open(&mut self, member: usize, life: u32, slot: usize) {
        let kmend = self.people[member].as_ref().map_or(0, |p| p.member.spec.kmend);
        let conn = self.next_conn;
        let reads = slot == READS;
        let node = if reads { self.broker.logs.leader } else { self.broker.coordinator };
        let mut dice = Dice::new(self.plan.seed, 1_000_000 + conn);
        let cuts = match dice.one_in(4) && !self.plan.calm {
            true => Cuts::random(dice.next()),
            false => Cuts::Whole,
        };
        let now = self.instant();
        let rig = self.processes[kmend].kit.as_ref().map(|kit| kit.connect_at(cuts, conn, Some(node), now));
        let opened = rig.map(|rig| {
            self.next_conn += 1;
            let mut link = Link::new(Some((member, life)), kmend, node, Some(rig), dice);
            link.reads = reads;
            self.links.insert(conn, link);
            (conn, node)
        });
        self.say(|| format!("member {member} opens {opened:?} to broker {node} through kmend {kmend}"));
        let Some(person) = self.people[member].as_mut() else { return };
        let mut acts = Acts::new();
        person.member.opened(slot, opened, &mut acts);
        self.act(member, acts);
    }

    pub(super) fn member_closes(&mut self, conn: u64) {
        if let Some(link) = self.links.get_mut(&conn).filter(|l| l.member_open) {
            link.member_open = false;
            let life = link.life;
            self.send(conn, Hop::MemberToKmend, Packet::Close);
            life.into_iter().for_each(|l| self.may_be_alone(l));
        }
    }

    fn may_be_alone(&mut self, life: Life) {
        if !self.links.values().any(|l| l.member_open && l.life == Some(life)) {
            self.truth.told_to_rejoin.alone(self.now, life);
        }
    }

    fn member_sends(
        &mut self,
        member: usize,
        conn: u64,
        api: crate::wire::api::ApiKey,
        version: i16,
        body: &[u8],
        asked: Asked,
    ) {
        let now = self.now;
        let Some(person) = self.people[member].as_ref() else { return };
        let life = (member, person.life);
        let Some(link) = self.links.get_mut(&conn).filter(|l| l.member_open) else {
            return;
        };
        link.correlation += 1;
        let correlation = link.correlation;
        let frame = local::request(api, version, correlation, person.member.spec.client_id.as_bytes(), body);
        self.say(|| format!("member {member} sends #{correlation} {asked:?} on {conn}"));
        if let Asked::Commit { offsets, .. } = &asked {
            self.truth.sends(now, conn, correlation, life, offsets);
        }
        if let Some(link) = self.links.get_mut(&conn) {
            let joins = |asked: &Asked| matches!(asked, Asked::Join(_) | Asked::Sync(_));
            let behind_join = joins(&asked) || link.waiting.iter().any(|w| joins(&w.asked));
            link.waiting.push_back(Waiting { correlation, api, version, asked, at: now, behind_join });
        }
        self.send(conn, Hop::MemberToKmend, Packet::Bytes(frame));
    }

    pub(super) fn thaw(&mut self, member: usize) {
        let Some(person) = self.people[member].as_mut().filter(|p| p.frozen) else {
            return;
        };
        person.frozen = false;
        let mail = std::mem::take(&mut person.mail);
        let timers = std::mem::take(&mut person.timers);
        let mut acts = Acts::new();
        person.member.go_on(&mut acts);
        self.say(|| format!("member {member} goes on"));
        self.act(member, acts);
        for (conn, packet) in mail {
            self.member_gets(conn, packet);
        }
        let life = self.people[member].as_ref().map_or(0, |p| p.life);
        for what in timers {
            self.member_timer(member, life, what);
        }
    }

    pub(super) fn unstick(&mut self, member: usize, life: u32) {
        let Some(person) = self.people[member].as_mut().filter(|p| p.life == life && p.member.stuck) else {
            return;
        };
        if person.frozen {
            return self.later(50_000, Event::Unstick { member, life });
        }
        let mut acts = Acts::new();
        person.member.go_on(&mut acts);
        self.say(|| format!("member {member}: its handler is back"));
        self.act(member, acts);
    }

    pub(super) fn is_running(&self, member: usize) -> bool {
        self.people[member].as_ref().is_some_and(|p| p.member.phase == Phase::Running)
    }
}
