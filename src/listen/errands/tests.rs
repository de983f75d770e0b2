//! Errands against scripted brokers on loopback.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::Config;
use crate::listen::prime;
use crate::mend::{ConnMender, Errand, Interest, Interests, Mender};
use crate::routing::{Open, Routing, Settings};
use crate::session::env::Env;
use crate::session::limits::{Budget, Limits};
use crate::session::metrics::SessionMetrics;
use crate::upstream::Dialer;

const IN_TIME: Duration = Duration::from_secs(20);

/// What a broker does with a request: answers with this body, or hangs up.
type Reply = Option<Vec<u8>>;

struct Broker {
    address: HostPort,
    /// API and version of every request.
    asked: Arc<Mutex<Vec<(ApiKey, i16)>>>,
    connections: Arc<AtomicUsize>,
}

impl Broker {
    /// `script` is told API, and how often that API was asked before.
    async fn start(script: impl Fn(ApiKey, usize) -> Reply + Send + Sync + 'static) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().into();
        let (asked, connections) = (Arc::new(Mutex::default()), Arc::new(AtomicUsize::new(0)));
        let broker = Broker { address, asked: Arc::clone(&asked), connections: connections.clone() };
        let script = Arc::new(script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(talk(stream, script.clone(), asked.clone()));
            }
        });
        broker
    }

    fn asked(&self) -> Vec<(ApiKey, i16)> {
        self.asked.lock().unwrap().clone()
    }
}

async fn talk(
    mut stream: TcpStream,
    script: Arc<impl Fn(ApiKey, usize) -> Reply>,
    asked: Arc<Mutex<Vec<(ApiKey, i16)>>>,
) -> io::Result<()> {
    loop {
        let mut frame = vec![0; stream.read_u32().await? as usize];
        stream.read_exact(&mut frame).await?;
        let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
        let (api, version) = (ApiKey(number(0)), number(2));
        let before = {
            let mut asked = asked.lock().unwrap();
            asked.push((api, version));
            asked.iter().filter(|(a, _)| *a == api).count() - 1
        };
        let Some(body) = script(api, before) else {
            return Ok(());
        };
        stream.write_u32(body.len() as u32 + 4).await?;
        stream.write_all(&frame[4..8]).await?;
        stream.write_all(&body).await?;
    }
}

const COMMIT: ApiKey = ApiKey::OFFSET_COMMIT;

/// ApiVersions 0: FindCoordinator 0 to 2, OffsetCommit 2 to 6.
fn speaks() -> Reply {
    let ranges = [(ApiKey::FIND_COORDINATOR, 0, 2), (COMMIT, 2, 6)];
    let mut body = vec![0, 0, 0, 0, 0, ranges.len() as u8];
    for (api, min, max) in ranges {
        body.extend([api.0, min, max].iter().flat_map(|n: &i16| n.to_be_bytes()));
    }
    Some(body)
}

/// FindCoordinator 2: node 7 at this address.
fn is_at(address: &HostPort) -> Reply {
    let mut body = vec![0; 6];
    body.extend([0xff, 0xff, 0, 0, 0, 7]);
    body.extend((address.host.len() as i16).to_be_bytes());
    body.extend(address.host.as_bytes());
    body.extend(i32::from(address.port).to_be_bytes());
    Some(body)
}

/// FindCoordinator 2: an error.
fn nowhere(error: i16) -> Reply {
    let mut body = vec![0; 4];
    body.extend(error.to_be_bytes());
    body.extend([0xff; 6]);
    body.extend([0, 0, 0xff, 0xff, 0xff, 0xff]);
    Some(body)
}

/// Wants so many commits sent for group `g`, one after the other.
struct Wants {
    left: Mutex<u64>,
    out: Mutex<Option<u64>>,
    heard: Mutex<Vec<String>>,
    panics: bool,
}

impl Wants {
    fn some(n: u64) -> Arc<Wants> {
        Arc::new(Wants { left: Mutex::new(n), out: Mutex::default(), heard: Mutex::default(), panics: false })
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Errands for Wants {
    fn wanted(&self, _: Instant) -> Vec<Arc<str>> {
        assert!(!self.panics, "on purpose");
        if *self.left.lock().unwrap() > 0 { vec!["g".into()] } else { Vec::new() }
    }

    fn take(&self, group: &str, version: crate::mend::errands::Version<'_>, _: Instant) -> Option<Errand> {
        let left = *self.left.lock().unwrap();
        assert_eq!((group, version(ApiKey::OFFSET_FETCH, (1, 9))), ("g", None), "not among the broker's");
        let version = version(COMMIT, (2, 8))?;
        let mut out = self.out.lock().unwrap();
        assert_eq!(*out, None, "one at a time");
        *out = (left > 0).then_some(left);
        out.map(|token| Errand { token, api: COMMIT, version, body: b"a commit".to_vec() })
    }

    fn done(&self, token: u64, outcome: Injected<'_>, _: Instant) {
        assert_eq!(self.out.lock().unwrap().take(), Some(token));
        let what = match outcome {
            Injected::Answer { frame, body, .. } => {
                *self.left.lock().unwrap() -= 1;
                format!("{token}: {}", String::from_utf8_lossy(&frame[body..]))
            }
            Injected::Lost => format!("{token}: lost"),
        };
        self.heard.lock().unwrap().push(what);
    }
}

struct Sender(Arc<Wants>);

impl Mender for Sender {
    fn name(&self) -> &'static str {
        "sender"
    }
    fn interests(&self) -> Vec<Interest> {
        Vec::new()
    }
    fn connect(&self) -> Box<dyn ConnMender> {
        struct Nothing;
        impl ConnMender for Nothing {}
        Box::new(Nothing)
    }
    fn reload(&self, _: &Config) {}
    fn errands(&self, _: Arc<crate::mend::Shared>) -> Option<Arc<dyn Errands>> {
        Some(self.0.clone())
    }
}

#[derive(Default)]
struct Opened(Mutex<Vec<i32>>);

impl Open for Opened {
    fn open(&self, node: i32, _: u16) -> io::Result<()> {
        self.0.lock().unwrap().push(node);
        Ok(())
    }
}

struct House {
    shared: Arc<Shared>,
    opened: Arc<Opened>,
    phase: watch::Sender<Phase>,
}

/// A kmend in this phase, before these brokers.
fn house(wants: &Arc<Wants>, bootstrap: Vec<HostPort>, phase: Phase) -> House {
    let registry = prometheus::Registry::new();
    let settings = Settings { first_port: 20_000, taken: Vec::new(), advertised_host: None, file: None };
    let routing = Arc::new(Routing::new(settings, prometheus::IntGauge::new("nodes", "x").unwrap()));
    let opened = Arc::new(Opened::default());
    routing.start(opened.clone());
    let limits = Limits {
        max_frame: 1 << 20,
        max_whole_frame: 1 << 20,
        handshake_timeout: IN_TIME,
        idle_timeout: IN_TIME,
        progress_timeout: IN_TIME,
        memory: Budget::new(1 << 20),
    };
    let env = Env {
        limits: ArcSwap::from_pointee(limits),
        interests: ArcSwap::from_pointee(Interests::fold([])),
        menders: vec![Arc::new(Sender(wants.clone()))],
        shared: Arc::default(),
        directory: routing.clone(),
        metrics: SessionMetrics::new(&registry),
    };
    let (phase, phases) = watch::channel(phase);
    let dialer = Dialer::new(&Config::default()).unwrap();
    let shared = Arc::new(Shared::new(Arc::new(env), routing, dialer, None, bootstrap, 10, phases));
    House { shared, opened, phase }
}

fn ending() -> Phase {
    Phase::Ending { until: Instant::now() + IN_TIME }
}

/// Runs errands until none is left.
async fn runs(house: &House) {
    tokio::time::timeout(IN_TIME, run(house.shared.clone())).await.expect("in time");
}

#[tokio::test]
async fn errands_go_to_the_coordinator() {
    let coordinator = Broker::start(|api, before| match api {
        ApiKey::API_VERSIONS => speaks(),
        COMMIT => Some(format!("committed {before}").into_bytes()),
        _ => None,
    })
    .await;
    let at = coordinator.address.clone();
    let first = Broker::start(move |api, _| match api {
        ApiKey::API_VERSIONS => speaks(),
        ApiKey::FIND_COORDINATOR => is_at(&at),
        _ => None,
    })
    .await;
    let wants = Wants::some(2);
    let house = house(&wants, vec![first.address.clone()], ending());
    runs(&house).await;
    assert_eq!(wants.heard(), ["2: committed 0", "1: committed 1"]);
    assert_eq!(first.asked(), [(ApiKey::API_VERSIONS, 0), (ApiKey::FIND_COORDINATOR, 2)]);
    assert_eq!(coordinator.asked(), [(ApiKey::API_VERSIONS, 0), (COMMIT, 6), (COMMIT, 6)]);
    assert_eq!(coordinator.connections.load(Ordering::SeqCst), 1);
    // It is known from now on, and has its listener.
    assert_eq!(house.shared.routing.upstream(7), Some(coordinator.address));
    assert_eq!(*house.opened.0.lock().unwrap(), [7]);
}

#[tokio::test]
async fn what_is_lost_is_told_and_tried_again() {
    let commits = Broker::start(|api, before| match (api, before) {
        (ApiKey::API_VERSIONS, _) => speaks(),
        // It hangs up on the first.
        (COMMIT, 0) => None,
        (COMMIT, _) => Some(b"committed".to_vec()),
        _ => None,
    })
    .await;
    let at = commits.address.clone();
    let first = Broker::start(move |api, before| match (api, before) {
        (ApiKey::API_VERSIONS, _) => speaks(),
        // Loading, a broken answer, then the truth.
        (ApiKey::FIND_COORDINATOR, 0) => nowhere(15),
        (ApiKey::FIND_COORDINATOR, 1) => Some(vec![0; 7]),
        (ApiKey::FIND_COORDINATOR, _) => is_at(&at),
        _ => None,
    })
    .await;
    let wants = Wants::some(1);
    let house = house(&wants, vec![first.address.clone()], ending());
    let began = Instant::now();
    runs(&house).await;
    assert_eq!(wants.heard(), ["1: lost", "1: committed"]);
    // Each time later: 250, 500, 1000 ms.
    assert!(began.elapsed() >= Duration::from_millis(1750), "{:?}", began.elapsed());
    assert_eq!(first.connections.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn without_a_login_it_stops_trying() {
    let hangs_up: fn(ApiKey) -> Reply = |_| None;
    for says in [hangs_up, |_| nowhere(58), |_| nowhere(34)] {
        let broker = Broker::start(move |api, _| match api {
            ApiKey::API_VERSIONS => speaks(),
            api => says(api),
        })
        .await;
        let wants = Wants::some(1);
        let house = house(&wants, vec![broker.address.clone()], Phase::Running);
        let running = tokio::spawn(run(house.shared.clone()));
        let tried = async {
            while broker.connections.load(Ordering::SeqCst) < HANGS_UP as usize {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(IN_TIME, tried).await.expect("in time");
        // There is nothing left that could be done: the end need not wait.
        house.phase.send(ending()).unwrap();
        tokio::time::timeout(IN_TIME, running).await.expect("in time").unwrap();
        assert_eq!(broker.connections.load(Ordering::SeqCst), HANGS_UP as usize);
        assert!(wants.heard().is_empty());
    }
}

#[tokio::test]
async fn the_end_waits_for_what_lingers() {
    let wants = Wants::some(0);
    let house = house(&wants, Vec::new(), ending());
    house.shared.connections.store(1, Ordering::SeqCst);
    let running = tokio::spawn(run(house.shared.clone()));
    assert!(tokio::time::timeout(2 * PERIOD, house.shared.left.notified()).await.is_err());
    assert!(!running.is_finished());
    house.shared.connections.store(0, Ordering::SeqCst);
    house.shared.left.notify_waiters();
    tokio::time::timeout(IN_TIME, running).await.expect("in time").unwrap();
}

#[tokio::test]
async fn a_mender_that_panics_is_asked_no_more() {
    let wants = Arc::new(Wants { panics: true, ..Arc::into_inner(Wants::some(1)).unwrap() });
    let house = house(&wants, Vec::new(), ending());
    runs(&house).await;
    assert_eq!(house.shared.env.metrics.mender_panics.with_label_values(&["sender"]).get(), 1);
}

#[tokio::test]
async fn the_start_tells_the_cluster_and_its_brokers() {
    let broker = Broker::start(|api, _| match api {
        // Metadata 2: one broker, the cluster's id, no topics.
        ApiKey::METADATA => Some(b"\0\0\0\x01\0\0\0\x03\0\x01b\0\0\x23\x84\xff\xff\0\x02ab\0\0\0\x03\0\0\0\0".to_vec()),
        _ => None,
    })
    .await;
    let house = house(&Wants::some(0), vec![broker.address.clone()], Phase::Running);
    let primed = prime::run(house.shared.clone(), |up| assert!(up));
    tokio::time::timeout(IN_TIME, primed).await.expect("in time");
    assert_eq!(house.shared.env.shared.cluster.id().as_deref(), Some("ab"));
    assert_eq!(house.shared.routing.upstream(3), Some(HostPort { host: "b".into(), port: 9092 }));
}
