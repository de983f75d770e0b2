//! Names, ports, and servers that are no brokers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::harness::ports;
use crate::kit::Check;
use crate::script::{Script, own_address, server};

const HERE: [&str; 6] = [
    "kmend configuration",
    "kmend listen.address",
    "kmend admin.address",
    "kmend listen.broker_ports",
    "kmend state_folder",
    "kmend descriptors",
];

#[test]
fn a_wrong_port() {
    let address = format!("127.0.0.1:{}", ports::free());
    let check = Check::new(&[&address]);
    let found = check.run();
    let says = [address.as_str(), "refuses the connection"];
    found.only_fault(69, "bootstrap tcp", "tcp_refused", &says, &["the port is that of a broker's listener"]);
    found.good(&HERE).skips("cluster brokers", "no bootstrap address has named them");
}

#[test]
fn a_name_that_does_not_resolve() {
    let found = Check::new(&["nowhere.invalid:9092"]).run();
    found.only_fault(
        69,
        "bootstrap dns",
        "dns",
        &["the name nowhere.invalid cannot be resolved"],
        &["getent hosts nowhere.invalid", "namespace"],
    );
    found.good(&HERE);
}

/// The queue of a listener that nobody empties is full: what comes then is dropped, as a firewall does it.
#[test]
fn packets_that_are_dropped() {
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
        assert!(waiting.len() < 10, "the queue takes everybody");
    }
    let began = Instant::now();
    let found = Check::new(&[address]).hasty().run();
    let says = format!("{address} took no connection within 1.5s");
    found.only_fault(69, "bootstrap tcp", "tcp_timeout", &[&says], &["firewalls", "network policies"]);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_server_that_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let found = Check::new(&[address]).hasty().run();
    let says = "does not answer a Kafka request within 1.5s";
    found.only_fault(69, "bootstrap protocol", "silent", &[says], &["load balancer"]);
    found.good(&["bootstrap tcp"]);
    let found = Check::new(&[address]).hasty().set("upstream.tls.enabled", true).run();
    let says = "does not answer a TLS handshake within 1.5s";
    found.only_fault(69, "bootstrap tls", "tls_timeout", &[says], &["TLS port"]);
    found.good(&["bootstrap tcp"]);
}

#[test]
fn an_http_server() {
    let http = server(|mut stream| {
        let mut request = [0; 512];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    });
    for tls in [false, true] {
        let found = Check::new(&[&http]).set("upstream.tls.enabled", tls).run();
        let step = if tls { "bootstrap tls" } else { "bootstrap protocol" };
        found.only_fault(69, step, "http", &["an HTTP server answers here"], &["use the broker's port"]);
        found.good(&["bootstrap tcp"]);
    }
}

#[test]
fn something_else_that_is_no_broker() {
    let other = server(|mut stream| {
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
        let _ = stream.read(&mut [0; 512]);
    });
    let found = Check::new(&[&other]).run();
    found.only_fault(69, "bootstrap protocol", "not_kafka", &["no Kafka broker"], &["host and port"]);
    let rude = server(|mut stream| {
        let _ = stream.read(&mut [0; 4]);
    });
    let found = Check::new(&[&rude]).run();
    found.only_fault(69, "bootstrap protocol", "hung_up", &["ended it on the first Kafka request"], &["Kafka broker"]);
}

#[test]
fn a_broker_whose_advertised_name_does_not_resolve() {
    let port = Script::brokers(&[(1, "127.0.0.1", 0), (7, "kafka-7.internal.invalid", 9092)]).serve("127.0.0.1");
    let found = Check::new(&[format!("127.0.0.1:{port}")]).run();
    found.only_fault(
        69,
        "broker dns",
        "dns",
        &["the name kafka-7.internal.invalid cannot be resolved"],
        &["broker 7 advertises (advertised.listeners)"],
    );
    found.good(&["bootstrap metadata", "broker tcp", "broker protocol", "broker identity"]);
    assert_eq!(found.value["cluster_id"], "scripted");
}

/// The classic: every client on another host dials itself.
#[test]
fn brokers_that_advertise_localhost() {
    let nobody = ports::free();
    let remote = own_address();
    let port = Script::brokers(&[(1, "localhost", nobody)]).serve(&remote);
    let found = Check::new(&[format!("{remote}:{port}")]).run();
    assert_eq!(found.code, 69);
    let fails: Vec<_> = found.table.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert_eq!(fails.len(), 2, "{}", found.table);
    assert!(fails[0].contains("broker 1 advertises localhost:") && fails[0].contains("another host"), "{}", fails[0]);
    assert!(fails[1].contains("refuses the connection"), "{}", fails[1]);
    assert!(
        found.table.contains("to do: set advertised.listeners of broker 1 to a name or address"),
        "{}",
        found.table
    );
    found.good(&["bootstrap metadata"]);

    // It listens on all addresses of this host: what it advertises works from here, and from nowhere else.
    let port = Script::brokers(&[(1, "localhost", 0)]).serve("0.0.0.0");
    let found = Check::new(&[format!("{remote}:{port}")]).run();
    found.only_warning(
        "broker advertised",
        "advertised_loopback",
        &["advertises localhost:"],
        &["advertised.listeners"],
    );
    Check::new(&[format!("127.0.0.1:{port}")]).run().faultless();
}

#[test]
fn brokers_that_advertise_one_address() {
    let port = Script::brokers(&[(1, "127.0.0.1", 0), (2, "127.0.0.1", 0)]).serve("127.0.0.1");
    let found = Check::new(&[format!("127.0.0.1:{port}")]).run();
    let says = ["the brokers 1, 2 advertise the same address"];
    found.only_fault(69, "cluster advertised", "advertised_twice", &says, &["advertised.listeners of its own"]);
}

/// One after the other they would take minutes.
#[test]
fn a_hundred_brokers_that_say_nothing() {
    let silent: Vec<_> = (2..102).map(|node| (node, TcpListener::bind("127.0.0.1:0").unwrap())).collect();
    let mut script = Script::brokers(&[(1, "127.0.0.1", 0)]);
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    script.brokers.extend(silent.iter().map(|(node, listener)| (*node, "127.0.0.1".to_owned(), port(listener))));
    let bootstrap = script.serve("127.0.0.1");
    let began = Instant::now();
    let found = Check::new(&[format!("127.0.0.1:{bootstrap}")]).hasty().run();
    // For people and for scripts.
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    assert_eq!(found.code, 69);
    assert_eq!(found.table.matches("does not answer a Kafka request within 1.5s").count(), 100, "{}", found.table);
    assert!(found.errors.contains("100 steps failed"), "{}", found.errors);
    found.good(&["broker identity"]);
    let nodes = found.value["steps"].as_array().unwrap().iter().filter_map(|step| step["node"].as_i64());
    assert!(nodes.is_sorted(), "in the order of the nodes");
}

#[test]
fn descriptors_that_run_out() {
    let brokers: Vec<_> = (1..33).map(|node| (node, "127.0.0.1", 0)).collect();
    let port = Script::brokers(&brokers).serve("127.0.0.1");
    let check = Check::new(&[format!("127.0.0.1:{port}")]).behind(&["sh", "-c", "ulimit -n 24; exec \"$0\" \"$@\""]);
    let found = check.run();
    assert_eq!(found.code, 78, "{}", found.table);
    assert!(found.table.contains("this process has no descriptor left for a connection"), "{}", found.table);
    assert!(found.table.contains("to do: raise the limit (ulimit -n"), "{}", found.table);
}

#[test]
fn a_cluster_that_names_no_broker() {
    let port = Script::default().serve("127.0.0.1");
    let found = Check::new(&[format!("127.0.0.1:{port}")]).run();
    found.only_fault(69, "bootstrap metadata", "no_brokers", &["names no broker"], &["wait until the brokers"]);
}
