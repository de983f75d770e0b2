//! The broker's end of the connections.

use super::links::{Hop, Packet, frames};
use super::{Event, World};
use crate::simulation::broker::{Deaf, News, Reply, State};
use crate::simulation::evicted::Listed;
use crate::wire::api::ApiKey;
use crate::wire::head;

impl World<'_> {
    pub(super) fn broker_gets(&mut self, conn: u64, packet: Packet) {
        let Some(link) = self.links.get_mut(&conn).filter(|l| l.broker_open) else {
            return;
        };
        match packet {
            Packet::Close => {
                link.broker_open = false;
                link.inbox.clear();
            }
            Packet::Bytes(bytes) => {
                link.to_broker.extend(bytes);
                let arrived = frames(&mut link.to_broker);
                link.inbox.extend(arrived);
                self.broker_goes_on(conn);
            }
        }
    }

    /// One request of a connection at a time.
    fn broker_goes_on(&mut self, conn: u64) {
        let calm = self.plan.calm;
        let now = self.now;
        if let Some(link) = self.links.get_mut(&conn)
            && !link.busy
            && !link.inbox.is_empty()
        {
            link.busy = true;
            let takes = if calm { 100 } else { link.dice.range(10, 1500) };
            let at = (now + takes).max(link.stalled);
            self.schedule(at, Event::Serve(conn));
        }
    }

    pub(super) fn serve(&mut self, conn: u64) {
        let Some(link) = self.links.get_mut(&conn).filter(|l| l.broker_open) else {
            return;
        };
        if link.stalled > self.now {
            let at = link.stalled;
            return self.schedule(at, Event::Serve(conn));
        }
        let (until, deaf) = self.broker.logs.deaf;
        let lists = |f: &Vec<u8>| head::request(f, f.len()).is_ok_and(|h| h.api == ApiKey::LIST_OFFSETS);
        if let Some(Deaf::Late(by)) = deaf.filter(|_| self.now < until)
            && link.inbox.front().is_some_and(lists)
            && !std::mem::replace(&mut link.waits_for_leader, true)
        {
            link.stalled = self.now + by;
            self.truth.count("ListOffsets that are answered late");
            self.truth.evicted.excuse(self.now + by, conn);
            return self.schedule(self.now + by, Event::Serve(conn));
        }
        link.waits_for_leader = false;
        let Some(frame) = link.inbox.pop_front() else {
            link.busy = false;
            return;
        };
        let node = link.node;
        let head = head::request(&frame, frame.len()).expect("a head");
        let name = head.api.name().unwrap_or("?");
        if !crate::simulation::broker::Broker::is_readable(head.api, head.version) {
            return self.broken("I5", format!("the broker is asked {name} version {}", head.version));
        }
        self.say(|| format!("broker {node}: {name} #{} on {conn}", head.correlation));
        if head.api == ApiKey::FETCH
            && let Some(link) = self.links.get_mut(&conn)
        {
            link.served.insert(head.correlation);
        }
        self.broker.request(self.now, conn, node, &frame);
    }

    /// Sends what the broker has to say, and notes what has become known.
    pub(super) fn broker_speaks(&mut self) {
        let news = std::mem::take(&mut self.broker.news);
        for (to, reply) in std::mem::take(&mut self.broker.out) {
            if let Reply::Join { error: 0 | 79, member, .. } = &reply
                && let Some(life) = self.links.get(&to.conn).and_then(|l| l.life)
            {
                self.truth.named(member, life);
            }
            self.say(|| format!("broker answers #{} on {}: {}", to.correlation, to.conn, brief(&reply)));
            self.broker_beats(to, &reply);
            let frame = self.broker.encode(to, &reply);
            if let Some(link) = self.links.get_mut(&to.conn) {
                link.busy = false;
                if link.broker_open {
                    if !matches!(reply, Reply::Nothing) {
                        self.send(to.conn, Hop::BrokerToKmend, Packet::Bytes(frame));
                    }
                    self.broker_goes_on(to.conn);
                }
            }
        }
        for item in news {
            self.note(item);
        }
    }

    fn note(&mut self, news: News) {
        let now = self.now;
        match news {
            News::Judged(commit) => {
                let owners = self.broker.group.owners();
                self.say(|| {
                    format!(
                        "commit {}:{} as {:?} generation {} -> {} ({:?}, was {})",
                        commit.partition,
                        commit.offset,
                        commit.member,
                        commit.generation,
                        commit.error,
                        commit.state,
                        commit.before
                    )
                });
                if commit.state == State::Preparing && commit.error == 0 {
                    self.truth.count("commits accepted while a rebalance is prepared");
                }
                self.truth.judged(now, &commit, owners.get(&commit.partition));
            }
            News::Reads { to, wants, is_full, forgotten } => self.broker_reads(to, &wants, is_full, forgotten),
            News::SessionGone => self.truth.count("fetch sessions that were gone"),
            News::OutOfRange { to, partition, at } => {
                let start = self.broker.logs.start(partition);
                self.truth.count(if at < start { "Fetch below the log start" } else { "Fetch above the log end" });
                self.truth.evicted.out_of_range(to.conn, partition, start);
            }
            News::Listed { to, asked, ends } => self.broker_lists(to, Listed { asked: &asked, ends: &ends }),
            News::Produced { to, asked, written } => {
                self.truth.count("Produce requests");
                let number = self.broker.topic.number();
                let found = self.truth.grown.produced((to.conn, to.correlation), number, &asked, &written);
                self.found(found, None);
            }
            News::Deaf { to, deaf } => self.leader_fails(to.conn, deaf),
            News::Switched { cooperative } => {
                self.truth.count(if cooperative { "switches to cooperative" } else { "switches back to eager" });
                self.say(|| format!("the group's protocol changes, cooperative: {cooperative}"));
            }
            News::Asked(to) => self.truth.told(now, to.conn),
            News::Stable(generation) => {
                self.rebalances_since = None;
                let owners = self.broker.group.owners();
                self.say(|| format!("group stable in generation {generation}: {owners:?}"));
                self.truth.owned(now, &owners);
            }
            News::Empty => {
                self.rebalances_since = None;
                self.say(|| "group empty".into());
                self.truth.count("group empty");
                self.truth.owned(now, &Default::default());
            }
            News::Rebalance(generation) => {
                self.rebalances_since.get_or_insert(now);
                self.truth.count("rebalances");
                self.say(|| format!("rebalance after generation {generation}"));
            }
            News::Expired(member) => {
                self.truth.count("members expired");
                self.say(|| format!("{member} expired"));
            }
            News::Refused { member, api, error } => {
                self.truth.count(match error {
                    25 => "members unknown (25)",
                    _ => "members with an old generation (22)",
                });
                self.say(|| format!("{member}: {} refused with {error}", api.name().unwrap_or("?")));
            }
        }
    }
}

fn brief(reply: &Reply) -> String {
    match reply {
        Reply::Join { error, generation, leader, member, .. } => {
            format!("Join {error}, generation {generation}, {member} (leader {leader})")
        }
        Reply::Sync { error, assignment, .. } => {
            format!("Sync {error} {:?}", crate::simulation::wire::assigned(assignment))
        }
        other => format!("{other:?}"),
    }
}
