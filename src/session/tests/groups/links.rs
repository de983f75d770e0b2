//! Which new member id follows which old one.

use super::line::*;
use crate::session::tests::kit::*;
use crate::session::tests::watch::Watch;
use crate::wire::api::ApiKey;

fn world() -> World {
    World::new(Watch::default().mender(), Default::default())
}

impl Line {
    fn successor(&self, old: &str) -> Option<String> {
        self.shared.groups.successor("g", old).map(|id| id.to_string())
    }
}

#[test]
fn a_forgotten_member_is_followed_to_its_new_id() {
    in_all_cuts(|cuts| {
        for version in 0..=9 {
            let world = world();
            let mut line = Line::new(&world, cuts.clone());
            line.join(version, "", 0, "a");
            line.sync(0, 5, "a", 0, "consumer");
            line.join(version, "a", 25, "");
            assert_eq!((line.known("a").assignment, line.successor("a")), (None, None));
            // Not yet: it asks again.
            line.join(version, "", 15, "");
            if version >= 4 {
                line.join(version, "", 79, "b");
                assert_eq!((line.member("b"), line.successor("a")), (None, None));
                line.join(version, "b", 14, "");
            }
            line.join(version, if version >= 4 { "b" } else { "" }, 0, "b");
            assert_eq!((line.previous("b").as_deref(), line.successor("a").as_deref()), (Some("a"), Some("b")));
            assert!(line.member("a").is_none(), "who is followed is no member");
            // It stays so in later generations, and over another change.
            line.join(version, "b", 0, "b");
            assert_eq!(line.previous("b").as_deref(), Some("a"));
            line.join(version, "b", 25, "");
            line.join(version, "", 0, "c");
            assert_eq!((line.previous("c").as_deref(), line.successor("a").as_deref()), (Some("b"), Some("c")));
            line.join(version, "", 0, "d");
            assert_eq!(line.previous("d"), None, "there is nobody left to follow");
        }
    });
}

#[test]
fn an_id_that_was_given_and_expired_passes_its_link_on() {
    let world = world();
    let mut line = Line::new(&world, Cuts::Whole);
    line.join(4, "a", 25, "");
    line.join(4, "", 79, "b");
    line.join(4, "b", 25, "");
    line.join(4, "", 79, "c");
    line.join(4, "c", 0, "c");
    assert_eq!((line.previous("c").as_deref(), line.successor("b")), (Some("a"), None));
}

#[test]
fn of_two_that_wait_neither_is_linked() {
    in_all_cuts(|cuts| {
        let world = world();
        let mut line = Line::new(&world, cuts);
        for old in ["a", "b"] {
            line.join(5, old, 25, "");
            line.join(5, old, 25, "");
        }
        for new in ["c", "d"] {
            line.join(5, "", 79, new);
            line.join(5, new, 0, new);
            assert_eq!(line.previous(new), None);
        }
        assert_eq!((line.successor("a"), line.successor("b")), (None, None));
        // One that waits alone is linked again.
        line.join(5, "c", 25, "");
        line.join(5, "", 0, "e");
        assert_eq!(line.previous("e").as_deref(), Some("c"));
    });
}

#[test]
fn who_asked_before_the_old_id_was_refused_does_not_follow_it() {
    in_all_cuts(|cuts| {
        let world = world();
        let mut line = Line::new(&world, cuts);
        line.ask(ApiKey::JOIN_GROUP, 5, &join(5, "a", None));
        line.ask(ApiKey::JOIN_GROUP, 5, &join(5, "", None));
        line.answer(&joined(5, 25, -1, ""));
        line.answer(&joined(5, 0, 5, "new"));
        assert_eq!(line.previous("new"), None);
        line.join(5, "", 0, "b");
        assert_eq!(line.previous("b").as_deref(), Some("a"));
    });
}

#[test]
fn another_connection_or_group_follows_nobody() {
    let world = world();
    let mut line = Line::new(&world, Cuts::Whole);
    line.join(5, "a", 25, "");
    let mut other = Line::numbered(&world, Cuts::Whole, 2);
    other.join(5, "", 0, "b");
    assert_eq!(other.previous("b"), None);
    let mut elsewhere = join(5, "", None);
    elsewhere.group_id.0 = text("h");
    line.ask(ApiKey::JOIN_GROUP, 5, &elsewhere);
    line.answer(&joined(5, 0, 1, "c"));
    assert_eq!(line.shared.groups.member("h", "c").and_then(|m| m.previous), None);
    line.join(5, "", 0, "d");
    assert_eq!(line.previous("d").as_deref(), Some("a"));
}

#[test]
fn a_static_member_is_followed_by_its_instance_id() {
    in_all_cuts(|cuts| {
        for version in 5..=9 {
            let world = world();
            let mut line = Line::new(&world, cuts.clone());
            line.join_static(version, "", "i", "a");
            line.join_static(version, "", "j", "x");
            line.join_static(version, "", "i", "b");
            assert_eq!((line.previous("b").as_deref(), line.successor("a").as_deref()), (Some("a"), Some("b")));
            assert!(line.member("a").is_none() && line.previous("x").is_none());
            // It may come on another connection of its client.
            let mut other = Line::numbered(&world, cuts.clone(), 2);
            other.join_static(version, "", "i", "c");
            assert_eq!((other.previous("c").as_deref(), line.successor("a").as_deref()), (Some("b"), Some("c")));
        }
        for version in 0..=1 {
            let world = world();
            let mut line = Line::new(&world, cuts.clone());
            for (member, epoch) in [("a", 1), ("b", 2)] {
                line.ask(ApiKey::CONSUMER_GROUP_HEARTBEAT, version, &consumer(0, member, Some("i")));
                line.answer(&accepted(epoch, member, Some(&[0])));
            }
            assert_eq!(line.previous("b").as_deref(), Some("a"));
        }
    });
}
