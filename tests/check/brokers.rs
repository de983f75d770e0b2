//! A real cluster of two, whose first broker advertises the port of a gate: where that leads to a test decides.

use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::certificates;
use crate::harness::{ClusterSpec, Kafka, Kmend, ports, slot};
use crate::kit::Check;

struct Pair {
    kafka: Kafka,
    /// Where broker 1 is said to be. One test at a time may use it.
    gate: Mutex<u16>,
}

fn pair() -> &'static Pair {
    static SHARED: OnceLock<Pair> = OnceLock::new();
    SHARED.get_or_init(|| {
        let port = ports::free();
        let spec = ClusterSpec { nodes: 2, advertise: vec![port], ..ClusterSpec::default() };
        Pair { kafka: Kafka::start(spec), gate: Mutex::new(port) }
    })
}

impl Pair {
    fn gate(&self) -> MutexGuard<'_, u16> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bootstrap address that needs no gate.
    fn second(&self) -> String {
        self.kafka.bootstrap()[1].clone()
    }
}

/// Open as long as it lives.
struct Open {
    port: u16,
    ends: Arc<AtomicBool>,
    door: Option<std::thread::JoinHandle<()>>,
}

impl Open {
    fn to(port: u16, target: String) -> Open {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = ends.clone();
        let door = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let server = TcpStream::connect(&target).unwrap();
                for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
                {
                    std::thread::spawn(move || {
                        let _ = copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Open { port, ends, door: Some(door) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.door.take().map(std::thread::JoinHandle::join);
    }
}

#[test]
fn a_good_cluster() {
    let _slot = slot();
    let pair = pair();
    let gate = pair.gate();
    let _open = Open::to(*gate, format!("127.0.0.1:{}", pair.kafka.port(1)));
    let found = Check::new(&pair.kafka.bootstrap()).run();
    found.faultless().good(&[
        "kmend configuration",
        "kmend listen.address",
        "kmend admin.address",
        "kmend listen.broker_ports",
        "kmend state_folder",
        "kmend descriptors",
        "bootstrap tcp",
        "bootstrap protocol",
        "bootstrap metadata",
        "broker tcp",
        "broker protocol",
        "broker identity",
    ]);
    found.skips("cluster clock", "does not tell the brokers' time");
    for line in ["it is node 1 of this cluster", "it is node 2 of this cluster", "2 brokers"] {
        assert!(found.table.contains(line), "{}", found.table);
    }
}

#[test]
fn an_advertised_listener_that_nobody_reaches() {
    let _slot = slot();
    let pair = pair();
    let gate = pair.gate();
    let found = Check::new(&[pair.second()]).run();
    let address = format!("127.0.0.1:{} refuses the connection", *gate);
    let todo = ["whether the broker runs", "broker 1 advertises (advertised.listeners)"];
    found.only_fault(69, "broker tcp", "tcp_refused", &[&address], &todo);
    found.good(&["bootstrap metadata", "broker identity"]);
    let step = found.value["steps"].as_array().unwrap().iter().find(|step| step["verdict"] == "fail").unwrap();
    assert_eq!((&step["node"], &step["address"]), (&1.into(), &format!("127.0.0.1:{}", *gate).into()));
}

#[test]
fn an_advertised_listener_that_leads_to_another_broker() {
    let _slot = slot();
    let pair = pair();
    let gate = pair.gate();
    let _open = Open::to(*gate, pair.second());
    let found = Check::new(&[pair.second()]).run();
    let says = ["another broker of this cluster answers here, not node 1", "expected 2"];
    found.only_fault(69, "broker identity", "wrong_node", &says, &["load balancer", "broker 1 advertises"]);
    found.good(&["broker tcp", "broker protocol", "broker identity"]);
}

#[test]
fn an_advertised_listener_that_leads_to_another_cluster() {
    let _slot = slot();
    let pair = pair();
    let gate = pair.gate();
    let _open = Open::to(*gate, certificates::inner());
    let found = Check::new(&[pair.second()]).run();
    let says = ["a broker of the cluster", "answers here, not broker 1 of"];
    found.only_fault(69, "broker identity", "another_cluster", &says, &["DNS", "broker 1 advertises"]);
}

#[test]
fn bootstrap_addresses_of_two_clusters() {
    let _slot = slot();
    let pair = pair();
    let gate = pair.gate();
    let _open = Open::to(*gate, format!("127.0.0.1:{}", pair.kafka.port(1)));
    let found = Check::new(&[pair.second(), certificates::inner()]).run();
    let says = ["this address leads to the cluster", &certificates::inner()];
    found.only_fault(69, "bootstrap identity", "another_cluster", &says, &["brokers of one cluster only"]);
}

#[test]
fn one_of_two_bootstrap_addresses() {
    let _slot = slot();
    let pair = pair();
    let gate = pair.gate();
    let _open = Open::to(*gate, format!("127.0.0.1:{}", pair.kafka.port(1)));
    let wrong = format!("127.0.0.1:{}", ports::free());
    let found = Check::new(&[wrong.clone(), pair.second()]).run();
    found.only_fault(69, "bootstrap tcp", "tcp_refused", &[&wrong], &["port"]);
    found.good(&["bootstrap tcp", "bootstrap metadata", "broker identity"]);
}

#[test]
fn tls_before_a_plaintext_broker() {
    let _slot = slot();
    let pair = pair();
    let found = Check::new(&[pair.second()]).set("upstream.tls.enabled", true).run();
    let says = ["the broker speaks plaintext on this port, and upstream.tls.enabled is true"];
    found.only_fault(69, "bootstrap tls", "plaintext_broker", &says, &["upstream.tls.enabled: false"]);
    found.good(&["bootstrap tcp"]);
}

#[test]
fn a_login_that_nobody_wants() {
    let _slot = slot();
    let pair = pair();
    let check = Check::new(&[pair.second()]);
    let file = check.dir.path().join("password");
    std::fs::write(&file, "alice-secret").unwrap();
    let check = check
        .set("upstream.sasl.mechanism", "PLAIN")
        .set("upstream.sasl.username", "alice")
        .set("upstream.sasl.password_file", file.to_str().unwrap());
    let found = check.run();
    let says = ["this listener has no logins"];
    found.only_fault(69, "bootstrap login", "sasl_not_wanted", &says, &["upstream.sasl.mechanism: null"]);
    found.good(&["kmend credentials", "bootstrap tcp", "bootstrap protocol"]);
}

/// In the pod, beside the sidecar: its ports are taken, by itself.
#[test]
fn beside_a_kmend_that_runs() {
    let _slot = slot();
    let pair = pair();
    let gate = pair.gate();
    let _open = Open::to(*gate, format!("127.0.0.1:{}", pair.kafka.port(1)));
    let kmend = Kmend::start(&pair.kafka, |_| {});
    let check = Check::new(&[pair.second()]).set("admin.address", kmend.admin.clone());
    let found = check.set("listen.address", kmend.listen.clone()).run();
    found.faultless();
    for step in ["kmend listen.address", "kmend admin.address", "kmend listen.broker_ports"] {
        found.skips(step, "a kmend runs here");
    }
    // A second one, with ports of its own, that wants the first one's admin port.
    let found = Check::new(&[pair.second()]).set("admin.address", kmend.admin.clone()).run();
    found.only_fault(78, "kmend admin.address", "port_taken", &[&kmend.admin], &["--admin"]);
    found.good(&["kmend listen.address", "kmend listen.broker_ports"]);
}
