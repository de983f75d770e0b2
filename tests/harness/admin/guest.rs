//! A member of a classic group that reads nothing: its presence makes the others rebalance, and it takes its time
//! to rejoin where a test wants it, so that the JoinGroup of the others waits for it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};
use kafka_protocol::protocol::StrBytes;

use super::super::wait::wait_for;
use super::Admin;
use super::conn::Conn;
use super::groups::own;

const JOIN: i16 = 5;
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Wishes {
    leave: AtomicBool,
    /// It knows of a rebalance and heartbeats on, without joining.
    wait: AtomicBool,
    /// Its generations so far.
    synced: AtomicU32,
    /// It has met a rebalance that it has not joined yet.
    behind: AtomicBool,
}

/// A running guest. Dropping it leaves the group.
pub struct Guest {
    wishes: Arc<Wishes>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Guest {
    /// Begins to join a group that is stable now; does not wait for its members. `topic` and `partitions`: what it hands
    /// out where the broker makes it the leader.
    pub fn join(admin: &Admin, group: &str, topic: &str, partitions: i32) -> Guest {
        let protocol = admin.membership(group).protocol;
        let address = admin.group_coordinator(group);
        let wishes: Arc<Wishes> = Arc::default();
        let (own, group, topic) = (wishes.clone(), group.to_owned(), topic.to_owned());
        let thread = std::thread::spawn(move || {
            let conn = Conn::open(&address).expect("a connection to the coordinator");
            Story { address, conn, group, topic, partitions, protocol, id: StrBytes::default(), generation: -1 }
                .tell(&own);
        });
        Guest { wishes, thread: Mutex::new(Some(thread)) }
    }

    /// In how many generations it has been assigned (nothing).
    pub fn synced(&self) -> u32 {
        self.wishes.synced.load(Ordering::SeqCst)
    }

    /// Waits until it has been assigned in so many generations.
    pub fn wait_synced(&self, times: u32) -> &Guest {
        wait_for("the guest's assignment", Duration::from_secs(60), || (self.synced() >= times).then_some(()));
        self
    }

    /// From now on it takes part in no rebalance, until [`Guest::hurry`].
    pub fn dawdle(&self) {
        self.wishes.wait.store(true, Ordering::SeqCst);
    }

    pub fn hurry(&self) {
        self.wishes.wait.store(false, Ordering::SeqCst);
    }

    /// Waits until it knows of a rebalance.
    pub fn wait_behind(&self) {
        wait_for("the guest to learn of a rebalance", Duration::from_secs(20), || {
            self.wishes.behind.load(Ordering::SeqCst).then_some(())
        });
    }

    /// Leaves the group.
    pub fn leave(&self) {
        self.wishes.leave.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.lock().unwrap_or_else(|e| e.into_inner()).take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.leave();
    }
}

struct Story {
    address: String,
    conn: Conn,
    group: String,
    topic: String,
    partitions: i32,
    protocol: StrBytes,
    id: StrBytes,
    generation: i32,
}

impl Story {
    /// Ends when it has left, or its connection has broken: the test is over then.
    fn tell(mut self, wishes: &Wishes) {
        while !wishes.leave.load(Ordering::SeqCst) {
            match self.join_and_sync() {
                Some(0) => {}
                code => {
                    // A group whose other members take their time does not answer within the connection's limit.
                    if let (None, Some(conn)) = (code, Conn::open(&self.address)) {
                        self.conn = conn;
                    }
                    std::thread::sleep(PAUSE);
                    continue;
                }
            }
            wishes.behind.store(false, Ordering::SeqCst);
            wishes.synced.fetch_add(1, Ordering::SeqCst);
            loop {
                std::thread::sleep(PAUSE);
                let leaves = wishes.leave.load(Ordering::SeqCst);
                let Some(code) = self.heartbeat() else { return };
                wishes.behind.store(code != 0, Ordering::SeqCst);
                if leaves || (code != 0 && !wishes.wait.load(Ordering::SeqCst)) {
                    break;
                }
            }
        }
        let leaver = MemberIdentity::default().with_member_id(self.id.clone());
        let request = LeaveGroupRequest::default().with_group_id(own(&self.group)).with_members(vec![leaver]);
        let _ = self.conn.call(5, &request);
    }

    fn join_and_sync(&mut self) -> Option<i16> {
        let protocol =
            JoinGroupRequestProtocol::default().with_name(self.protocol.clone()).with_metadata(nothing_wanted());
        let request = |id: &StrBytes| {
            JoinGroupRequest::default()
                .with_group_id(own(&self.group))
                .with_session_timeout_ms(30_000)
                .with_rebalance_timeout_ms(60_000)
                .with_member_id(id.clone())
                .with_protocol_type(StrBytes::from_static_str("consumer"))
                .with_protocols(vec![protocol.clone()])
        };
        let mut joined = self.conn.call(JOIN, &request(&self.id))?;
        if joined.error_code == 79 {
            self.id = joined.member_id.clone();
            joined = self.conn.call(JOIN, &request(&self.id))?;
        }
        if joined.error_code == 25 {
            self.id = StrBytes::default();
        }
        if joined.error_code != 0 {
            return Some(joined.error_code);
        }
        (self.id, self.generation) = (joined.member_id.clone(), joined.generation_id);
        // Where it leads: everything to the first that wants something.
        let wants = |m: &kafka_protocol::messages::join_group_response::JoinGroupResponseMember| m.metadata.len() > 10;
        let taker = joined.members.iter().find(|m| m.member_id != self.id && wants(m));
        let gift = taker.map(|m| {
            let all = everything(&self.topic, self.partitions);
            SyncGroupRequestAssignment::default().with_member_id(m.member_id.clone()).with_assignment(all)
        });
        let request = SyncGroupRequest::default()
            .with_group_id(own(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_assignments(gift.into_iter().collect());
        Some(self.conn.call(3, &request)?.error_code)
    }

    fn heartbeat(&mut self) -> Option<i16> {
        let request = HeartbeatRequest::default()
            .with_group_id(own(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone());
        Some(self.conn.call(3, &request)?.error_code)
    }
}

/// A subscription, version 0, to no topic, without user data.
fn nothing_wanted() -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(0);
    bytes.put_i32(-1);
    bytes.freeze()
}

/// An assignment, version 0: all partitions of one topic.
fn everything(topic: &str, partitions: i32) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(1);
    bytes.put_i16(topic.len() as i16);
    bytes.put_slice(topic.as_bytes());
    bytes.put_i32(partitions);
    (0..partitions).for_each(|p| bytes.put_i32(p));
    bytes.put_i32(-1);
    bytes.freeze()
}
