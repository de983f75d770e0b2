//! Committed offsets below the log start, lifted in OffsetFetch responses (rule A8).

use std::time::Duration;

use super::broker::{Broker, TOPIC_ID};
use super::rig::{Link, world};
use crate::session::core::Wait;
use crate::session::tests::kit::{Cuts, World, frames, in_all_cuts, request, response};
use crate::wire::api::ApiKey;
use crate::wire::varint;

/// Writes the fields that OffsetFetch's versions have in common, old style and compact.
struct Body {
    bytes: Vec<u8>,
    version: i16,
}

impl Body {
    fn new(version: i16) -> Body {
        Body { bytes: Vec::new(), version }
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Body {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn text(&mut self, text: &str) -> &mut Body {
        if self.version >= 6 {
            varint::write(&mut self.bytes, text.len() as u32 + 1);
        } else {
            self.put(&(text.len() as i16).to_be_bytes());
        }
        self.put(text.as_bytes())
    }

    fn count(&mut self, n: usize) -> &mut Body {
        if self.version >= 6 {
            varint::write(&mut self.bytes, n as u32 + 1);
        } else {
            self.put(&(n as i32).to_be_bytes());
        }
        self
    }

    fn topic(&mut self) -> &mut Body {
        if self.version >= 10 { self.put(&TOPIC_ID) } else { self.text("orders") }
    }

    fn tags(&mut self) -> &mut Body {
        if self.version >= 6 {
            self.put(&[0]);
        }
        self
    }
}

/// One request, for partition 0 of one topic, for these groups (one below version 8).
fn asks(version: i16, groups: &[&str]) -> Vec<u8> {
    let mut body = Body::new(version);
    if version >= 8 {
        body.count(groups.len());
    }
    for group in groups {
        body.text(group);
        if version >= 9 {
            body.text("member").put(&7i32.to_be_bytes());
        }
        body.count(1).topic().count(1).put(&0i32.to_be_bytes()).tags();
        if version >= 8 {
            body.tags();
        }
    }
    if version >= 7 {
        body.put(&[1]);
    }
    body.tags();
    request(ApiKey::OFFSET_FETCH, version, 30, &body.bytes)
}

/// The answer; offsets and epochs of each group.
fn tells(version: i16, groups: &[(&str, i64, i32)]) -> Vec<u8> {
    let mut body = Body::new(version);
    if version >= 3 {
        body.put(&[0; 4]);
    }
    if version >= 8 {
        body.count(groups.len());
    }
    for (group, offset, epoch) in groups {
        if version >= 8 {
            body.text(group);
        }
        body.count(1).topic().count(1);
        body.put(&0i32.to_be_bytes()).put(&offset.to_be_bytes());
        if version >= 5 {
            body.put(&epoch.to_be_bytes());
        }
        body.text("").put(&[0, 0]).tags().tags();
        if version >= 8 {
            body.put(&[0, 0]).tags();
        }
    }
    if (2..8).contains(&version) {
        body.put(&[0, 0]);
    }
    body.tags();
    response(ApiKey::OFFSET_FETCH, version, 30, &body.bytes)
}

/// The client joins a group of this protocol type; answered at once.
fn join(link: &mut Link, group: &str, kind: &str) {
    let mut body = Body::new(0);
    body.text(group).put(&[0; 4]).text("").text(kind).put(&[0; 4]);
    link.rig.client(&request(ApiKey::JOIN_GROUP, 0, 20, &body.bytes));
    link.rig.broker(&response(ApiKey::JOIN_GROUP, 0, 20, b"joined"));
    link.rig.at_broker();
    link.rig.at_client();
}

fn linked(world: &World, cuts: Cuts) -> Link {
    world.env.shared.catalog.learn("orders", TOPIC_ID, &[1]);
    Link::new(world, cuts, 12, Broker::new(&[(0, (100, 200))]))
}

/// Sends the request; the broker answers what kmend injects, then gives this answer.
fn exchange(link: &mut Link, asks: &[u8], tells: &[u8]) -> Vec<u8> {
    link.rig.client(asks);
    for frame in frames(&link.rig.at_broker()) {
        match link.broker.answer(&frame) {
            Some(answer) => link.rig.broker(&answer),
            None => assert_eq!(frame, asks, "the client's own is not changed"),
        }
    }
    link.rig.broker(tells);
    assert!(link.rig.end.is_none(), "{:?}", link.rig.end);
    link.rig.at_client()
}

#[test]
fn a_members_commit_is_lifted_in_every_version() {
    in_all_cuts(|cuts| {
        for version in 1..=10 {
            let world = world(|_| {});
            let mut link = linked(&world, cuts.clone());
            join(&mut link, "billing", "consumer");
            let asks = asks(version, &["billing"]);
            let got = exchange(&mut link, &asks, &tells(version, &[("billing", 40, 5)]));
            assert_eq!(got, tells(version, &[("billing", 100, -1)]), "version {version}");
            let lifted = world.metric("kmend_repairs_total", &[("outcome", "lifted")]);
            let skipped = world.metric("kmend_offset_records_skipped_total", &[]);
            assert_eq!((lifted, skipped), (1.0, 60.0));
            // What needs no lifting keeps its epoch; nothing committed stays so.
            for offset in [100, 150, 500, -1] {
                let told = tells(version, &[("billing", offset, 5)]);
                assert_eq!(exchange(&mut link, &asks, &told), told);
            }
        }
    });
}

#[test]
fn those_who_are_no_members_see_the_truth() {
    in_all_cuts(|cuts| {
        let world = world(|_| {});
        let mut link = linked(&world, cuts);
        let told = tells(8, &[("billing", 40, 5)]);
        assert_eq!(exchange(&mut link, &asks(8, &["billing"]), &told), told);
        // Connect's workers join groups too, of another kind.
        join(&mut link, "billing", "connect");
        assert_eq!(exchange(&mut link, &asks(8, &["billing"]), &told), told);
        assert_eq!(link.broker.times_asked(ApiKey::LIST_OFFSETS), 0);
    });
}

#[test]
fn only_the_clients_own_group_is_lifted_among_several() {
    in_all_cuts(|cuts| {
        let world = world(|_| {});
        let mut link = linked(&world, cuts);
        join(&mut link, "billing", "consumer");
        let got =
            exchange(&mut link, &asks(8, &["billing", "audit"]), &tells(8, &[("billing", 40, 5), ("audit", 30, 5)]));
        assert_eq!(got, tells(8, &[("billing", 100, -1), ("audit", 30, 5)]));
    });
}

#[test]
fn without_the_leaders_word_the_truth_comes_after_a_second() {
    in_all_cuts(|cuts| {
        let world = world(|_| {});
        let mut link = linked(&world, cuts.clone());
        // The leader is another broker, to which this client has a connection that keeps silent.
        world.env.shared.catalog.learn("orders", TOPIC_ID, &[2]);
        let mut leader = world.connect_to(cuts, 2, Some(2));
        crate::session::tests::kit::proven(&mut leader);
        join(&mut link, "billing", "consumer");
        let told = tells(8, &[("billing", 40, 5)]);
        assert_eq!(exchange(&mut link, &asks(8, &["billing"]), &told), b"");
        assert_eq!(link.rig.waits[1], Wait::Held);
        link.rig.later(Duration::from_secs(1));
        assert_eq!(link.rig.at_client(), told);
    });
}

#[test]
fn another_connection_of_the_client_asks_the_leader() {
    in_all_cuts(|cuts| {
        let world = world(|_| {});
        let mut link = linked(&world, cuts.clone());
        world.env.shared.catalog.learn("orders", TOPIC_ID, &[2]);
        let mut leader = Link::number(&world, cuts, 12, Broker::new(&[(0, (100, 200))]), 7);
        leader.rig.core.close();
        leader.rig = world.connect_to(Cuts::Whole, 8, Some(2));
        crate::session::tests::kit::proven(&mut leader.rig);
        join(&mut link, "billing", "consumer");
        let told = tells(8, &[("billing", 40, 5)]);
        assert_eq!(exchange(&mut link, &asks(8, &["billing"]), &told), b"");
        leader.rig.settle();
        leader.serve();
        assert_eq!(leader.rig.at_client(), b"", "it is not the client's");
        link.rig.settle();
        assert_eq!(link.rig.at_client(), tells(8, &[("billing", 100, -1)]));
    });
}

/// A connection that may not speak now says so at once, whatever else it waits for.
#[test]
fn a_connection_that_cannot_ask_does_not_keep_the_asker_waiting() {
    let world = world(|_| {});
    let mut link = linked(&world, Cuts::Whole);
    world.env.shared.catalog.learn("orders", TOPIC_ID, &[2]);
    let mut leader = world.connect_to(Cuts::Whole, 2, Some(2));
    crate::session::tests::kit::proven(&mut leader);
    join(&mut link, "billing", "consumer");
    let told = tells(8, &[("billing", 40, 5)]);
    // One question is under way and unanswered; then the connection joins a group.
    link.rig.client(&asks(8, &["billing"]));
    leader.settle();
    leader.client(&request(ApiKey::JOIN_GROUP, 0, 20, b"\0\0"));
    link.rig.at_broker();
    link.rig.later(Duration::from_secs(2));
    link.rig.broker(&told);
    assert_eq!(link.rig.at_client(), told);
    assert_eq!(exchange(&mut link, &asks(8, &["billing"]), &told), b"");
    leader.now = link.rig.now;
    leader.settle();
    assert!(link.rig.has_mail(), "it is told at once");
    link.rig.settle();
    assert_eq!(link.rig.at_client(), told);
}

/// A Fetch that the broker may keep for `wait` milliseconds.
fn poll(wait: i32) -> Vec<u8> {
    let mut body = Body::new(0);
    body.put(&(-1i32).to_be_bytes()).put(&wait.to_be_bytes()).put(&1i32.to_be_bytes()).put(&(1i32 << 20).to_be_bytes());
    body.put(&[0]).put(&0i32.to_be_bytes()).put(&(-1i32).to_be_bytes()).count(0).count(0).put(&[0, 0]);
    request(ApiKey::FETCH, 11, 40, &body.bytes)
}

/// What is asked behind a long poll is answered when that ends: the asker would wait in vain (franz-go polls for 5 s).
#[test]
fn who_is_in_a_long_poll_is_not_asked() {
    for (polls, free, waits) in [(&[5_000][..], false, false), (&[500], false, true), (&[5_000], true, true)] {
        let world = world(|_| {});
        let mut link = linked(&world, Cuts::Whole);
        world.env.shared.catalog.learn("orders", TOPIC_ID, &[2]);
        let mut busy: Vec<_> = polls
            .iter()
            .zip(2..)
            .map(|(wait, number)| {
                let mut leader = world.connect_to(Cuts::Whole, number, Some(2));
                crate::session::tests::kit::proven(&mut leader);
                leader.client(&poll(*wait));
                assert_eq!(leader.at_broker(), poll(*wait));
                leader
            })
            .collect();
        let mut idle = free.then(|| {
            let mut leader = Link::number(&world, Cuts::Whole, 12, Broker::new(&[(0, (100, 200))]), 7);
            leader.rig.core.close();
            leader.rig = world.connect_to(Cuts::Whole, 8, Some(2));
            crate::session::tests::kit::proven(&mut leader.rig);
            leader
        });
        join(&mut link, "billing", "consumer");
        let told = tells(8, &[("billing", 40, 5)]);
        assert_eq!(exchange(&mut link, &asks(8, &["billing"]), &told), b"");
        busy.iter_mut().for_each(|leader| leader.settle());
        if let Some(leader) = &mut idle {
            leader.rig.settle();
            leader.serve();
        }
        link.rig.settle();
        let expected = match (free, waits) {
            (true, _) => tells(8, &[("billing", 100, -1)]),
            (_, true) => Vec::new(),
            (_, false) => told,
        };
        assert_eq!(link.rig.at_client(), expected, "polls of {polls:?} ms, another connection: {free}");
    }
}
