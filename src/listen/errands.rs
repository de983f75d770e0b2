//! What menders want sent when no client's connection can carry it (rule C7): to the coordinators
//! of groups, on connections of kmend's own, where the brokers let them in: without a login, or with kmend's own (`upstream.sasl`).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Phase, Shared, accept};
use crate::config::units::HostPort;
use crate::mend::directory::Directory;
use crate::mend::{Errands, Injected};
use crate::upstream::DialError;
use crate::upstream::own::{Own, OwnError, Versions};
use crate::wire::api::ApiKey;
use crate::wire::codec::coordinator;

/// How often menders are asked.
const PERIOD: Duration = Duration::from_millis(250);
/// How long a broker may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Groups that are served at the same time.
const MOST: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// So often in a row a broker hangs up on kmend before it is believed to want a login: one that is
/// about to stop hangs up, too.
const HANGS_UP: u32 = 2;
/// How long nothing is tried where a login is needed.
const NO_LOGIN: Duration = Duration::from_secs(300);

#[derive(Debug, Error)]
enum Trouble {
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("{0}")]
    Own(#[from] OwnError),
    /// It told its versions and hung up on the first question, or said so.
    #[error("the broker wants a login")]
    Login,
    #[error("the coordinator is not known (error {0})")]
    Coordinator(i16),
    #[error("the broker speaks no version of FindCoordinator that kmend does")]
    Version,
    #[error("{0}")]
    Codec(#[from] crate::wire::codec::ask::CodecError),
}

/// A mender, by its place in the table, and a group.
type Key = (usize, Arc<str>);

/// A group that could not be served.
#[derive(Debug)]
struct Pause {
    until: Instant,
    last: Duration,
}

type Served = (Key, Result<(), Trouble>);

struct Office {
    shared: Arc<Shared>,
    /// By their place in the table of menders; `None`: it has none, or has panicked.
    errands: Vec<Option<Arc<dyn Errands>>>,
    at_work: HashMap<tokio::task::Id, Key>,
    pauses: HashMap<Key, Pause>,
    tasks: JoinSet<Served>,
    /// A login is wanted: nothing is tried until then.
    closed: Option<Instant>,
    hung_up: u32,
}

/// Runs errands until kmend ends and none is left that could be run.
pub async fn run(shared: Arc<Shared>) {
    let phase = shared.phase.clone();
    let errands: Vec<_> = shared.env.menders.iter().map(|m| m.errands(shared.env.shared.clone())).collect();
    if errands.iter().all(Option::is_none) {
        return;
    }
    let office = Office {
        shared,
        errands,
        at_work: HashMap::new(),
        pauses: HashMap::new(),
        tasks: JoinSet::new(),
        closed: None,
        hung_up: 0,
    };
    office.run(phase).await;
}

impl Office {
    async fn run(mut self, mut phase: watch::Receiver<Phase>) {
        let mut is_over = false;
        loop {
            let now = Instant::now();
            let wanted = self.wanted(now);
            let none_left = wanted.is_empty() || self.closed.is_some();
            self.begin(wanted, now);
            // What lingers may still leave something to do.
            let lingering = self.shared.connections.load(Ordering::Relaxed) > 0;
            if matches!(*phase.borrow(), Phase::Ending { .. }) && none_left && self.tasks.is_empty() && !lingering {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                Some(done) = self.tasks.join_next_with_id() => self.done(done),
                changed = phase.changed(), if !is_over => {
                    is_over = changed.is_err();
                    // The last chance.
                    self.pauses.clear();
                }
                () = self.shared.left.notified() => {}
            }
        }
    }

    /// What is wanted and not at work.
    fn wanted(&mut self, now: Instant) -> Vec<Key> {
        let mut wanted = Vec::new();
        for place in 0..self.errands.len() {
            let Some(errands) = self.errands.get(place).cloned().flatten() else {
                continue;
            };
            match catch_unwind(AssertUnwindSafe(|| errands.wanted(now))) {
                Ok(groups) => wanted.extend(groups.into_iter().map(|group| (place, group))),
                Err(_) => self.bypass(place),
            }
        }
        wanted.retain(|key| !self.at_work.values().any(|k| k == key));
        self.closed.take_if(|until| *until <= now);
        self.pauses.retain(|key, pause| wanted.contains(key) || pause.until > now);
        wanted
    }

    fn begin(&mut self, wanted: Vec<Key>, now: Instant) {
        if self.closed.is_some() {
            return;
        }
        for key in wanted {
            if self.tasks.len() >= MOST {
                return;
            }
            if self.pauses.get(&key).is_some_and(|p| p.until > now) {
                continue;
            }
            let Some(errands) = self.errands.get(key.0).cloned().flatten() else {
                continue;
            };
            let (shared, task) = (self.shared.clone(), key.clone());
            let task = self.tasks.spawn(async move {
                let outcome = serve(&shared, &*errands, &task.1).await;
                (task, outcome)
            });
            self.at_work.insert(task.id(), key);
        }
    }

    fn done(&mut self, done: Result<(tokio::task::Id, Served), tokio::task::JoinError>) {
        let (key, outcome) = match done {
            Ok((id, served)) => {
                self.at_work.remove(&id);
                served
            }
            Err(error) => {
                if let Some((place, _)) = self.at_work.remove(&error.id()) {
                    self.bypass(place);
                }
                return;
            }
        };
        let group = &key.1;
        match outcome {
            Ok(()) => {
                self.hung_up = 0;
                self.pauses.remove(&key);
            }
            Err(Trouble::Login) if self.hung_up + 1 >= HANGS_UP => {
                self.hung_up = 0;
                self.closed = Some(Instant::now() + NO_LOGIN);
                tracing::info!(%group, again_in = ?NO_LOGIN, "the brokers want a login that kmend does not have: what it has to send waits for a client of the group");
            }
            Err(why) => {
                self.hung_up = if matches!(why, Trouble::Login) { self.hung_up + 1 } else { 0 };
                let last = self.pauses.get(&key).map(|p| (p.last * 2).min(LONGEST_PAUSE)).unwrap_or(FIRST_PAUSE);
                tracing::debug!(%group, error = %crate::upstream::chain(&why), again_in = ?last, "a group's coordinator cannot be reached without a client");
                self.pauses.insert(key, Pause { until: Instant::now() + last, last });
            }
        }
    }

    /// A mender that panics is asked no more.
    fn bypass(&mut self, place: usize) {
        let name = self.shared.env.menders.get(place).map_or("", |m| m.name());
        self.shared.env.metrics.mender_panics.with_label_values(&[name]).inc();
        tracing::error!(
            mender = name,
            "a mender panicked over its errands and is not asked for them any more; please report this"
        );
        if let Some(errands) = self.errands.get_mut(place) {
            *errands = None;
        }
    }
}

/// Takes a group's errands to its coordinator, until there is none.
async fn serve(shared: &Shared, errands: &dyn Errands, group: &str) -> Result<(), Trouble> {
    let (mut own, versions) = coordinator_of(shared, group).await?;
    let version = |api, want| versions.newest(api, want);
    while let Some(errand) = errands.take(group, &version, Instant::now()) {
        let began = Instant::now();
        let asked = own.ask(errand.api, errand.version, &errand.body, began + PATIENCE).await;
        let now = Instant::now();
        match asked {
            Ok(answer) => {
                let took = now.saturating_duration_since(began);
                let outcome = Injected::Answer { frame: &answer.frame, body: answer.body, took };
                errands.done(errand.token, outcome, now);
            }
            Err(why) => {
                errands.done(errand.token, Injected::Lost, now);
                return Err(why.into());
            }
        }
    }
    Ok(())
}

/// A connection to the group's coordinator, and what that one speaks.
async fn coordinator_of(shared: &Shared, group: &str) -> Result<(Own, Versions), Trouble> {
    let longest = shared.env.limits.load().max_whole_frame;
    let (connected, _) = accept::bootstrap(shared).await?;
    let mut own = Own::new(connected.transport, longest);
    let versions = own.versions(Instant::now() + PATIENCE).await?;
    let version = versions.newest(ApiKey::FIND_COORDINATOR, coordinator::VERSIONS).ok_or(Trouble::Version)?;
    let question = coordinator::find(version, group)?;
    let asked = own.ask(ApiKey::FIND_COORDINATOR, version, &question, Instant::now() + PATIENCE).await;
    // Before a login a broker tells its versions, and hangs up on everything else.
    let answer = asked.map_err(|why| if matches!(why, OwnError::Io(_)) { Trouble::Login } else { why.into() })?;
    let found = coordinator::found(version, &answer.frame, answer.body)?;
    if found.needs_login() {
        return Err(Trouble::Login);
    }
    let port = u16::try_from(found.port).ok().filter(|port| *port > 0);
    let (0, Some(port), false) = (found.error, port, found.host.is_empty()) else {
        return Err(Trouble::Coordinator(found.error));
    };
    // As in a client's metadata: it gets a listener.
    if let Err(why) = shared.routing.advertise(found.node, &found.host, found.port, IpAddr::V4(Ipv4Addr::LOCALHOST)) {
        tracing::error!(node = found.node, why, "a broker has no listener");
    }
    let connected = shared.dialer.dial(&HostPort { host: found.host, port }).await?;
    let mut own = Own::new(connected.transport, longest);
    let versions = own.versions(Instant::now() + PATIENCE).await?;
    Ok((own, versions))
}

#[cfg(test)]
mod tests;
