//! The wiring: the one place that knows everybody.

mod certificates;
mod journal;
mod pressure;
mod reloads;
mod resources;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::certificates::Certificates;
use self::pressure::Pressure;
use self::reloads::{Reloads, Why};
use crate::admin::{self, AdminState, Check, Events, Readiness};
use crate::config::units::{Auto, HostPort};
use crate::config::{Config, Loaded, Running, Sources};
use crate::footprint;
use crate::listen::{Listeners, Phase, Shared as ListenShared, errands, prime, sockets};
use crate::mend::{Interests, Mender, Shared as MendShared};
use crate::menders;
use crate::routing::{Routing, Settings};
use crate::session::env::Env;
use crate::session::limits::{Budget, Limits};
use crate::session::metrics::SessionMetrics;
pub use crate::shutdown::Kind;
use crate::shutdown::{Event, Signals};
use crate::store::StoreError;
use crate::store::checkpoints::Checkpoints;
use crate::store::dir::StateDir;
use crate::store::journal::OnDisk;
use crate::telemetry::feed::Feed;
use crate::telemetry::logs::{self, LogError, LogHandle};
use crate::telemetry::metrics::{Single, registry_of};
use crate::tls::{self, TlsError};
use crate::upstream::{Dialer, UpstreamError};
use crate::watch::Watch;

/// Everything that a run begins with.
#[derive(Debug)]
pub struct Start {
    pub loaded: Loaded,
    /// Where the configuration came from, to read it again on SIGHUP.
    pub sources: Sources,
    /// What its files held ([`Sources::content`]) before they were read.
    pub content: u64,
    pub kind: Kind,
}

#[derive(Debug, Error)]
pub enum AppError {
    #[error("{0}")]
    Log(#[from] LogError),
    #[error("the runtime cannot start: {0}")]
    Runtime(io::Error),
    #[error("{key}: cannot listen on {address}: {source}{}", hint(source))]
    Listen { key: &'static str, address: String, source: io::Error },
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("menders.commit_buffer.journal.dir: {0}")]
    Store(#[from] StoreError),
    #[error(
        "menders.commit_buffer.write_behind.enabled: there is no folder for the journal, and a commit that only memory keeps would be lost with this process: mount a folder at /var/lib/kmend, set menders.commit_buffer.journal.dir, or switch write_behind off"
    )]
    NoJournal,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            " (another process has the port: stop it, or choose another with --listen or --admin)"
        }
        io::ErrorKind::PermissionDenied => " (ports below 1024 need a privilege: choose a higher one)",
        io::ErrorKind::AddrNotAvailable => " (this host has no such address)",
        _ => "",
    }
}

impl AppError {
    /// The exit code by sysexits.
    pub fn exit_code(&self) -> u8 {
        match self {
            AppError::Runtime(_) => 71,
            AppError::Log(_)
            | AppError::Listen { .. }
            | AppError::Upstream(_)
            | AppError::Tls(_)
            | AppError::Store(_)
            | AppError::NoJournal => 78,
        }
    }
}

/// The journal's last writes, once everything else has ended.
const CLOSE: Duration = Duration::from_millis(150);
/// Of each thread. Names are resolved on threads of their own, up to eight: where address space is limited
/// (`ulimit -v`) the 2 MiB of each that are usual would be a quarter of it.
const STACK: usize = 1 << 20;
/// Other admin ports that are tried when the default one is taken.
const ADMIN_PORTS: u16 = 20;
/// Who waited for kmend to start has found it by then.
const STARTED: Duration = Duration::from_millis(250);
/// How much of `shutdown.grace` the process itself needs, to be gone when it is over.
const LAST_MOMENT: Duration = Duration::from_millis(300);

/// Runs until the way out has been taken.
pub fn run(start: Start) -> Result<(), AppError> {
    footprint::settle_allocator();
    let feed = Feed::default();
    let logs = logs::init(&start.loaded.config.log, &feed)?;
    for note in &start.loaded.notes {
        tracing::warn!("{note}");
    }
    let runtime = runtime().map_err(AppError::Runtime)?;
    // Before anybody can see that kmend is there: whoever waits for that may stop it at once.
    let signals = {
        let _runtime = runtime.enter();
        Signals::new(start.kind).map_err(AppError::Runtime)?
    };
    let app = App::build(start, logs, feed, &runtime)?;
    runtime.spawn(async {
        tokio::time::sleep(STARTED).await;
        footprint::forget_start();
    });
    let outcome = runtime.block_on(app.until_stopped(signals));
    // Tasks that are stuck in a blocking call (a name that does not resolve) delay nothing.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

/// A sidecar has a fraction of a core: one thread moves all bytes (docs/performance.md).
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().max_blocking_threads(8).thread_stack_size(STACK).enable_all().build()
}

struct App {
    running: Running,
    logs: LogHandle,
    /// `log.level` as it was put in force last.
    level: String,
    env: Arc<Env>,
    listen: Arc<ListenShared>,
    errands: JoinHandle<()>,
    phase: watch::Sender<Phase>,
    stop_admin: watch::Sender<bool>,
    journal: Option<Arc<OnDisk>>,
    reloads: Arc<Reloads>,
    _watch: Watch,
    _state_dir: Option<StateDir>,
}

impl App {
    fn build(start: Start, logs: LogHandle, feed: Feed, runtime: &Runtime) -> Result<App, AppError> {
        let Start { loaded, sources, content, kind } = start;
        let config = loaded.config.clone();
        let admin_is_default = !loaded.provenance.is_set("admin.address");
        let running = Running::new(loaded);
        let _runtime = runtime.enter();
        let registry = registry_of(runtime.handle());
        let readiness = Arc::new(Readiness::default());
        readiness.set(Check::Configuration, true);

        let listening = bind_listen(&config)?;
        let (admin_listener, admin_address) = bind_admin(&config, admin_is_default)?;
        let state_dir = state_dir(&config)?;
        let checkpoints = match &state_dir {
            Some(dir) => Checkpoints::open(dir.path())?,
            None => Checkpoints::none(),
        };
        let shared = Arc::new(MendShared::default());
        let (kept, journal) = journal::open(&config, kind, state_dir.as_ref(), &registry, &shared)?;
        readiness.set(Check::Journal, true);
        let repairs = menders::repairs(&registry);
        let menders = menders::all(&config, &registry, &repairs, &shared, checkpoints, kept, Instant::now());
        let routing = Arc::new(Routing::new(
            Settings {
                first_port: first_port(&config),
                taken: listening.iter().map(|(a, _)| a.port()).chain([admin_address.port()]).collect(),
                advertised_host: match &config.listen.advertised_host {
                    Auto::Auto => None,
                    Auto::Set(host) => Some(host.clone()),
                },
                file: state_dir.as_ref().map(|d| d.path().join("nodes.json")),
            },
            Single::gauge(&registry, "nodes", "Brokers that have a listener."),
        ));
        let memory = Budget::new(memory_limit(&config));
        let pressure = Pressure::new(memory.clone(), &registry);
        let env = Arc::new(Env {
            limits: ArcSwap::from_pointee(limits(&config, memory)),
            interests: ArcSwap::from_pointee(interests(&menders)),
            menders,
            shared,
            directory: routing.clone(),
            metrics: SessionMetrics::new(&registry),
        });
        let (phase, phases) = watch::channel(Phase::Running);
        let listen = Arc::new(ListenShared::new(
            env.clone(),
            routing.clone(),
            Dialer::new(&config)?,
            tls::Server::new(&config.listen.tls)?.map(Arc::new),
            config.upstream.bootstrap.clone(),
            max_connections(&config),
            phases,
        ));
        let certificates = Arc::new(Certificates::new(running.clone(), listen.clone(), &registry));
        let reloads = Arc::new(Reloads::new(certificates.clone(), sources, content, &registry));
        let watch = Watch::start(vec![certificates.watched(), reloads.watched()]).map_err(AppError::Runtime)?;
        let addresses: BTreeSet<IpAddr> = listening.iter().map(|(a, _)| a.ip()).collect();
        let listeners =
            Arc::new(Listeners::new(listen.clone(), addresses.into_iter().collect(), runtime.handle().clone()));
        routing.start(listeners.clone());
        for (address, listener) in listening {
            listeners.bootstrap(listener).map_err(|source| listen_error("listen.address", address, source))?;
            tracing::info!(%address, upstream = %listed(&config.upstream.bootstrap), "listening; point bootstrap.servers here");
        }
        readiness.set(Check::Listeners, true);

        let (stop_admin, admin_stopped) = watch::channel(false);
        runtime.spawn(pressure.run(listen.clone()));
        let admin_state = Arc::new(AdminState {
            registry,
            repairs,
            readiness: readiness.clone(),
            running: running.clone(),
            mend: env.shared.clone(),
            directory: routing,
            traffic: env.clone(),
            history: Arc::default(),
            feed,
            events: Events::new(admin_stopped.clone()),
            logs: logs.clone(),
            reloaded: reloads.subscribe(),
            started: Instant::now(),
        });
        admin::start(admin_listener, admin_state, admin_stopped)
            .map_err(|e| listen_error("admin.address", admin_address, e))?;
        tracing::info!(address = %admin_address, page = %format_args!("http://{admin_address}/"), "admin: the status page, /metrics, /readyz");
        runtime.spawn(prime::run(listen.clone(), move |up| readiness.set(Check::Upstream, up)));
        let errands = runtime.spawn(errands::run(listen.clone()));
        Ok(App {
            running,
            logs,
            level: config.log.level,
            env,
            listen,
            errands,
            phase,
            stop_admin,
            journal,
            reloads,
            _watch: watch,
            _state_dir: state_dir,
        })
    }

    async fn until_stopped(mut self, mut signals: Signals) -> Result<(), AppError> {
        let mut swaps = self.running.subscribe();
        loop {
            tokio::select! {
                event = signals.next() => match event {
                    Event::Reload => self.reload(),
                    Event::Stop => break,
                },
                swapped = swaps.changed() => if swapped.is_ok() { self.apply() },
            }
        }
        self.leave(&mut signals).await;
        if let Some(journal) = &self.journal
            && !journal.close(CLOSE)
        {
            tracing::warn!("the journal was not written to its end");
        }
        let _ = self.stop_admin.send(true);
        tracing::info!("stopped");
        Ok(())
    }

    /// Rule C9. A second signal ends it at once.
    async fn leave(&mut self, signals: &mut Signals) {
        let second = async { while signals.next().await != Event::Stop {} };
        tokio::select! {
            () = async { self.drain().await; self.finish().await; } => {}
            () = second => {
                tracing::warn!("second signal");
                let _ = self.phase.send(Phase::Ending { until: Instant::now() });
            }
        }
    }

    /// What was promised to clients that have gone, or are cut now, is kept within the grace.
    async fn finish(&mut self) {
        let grace = self.running.current().shutdown.grace.0;
        // What is left of it is for the process itself.
        let patience = grace.saturating_sub(LAST_MOMENT.min(grace / 4));
        let until = Instant::now() + patience;
        let _ = self.phase.send(Phase::Ending { until });
        let all = async {
            self.gone(&self.listen.connections).await;
            let _ = (&mut self.errands).await;
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            let connections = self.listen.connections.load(Ordering::Relaxed);
            tracing::warn!(connections, ?grace, "shutdown.grace is over with something still to be sent");
        }
    }

    /// Waits until there is none left.
    async fn gone(&self, counted: &AtomicUsize) {
        loop {
            let left = self.listen.left.notified();
            if counted.load(Ordering::Relaxed) == 0 {
                return;
            }
            left.await;
        }
    }

    /// An app that is stopped at the same moment still needs its connections.
    async fn drain(&self) {
        let timeout = self.running.current().shutdown.drain_timeout.0;
        let _ = self.phase.send(Phase::Draining);
        let clients = self.listen.clients.load(Ordering::Relaxed);
        tracing::info!(
            clients,
            ?timeout,
            "stopping: existing connections go on until they end; a second signal ends them at once"
        );
        match tokio::time::timeout(timeout, self.gone(&self.listen.clients)).await {
            Ok(()) => tracing::info!("the last client has gone"),
            Err(_) => {
                let clients = self.listen.clients.load(Ordering::Relaxed);
                tracing::warn!(clients, "shutdown.drain_timeout is over with clients still connected");
            }
        }
    }

    /// On a thread of its own: files are read.
    fn reload(&self) {
        let reloads = self.reloads.clone();
        tokio::task::spawn_blocking(move || reloads.reload(Why::Asked));
    }

    /// Brings everything that was derived from the configuration up to date.
    fn apply(&mut self) {
        let config = self.running.current();
        for mender in &self.env.menders {
            mender.reload(&config);
        }
        self.env.interests.store(Arc::new(interests(&self.env.menders)));
        let memory = self.env.limits.load().memory.clone();
        memory.set_limit(memory_limit(&config));
        self.env.limits.store(Arc::new(limits(&config, memory)));
        self.listen.max_connections.store(max_connections(&config), Ordering::Relaxed);
        self.listen.bootstrap.store(Arc::new(config.upstream.bootstrap.clone()));
        // What was set over HTTP since holds until this key changes.
        if self.level != config.log.level {
            self.level.clone_from(&config.log.level);
            if let Err(error) = self.logs.set_level(&self.level) {
                tracing::error!(%error, "the log level stays");
            }
        }
    }
}

fn listed(addresses: &[HostPort]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn listen_error(key: &'static str, address: SocketAddr, source: io::Error) -> AppError {
    AppError::Listen { key, address: address.to_string(), source }
}

type Bound = (SocketAddr, std::net::TcpListener);

fn bind_listen(config: &Config) -> Result<Vec<Bound>, AppError> {
    let mut bound: Vec<Bound> = Vec::new();
    for address in &config.listen.address {
        let error = |source| AppError::Listen { key: "listen.address", address: address.to_string(), source };
        let addresses = sockets::addresses(address).map_err(error)?;
        let mut first_error = None;
        let before = bound.len();
        for address in addresses {
            match sockets::listen(address) {
                Ok(listener) => bound.push((address, listener)),
                // A host without IPv6 still has a `localhost`.
                Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable || e.raw_os_error() == Some(97) => {
                    first_error = Some(e)
                }
                Err(e) => return Err(error(e)),
            }
        }
        if bound.len() == before {
            return Err(error(first_error.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())));
        }
    }
    Ok(bound)
}

/// The admin listener; where nobody chose its port and it is taken (two kmends on one host), the
/// next free one.
fn bind_admin(config: &Config, is_default: bool) -> Result<(std::net::TcpListener, SocketAddr), AppError> {
    let wanted = &config.admin.address;
    let error = |source| AppError::Listen { key: "admin.address", address: wanted.to_string(), source };
    let address = sockets::addresses(wanted).map_err(error)?.into_iter().next();
    let address = address.ok_or_else(|| error(io::ErrorKind::AddrNotAvailable.into()))?;
    let tries = if is_default { ADMIN_PORTS } else { 0 };
    let mut outcome = Err(io::ErrorKind::AddrInUse.into());
    for port in (0..=tries).filter_map(|i| address.port().checked_add(i)) {
        let address = SocketAddr::new(address.ip(), port);
        outcome = sockets::listen(address).and_then(|l| l.local_addr().map(|local| (l, local)));
        match &outcome {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
            _ => break,
        }
    }
    let (listener, local) = outcome.map_err(error)?;
    if is_default && local.port() != address.port() {
        tracing::warn!(
            taken = address.port(),
            port = local.port(),
            "the default admin port is taken; set admin.address to choose one"
        );
    }
    Ok((listener, local))
}

fn first_port(config: &Config) -> u16 {
    match config.listen.broker_ports {
        Auto::Set(port) => port,
        Auto::Auto => config.listen.address.first().map_or(9093, |a| a.port.saturating_add(1)),
    }
}

fn state_dir(config: &Config) -> Result<Option<StateDir>, AppError> {
    match &config.menders.commit_buffer.journal.dir {
        Auto::Set(dir) => Ok(Some(StateDir::open(dir)?)),
        Auto::Auto => {
            let listen = config.listen.address.first().map(ToString::to_string).unwrap_or_default();
            match StateDir::auto(&listen) {
                Ok(dir) => Ok(Some(dir)),
                Err(error) => {
                    tracing::warn!(%error, "no folder for kmend's state: after a restart clients must bootstrap again, and no checkpoints are kept; mount a folder at /var/lib/kmend or set menders.commit_buffer.journal.dir");
                    Ok(None)
                }
            }
        }
    }
}

fn max_connections(config: &Config) -> usize {
    let possible = resources::max_connections();
    match config.limits.max_connections {
        Auto::Auto => possible,
        Auto::Set(n) if n as usize > possible => {
            tracing::warn!(
                limit = n,
                possible,
                "limits.max_connections is more than the descriptors allow (ulimit -n): so many clients are let in as there are descriptors for"
            );
            possible
        }
        Auto::Set(n) => n as usize,
    }
}

fn memory_limit(config: &Config) -> u64 {
    match config.limits.memory {
        Auto::Auto => resources::Ceilings::now().memory(),
        Auto::Set(size) => size.0,
    }
}

fn limits(config: &Config, memory: Arc<Budget>) -> Limits {
    Limits {
        max_frame: u32::try_from(config.limits.max_frame.0).unwrap_or(u32::MAX).min(i32::MAX as u32),
        max_whole_frame: usize::try_from(config.limits.max_whole_frame.0).unwrap_or(usize::MAX),
        handshake_timeout: config.limits.handshake_timeout.0,
        idle_timeout: config.limits.idle_timeout.0,
        progress_timeout: config.limits.progress_timeout.0,
        memory,
    }
}

fn interests(menders: &[Arc<dyn Mender>]) -> Interests {
    Interests::fold(menders.iter().map(|m| m.interests()))
}
