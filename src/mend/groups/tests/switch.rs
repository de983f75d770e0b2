//! A group that turns from an eager assignor to a cooperative one (rule D2).

use super::*;

struct Group(Groups, Instant);

impl Group {
    fn new() -> Group {
        Group(Groups::default(), Instant::now())
    }

    fn joined(&self, member: &str, generation: i32, kind: &str, protocol: &str) {
        let (of, joined) = (client(member), chosen(generation, kind, protocol));
        let who = Who { client: &of, group: "g", member, now: self.1 };
        self.0.joined(&who, joined, Terms::default());
    }

    /// It has come so far, one generation for each.
    fn chose(&self, protocols: &[&str]) -> bool {
        for (generation, protocol) in (1..).zip(protocols) {
            self.joined("a", generation, "consumer", protocol);
        }
        self.has_switched()
    }

    fn has_switched(&self) -> bool {
        self.0.has_switched("g")
    }
}

fn chosen(generation: i32, kind: &str, protocol: &str) -> Joined {
    Joined { generation, is_leader: false, protocol_type: Arc::from(kind), protocol: Arc::from(protocol) }
}

#[test]
fn from_eager_to_cooperative() {
    for eager in ["range", "roundrobin", "sticky", "my-own"] {
        assert!(!Group::new().chose(&[eager]));
        for cooperative in ["cooperative-sticky", "my-cooperative"] {
            assert!(Group::new().chose(&[eager, cooperative]));
            assert!(Group::new().chose(&[eager, cooperative, cooperative, "", "stream"]));
            assert!(!Group::new().chose(&[cooperative, cooperative]));
            assert!(!Group::new().chose(&[eager, cooperative, eager]), "and back");
            assert!(!Group::new().chose(&["", cooperative]), "what was before is not known");
            assert!(!Group::new().chose(&["stream", cooperative]));
        }
    }
}

#[test]
fn only_consumers_and_only_the_newest_generation() {
    let g = Group::new();
    g.joined("a", 1, "consumer", "range");
    g.joined("a", 2, "connect", "cooperative-compatible");
    assert!(!g.has_switched());
    g.joined("a", 3, "consumer", "cooperative-sticky");
    assert!(g.has_switched());
    // Late: another member's of the generation before.
    g.0.synced(&Who { client: &client("a"), group: "g", member: "a", now: g.1 }, chosen(3, "", ""), None, owning([1]));
    g.joined("b", 2, "consumer", "range");
    g.0.heard(&Who { client: &client("c"), group: "g", member: "c", now: g.1 }, 1, None);
    assert!(g.has_switched());
    g.joined("b", 4, "consumer", "range");
    assert!(!g.has_switched());
}

#[test]
fn a_sync_shows_it_where_the_join_was_not_seen() {
    let g = Group::new();
    for (generation, protocol) in [(1, "range"), (2, "cooperative-sticky")] {
        let who = Who { client: &client("a"), group: "g", member: "a", now: g.1 };
        g.0.synced(&who, chosen(generation, "consumer", protocol), None, None);
    }
    assert!(g.has_switched());
}

#[test]
fn it_ends_with_the_last_member_and_not_when_one_takes_anothers_place() {
    let switched = || {
        let g = Group::new();
        assert!(g.chose(&["range", "cooperative-sticky"]));
        g
    };
    let g = switched();
    g.joined("b", 2, "consumer", "cooperative-sticky");
    g.0.left("g", "a");
    assert!(g.has_switched());
    g.0.forget_client(&client("b"));
    assert!(!g.has_switched());
    let g = switched();
    g.0.left("g", "a");
    g.joined("a", 3, "consumer", "cooperative-sticky");
    assert!(!g.has_switched());
    let g = switched();
    let who = Who { client: &client("a"), group: "g", member: "a-2", now: g.1 };
    g.0.joined(&who, chosen(3, "consumer", "cooperative-sticky"), following("a"));
    assert!(g.has_switched() && g.0.member("g", "a").is_none());
}
