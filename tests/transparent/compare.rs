//! Whether two recordings of the same connections differ in nothing but addresses.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    DescribeClusterResponse, FetchResponse, FindCoordinatorResponse, MetadataResponse, ProduceResponse, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use crate::tapped::{Connection, Exchange};

/// A connection as it would look with the same addresses everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Plain {
    requests: Vec<u8>,
    answers: Vec<Exchange>,
}

fn plain(connection: &Connection) -> Plain {
    let answers = connection.exchanges().into_iter().map(|e| Exchange { response: neutral(&e), ..e });
    Plain { requests: connection.requests.clone(), answers: answers.collect() }
}

/// Fails the test at the first difference; how many answers were compared.
pub fn same(at_client: &[Connection], at_broker: &[Connection]) -> usize {
    let sorted = |all: &[Connection]| {
        // A connection on which nothing was said is none that a client would miss.
        let mut all: Vec<Plain> = all.iter().filter(|c| !c.requests.is_empty()).map(plain).collect();
        all.sort();
        all
    };
    let (client, broker) = (sorted(at_client), sorted(at_broker));
    for (a, b) in client.iter().zip(&broker) {
        assert_eq!(a.requests.len(), b.requests.len(), "bytes of requests: {}", head(&a.requests));
        assert!(a.requests == b.requests, "requests differ: {}", head(&a.requests));
        for (n, (x, y)) in a.answers.iter().zip(&b.answers).enumerate() {
            let what = format!("answer {n} (API {} version {}) of {}", x.api, x.version, head(&a.requests));
            assert_eq!((x.api, x.version), (y.api, y.version), "{what}");
            assert!(x.response == y.response, "{what}\n  client {}\n  broker {}", head(&x.response), head(&y.response));
        }
        assert_eq!(a.answers.len(), b.answers.len(), "answers on {}", head(&a.requests));
    }
    assert_eq!(client.len(), broker.len(), "connections");
    client.iter().map(|c| c.answers.len()).sum()
}

/// No answer that reached a client holds the host that the broker tells.
pub fn no_address_leaks(at_client: &[Connection], host: &str) {
    for connection in at_client {
        for e in connection.exchanges() {
            let leaks = e.response.windows(host.len()).any(|w| w == host.as_bytes());
            assert!(!leaks, "API {} version {} tells {host}: {}", e.api, e.version, head(&e.response));
        }
    }
}

fn head(bytes: &[u8]) -> String {
    bytes.iter().take(160).flat_map(|b| std::ascii::escape_default(*b)).map(char::from).collect()
}

/// The answer with its brokers' hosts and ports made the same; any other answer as it is.
fn neutral(e: &Exchange) -> Vec<u8> {
    const HOST: StrBytes = StrBytes::from_static_str("-");
    match (e.api, e.version) {
        (3, v) => again::<MetadataResponse>(e, v, |m| {
            m.brokers.iter_mut().for_each(|b| (b.host, b.port) = (HOST, 0));
        }),
        // Before the coordinator is there its host is empty, on both sides.
        (10, v) => again::<FindCoordinatorResponse>(e, v, |m| {
            if !m.host.is_empty() {
                (m.host, m.port) = (HOST, 0);
            }
            m.coordinators.iter_mut().filter(|c| !c.host.is_empty()).for_each(|c| (c.host, c.port) = (HOST, 0));
        }),
        (60, v) => again::<DescribeClusterResponse>(e, v, |m| {
            m.brokers.iter_mut().for_each(|b| (b.host, b.port) = (HOST, 0));
        }),
        (0, v @ 10..) => again::<ProduceResponse>(e, v, |m| {
            m.node_endpoints.iter_mut().for_each(|n| (n.host, n.port) = (HOST, 0));
        }),
        (1, v @ 16..) => again::<FetchResponse>(e, v, |m| {
            m.node_endpoints.iter_mut().for_each(|n| (n.host, n.port) = (HOST, 0));
        }),
        _ => e.response.clone(),
    }
}

fn again<R: Decodable + Encodable + HeaderVersion>(e: &Exchange, version: i16, change: impl FnOnce(&mut R)) -> Vec<u8> {
    let mut bytes = Bytes::from(e.response.clone());
    let header = ResponseHeader::decode(&mut bytes, R::header_version(version)).expect("a header");
    let mut body = R::decode(&mut bytes, version).expect("an answer of the version that was asked for");
    change(&mut body);
    let mut out = BytesMut::new();
    header.encode(&mut out, R::header_version(version)).expect("a header");
    body.encode(&mut out, version).expect("the same answer");
    // What follows the message, if anything does, counts too.
    out.extend_from_slice(&bytes);
    out.to_vec()
}
