//! What is kept of groups, and what is forgotten.

mod held;
mod rebalance;
mod switch;

use std::net::{IpAddr, Ipv4Addr};

use super::*;

fn client(id: &str) -> ClientKey {
    ClientKey { client_id: Arc::from(id), peer: IpAddr::V4(Ipv4Addr::LOCALHOST) }
}

fn joined(generation: i32, is_leader: bool) -> Joined {
    Joined { generation, is_leader, protocol_type: Arc::from("consumer"), protocol: Arc::from("range") }
}

fn owning(partitions: impl IntoIterator<Item = i32>) -> Option<Assignment> {
    let by_name = HashMap::from([(Arc::from("t"), partitions.into_iter().collect())]);
    Some(Assignment { by_name, by_id: HashMap::new() })
}

fn following(old: &str) -> Terms {
    Terms { previous: Some(Arc::from(old)), ..Terms::default() }
}

struct View {
    groups: Groups,
    now: Instant,
}

impl View {
    fn new() -> View {
        View { groups: Groups::default(), now: Instant::now() }
    }

    fn join(&self, of: &ClientKey, member: &str, joined: Joined, terms: Terms) {
        self.groups.joined(&Who { client: of, group: "g", member, now: self.now }, joined, terms);
    }

    fn sync(&self, of: &ClientKey, member: &str, generation: i32, assignment: Option<Assignment>) {
        let who = Who { client: of, group: "g", member, now: self.now };
        self.groups.synced(&who, joined(generation, false), None, assignment);
    }

    fn successor(&self, old: &str) -> Option<String> {
        self.groups.successor("g", old).map(|id| id.to_string())
    }
}

#[test]
fn follows_members_and_forgets_a_client() {
    let (v, a, b) = (View::new(), client("a"), client("b"));
    v.join(&a, "a-1", joined(1, true), Terms::default());
    v.join(&b, "b-1", joined(1, false), Terms::default());
    v.join(&a, "a-1", joined(2, false), Terms::default());
    assert_eq!(v.groups.member("g", "a-1").map(|m| m.joined), Some(joined(2, false)));
    assert_eq!(v.groups.of_client(&b).len(), 1);
    v.sync(&b, "b-1", 1, owning([1, 2]));
    v.sync(&a, "a-1", 2, owning([3]));
    assert_eq!(v.groups.state().size(), (2, 5, 0));
    v.groups.left("g", "b-1");
    assert_eq!(v.groups.member("g", "b-1"), None);
    v.join(&a, "a-2", joined(3, false), following("a-1"));
    assert_eq!(v.groups.state().size(), (1, 0, 1));
    v.groups.forget_client(&a);
    assert!(v.groups.of_client(&a).is_empty() && v.successor("a-1").is_none());
    assert_eq!(v.groups.state().size(), (0, 0, 0));
}

#[test]
fn another_clients_static_member_is_replaced_but_not_followed() {
    let (v, a, b) = (View::new(), client("a"), client("b"));
    let as_i = || Terms { instance: Some(Arc::from("i")), ..Terms::default() };
    v.join(&a, "a-1", joined(1, false), as_i());
    v.sync(&a, "a-1", 1, owning([1]));
    v.join(&b, "b-1", joined(1, false), as_i());
    assert!(v.groups.member("g", "a-1").is_none() && v.groups.owners("g", "t", [0; 16], 1).is_empty());
    assert_eq!(v.groups.member("g", "b-1").and_then(|m| m.previous), None);
    assert_eq!(v.successor("a-1"), None);
}

#[test]
fn members_assignments_and_links_are_bounded() {
    let (v, a) = (View::new(), client("a"));
    // Two thirds of what is kept, twice: the second one is too much until the first has gone.
    for member in ["first", "second"] {
        v.join(&a, member, joined(1, false), Terms::default());
        v.sync(&a, member, 1, owning(0..666_666));
    }
    let has = |id: &str| v.groups.member("g", id).is_some_and(|m| m.assignment.is_some());
    assert_eq!([has("first"), has("second")], [true, false]);
    v.groups.left("g", "first");
    v.sync(&a, "second", 1, owning(0..666_666));
    assert!(has("second"));
    v.groups.forgotten("g", "second");
    assert_eq!(v.groups.state().size(), (1, 0, 0));

    for n in 0..20_010 {
        v.join(&a, &format!("m{n}"), joined(1, false), Terms::default());
    }
    assert_eq!(v.groups.state().size(), (20_000, 0, 0));
    assert!(v.groups.member("g", "m9").is_none() && v.groups.member("g", "m10").is_some());
    for n in 0..20_010 {
        v.join(&a, "newest", joined(1, false), following(&format!("o{n}")));
    }
    assert_eq!(v.groups.state().size().2, 20_000);
    assert_eq!([v.successor("o9"), v.successor("o10")], [None, Some("newest".into())]);
}

#[test]
fn links_in_a_circle_have_an_end() {
    let (v, a) = (View::new(), client("a"));
    v.join(&a, "x", joined(1, false), following("y"));
    v.join(&a, "y", joined(2, false), following("x"));
    assert!(v.successor("x").is_some());
    v.join(&a, "y", joined(3, false), following("y"));
}
