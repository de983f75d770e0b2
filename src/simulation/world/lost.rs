//! What members are told where logs lose what they hold.

use super::World;
use super::links::{Hop, Packet};
use crate::simulation::broker::{Deaf, ReplyTo};
use crate::simulation::evicted::{Asker, Listed};
use crate::simulation::member::{Asked, Reset};
use crate::simulation::reads::{self, Got};

impl World<'_> {
    /// A leader that does not tell what ListOffsets asks for.
    pub(super) fn leader_fails(&mut self, conn: u64, deaf: Deaf) {
        self.truth.evicted.excuse(self.now, conn);
        match deaf {
            Deaf::Late(_) => {}
            Deaf::Error(_) => self.truth.count("ListOffsets that are refused"),
            Deaf::Never => {
                self.truth.count("ListOffsets that are never answered");
                if let Some(link) = self.links.get_mut(&conn) {
                    link.broker_open = false;
                    self.send(conn, Hop::BrokerToKmend, Packet::Close);
                }
            }
        }
    }

    pub(super) fn broker_lists(&mut self, to: ReplyTo, seen: Listed<'_>) {
        let Some(link) = self.links.get(&to.conn) else { return };
        let Some((life, person)) = link.life.and_then(|l| Some((l, self.people[l.0].as_ref()?))) else { return };
        let waiting = link.waiting.iter().find(|w| w.correlation == to.correlation);
        // Others are kmend's own.
        let Some(Asked::Ends(meant)) = waiting.map(|w| &w.asked) else { return };
        let who = Asker { life, conn: to.conn, kmend: link.kmend, client: &person.member.spec.client_id };
        let wanted = self.demand.wanted();
        let (broken, occurred) = self.truth.evicted.lists(self.now, who, to.correlation, meant, seen, wanted);
        self.found(broken, occurred);
    }

    pub(super) fn member_got(&mut self, conn: u64, member: usize, at: i64, got: &Got) {
        let Some((person, link)) = self.people[member].as_ref().zip(self.links.get(&conn)) else { return };
        let spec = &person.member.spec;
        let who = Asker { life: (member, person.life), conn, kmend: link.kmend, client: &spec.client_id };
        let wanted = self.demand.wanted();
        let (broken, occurred) = self.truth.evicted.got(self.now, who, at, got, &self.broker.logs, wanted);
        if got.error != 0 {
            self.say(|| format!("member {member} hears error {} at {}:{at}", got.error, got.partition));
        }
        self.found(broken, occurred);
    }

    pub(super) fn member_is_told(
        &mut self,
        member: usize,
        conn: u64,
        correlation: i32,
        frame: &[u8],
        place: (usize, i16),
    ) {
        let told = reads::ends_told(frame, place.0, place.1);
        let broken = self.truth.evicted.is_told(member, conn, correlation, &told);
        self.found(broken, Some("ListOffsets of members"));
    }

    pub(super) fn found(&mut self, broken: Option<(&'static str, String)>, occurred: Option<&'static str>) {
        if let Some(what) = occurred {
            self.truth.count(what);
        }
        if let Some((rule, what)) = broken {
            self.broken(rule, what);
        }
    }

    /// An app that has died of its position would die again: somebody looks at it.
    pub(super) fn is_looked_at(&mut self, member: usize) {
        if let Some(person) = self.people[member].as_mut().filter(|p| p.member.spec.reset == Some(Reset::None)) {
            person.member.spec.reset = Some(Reset::Earliest);
            self.truth.count("members that died of their position");
        }
    }
}
