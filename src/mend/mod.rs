//! What a mender is: the interface between a connection and the behaviours that watch it.
//!
//! Menders are sans-IO. They are told of heads, messages and partition entries together with the
//! time, and give back a [`Verdict`] and, through [`Cx`], effects: a request to send on the
//! client's own connection, a time to be woken at. They never see a socket, nor each other.

pub mod catalog;
pub mod chain;
pub mod chances;
pub mod conn;
pub mod directory;
pub mod errands;
pub mod faults;
pub mod fetch;
pub mod findings;
pub mod groups;
pub mod interest;
pub mod modes;
pub mod pattern;
pub mod peers;
pub mod produce;
pub mod progress;
pub mod promises;
pub mod software;
pub mod topics;
pub mod view;

use std::time::{Duration, Instant};

use crate::wire::api::ApiKey;
use crate::wire::codec::entry::{FetchPartition, FetchedPartition};
use crate::wire::head::RequestHead;

pub use catalog::{Catalog, MetadataTopic};
pub use chain::Chain;
pub use chances::Chances;
pub use conn::Conn;

pub use errands::{Errand, Errands};
pub use fetch::{FetchRequest, FetchTable, Wanted};
pub use findings::{Finding, Findings, Reason, Stalled, Unfetched};
pub use groups::{Assignment, Beat, Cause, GroupKind, Groups, Joined, Member, Phase, Rebalance, Terms, Who};
pub use interest::{Interest, Interests, Readers, Treatment};
pub use peers::{ClientKey, Peers};
pub use produce::{Batch, ProduceRequest, Produced};
pub use progress::{Place, Progress, Read};
pub use topics::{Topic, Topics};

/// A behaviour, once for the process.
pub trait Mender: Send + Sync {
    /// As in `menders.<name>` and in the label `mender`.
    fn name(&self) -> &'static str;
    /// The messages it wants to see under the present configuration.
    fn interests(&self) -> Vec<Interest>;
    /// Its part for one connection.
    fn connect(&self) -> Box<dyn ConnMender>;
    /// The configuration has been replaced.
    fn reload(&self, config: &crate::config::model::Config);
    /// What it wants sent without a client.
    #[allow(unused_variables)]
    fn errands(&self, shared: std::sync::Arc<Shared>) -> Option<std::sync::Arc<dyn Errands>> {
        None
    }
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// Hold it whole, where it fits, and show it again (`produce_whole`, `fetch_whole`) before
    /// anything of it goes upstream. Only for the fronts of Produce and Fetch requests.
    Gather,
    /// Give this answer (a complete frame) in its turn and forward nothing.
    Answer(Vec<u8>),
    /// Ask again when something has changed; at this time let it pass.
    Hold(Instant),
}

/// A request as the response to it is met again.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Counts the requests of a connection.
    pub seq: u64,
    pub api: ApiKey,
    pub version: i16,
}

/// What comes of a request that a mender injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injected<'a> {
    /// A complete response frame, where its body starts, and how long the broker took for it, not
    /// counting what it had to answer before.
    Answer { frame: &'a [u8], body: usize, took: Duration },
    /// The deadline passed, or the connection ended.
    Lost,
}

/// A behaviour's part for one connection. Every method has a default that lets things pass.
#[allow(unused_variables)]
pub trait ConnMender: Send {
    /// A Fetch request's front has arrived; nothing of it went upstream.
    fn fetch_request(&mut self, cx: &mut Cx<'_>, request: &FetchRequest) -> Verdict {
        Verdict::Pass
    }
    /// A hold on the front request expired: it passes, whatever is still missing.
    fn hold_expired(&mut self, cx: &mut Cx<'_>) {}
    fn fetch_request_partition(
        &mut self,
        cx: &mut Cx<'_>,
        request: &FetchRequest,
        topic: &Topic,
        partition: &mut FetchPartition<'_>,
    ) {
    }
    /// The client's fetch session forgets a partition.
    fn fetch_request_forget(&mut self, cx: &mut Cx<'_>, topic: &Topic, partition: i32) {}
    /// `true`: the partition is now an empty success; the session sees to its record set.
    fn fetch_response_partition(
        &mut self,
        cx: &mut Cx<'_>,
        request: &FetchRequest,
        topic: &Topic,
        partition: &mut FetchedPartition<'_>,
    ) -> bool {
        false
    }
    /// `error`: the top-level error (0 below version 7).
    fn fetch_response_end(&mut self, cx: &mut Cx<'_>, request: &FetchRequest, error: i16) {}
    /// A Fetch request for which `fetch_request` wanted [`Verdict::Gather`]: all that it lists.
    /// `Pass` or `Answer`.
    fn fetch_whole(&mut self, cx: &mut Cx<'_>, request: &FetchRequest, wanted: &[Wanted]) -> Verdict {
        Verdict::Pass
    }
    /// A Produce request's front has arrived; nothing of it went upstream. `Pass` or `Gather`.
    fn produce_request(&mut self, cx: &mut Cx<'_>, request: &ProduceRequest) -> Verdict {
        Verdict::Pass
    }
    /// A Produce request for which `produce_request` wanted [`Verdict::Gather`]. `Pass` or `Answer`.
    fn produce_whole(&mut self, cx: &mut Cx<'_>, request: &ProduceRequest, partitions: &[Produced]) -> Verdict {
        Verdict::Pass
    }
    /// A partition of a Produce request that goes upstream.
    fn produce_partition(&mut self, cx: &mut Cx<'_>, request: &ProduceRequest, partition: &Produced) {}
    /// A topic of a Metadata response on its way to the client.
    fn metadata_topic(&mut self, cx: &mut Cx<'_>, topic: &MetadataTopic<'_>) {}
    /// A whole request of an API that was asked for. What is changed keeps its length.
    fn request(&mut self, cx: &mut Cx<'_>, asked: Asked, head: &RequestHead, frame: &mut [u8]) -> Verdict {
        Verdict::Pass
    }
    /// A whole response. What is changed in place keeps its length; `Answer`: this complete frame
    /// in its place.
    fn response(&mut self, cx: &mut Cx<'_>, asked: Asked, frame: &mut [u8], body: usize) -> Verdict {
        Verdict::Pass
    }
    fn injected(&mut self, cx: &mut Cx<'_>, token: u64, outcome: Injected<'_>) {}
    /// Another connection of the same client, `asker`, wants to know the log starts of
    /// `partitions`; it is woken through [`Peers::wake`].
    fn peer_asks(&mut self, cx: &mut Cx<'_>, asker: u64, topic: &str, partitions: &[i32]) {}
    /// Another connection of the same client calls ([`Peers::wake`]).
    fn woken(&mut self, cx: &mut Cx<'_>) {}
    /// A time that this mender asked for by [`Cx::wake_at`] has come.
    fn tick(&mut self, cx: &mut Cx<'_>) {}
    /// kmend has been told to stop; connections go on for a while (rule C9).
    fn draining(&mut self, cx: &mut Cx<'_>) {}
    /// The client has gone, the broker's side is still there: until when this mender needs it, at
    /// most. Asked when the client goes and after everything that happens from then on; `None`: not
    /// any more. Requests may be injected; nothing reaches the client.
    fn lingers(&mut self, cx: &mut Cx<'_>) -> Option<Instant> {
        None
    }
    fn closed(&mut self, cx: &mut Cx<'_>) {}
}

/// What a mender wants done.
#[derive(Debug)]
pub enum Effect {
    /// Send a request on this connection; its answer goes to the mender with this number.
    Inject(Inject),
    WakeAt {
        mender: usize,
        at: Instant,
    },
    /// Close the connection, if nothing is owed to either side and nothing is on its way.
    Close {
        mender: usize,
    },
}

#[derive(Debug)]
pub struct Inject {
    pub mender: usize,
    pub token: u64,
    pub api: ApiKey,
    pub version: i16,
    pub body: Vec<u8>,
    pub deadline: Instant,
}

/// What all menders of a process share.
#[derive(Debug, Default)]
pub struct Shared {
    pub catalog: Catalog,
    pub peers: Peers,
    pub groups: Groups,
    pub progress: Progress,
    pub findings: Findings,
    pub promises: promises::Kept,
    pub cluster: Cluster,
    pub chances: std::sync::Arc<Chances>,
}

/// The id of the cluster, as the first Metadata response tells it.
#[derive(Debug, Default)]
pub struct Cluster(std::sync::OnceLock<std::sync::Arc<str>>);

impl Cluster {
    pub fn learn(&self, id: &str) {
        self.0.get_or_init(|| id.into());
    }

    pub fn id(&self) -> Option<std::sync::Arc<str>> {
        self.0.get().cloned()
    }
}

/// The surroundings of one call.
pub struct Cx<'a> {
    pub now: Instant,
    pub conn: &'a Conn,
    pub topics: &'a Topics,
    pub fetch: &'a FetchTable,
    pub shared: &'a Shared,
    /// Since when nothing has been owed to the client or to kmend, every answer has been written,
    /// and the client has sent nothing; `None` while something is on its way.
    pub quiet: Option<Instant>,
    effects: &'a mut Vec<Effect>,
    mender: usize,
}

impl Cx<'_> {
    /// Sends a request of kmend's own on this connection, behind what is there already. `false`:
    /// the connection may not carry one now (rule M3).
    #[must_use]
    pub fn inject(&mut self, token: u64, api: ApiKey, version: i16, body: Vec<u8>, deadline: Instant) -> bool {
        if !self.conn.injectable {
            return false;
        }
        self.effects.push(Effect::Inject(Inject { mender: self.mender, token, api, version, body, deadline }));
        true
    }

    pub fn wake_at(&mut self, at: Instant) {
        self.effects.push(Effect::WakeAt { mender: self.mender, at });
    }

    /// Closes this connection at a frame boundary, if it is [`quiet`](Self::quiet) at that very
    /// moment; else nothing happens. The client finds it closed as after a broker's idle timeout:
    /// what it may still send goes nowhere.
    pub fn close_if_quiet(&mut self) {
        self.effects.push(Effect::Close { mender: self.mender });
    }

    /// Surroundings for tests of a mender without a session.
    pub fn bare<'a>(
        now: Instant,
        conn: &'a Conn,
        topics: &'a Topics,
        fetch: &'a FetchTable,
        shared: &'a Shared,
        effects: &'a mut Vec<Effect>,
    ) -> Cx<'a> {
        Cx { now, conn, topics, fetch, shared, quiet: None, effects, mender: 0 }
    }
}
