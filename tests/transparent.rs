//! With every mender off, kmend is a plain relay: what the broker gets and what the client gets are the same bytes,
//! but for the brokers' ports (their host is the same here) and correlation ids.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod harness;

use std::collections::BTreeMap;
use std::time::Duration;

use harness::client::ALL;
use harness::tap::{Exchange, Tap, tapped};
use harness::{Client, ClusterSpec, Kafka, Opts, ports, slot, unique};

/// One connection: its requests and answers, without what may differ.
type Talk = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Ports of brokers stand as 32-bit numbers; those that kmend gave become the broker's.
fn with_port(bytes: &[u8], own: &[u16], broker: u16) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for at in 0..out.len().saturating_sub(3) {
        let word = u32::from_be_bytes([out[at], out[at + 1], out[at + 2], out[at + 3]]);
        if own.iter().any(|p| u32::from(*p) == word) {
            out[at..at + 4].copy_from_slice(&u32::from(broker).to_be_bytes());
        }
    }
    out
}

fn talks(exchanges: Vec<Exchange>, own: &[u16], broker: u16) -> Vec<Talk> {
    let mut by_connection: BTreeMap<usize, Talk> = BTreeMap::new();
    for exchange in exchanges {
        let mut request = exchange.request;
        if let Some(id) = request.get_mut(4..8) {
            id.fill(0);
        }
        let response = exchange.response.map(|r| with_port(r.get(4..).unwrap_or_default(), own, broker));
        by_connection.entry(exchange.connection).or_default().push((request, response));
    }
    by_connection.into_values().collect()
}

/// What came after the client had gone cannot be compared.
fn same(client: &Talk, broker: &Talk) -> bool {
    client.len() <= broker.len() && client.iter().zip(broker).all(|(c, b)| c.0 == b.0 && (c.1.is_none() || c.1 == b.1))
}

fn relays(kafka: &Kafka, broker: u16, client: &str) {
    let upstream = format!("127.0.0.1:{broker}");
    let behind = Tap::start(&[(upstream.clone(), kafka.bootstrap()[0].clone())]);
    let (kmend, front, servers) = tapped(std::slice::from_ref(&upstream), |c| {
        c["menders"]["offset_reset"]["mode"] = "off".into();
    });
    let topic = unique(&format!("transparent-{client}"));
    kafka.admin().create(&topic, 2, &[]);
    let produce = Opts::produce(&servers, &topic).with("COUNT", 50).with("RATE", 100);
    let producer = Client::start(client, produce);
    producer.wait("50 records sent", Duration::from_secs(30), |c| c.progress() >= 50);
    let consumer = Client::start(client, Opts::consume(&servers, &topic, &format!("{topic}-group")));
    consumer.wait("50 records handled", Duration::from_secs(30), |c| c.progress() >= 50);
    consumer.close();
    drop((producer, consumer));

    let first: u16 = servers.rsplit_once(':').and_then(|(_, p)| p.parse().ok()).expect("a port");
    let own: Vec<u16> = (first..first + 24).collect();
    // The control: with the ports left as they are, the same look sees the difference.
    let broker_side = talks(behind.exchanges(), &[], broker);
    let raw = talks(front.exchanges(), &[], broker);
    assert!(raw.iter().any(|t| !broker_side.iter().any(|b| same(t, b))), "{client}: the control sees nothing");
    let client_side = talks(front.exchanges(), &own, broker);
    assert!(client_side.iter().map(Vec::len).sum::<usize>() > 10, "{client} was not seen");
    for (i, talk) in client_side.iter().enumerate() {
        if broker_side.iter().any(|b| same(talk, b)) {
            continue;
        }
        // The closest one, to say where they part.
        let agree =
            |b: &Talk| talk.iter().zip(b).take_while(|(c, b)| c.0 == b.0 && (c.1.is_none() || c.1 == b.1)).count();
        let best = broker_side.iter().max_by_key(|b| agree(b)).expect("a connection to the broker");
        let at = agree(best);
        panic!(
            "{client}: connection {i} of {} exchanges is not relayed as it is; exchange {at}:\nclient {:?}\nbroker {:?}",
            talk.len(),
            talk.get(at).map(shown),
            best.get(at).map(shown)
        );
    }
    drop(kmend);
}

fn shown((request, response): &(Vec<u8>, Option<Vec<u8>>)) -> String {
    let hex = |b: &[u8]| b.iter().take(160).map(|x| format!("{x:02x}")).collect::<String>();
    format!("request {} response {:?}", hex(request), response.as_deref().map(hex))
}

#[test]
fn menders_off_is_a_plain_relay_for_every_client() {
    let _slot = slot();
    let broker = ports::free();
    let kafka = Kafka::start(ClusterSpec { advertise: Some(broker), ..ClusterSpec::default() });
    for client in ALL.into_iter().chain(["java-consumer", "java-old"]) {
        relays(&kafka, broker, client);
    }
}
