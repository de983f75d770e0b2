//! A group of apps on a topic of its own that grows all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Buf;

use crate::feed::Feed;
use crate::harness::{Admin, Client, Opts, eventually, unique};
use crate::relay::JOIN_GROUP;
use crate::{PATIENCE, behind};

/// One app of a group; it is kept when it has left, for what it has handled.
pub struct Member {
    pub id: String,
    pub app: Client,
    pub left: bool,
}

impl Member {
    /// What its callbacks have said: the word, the generation, the partitions.
    pub fn heard(&self) -> Vec<(String, i32, BTreeSet<i32>)> {
        let parse = |line: String| {
            let mut words = line.split(' ');
            let word = words.next().filter(|w| matches!(*w, "ASSIGNED" | "REVOKED" | "LOST"))?.to_owned();
            let generation = words.next()?.parse().ok()?;
            let all = words.next().unwrap_or_default();
            Some((word, generation, all.split(',').filter_map(|p| p.parse().ok()).collect()))
        };
        self.app.notes().into_iter().filter_map(parse).collect()
    }

    /// How many times it has lost what it had.
    pub fn lost(&self) -> usize {
        self.heard().iter().filter(|(word, ..)| word == "LOST").count()
    }

    /// The newest generation that a callback was called in.
    pub fn generation(&self) -> i32 {
        self.heard().iter().map(|(_, generation, _)| *generation).max().unwrap_or(-1)
    }

    /// How many JoinGroup requests of it have reached the broker.
    pub fn joins(&self) -> usize {
        behind().relay.seen(&self.id, JOIN_GROUP).len()
    }
}

/// The partitions of an assignment (ConsumerProtocolAssignment, any version) to one topic.
fn partitions(mut bytes: bytes::Bytes) -> Option<BTreeSet<i32>> {
    bytes.try_get_i16().ok()?;
    let mut all = BTreeSet::new();
    for _ in 0..bytes.try_get_i32().ok()? {
        let name = bytes.try_get_i16().ok()?;
        bytes.advance(usize::try_from(name).ok()?.min(bytes.len()));
        for _ in 0..bytes.try_get_i32().ok()? {
            all.insert(bytes.try_get_i32().ok()?);
        }
    }
    Some(all)
}

pub struct Team {
    pub topic: String,
    pub group: String,
    pub partitions: i32,
    pub admin: Admin,
    pub feed: Feed,
    pub members: Vec<Member>,
}

impl Team {
    /// A topic that is fed; nobody consumes it yet.
    pub fn new(name: &str, partitions: i32) -> Team {
        Team::with_pause(name, partitions, crate::feed::PAUSE)
    }

    /// The same without a single record, until the feed is told otherwise.
    pub fn unfed(name: &str, partitions: i32) -> Team {
        Team::made(name, partitions, 0, crate::feed::PAUSE)
    }

    /// The same with so long between two records of a partition.
    pub fn with_pause(name: &str, partitions: i32, pause: Duration) -> Team {
        Team::made(name, partitions, partitions, pause)
    }

    fn made(name: &str, partitions: i32, fed: i32, pause: Duration) -> Team {
        let admin = behind().kafka.admin();
        let topic = unique(name);
        admin.create(&topic, partitions, &[]);
        let feed = Feed::start(&topic, fed, pause);
        Team { group: format!("{topic}-group"), topic, partitions, admin, feed, members: Vec::new() }
    }

    /// Starts an app as the member `tag`: its client id ends so. Its place among the members.
    pub fn join(&mut self, tag: &str, client: &str, servers: &str, opts: impl FnOnce(Opts) -> Opts) -> usize {
        let id = format!("{}-{tag}", self.topic);
        let own = Opts::consume(servers, &self.topic, &self.group).with("CLIENT_ID", &id);
        self.members.push(Member { id, app: Client::start(client, opts(own)), left: false });
        self.members.len() - 1
    }

    /// Closes a member and waits for its polite end.
    pub fn leave(&mut self, index: usize) {
        self.members[index].app.close();
        self.members[index].left = true;
    }

    pub fn live(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|m| !m.left)
    }

    /// Waits until the group is stable with all that live, on this assignor.
    #[track_caller]
    pub fn settle(&self, protocol: &str) {
        let there = || {
            let now = self.admin.membership(&self.group);
            now.state == "Stable" && now.members.len() == self.live().count() && now.protocol.as_str() == protocol
        };
        assert!(eventually(PATIENCE, there), "no stable group on {protocol}\n{}", self.story());
    }

    /// Waits until the group is stable with all that live, on whatever they agree.
    #[track_caller]
    pub fn rest(&self) {
        let there = || {
            let now = self.admin.membership(&self.group);
            now.state == "Stable" && now.members.len() == self.live().count()
        };
        assert!(eventually(PATIENCE, there), "no stable group\n{}", self.story());
    }

    /// Waits until nobody has rejoined for two seconds: cooperative groups take two rebalances for a change.
    #[track_caller]
    pub fn quiet(&self) {
        self.quiet_by(self);
    }

    /// The same, with the time taken from another one: its own topic does not grow.
    #[track_caller]
    pub fn quiet_by(&self, clock: &Team) {
        let quiet = eventually(PATIENCE, || {
            let before = self.marks();
            clock.grow(10);
            self.marks() == before
        });
        assert!(quiet, "the group does not come to rest\n{}", self.story());
    }

    /// Who has what, as the broker says, by client id.
    pub fn assigned(&self) -> BTreeMap<String, BTreeSet<i32>> {
        let members = self.admin.membership(&self.group).members;
        members.into_iter().map(|m| (m.client, partitions(m.assignment).unwrap_or_default())).collect()
    }

    /// Whether every partition is assigned to exactly one member.
    pub fn is_whole(&self) -> bool {
        let mut all: Vec<i32> = self.assigned().into_values().flatten().collect();
        all.sort_unstable();
        all == (0..self.partitions).collect::<Vec<_>>()
    }

    /// The ends of the logs.
    pub fn ends(&self) -> Vec<i64> {
        (0..self.partitions).map(|p| self.admin.log_end(&self.topic, p)).collect()
    }

    /// The offsets that any member has handled, by partition.
    pub fn handled(&self) -> BTreeMap<i32, BTreeSet<i64>> {
        let mut all: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
        for (_, p, offset) in self.members.iter().flat_map(|m| m.app.handled_at(&self.topic)) {
            all.entry(p).or_default().insert(offset);
        }
        all
    }

    /// The partitions that somebody has not handled up to `ends`, and the first offset that is missing.
    pub fn missing(&self, ends: &[i64]) -> BTreeMap<i32, i64> {
        let handled = self.handled();
        let none = BTreeSet::new();
        let hole = |(p, end): (i32, &i64)| {
            let have = handled.get(&p).unwrap_or(&none);
            (0..*end).find(|o| !have.contains(o)).map(|o| (p, o))
        };
        (0..).zip(ends).filter_map(hole).collect()
    }

    /// Waits until every record that is there now has been handled by somebody; of each partition that is fed there is
    /// one at least.
    #[track_caller]
    pub fn catch_up(&self) {
        let begun = || self.ends().iter().take(self.feed.limit() as usize).all(|end| *end > 0);
        assert!(eventually(PATIENCE, begun), "the producer has not begun");
        let ends = self.ends();
        let all = eventually(PATIENCE, || self.missing(&ends).is_empty());
        assert!(all, "nobody handled {:?} (partition: offset)\n{}", self.missing(&ends), self.story());
    }

    /// Waits until the first partition has grown by `records`: a fifth of a second each.
    #[track_caller]
    pub fn grow(&self, records: i64) {
        let end = self.admin.log_end(&self.topic, 0) + records;
        // A fifth of a second each, and as much again where the machine is slow.
        let long = Duration::from_millis(400 * records.unsigned_abs());
        let grown = eventually(PATIENCE + long, || self.admin.log_end(&self.topic, 0) >= end);
        assert!(grown, "the producer has stopped");
    }

    /// Of the partitions those in which nobody has handled a record at or beyond `ends`.
    pub fn starved(&self, ends: &[i64]) -> BTreeSet<i32> {
        let handled = self.handled();
        let newest = |p: i32| handled.get(&p).and_then(BTreeSet::last).copied().unwrap_or(-1);
        (0..).zip(ends).filter(|(p, end)| newest(*p) < **end).map(|(p, _)| p).collect()
    }

    /// The longest time within `since..` in which nobody handled a record of a partition, over all of them.
    pub fn longest_gap(&self, since: Instant) -> (i32, Duration) {
        let mut seen: BTreeMap<i32, Vec<Instant>> = (0..self.partitions).map(|p| (p, vec![since])).collect();
        for (at, p, _) in self.members.iter().flat_map(|m| m.app.handled_at(&self.topic)) {
            if at > since {
                seen.entry(p).or_default().push(at);
            }
        }
        let now = Instant::now();
        let gap = |(p, mut at): (i32, Vec<Instant>)| {
            at.push(now);
            at.sort_unstable();
            (p, at.windows(2).map(|w| w[1] - w[0]).max().unwrap_or_default())
        };
        seen.into_iter().map(gap).max_by_key(|(_, gap)| *gap).unwrap_or_default()
    }

    /// For comparing later: of each member its JoinGroups, how often it lost what it had, its generation.
    pub fn marks(&self) -> Vec<(String, usize, usize, i32)> {
        let mark = |m: &Member| (m.id.clone(), m.joins(), m.lost(), m.generation());
        self.live().map(mark).collect()
    }

    pub fn story(&self) -> String {
        let mut text = String::new();
        for m in &self.members {
            text.push_str(&format!("{}: {:?}\n{}\n", m.id, m.heard(), m.app.story()));
        }
        text
    }
}
