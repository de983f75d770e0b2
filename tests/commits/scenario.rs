//! A naive app (a synchronous commit after each record; an error of it ends the app) whose handler runs while
//! something happens to its membership.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::harness::admin::Guest;
use crate::harness::{Admin, Client, Kmend, Opts, eventually, unique};
use crate::relay::{JOIN_GROUP, OFFSET_COMMIT};
use crate::{behind, commits};

/// What happens while the handler of a record runs. The broker's answers are its own but for `Told`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Two others join, of whom one takes its time: a client that rejoins in the background commits behind its own
    /// JoinGroup, with the generation before: 22.
    Queued,
    /// The group goes on to another generation in the member's name, and the member does not know: 22.
    Renewed,
    /// The member is removed at the broker: 25.
    Removed,
    /// The same, and a heartbeat has told the client before its handler ends.
    Noticed,
    /// The commit falls into the moment between JoinGroup and SyncGroup: 27. No client can be brought there from
    /// outside, so the relay says it; another member joins and leaves, as in every such rebalance.
    Told,
}

impl Trouble {
    /// What the broker answers the commit with.
    pub fn code(self) -> i16 {
        match self {
            Trouble::Queued | Trouble::Renewed => 22,
            Trouble::Removed | Trouble::Noticed => 25,
            Trouble::Told => 27,
        }
    }
}

/// What became of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All that was there has been handled and is committed.
    GoesOn,
    Died(String),
    /// It lives, and does not come to the end of the log.
    Stuck,
}

/// What a trouble has led to.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub verdict: Verdict,
    /// The codes with which the broker refused commits during the trouble.
    pub refused: Vec<i16>,
    /// While its handler ran the client learned of it: it sent a JoinGroup ([`Trouble::Queued`]), or a heartbeat was
    /// answered with an error ([`Trouble::Noticed`]).
    pub noticed: bool,
    /// Until everything was handled and committed.
    pub seconds: f64,
    pub story: String,
}

impl Outcome {
    /// One line for a report.
    pub fn text(&self) -> String {
        let what = match &self.verdict {
            Verdict::GoesOn => format!("goes on ({:.1} s)", self.seconds),
            Verdict::Died(text) => format!("dies: {}", text.chars().take(160).collect::<String>()),
            Verdict::Stuck => "lives, and handles or commits no more".to_owned(),
        };
        let noticed = if self.noticed { "noticed while its handler ran, " } else { "" };
        let refused = match self.refused.as_slice() {
            [] => "no commit refused at the broker".to_owned(),
            codes => format!("refused with {codes:?}"),
        };
        format!("{noticed}{refused}; {what}")
    }
}

/// One app in a group of its own, on a topic of its own.
pub struct Party {
    pub app: Client,
    pub kmend: Option<Kmend>,
    pub topic: String,
    pub group: String,
    admin: Admin,
}

/// An app rests on two partitions: two of its members may then meet.
pub const PARTITIONS: i32 = 2;
const PATIENCE: Duration = Duration::from_secs(60);

impl Party {
    /// Starts an app (`COMMIT=each` where `opts` does not say otherwise) and waits until it has committed its first
    /// records. Without a kmend: directly at the broker.
    pub fn start(client: &str, kmend: Option<Kmend>, opts: impl FnOnce(Opts) -> Opts) -> Party {
        let admin = behind().kafka.admin();
        let topic = unique(&format!("commit-{client}"));
        let group = format!("{topic}-group");
        admin.create(&topic, PARTITIONS, &[]);
        let servers = kmend.as_ref().map_or_else(|| behind().upstream[0].clone(), |k| k.listen.clone());
        let own = Opts::consume(&servers, &topic, &group).with("CLIENT_ID", &topic).with("COMMIT", "each");
        let app = Client::start(client, opts(own));
        let party = Party { app, kmend, topic, group, admin };
        party.write(2);
        party.app.wait("the first commits", PATIENCE, |_| party.is_done());
        party
    }

    /// Appends `n` records to each partition.
    pub fn write(&self, n: usize) {
        for p in 0..PARTITIONS {
            self.admin.produce(&self.topic, p, n);
        }
    }

    /// Every record has been handled, and the broker's committed offsets are the ends of the logs.
    pub fn is_done(&self) -> bool {
        (0..PARTITIONS).all(|p| {
            let end = self.admin.log_end(&self.topic, p);
            let handled: BTreeSet<i64> = self.app.handled(&self.topic, p).into_iter().collect();
            (0..end).all(|o| handled.contains(&o))
                && self.admin.committed(&self.group, &self.topic, p).unwrap_or(0) == end
        })
    }

    /// Holds the handler of a record, lets the trouble happen, goes on, and waits for what becomes of it.
    pub fn meet(&self, trouble: Trouble, limit: Duration) -> Outcome {
        let before = behind().relay.refused(&self.topic).len();
        let (guests, noticed) = self.provoke(trouble);
        let resumed = Instant::now();
        self.write(3);
        // Others who wait and see would only let the app wait, too; some assignors give them something.
        if guests.first().is_some_and(|first| eventually(Duration::from_secs(10), || first.synced() > 0)) {
            let last = guests.len() - 1;
            eventually(Duration::from_secs(10), || guests[last].synced() > 0);
        }
        drop(guests);
        let died = || self.app.errors().into_iter().find(|e| e.starts_with("DIED"));
        eventually(limit, || died().is_some() || !self.app.alive() || self.is_done());
        let verdict = match died() {
            Some(text) => Verdict::Died(text.trim_start_matches("DIED ").to_owned()),
            None if !self.app.alive() => Verdict::Died("without a word".to_owned()),
            None if self.is_done() => Verdict::GoesOn,
            None => Verdict::Stuck,
        };
        let seconds = resumed.elapsed().as_secs_f64();
        let refused = behind().relay.refused(&self.topic).split_off(before);
        Outcome { verdict, refused, noticed, seconds, story: self.app.story() }
    }

    /// Meets the trouble again until the broker has refused a commit, within bounds: a heartbeat may be quicker than the
    /// handler. The last outcome.
    pub fn meet_for_sure(&self, trouble: Trouble, limit: Duration) -> Outcome {
        let mut outcome = self.meet(trouble, limit);
        // Some clients never commit at the wrong moment there.
        let more = if matches!(trouble, Trouble::Queued | Trouble::Noticed) { 1 } else { 4 };
        for _ in 0..more {
            if outcome.verdict != Verdict::GoesOn || outcome.refused.contains(&trouble.code()) {
                break;
            }
            if !self.rests() {
                break;
            }
            outcome = self.meet(trouble, limit);
        }
        outcome
    }

    /// Waits until the group is stable with this app alone.
    pub fn rests(&self) -> bool {
        eventually(PATIENCE, || {
            let now = self.admin.membership(&self.group);
            now.state == "Stable" && now.members.len() == 1
        })
    }

    /// Those who have joined, and whether the client noticed while its handler ran.
    fn provoke(&self, trouble: Trouble) -> (Vec<Guest>, bool) {
        let relay = &behind().relay;
        let guest = || Guest::join(&self.admin, &self.group, &self.topic, PARTITIONS);
        let (mut guests, mut noticed) = (Vec::new(), false);
        if trouble == Trouble::Queued {
            let slow = guest();
            slow.wait_synced(1).dawdle();
            self.admin.wait_stable(&self.group, 2);
            guests.push(slow);
        }
        self.app.hold_handler(PATIENCE, || {
            self.admin.produce(&self.topic, 0, 1);
        });
        let began = Instant::now();
        match trouble {
            Trouble::Queued => {
                let joins = relay.seen(&self.topic, JOIN_GROUP).len();
                let commits = relay.seen(&self.topic, OFFSET_COMMIT).len();
                guests.push(guest());
                guests[0].wait_behind();
                // Some clients rejoin only once their handler has ended: nothing happens to those.
                noticed = eventually(Duration::from_secs(6), || relay.seen(&self.topic, JOIN_GROUP).len() > joins);
                self.app.resume_handler();
                // Others wait with their commit until they have rejoined.
                eventually(Duration::from_secs(2), || relay.seen(&self.topic, OFFSET_COMMIT).len() > commits);
                guests[0].hurry();
            }
            Trouble::Renewed => self.admin.rejoin_as(&self.group, &self.topic),
            Trouble::Removed => self.admin.remove_member(&self.group, &self.topic),
            Trouble::Noticed => {
                self.admin.remove_member(&self.group, &self.topic);
                // kafkajs has no heartbeats while its handler runs.
                noticed = relay.heartbeat_refused(&self.topic, began, Duration::from_secs(5));
            }
            Trouble::Told => {
                let before = relay.refused(&self.topic).len();
                relay.refuse_next(&self.topic, trouble.code());
                self.app.resume_handler();
                eventually(Duration::from_secs(5), || relay.refused(&self.topic).len() > before);
                guests.push(guest());
            }
        }
        self.app.resume_handler();
        (guests, noticed)
    }

    /// Through kmend: it went on, nobody saw an error, and the trouble really occurred.
    #[track_caller]
    pub fn check_mended(&self, trouble: Trouble, buffered_before: f64, outcome: &Outcome) {
        let client = &self.app.name;
        println!("{client}, {trouble:?}, through kmend: {}", outcome.text());
        assert_eq!(outcome.verdict, Verdict::GoesOn, "{client}, {trouble:?}\n{}", outcome.story);
        assert_eq!(self.app.errors(), Vec::<String>::new(), "{}", outcome.story);
        assert!(outcome.refused.contains(&trouble.code()), "no commit was refused with {}", trouble.code());
        let kmend = self.kmend.as_ref().expect("a kmend");
        let buffered = commits(kmend, "buffered") - buffered_before;
        assert!(buffered >= 1.0, "kmend has buffered nothing");
        // Rule C1b: whether its heartbeats were softened shows only where one of them was answered in time.
        if trouble == Trouble::Noticed && outcome.noticed {
            assert!(kmend.metrics().sum("kmend_heartbeats_softened_total", &[]) >= 1.0, "no heartbeat was softened");
        }
        let left = || kmend.metrics().sum("kmend_commits_buffered", &[]);
        assert!(eventually(Duration::from_secs(15), || left() == 0.0), "{} promises are still kept", left());
    }
}
