//! Since when a member has its assignment, and what it said that it still owned.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn of(groups: &Groups) -> Member {
    groups.member("g", "m").expect("a member")
}

#[test]
fn an_assignment_counts_from_its_answer() {
    let (groups, a, start) = (Groups::default(), client("a"), Instant::now());
    let at = |seconds| Who { client: &a, group: "g", member: "m", now: start + seconds * SECOND };
    groups.heard(&at(0), 3, None);
    groups.heard(&at(1), 3, None);
    assert_eq!(of(&groups).since, start);
    groups.heard(&at(2), 4, None);
    assert_eq!(of(&groups).since, start + 2 * SECOND);
    groups.joined(&at(3), joined(5, false), Terms::default());
    groups.synced(&at(4), joined(5, false), None, owning([1]));
    assert_eq!(of(&groups).since, start + 4 * SECOND);
    // Heard again, asked again: it is the same assignment.
    groups.heard(&at(5), 5, None);
    groups.synced(&at(6), joined(5, false), None, owning([1]));
    assert_eq!((of(&groups).since, of(&groups).seen), (start + 4 * SECOND, start + 6 * SECOND));
    groups.synced(&at(7), joined(5, false), None, owning([2]));
    assert_eq!(of(&groups).since, start + 7 * SECOND);
    // A follower that joins again and gets the same begins anew all the same.
    groups.joined(&at(8), joined(5, false), Terms::default());
    groups.synced(&at(9), joined(5, false), None, owning([2]));
    assert_eq!(of(&groups).since, start + 9 * SECOND);
    groups.synced(&at(10), joined(6, false), None, owning([2]));
    assert_eq!(of(&groups).since, start + 10 * SECOND);
}

#[test]
fn in_the_new_protocol_from_when_it_last_changed() {
    let (groups, a, start) = (Groups::default(), client("a"), Instant::now());
    let beat = |seconds, epoch, joins, assigned: Option<i32>| {
        let now = start + seconds * SECOND;
        let assignment = assigned.and_then(|p| owning([p]));
        let beat = Beat { epoch, joins, assignment, ..Beat::default() };
        groups.beat(&Who { client: &a, group: "g", member: "m", now }, beat);
        (of(&groups).since - start).as_secs()
    };
    assert_eq!(beat(0, 1, true, Some(1)), 0);
    assert_eq!(beat(1, 2, false, None), 0);
    assert_eq!(beat(2, 2, false, Some(1)), 0);
    assert_eq!(beat(3, 2, false, Some(2)), 3);
    assert_eq!(beat(4, 3, true, Some(2)), 4, "it has begun anew");
}

#[test]
fn what_it_owned_is_known_of_the_generation_that_it_joined() {
    let (v, a) = (View::new(), client("a"));
    let terms = || Terms { owned: owning([1, 2]), ..Terms::default() };
    let owned = || v.groups.member("g", "m").and_then(|m| m.owned).map(|o| (*o).clone());
    v.join(&a, "m", joined(1, false), terms());
    assert_eq!(owned(), owning([1, 2]));
    v.sync(&a, "m", 1, owning([2, 3, 4]));
    assert_eq!(owned(), owning([1, 2]));
    assert_eq!(v.groups.state().size(), (1, 7, 0));
    // How it came to the next one was not seen.
    v.sync(&a, "m", 2, owning([2]));
    assert_eq!((owned(), v.groups.state().size()), (None, (1, 2, 0)));
    v.join(&a, "m", joined(3, false), terms());
    v.groups.heard(&Who { client: &a, group: "g", member: "m", now: v.now }, 4, None);
    assert_eq!((owned(), v.groups.state().size()), (None, (1, 0, 0)));
    for go in [
        |g: &Groups| g.forgotten("g", "m"),
        |g: &Groups| g.left("g", "m"),
        |g: &Groups| {
            g.forget_client(&client("a"));
        },
    ] {
        v.join(&a, "m", joined(5, false), terms());
        v.sync(&a, "m", 5, owning([2]));
        assert_eq!(v.groups.state().size().1, 5);
        go(&v.groups);
        assert_eq!(v.groups.state().size().1, 0);
    }
}

#[test]
fn what_is_owned_counts_within_what_is_kept() {
    let (v, a) = (View::new(), client("a"));
    v.join(&a, "m", joined(1, false), Terms { owned: owning(0..666_666), ..Terms::default() });
    v.sync(&a, "m", 1, owning(0..666_666));
    let member = v.groups.member("g", "m").expect("a member");
    assert_eq!((member.assignment.is_some(), member.owned), (true, None), "what it has now is worth more");
    assert_eq!(v.groups.state().size().1, 666_667);
}
