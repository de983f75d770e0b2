//! An app with one consumer: it heartbeats each second and fetches what it believes to have.

use std::time::Duration;

use super::line::COORDINATOR;
use super::says::*;
use super::scene::{JAVA, SECOND, Scene};
use crate::wire::api::ApiKey;

/// One connection on which it fetches.
#[derive(Debug, Clone)]
pub struct Fetcher {
    pub line: u64,
    pub version: i16,
    /// What it wants.
    pub wants: Vec<i32>,
    /// Session and next epoch, and what is in it.
    session: Option<(i32, i32)>,
    listed: Vec<i32>,
    /// With the next request the session begins anew.
    pub begins_anew: bool,
    opened: i32,
}

#[derive(Debug, Clone)]
pub struct App {
    pub client_id: String,
    pub software: &'static str,
    pub who: Who,
    pub generation: i32,
    pub coordinator: u64,
    pub fetchers: Vec<Fetcher>,
    pub beats: bool,
    pub fetches: bool,
    /// What its Heartbeats were answered with, if it was an error: seconds since the start, error.
    pub told: Vec<(f64, i16)>,
}

impl App {
    pub fn new(scene: &mut Scene, client_id: &str, who: Who) -> App {
        App::with(scene, client_id, who, JAVA)
    }

    pub fn with(scene: &mut Scene, client_id: &str, who: Who, software: &'static str) -> App {
        let coordinator = scene.connect(client_id, COORDINATOR, software);
        App {
            client_id: client_id.to_owned(),
            software,
            who,
            generation: -1,
            coordinator,
            fetchers: Vec::new(),
            beats: true,
            fetches: true,
            told: Vec::new(),
        }
    }

    /// A connection to this broker, which fetches these partitions in requests of this version.
    pub fn fetcher(&mut self, scene: &mut Scene, node: i32, version: i16, wants: &[i32]) -> u64 {
        let line = scene.connect(&self.client_id, node, self.software);
        let (wants, listed) = (wants.to_vec(), Vec::new());
        self.fetchers.push(Fetcher { line, version, wants, session: None, listed, begins_anew: false, opened: 0 });
        line
    }

    /// Asks to join; answered, where it has gone upstream.
    pub fn asks_to_join(&mut self, scene: &mut Scene) -> bool {
        let line = scene.line(self.coordinator);
        line.ask(ApiKey::JOIN_GROUP, 5, &self.who.join());
        line.awaits(ApiKey::JOIN_GROUP)
    }

    /// The broker's answer to its JoinGroup, and all that follows.
    pub fn is_joined(&mut self, scene: &mut Scene, generation: i32, assigned: &[i32]) {
        let line = scene.line(self.coordinator);
        assert_eq!(line.answer(&self.who.joined(0, generation, &self.who.member)), 0);
        self.generation = generation;
        self.syncs(scene, assigned);
    }

    pub fn syncs(&mut self, scene: &mut Scene, assigned: &[i32]) {
        let line = scene.line(self.coordinator);
        line.ask(ApiKey::SYNC_GROUP, 3, &self.who.sync(self.generation));
        assert_eq!(line.answer(&self.who.synced(assigned)), 0);
        self.who.owned = assigned.to_vec();
        scene.settle();
    }

    /// JoinGroup and SyncGroup: it is assigned these.
    pub fn joins(&mut self, scene: &mut Scene, generation: i32, assigned: &[i32]) {
        assert!(self.asks_to_join(scene));
        self.is_joined(scene, generation, assigned);
    }

    /// As clients do after ILLEGAL_GENERATION: what it had is lost, and it is assigned this.
    pub fn loses_and_joins(&mut self, scene: &mut Scene, generation: i32, assigned: &[i32]) {
        self.who.owned.clear();
        self.joins(scene, generation, assigned);
    }

    pub fn beat(&mut self, scene: &mut Scene) -> i16 {
        let line = scene.line(self.coordinator);
        let correlation = line.ask(ApiKey::HEARTBEAT, 3, &self.who.beat(self.generation));
        let error = line.reply(correlation).expect("an answer");
        if error != 0 {
            self.told.push((scene.seconds(), error));
        }
        error
    }

    /// A ConsumerGroupHeartbeat (KIP-848).
    pub fn consumes(&mut self, scene: &mut Scene, epoch: i32, assigned: Option<&[i32]>) -> i16 {
        let line = scene.line(self.coordinator);
        line.ask(ApiKey::CONSUMER_GROUP_HEARTBEAT, 0, &self.who.consume(self.generation.max(0)));
        self.generation = epoch;
        let answer = self.who.consumes(epoch, assigned);
        line.answer(&answer)
    }

    /// What is committed of these partitions is asked for.
    pub fn looks_up(&self, scene: &mut Scene, partitions: &[i32]) {
        scene.line(self.coordinator).ask(ApiKey::OFFSET_FETCH, 7, &self.who.offsets(partitions));
    }

    pub fn commits(&self, scene: &mut Scene, at: &[(i32, i64)]) -> i16 {
        let request = self.who.commit(self.generation, at);
        let line = scene.line(self.coordinator);
        let correlation = line.ask(ApiKey::OFFSET_COMMIT, 8, &request);
        line.reply(correlation).expect("an answer")
    }

    pub fn leaves(&self, scene: &mut Scene) {
        scene.line(self.coordinator).ask(ApiKey::LEAVE_GROUP, 3, &self.who.leave());
    }

    pub fn wants(&mut self, partitions: &[i32]) {
        self.fetchers[0].wants = partitions.to_vec();
    }

    pub fn fetch(&mut self, scene: &mut Scene) {
        for fetcher in &mut self.fetchers {
            fetcher.fetch(scene, &self.who.topic);
        }
    }

    /// Every second a Heartbeat and a Fetch.
    pub fn lives(&mut self, scene: &mut Scene, seconds: u64) {
        live(scene, &mut [self], seconds);
    }
}

impl Fetcher {
    pub fn fetch(&mut self, scene: &mut Scene, topic: &str) {
        let line = scene.line(self.line);
        if line.awaits(ApiKey::FETCH) {
            return;
        }
        let (listed, forgotten) = match self.session {
            Some(_) if self.version >= 7 && !self.begins_anew => {
                let new = self.wants.iter().filter(|p| !self.listed.contains(p));
                let gone = self.listed.iter().filter(|p| !self.wants.contains(p));
                (new.copied().collect(), gone.copied().collect())
            }
            _ => (self.wants.clone(), Vec::new()),
        };
        if self.session.is_none() && self.wants.is_empty() {
            return;
        }
        let session = match self.session {
            _ if self.version < 7 => (0, -1),
            Some((id, epoch)) if !self.begins_anew => (id, epoch),
            Some((id, _)) => (id, 0),
            None => (0, 0),
        };
        line.ask(ApiKey::FETCH, self.version, &fetch(self.version, topic, session, &listed, &forgotten));
        self.listed.clone_from(&self.wants);
        if self.version >= 7 && session.1 == 0 {
            self.opened = scene.brokers().opened();
            self.session = Some((self.opened, 1));
        } else if let Some((_, epoch)) = &mut self.session {
            *epoch += 1;
        }
        self.begins_anew = false;
    }
}

/// Every second each app heartbeats and fetches.
pub fn live(scene: &mut Scene, apps: &mut [&mut App], seconds: u64) {
    for _ in 0..seconds {
        for app in apps.iter_mut() {
            if app.beats {
                app.beat(scene);
            }
            if app.fetches {
                app.fetch(scene);
            }
        }
        scene.pass(SECOND);
    }
}

/// Until `done`: how long it took. Fails after `most` seconds.
pub fn live_until(scene: &mut Scene, apps: &mut [&mut App], most: u64, done: impl Fn(&Scene) -> bool) -> Duration {
    let start = scene.now;
    for _ in 0..most {
        if done(scene) {
            return scene.now - start;
        }
        live(scene, apps, 1);
    }
    assert!(done(scene), "not after {most} s");
    scene.now - start
}

/// A consumer of `partitions`, all with records that are not committed, that fetches only `fetches`,
/// and has looked up what it fetches.
pub fn dangling(scene: &mut Scene, who: Who, assigned: &[i32], fetches: &[i32]) -> App {
    scene.commits(&who.group, assigned, 10);
    scene.produce(assigned, 17);
    let mut app = App::new(scene, "app", who);
    app.fetcher(scene, 1, 11, fetches);
    app.joins(scene, 5, assigned);
    app.looks_up(scene, fetches);
    app
}
