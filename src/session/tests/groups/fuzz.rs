//! Whatever bytes pass, the view of groups stays whole and the bytes pass as they came.

use std::collections::VecDeque;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::session::tests::kit::*;
use crate::session::tests::message::{self, Taste};
use crate::session::tests::watch::Watch;
use crate::wire::layout::{self, mark};
use crate::wire::walk::{self, Mark, Visitor};

/// Errors that somebody acts upon.
struct Errors<'a>(&'a mut StdRng);

impl Visitor for Errors<'_> {
    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        let errors: [i16; 5] = [0, 0, 25, 79, 27];
        if mark == mark::ERROR {
            bytes.copy_from_slice(&errors[self.0.random_range(0..errors.len())].to_be_bytes());
        }
    }
}

/// A message after the layout, perhaps with some of its bytes turned, or any bytes.
fn body(layout: Option<layout::Layout>, rng: &mut StdRng) -> Vec<u8> {
    let junk = |rng: &mut StdRng| (0..rng.random_range(0..60)).map(|_| rng.random()).collect();
    let Some(layout) = layout else {
        return junk(rng);
    };
    let mut body = message::body(layout, Taste::default(), rng).sent;
    walk::whole(layout, &mut body, 0, &mut Errors(rng)).expect("as its layout says");
    match rng.random_range(0..8) {
        0 => return junk(rng),
        1 | 2 => {
            for _ in 0..3 {
                let at = rng.random_range(0..body.len());
                body[at] = rng.random();
            }
        }
        _ => {}
    }
    body
}

/// Some requests, answered in their order. What came of it: the most members, and new ids linked.
fn converse(seed: u64) -> (usize, usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::new(Watch::default().mender(), Default::default());
    let groups = &world.env.shared.groups;
    let mut rig = world.connect(Cuts::random(seed));
    let mut owed = VecDeque::new();
    let (mut members, mut linked) = (0, 0);
    for correlation in 0..120 {
        let api = GROUP_APIS[rng.random_range(0..GROUP_APIS.len())];
        let newest = (0..32).rev().find(|v| layout::request(api, *v).is_some()).expect("a version");
        let version = rng.random_range(0..=newest + 1);
        let frame = request(api, version, correlation, &body(layout::request(api, version), &mut rng));
        rig.client(&frame);
        assert_eq!(rig.at_broker(), frame, "{:?}", rig.end);
        owed.push_back((api, version, correlation));
        while rng.random_range(0..3) > 0 {
            let Some((api, version, correlation)) = owed.pop_front() else { break };
            let frame = response(api, version, correlation, &body(layout::response(api, version), &mut rng));
            rig.broker(&frame);
            assert_eq!(rig.at_client(), frame, "{:?}", rig.end);
        }
        members = members.max(groups.check());
        let all = groups.of_client(&rig.core.conn().client());
        linked += all.iter().filter(|(_, _, m)| m.previous.is_some()).count();
    }
    rig.core.close();
    assert_eq!((groups.check(), groups.watched()), (0, 0));
    (members, linked)
}

#[test]
fn conversations_come_to_something() {
    let all: Vec<_> = (0..20).map(converse).collect();
    let members: usize = all.iter().map(|(members, _)| members).sum();
    let linked: usize = all.iter().map(|(_, linked)| linked).sum();
    assert!(members > 20 && linked > 0, "{members} {linked}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_conversation_passes_and_breaks_nothing(seed in any::<u64>()) {
        converse(seed);
    }
}
