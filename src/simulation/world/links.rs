//! Connections: bytes from a member through kmend to the broker and back, with their time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::session::tests::kit::Rig;
use crate::simulation::At;
use crate::simulation::check::Life;
use crate::simulation::dice::Dice;
use crate::simulation::member::Asked;

/// One way between two of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    MemberToKmend,
    KmendToBroker,
    BrokerToKmend,
    KmendToMember,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Bytes(Vec<u8>),
    Close,
}

/// A member's request that waits for its answer.
pub struct Waiting {
    pub correlation: i32,
    pub api: crate::wire::api::ApiKey,
    pub version: i16,
    pub asked: Asked,
    pub at: At,
    /// JoinGroup or SyncGroup is among what waits before it: that may take long.
    pub behind_join: bool,
}

pub struct Link {
    pub life: Option<Life>,
    /// The producer whose it is; neither: a connection of kmend's own.
    pub writer: Option<Life>,
    pub kmend: usize,
    /// It leads to the leader, for Fetch.
    pub reads: bool,
    pub node: i32,
    /// kmend's side; `None`: it has ended.
    pub rig: Option<Rig>,
    /// When kmend wants to be woken next.
    pub armed: Option<At>,
    pub member_open: bool,
    pub waiting: VecDeque<Waiting>,
    pub to_member: Vec<u8>,
    /// What kmend has written to the client and is no complete frame yet.
    pub said: Vec<u8>,
    /// What the broker answered to Heartbeats, and whether the group was stable then.
    pub beats: BTreeMap<i32, (i16, bool)>,
    pub correlation: i32,
    pub broker_open: bool,
    pub to_broker: Vec<u8>,
    pub inbox: VecDeque<Vec<u8>>,
    /// The broker works on a request.
    pub busy: bool,
    pub stalled: At,
    /// The request at its front waits for a leader that is slow to tell.
    pub waits_for_leader: bool,
    /// When the last packet of each hop arrives; what comes after a cut is lost.
    last: [At; 4],
    cut: [Option<At>; 4],
    pub dice: Dice,
    /// What kmend has written and is no complete frame yet, where topics grow; and the client's
    /// requests that it has passed on and not answered.
    pub sent_up: Vec<u8>,
    pub sent_down: Vec<u8>,
    pub owed: BTreeSet<i32>,
    /// It has carried a request that wants no answer.
    pub unanswered: bool,
    /// Fetch requests that the broker has seen.
    pub served: BTreeSet<i32>,
    /// What kmend has been given and has not passed on, for rule I6.
    pub mirror: [VecDeque<u8>; 2],
}

impl Link {
    pub fn new(life: Option<Life>, kmend: usize, node: i32, rig: Option<Rig>, dice: Dice) -> Link {
        Link {
            life,
            writer: None,
            kmend,
            reads: false,
            node,
            rig,
            armed: None,
            member_open: true,
            waiting: VecDeque::new(),
            to_member: Vec::new(),
            said: Vec::new(),
            beats: BTreeMap::new(),
            correlation: 0,
            broker_open: true,
            to_broker: Vec::new(),
            inbox: VecDeque::new(),
            busy: false,
            stalled: 0,
            waits_for_leader: false,
            last: [0; 4],
            cut: [None; 4],
            dice,
            sent_up: Vec::new(),
            sent_down: Vec::new(),
            owed: BTreeSet::new(),
            unanswered: false,
            served: BTreeSet::new(),
            mirror: Default::default(),
        }
    }

    pub fn is_own(&self) -> bool {
        self.life.is_none() && self.writer.is_none()
    }

    /// When a packet that is sent now arrives: in the order of sending.
    pub fn arrival(&mut self, hop: Hop, now: At, calm: bool) -> At {
        let takes = match () {
            () if calm => 1000,
            () if self.dice.one_in(40) => self.dice.range(1000, 60_000),
            () => self.dice.range(100, 2500),
        };
        let at = (now + takes).max(self.last[hop as usize] + 1);
        self.last[hop as usize] = at;
        at
    }

    /// Of what is on its way, what arrives later than `at` is lost.
    pub fn lose(&mut self, hop: Hop, at: At) {
        let cut = &mut self.cut[hop as usize];
        *cut = Some(cut.map_or(at, |c| c.min(at)));
    }

    pub fn is_lost(&self, hop: Hop, at: At) -> bool {
        self.cut[hop as usize].is_some_and(|cut| at > cut)
    }
}

/// Takes the complete frames out of bytes that have arrived.
pub fn frames(bytes: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(prefix) = bytes.first_chunk::<4>() {
        let total = 4 + u32::from_be_bytes(*prefix) as usize;
        if bytes.len() < total {
            break;
        }
        let rest = bytes.split_off(total);
        all.push(std::mem::replace(bytes, rest));
    }
    all
}

pub type Links = BTreeMap<u64, Link>;
