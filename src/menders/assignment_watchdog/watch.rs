//! Judging members: what they were assigned against what their clients fetch (rules D1, D2).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use super::ends::Questions;
use super::held::Tracked;
use super::metrics::{Metrics, Outcome};
use super::repair;
use super::rules::Rules;
use super::stalled;
use crate::config::model::Mode;
use crate::mend::catalog::NO_ID;
use crate::mend::software::{Fingerprint, Software, identify};
use crate::mend::{Assignment, ClientKey, Conn, Cx, Finding, GroupKind, Member, Phase, Place, Unfetched};

/// Who has not fetched a partition for so long does not fetch it now: longer than long polls.
pub const FRESH: Duration = Duration::from_secs(15);
/// A log end that is wanted is asked for again after a quarter of `after`, within these: whether it
/// grows is known when it is time to say something.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));
/// Clients whose newest refused Fetch is remembered.
const MAX_REFUSED: usize = 4096;
/// Partitions that a log line names.
const MAX_LISTED: usize = 200;
/// Members that are watched at once.
const MAX_MEMBERS: usize = 20_000;

/// Group and member id.
pub type Key = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
pub struct State {
    pub members: HashMap<Key, Tracked>,
    pub buckets: HashMap<Arc<str>, Bucket>,
    /// Connections that hold a JoinGroup until other members have been told, by group.
    pub waiting: HashMap<Arc<str>, HashSet<u64>>,
    pub questions: Questions,
    /// It was off, and nobody has been looked at since.
    blind: bool,
    /// What was assigned until then came while it was off: what its clients did about it was not seen.
    unseen: Option<Instant>,
    /// When a client's members of a group were judged last, by whichever of its connections.
    judged: HashMap<(Arc<str>, ClientKey), Instant>,
    /// Clients that are franz-go: not each of its connections says so.
    pub franz_go: HashSet<ClientKey>,
    /// The newest error of a Fetch that its client may have stopped at.
    pub refused: HashMap<ClientKey, (i16, Instant)>,
}

/// All members behind this kmend.
#[derive(Debug, Default)]
pub struct Watch {
    state: Mutex<State>,
}

/// What the judge has at hand.
pub struct Court<'a, 'b> {
    pub cx: &'a Cx<'b>,
    pub rules: &'a Rules,
    pub metrics: &'a Metrics,
}

/// A member as it is judged.
pub struct Case<'a> {
    pub group: &'a Arc<str>,
    pub id: &'a Arc<str>,
    pub member: &'a Member,
    /// Its group has moved from an eager to a cooperative protocol.
    pub switched: bool,
}

impl Court<'_, '_> {
    pub fn mode(&self, case: &Case<'_>, topic: &str) -> Mode {
        self.rules.modes.mode(topic, &case.member.client.client_id, Some(case.group))
    }
}

fn ask_again(rules: &Rules) -> Duration {
    (rules.after / 4).clamp(ASK_AGAIN.0, ASK_AGAIN.1)
}

pub fn is_franz_go(conn: &Conn) -> bool {
    let name = conn.software.as_ref().map(|(name, _)| name.as_str());
    identify(name, &Fingerprint::default()) == Some(Software::FranzGo)
}

/// Plain consumers only: others are assigned something else (rule M5).
fn is_consumer(member: &Member) -> bool {
    member.kind == GroupKind::Consumer || member.joined.is_of_consumers()
}

impl Watch {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the members of these groups that are this connection's client. Each of its connections
    /// comes by `every` so often: one of them is enough.
    pub fn judge(&self, court: &Court<'_, '_>, groups: &HashSet<Arc<str>>, every: Duration) {
        let (cx, client) = (court.cx, court.cx.conn.client());
        let mut state = self.state();
        for group in groups {
            let key = (group.clone(), client.clone());
            if state.judged.get(&key).is_some_and(|at| cx.now < *at + every / 2) {
                continue;
            }
            let mine: HashMap<_, _> = cx.shared.groups.of_client_in(group, &client).into_iter().collect();
            if mine.is_empty() {
                state.judged.remove(&key);
            } else {
                state.judged.insert(key, cx.now);
            }
            state.drop_gone(cx, group, &client, &mine);
            let switched = cx.shared.groups.has_switched(group);
            for (id, member) in &mine {
                if is_consumer(member) {
                    state.look(court, &Case { group, id, member, switched });
                }
            }
        }
    }

    /// A member has been assigned something: it is remembered before the next one comes.
    pub fn note(&self, court: &Court<'_, '_>, group: &Arc<str>, id: &Arc<str>) {
        let mut state = self.state();
        let client = court.cx.conn.client();
        let member = court.cx.shared.groups.member(group, id).filter(|m| m.client == client && is_consumer(m));
        if let Some(member) = member
            && let (Phase::Stable, Some(assignment)) = (member.phase, &member.assignment)
        {
            let key = (group.clone(), id.clone());
            state.track(court, &Case { group, id, member: &member, switched: false }, &key, assignment);
        }
    }

    /// A Fetch of this client was answered with an error that it may have stopped at.
    pub fn refused(&self, client: ClientKey, error: i16, now: Instant) {
        let refused = &mut self.state().refused;
        if refused.len() < MAX_REFUSED || refused.contains_key(&client) {
            refused.insert(client, (error, now));
        }
    }

    /// A client's last connection has gone.
    pub fn forget(&self, client: &ClientKey) {
        let mut state = self.state();
        let State { members, buckets, refused, judged, franz_go, .. } = &mut *state;
        members.retain(|_, tracked| tracked.client != *client);
        buckets.retain(|group, _| members.keys().any(|(g, _)| g == group));
        refused.remove(client);
        judged.retain(|(_, judged), _| judged != client);
        franz_go.remove(client);
    }

    pub fn left(&self, conn: u64) {
        let mut state = self.state();
        state.questions.forget(conn);
        state.waiting.retain(|_, conns| {
            conns.remove(&conn);
            !conns.is_empty()
        });
    }

    /// A reload: nobody is told anything under rules that are no more.
    pub fn begin_anew(&self, is_off: bool) {
        let mut state = self.state();
        for tracked in state.members.values_mut() {
            tracked.due = None;
        }
        if is_off {
            // From now on nobody tells what is fetched and looked up.
            state.members.clear();
            state.blind = true;
        }
    }
}

impl State {
    fn drop_gone(&mut self, cx: &Cx<'_>, group: &Arc<str>, client: &ClientKey, mine: &HashMap<Arc<str>, Member>) {
        let mut gone = Vec::new();
        let followed: HashSet<&Arc<str>> = mine.values().filter_map(|m| m.previous.as_ref()).collect();
        self.members.retain(|(g, id), tracked| {
            if g != group || tracked.client != *client || mine.contains_key(id) {
                return true;
            }
            gone.push(id.clone());
            tracked.due = None;
            // What is remembered of it goes over to the id that follows, see `track`.
            followed.contains(id)
        });
        gone.iter().for_each(|id| cx.shared.findings.drop(group, id));
    }

    fn look(&mut self, court: &Court<'_, '_>, case: &Case<'_>) {
        let key = (case.group.clone(), case.id.clone());
        let (Phase::Stable, Some(assignment)) = (case.member.phase, &case.member.assignment) else {
            // Between two assignments what was found stays; of who was only heard of nothing is known.
            return;
        };
        if !self.track(court, case, &key, assignment) {
            return;
        }
        let cx = court.cx;
        if let Some(tracked) = self.members.get_mut(&key) {
            tracked.learn(&cx.shared.progress);
            tracked.refused = self.refused.get(&case.member.client).copied();
        }
        let (unfetched, paused) = self.sort(court, case, &key);
        let Some(tracked) = self.members.get_mut(&key) else {
            return;
        };
        say(court, case, tracked, &unfetched);
        repair::outcome(court, case, tracked, &unfetched);
        repair::plan(court, case, tracked, &unfetched);
        let stalled = stalled::look(court, case, tracked);
        stalled::say(court, case, tracked, stalled.as_ref());
        if stalled::is_near(court, case, tracked) {
            let wanted: Vec<Place> = tracked.held.keys().cloned().collect();
            self.ask_ends(court, case, &key, &wanted);
        }
        let finding = Finding { client: case.member.client.clone(), unfetched, paused, stalled };
        cx.shared.findings.set(case.group, case.id, finding);
    }

    /// Brings what is remembered of a member up to date. `false`: there is no room for it.
    fn track(&mut self, court: &Court<'_, '_>, case: &Case<'_>, key: &Key, assignment: &Arc<Assignment>) -> bool {
        let catalog = &court.cx.shared.catalog;
        if let Some(tracked) = self.members.get_mut(key) {
            tracked.update(case.member, assignment, catalog);
            return true;
        }
        if self.members.len() >= MAX_MEMBERS {
            // Of clients that went in a way that was not seen here.
            let groups = &court.cx.shared.groups;
            self.members.retain(|(group, id), _| groups.member(group, id).is_some());
            self.judged.clear();
        }
        if self.members.len() >= MAX_MEMBERS {
            return false;
        }
        let mut tracked = Tracked::new(case.member, assignment, catalog);
        if std::mem::take(&mut self.blind) {
            self.unseen = Some(court.cx.now);
        }
        if self.unseen.is_some_and(|until| case.member.since <= until) {
            tracked.held.values_mut().for_each(|held| held.known = true);
        }
        // The same consumer under another id.
        let before = case.member.previous.as_ref().and_then(|old| {
            court.cx.shared.findings.drop(case.group, old);
            self.members.remove(&(key.0.clone(), old.clone()))
        });
        if let Some(before) = &before {
            tracked.follow(before);
        } else if let Some(before) = self.left_behind(court, case) {
            before.followed = true;
            tracked.follow(before);
        }
        self.members.insert(key.clone(), tracked);
        true
    }

    /// Some take another id by themselves when they are told to rejoin: the newest member of the same
    /// client that was told, and is not in the present generation.
    fn left_behind(&mut self, court: &Court<'_, '_>, case: &Case<'_>) -> Option<&mut Tracked> {
        let groups = &court.cx.shared.groups;
        let is_old =
            |id| groups.member(case.group, id).is_none_or(|m| m.joined.generation < case.member.joined.generation);
        let of_client = self.members.iter_mut().filter(|((g, _), t)| g == case.group && t.client == case.member.client);
        let told = of_client.filter(|(_, t)| !t.followed && t.told.as_ref().is_some_and(|told| !told.returned));
        told.filter(|((_, id), _)| is_old(id)).map(|(_, t)| t).max_by_key(|t| t.generation)
    }

    /// Which partitions nobody fetches, and which are known and not fetched now.
    fn sort(&mut self, court: &Court<'_, '_>, case: &Case<'_>, key: &Key) -> (Vec<Unfetched>, Vec<Place>) {
        let (cx, after) = (court.cx, court.rules.after);
        let progress = &cx.shared.progress;
        let Some(tracked) = self.members.get(key) else {
            return (Vec::new(), Vec::new());
        };
        let client = &case.member.client;
        let (mut paused, mut suspects) = (Vec::new(), Vec::new());
        let mut sibling: Option<Instant> = None;
        for (place, held) in &tracked.held {
            if held.known {
                let asked = progress.read_of(client, place).map(|r| r.asked);
                sibling = sibling.max(asked);
                let is_fetched = asked.is_some_and(|at| cx.now < at + FRESH);
                if !is_fetched && held.since + FRESH <= cx.now && court.mode(case, &place.0) != Mode::Off {
                    paused.push(place.clone());
                }
            } else if court.mode(case, &place.0) != Mode::Off {
                suspects.push(place.clone());
            }
        }
        // An app that is busy with its new assignment fetches nothing until it is done with that. Only
        // of franz-go it is known that all of a member's partitions are lost where its group has moved.
        let all_lost = case.switched && progress.fetched_at(client).is_some() && self.franz_go.contains(client);
        // There may have been no room to keep that it was fetched.
        let left_out = progress.left_out_at();
        suspects.retain(|place| {
            let since = tracked.held.get(place).map_or(cx.now, |held| held.since);
            let half = since + after / 2;
            left_out.is_none_or(|at| at < since) && half <= cx.now && (all_lost || sibling.is_some_and(|at| at >= half))
        });
        paused.sort_unstable();
        suspects.sort_unstable();
        let lost = self.ask_ends(court, case, key, &suspects);
        let Some(tracked) = self.members.get(key) else {
            return (Vec::new(), paused);
        };
        let unfetched = suspects.into_iter().filter_map(|place| {
            let held = tracked.held.get(&place)?;
            let committed = progress.committed_of(case.group, &place).map(|c| c.offset).filter(|c| *c >= 0);
            let lag = match (held.end, committed) {
                (Some((_, end)), Some(committed)) => Some(end - committed),
                // Nothing was committed: what has come since is certainly not read.
                (Some((first, end)), None) => Some(end - first),
                (None, Some(committed)) => progress.end_of(&place).map(|end| end - committed).filter(|lag| *lag > 0),
                (None, None) => None,
            };
            // Where nobody can be asked: in a group that has switched this is what it looks like, and
            // who only observes asks nobody.
            let unknown = || lost.contains(&place) && (case.switched || court.mode(case, &place.0) == Mode::Observe);
            let is_behind = lag.map_or_else(unknown, |lag| lag > 0);
            is_behind.then_some(Unfetched { place, since: held.since, lag })
        });
        let mut unfetched: Vec<Unfetched> = unfetched.collect();
        let is_suspected = !unfetched.is_empty();
        unfetched.retain(|u| u.since + after <= cx.now);
        if let Some(tracked) = self.members.get_mut(key) {
            tracked.suspected = is_suspected;
        }
        (unfetched, paused)
    }

    /// Has the log ends of these partitions asked for, by whichever connection of the client leads to
    /// their brokers; only where something may be mended: observing changes no byte. Gives back those
    /// that nobody can ask for.
    fn ask_ends(&mut self, court: &Court<'_, '_>, case: &Case<'_>, key: &Key, wanted: &[Place]) -> HashSet<Place> {
        let cx = court.cx;
        let mut lost = HashSet::new();
        let Some(tracked) = self.members.get_mut(key).filter(|_| !wanted.is_empty()) else {
            return lost;
        };
        let connections = cx.shared.peers.connections(&tracked.client);
        let again = ask_again(court.rules);
        let mut asked = HashSet::new();
        for place in wanted {
            let leader = cx.shared.catalog.leader(&place.0, place.1).filter(|leader| *leader >= 0);
            let conn = leader.and_then(|leader| connections.iter().find(|(_, node)| *node == Some(leader)));
            let Some(held) = tracked.held.get_mut(place) else {
                continue;
            };
            let Some((conn, _)) = conn.filter(|_| court.mode(case, &place.0) == Mode::Repair) else {
                if held.end.is_none() {
                    lost.insert(place.clone());
                }
                continue;
            };
            if held.asked.is_none_or(|at| at + again <= cx.now) {
                held.asked = Some(cx.now);
                self.questions.ask(*conn, key, place);
                asked.insert(*conn);
            }
        }
        asked.into_iter().for_each(|conn| cx.shared.peers.wake(conn));
        lost
    }

    /// A broker has told where a log ends.
    pub fn ended(&mut self, key: &Key, place: &Place, end: i64) {
        if let Some(held) = self.members.get_mut(key).and_then(|tracked| tracked.held.get_mut(place)) {
            held.end = Some((held.end.map_or(end, |(first, _)| first), end));
        }
    }

    /// Partitions of a group whose committed offset is to be asked for: suspected, and not known since
    /// they are held. They are noted as asked.
    pub fn committed_wanted(&mut self, cx: &Cx<'_>, rules: &Rules, group: &Arc<str>) -> Vec<Place> {
        let client = cx.conn.client();
        let mode = |topic: &str| rules.modes.mode(topic, &client.client_id, Some(group));
        let mut wanted = Vec::new();
        let members = self.members.iter_mut().filter(|((g, _), tracked)| g == group && tracked.client == client);
        for (_, tracked) in members {
            let unknown = tracked.held.iter_mut().filter(|(_, held)| !held.known);
            for (place, held) in unknown.filter(|(place, _)| mode(&place.0) == Mode::Repair) {
                let is_suspect = held.asked.is_some() && held.since + rules.after / 2 <= cx.now;
                let fresh = cx.shared.progress.committed_of(group, place).is_some_and(|c| c.at >= held.since);
                if is_suspect && !fresh && held.asked_committed.is_none_or(|at| at + ask_again(rules) <= cx.now) {
                    held.asked_committed = Some(cx.now);
                    wanted.push(place.clone());
                }
            }
        }
        wanted.sort_unstable();
        wanted
    }
}

/// Says what was found, once; and that it is over.
fn say(court: &Court<'_, '_>, case: &Case<'_>, tracked: &mut Tracked, unfetched: &[Unfetched]) {
    if unfetched.len() > tracked.said.reported {
        if !std::mem::replace(&mut tracked.said.counted, true) {
            court.metrics.repair(Outcome::Reported);
        }
        tracked.said.reported = unfetched.len();
        let partitions = listed(unfetched.iter().map(|u| &u.place));
        let lag = unfetched.iter().filter_map(|u| u.lag).fold(0, i64::saturating_add);
        let for_s = unfetched.iter().map(|u| court.cx.now.saturating_duration_since(u.since)).max().unwrap_or_default();
        tracing::warn!(group = %case.group, member = %case.id, client_id = %case.member.client.client_id, partitions,
            lag, seconds = for_s.as_secs(), switched = case.switched,
            "partitions are assigned and nobody fetches them");
    } else if tracked.said.reported > 0 && tracked.held.values().all(|held| held.known) {
        tracked.said.reported = 0;
        tracing::info!(group = %case.group, member = %case.id, client_id = %case.member.client.client_id,
            "partitions that nobody fetched are fetched again");
    }
}

/// `orders[0,3],payments[1]`.
pub fn listed<'a>(places: impl Iterator<Item = &'a Place>) -> String {
    let mut by_topic: Vec<(&str, Vec<String>)> = Vec::new();
    let mut left_out = 0;
    for (nth, (topic, partition)) in places.enumerate() {
        if nth >= MAX_LISTED {
            left_out += 1;
            continue;
        }
        match by_topic.iter_mut().find(|(t, _)| **t == **topic) {
            Some((_, partitions)) => partitions.push(partition.to_string()),
            None => by_topic.push((topic, vec![partition.to_string()])),
        }
    }
    let topics: Vec<String> = by_topic.into_iter().map(|(t, p)| format!("{t}[{}]", p.join(","))).collect();
    let rest = if left_out > 0 { format!(" and {left_out} more") } else { String::new() };
    topics.join(",") + &rest
}

/// Whether a partition is in a member's present assignment.
pub fn owns(member: &Member, court: &Court<'_, '_>, place: &Place) -> bool {
    let id = court.cx.shared.catalog.id(&place.0).unwrap_or(NO_ID);
    member.assignment.as_ref().is_some_and(|a| a.owns(&place.0, id, place.1))
}
