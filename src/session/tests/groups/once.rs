//! What the broker said is told once, and before a mender sees it.

use super::line::*;
use crate::mend::Phase;
use crate::session::tests::kit::*;
use crate::session::tests::script::{Do, PATIENCE, Scripted, WATCHED};
use crate::session::tests::watch::Watch;
use crate::wire::api::ApiKey;

#[test]
fn a_response_that_is_held_has_been_told_and_is_not_told_again() {
    in_all_cuts(|cuts| {
        let scripted = Scripted::new(|plan| plan.on_response = Do::Hold);
        let world = World::new(scripted.mender(), Default::default());
        let mut rig = world.connect(cuts);
        rig.client(&request(WATCHED, 8, 1, &commit(8, 3, "me")));
        let answer = response(WATCHED, 8, 1, &encoded(&committed(&[0]), 8));
        rig.broker(&answer);
        assert!(rig.at_client().is_empty());
        let groups = &world.env.shared.groups;
        assert_eq!(groups.member("g", "me").map(|m| m.phase), Some(Phase::Heard), "while it is held");
        groups.left("g", "me");
        rig.later(PATIENCE / 2);
        rig.later(PATIENCE);
        assert_eq!(rig.at_client(), answer);
        assert_eq!(groups.member("g", "me"), None);
    });
}

#[test]
fn a_request_that_stays_here_tells_nothing() {
    let scripted = Scripted::new(|plan| plan.on_request = Do::Answer);
    let world = World::new(scripted.mender(), Default::default());
    let mut rig = world.connect(Cuts::Whole);
    rig.client(&request(WATCHED, 8, 1, &commit(8, 3, "me")));
    assert!(rig.at_broker().is_empty() && !rig.at_client().is_empty());
    assert!(world.env.shared.groups.members_of("g").is_empty());
}

#[test]
fn answers_are_read_against_their_own_requests() {
    let world = World::new(Watch::default().mender(), Default::default());
    let mut line = Line::new(&world, Cuts::random(3));
    // Three in flight, and one between them that nobody looks at.
    line.ask_raw(ApiKey::OFFSET_COMMIT, 8, &commit(8, 1, "a"));
    line.ask(ApiKey::JOIN_GROUP, 7, &join(7, "b", None));
    line.ask_raw(ApiKey::LIST_GROUPS, 0, &[]);
    line.ask(ApiKey::SYNC_GROUP, 5, &sync(5, 9, "c", "consumer"));
    line.answer(&committed(&[22]));
    line.answer(&joined(7, 0, 4, "b"));
    line.answer_raw(&[0; 6]);
    line.answer(&synced(5, 0, "consumer"));
    assert!(line.member("a").is_none());
    assert_eq!([line.known("b").phase, line.known("c").phase], [Phase::Joined, Phase::Stable]);
}
