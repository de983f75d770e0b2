//! The members of consumer groups, as the passing JoinGroup responses show them (rule M8).
//!
//! A member is known by its group and member id, wherever its requests arrive. A sidecar sees the
//! members behind it, not the whole group.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::peers::ClientKey;

/// What a successful JoinGroup response says of its receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub generation: i32,
    /// It was chosen to compute the assignment.
    pub is_leader: bool,
    /// `consumer`, `connect`, ...; empty where neither request nor response told.
    pub protocol_type: Arc<str>,
    /// The assignor: `range`, `cooperative-sticky`, `stream`, ...
    pub protocol: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub client: ClientKey,
    pub joined: Joined,
}

/// Group and member id.
type Key = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
struct State {
    members: HashMap<Key, Member>,
    /// In the order of their first join, for forgetting.
    order: VecDeque<Key>,
}

/// More than any sidecar has; the oldest are forgotten.
const MAX_MEMBERS: usize = 20_000;

#[derive(Debug, Default)]
pub struct Groups {
    state: Mutex<State>,
}

impl Groups {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn joined(&self, client: &ClientKey, group: &str, member: &str, joined: Joined) {
        let mut state = self.state();
        let key = (Arc::from(group), Arc::from(member));
        let member = Member { client: client.clone(), joined };
        if state.members.insert(key.clone(), member).is_none() {
            state.order.push_back(key);
            if state.order.len() > MAX_MEMBERS
                && let Some(oldest) = state.order.pop_front()
            {
                state.members.remove(&oldest);
            }
        }
    }

    pub fn left(&self, group: &str, member: &str) {
        let mut state = self.state();
        let key = (Arc::from(group), Arc::from(member));
        if state.members.remove(&key).is_some() {
            state.order.retain(|k| *k != key);
        }
    }

    pub fn member(&self, group: &str, member: &str) -> Option<Member> {
        self.state().members.get(&(Arc::from(group), Arc::from(member))).cloned()
    }

    /// The members behind one client: group, member id, member.
    pub fn of_client(&self, client: &ClientKey) -> Vec<(Arc<str>, Arc<str>, Member)> {
        let state = self.state();
        let of = state.members.iter().filter(|(_, m)| m.client == *client);
        of.map(|((group, id), member)| (group.clone(), id.clone(), member.clone())).collect()
    }

    /// The client's last connection has gone.
    pub fn forget_client(&self, client: &ClientKey) {
        let mut state = self.state();
        state.members.retain(|_, m| m.client != *client);
        let State { members, order } = &mut *state;
        order.retain(|k| members.contains_key(k));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn follows_members_and_forgets_a_client() {
        let client = |id: &str| ClientKey { client_id: Arc::from(id), peer: IpAddr::V4(Ipv4Addr::LOCALHOST) };
        let joined = |generation, is_leader| Joined {
            generation,
            is_leader,
            protocol_type: Arc::from("consumer"),
            protocol: Arc::from("range"),
        };
        let g = Groups::default();
        g.joined(&client("a"), "g", "a-1", joined(1, true));
        g.joined(&client("b"), "g", "b-1", joined(1, false));
        g.joined(&client("a"), "g", "a-1", joined(2, false));
        assert_eq!(g.member("g", "a-1").map(|m| m.joined), Some(joined(2, false)));
        assert_eq!(g.of_client(&client("b")).len(), 1);
        g.left("g", "b-1");
        assert_eq!(g.member("g", "b-1"), None);
        g.forget_client(&client("a"));
        assert!(g.of_client(&client("a")).is_empty() && g.state().order.is_empty());
    }
}
