//! What is known of one client connection.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::peers::ClientKey;
use crate::wire::api::{ApiKey, KEYS};

#[derive(Debug, Clone)]
pub struct Conn {
    /// Counts the connections of this process.
    pub number: u64,
    pub peer: IpAddr,
    /// As in the newest request header; empty until the first one.
    pub client_id: Arc<str>,
    /// From ApiVersions 3+: name and version.
    pub software: Option<(String, String)>,
    /// The broker at the other end, where it is known.
    pub node: Option<i32>,
    /// Whether a request of kmend's own may go upstream now (rule M3).
    pub injectable: bool,
    versions: [Option<(i16, i16)>; KEYS],
    /// The highest version of each API in the client's own requests; -1 none.
    used: [i16; KEYS],
}

impl Conn {
    pub fn new(number: u64, peer: IpAddr, node: Option<i32>) -> Conn {
        Conn {
            number,
            peer,
            client_id: Arc::from(""),
            software: None,
            node,
            injectable: false,
            versions: [None; KEYS],
            used: [-1; KEYS],
        }
    }

    /// For tests of menders: a connection that may carry injected requests.
    pub fn ready(client_id: &str, node: Option<i32>) -> Conn {
        Conn {
            client_id: Arc::from(client_id),
            injectable: true,
            ..Conn::new(0, IpAddr::V4(Ipv4Addr::LOCALHOST), node)
        }
    }

    pub fn client(&self) -> ClientKey {
        ClientKey { client_id: self.client_id.clone(), peer: self.peer }
    }

    /// Notes what the broker said in its ApiVersions response.
    pub fn learn_version(&mut self, api: ApiKey, min: i16, max: i16) {
        if let Some(slot) = self.versions.get_mut(api.slot()) {
            *slot = Some((min, max));
        }
    }

    /// The broker has said which versions it speaks.
    pub fn knows_versions(&self) -> bool {
        self.versions.iter().any(Option::is_some)
    }

    /// Notes a request of the client's own; whether its version is higher than those before.
    pub fn note_used(&mut self, api: ApiKey, version: i16) -> bool {
        let Some(slot) = self.used.get_mut(api.slot()).filter(|slot| version > **slot) else {
            return false;
        };
        *slot = version;
        true
    }

    /// The highest version of `api` that the client itself has used on this connection.
    pub fn used(&self, api: ApiKey) -> Option<i16> {
        self.used.get(api.slot()).copied().filter(|v| *v >= 0)
    }

    /// The newest version in `want` that the broker speaks. A client that never asked for the
    /// broker's versions leaves the oldest wanted one: old brokers know it, new ones still do.
    pub fn version(&self, api: ApiKey, want: (i16, i16)) -> Option<i16> {
        match self.versions.get(api.slot()).copied().flatten() {
            None => Some(want.0),
            Some((min, max)) => {
                let newest = max.min(want.1);
                (newest >= min.max(want.0)).then_some(newest)
            }
        }
    }
}
