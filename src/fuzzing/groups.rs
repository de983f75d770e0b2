//! `groups`: the view of groups, told by its own calls in any order, and learnt from what passes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;

use super::feed::Feed;
use super::shape;
use crate::config::Config;
use crate::mend::groups::{Assignment, Beat, Groups, Joined, Terms, Who};
use crate::mend::peers::ClientKey;
use crate::mend::{ConnMender, Interest, Mender, Shared, Treatment, view};
use crate::session::kit::{self, Cuts, GROUP_APIS, Rig, World};
use crate::wire::layout;

const STEPS: usize = 300;
const GROUPS: [&str; 3] = ["billing", "audit", ""];
const MEMBERS: [&str; 5] = ["m-1", "m-2", "m-3", "", "m-4"];

pub fn groups(data: &[u8]) {
    let mut feed = Feed::new(data);
    if feed.byte() & 1 == 0 { told(&mut feed) } else { learnt(&mut feed) }
}

fn client(n: u8) -> ClientKey {
    let client_id = ["app", "other", ""][usize::from(n) % 3].into();
    ClientKey { client_id, peer: IpAddr::V4(Ipv4Addr::LOCALHOST) }
}

fn told(feed: &mut Feed<'_>) {
    let shared = Shared::default();
    // Each question that counts is ended once, as connections do it.
    let mut asked = Vec::new();
    let mut now = Instant::now();
    for _ in 0..STEPS {
        if feed.is_empty() {
            break;
        }
        let (what, whose) = (feed.byte(), feed.byte());
        let client = client(whose);
        let group = GROUPS[usize::from(whose / 3) % GROUPS.len()];
        let member = MEMBERS[usize::from(whose / 16) % MEMBERS.len()];
        let who = Who { client: &client, group, member, now };
        if what < 16 {
            now += Duration::from_millis(u64::from(what) * 700);
        } else {
            tell(&shared.groups, &who, what, feed, &mut asked);
        }
        shared.groups.check();
    }
    _ = view::status(&shared, now);
    asked.iter().for_each(|group| shared.groups.ask_ended(group));
    (0..3).for_each(|n| shared.groups.forget_client(&client(n)));
    assert_eq!((shared.groups.check(), shared.groups.watched()), (0, 0));
}

fn tell(groups: &Groups, who: &Who<'_>, what: u8, feed: &mut Feed<'_>, asked: &mut Vec<String>) {
    let (group, member) = (who.group, who.member);
    match what % 19 {
        0 | 1 => groups.joined(who, joined(feed), terms(feed)),
        2 | 3 => groups.synced(who, joined(feed), instance(feed), assignment(feed)),
        4 => groups.heard(who, generation(feed), instance(feed)),
        5 | 6 => groups.beat(who, beat(feed)),
        7 => groups.forgotten(group, member),
        8 => groups.left(group, member),
        9 => groups.forget_client(who.client),
        10 => asked.extend(groups.join_asked(who).then(|| group.to_owned())),
        11 => asked.extend(groups.sync_asked(group).then(|| group.to_owned())),
        12 => asked.pop().into_iter().for_each(|group| groups.ask_ended(&group)),
        13 => groups.join_refused(who, error(feed)),
        14 => groups.refused(who, generation(feed), error(feed)),
        15 => groups.leaves(who),
        16 => groups.repaired(group, member),
        17 => {
            for rebalance in groups.take_rebalances() {
                assert!(rebalance.took <= Duration::from_secs(3600) && !rebalance.cause.label().is_empty());
            }
        }
        _ => {
            _ = (groups.has_switched(group), groups.is_rebalancing(group), groups.is_joining(group));
            if let Some(next) = groups.successor(group, member) {
                assert_ne!(&*next, member, "nobody follows himself");
            }
            let known = groups.member(group, member);
            assert_eq!(known.is_some(), groups.members_of(group).iter().any(|(id, _)| **id == *member));
            for (owner, _) in groups.owners(group, "orders", [0; 16], 1) {
                assert!(groups.member(group, &owner).is_some());
            }
        }
    }
}

fn generation(feed: &mut Feed<'_>) -> i32 {
    *feed.pick(&[1, 2, 3, 0, -1, i32::MAX, i32::MIN])
}

fn error(feed: &mut Feed<'_>) -> i16 {
    *feed.pick(&[27, 22, 25, 79, 82, 110, 14, 16, 0])
}

fn instance(feed: &mut Feed<'_>) -> Option<Arc<str>> {
    feed.pick(&[None, Some("i-1"), Some("i-2")]).map(Arc::from)
}

fn joined(feed: &mut Feed<'_>) -> Joined {
    let generation = generation(feed);
    let protocol = *feed.pick(&["range", "cooperative-sticky", "", "roundrobin"]);
    let is_leader = feed.byte() & 1 == 1;
    let protocol_type = Arc::from(*feed.pick(&["consumer", "connect", ""]));
    Joined { generation, is_leader, protocol_type, protocol: protocol.into() }
}

fn assignment(feed: &mut Feed<'_>) -> Option<Assignment> {
    let flags = feed.byte();
    let partitions: Vec<i32> = (0..flags & 7).map(i32::from).collect();
    (flags != 0xff).then(|| Assignment {
        by_name: HashMap::from([("orders".into(), partitions.clone())]),
        by_id: if flags & 8 == 0 { HashMap::new() } else { HashMap::from([([1; 16], partitions)]) },
    })
}

fn terms(feed: &mut Feed<'_>) -> Terms {
    Terms {
        instance: instance(feed),
        previous: feed.pick(&[None, Some("m-1"), Some("m-2"), Some("gone")]).map(Arc::from),
        session_timeout: Duration::from_millis(*feed.pick(&[10_000, 0, 45_000])),
        rebalance_timeout: Duration::from_millis(*feed.pick(&[60_000, 0, u64::from(u32::MAX)])),
        owned: assignment(feed),
    }
}

fn beat(feed: &mut Feed<'_>) -> Beat {
    Beat {
        epoch: generation(feed),
        joins: feed.byte() & 1 == 1,
        instance: instance(feed),
        rebalance_timeout: feed.pick(&[None, Some(0), Some(300_000)]).map(Duration::from_millis),
        assignment: assignment(feed),
    }
}

/// Looks at everything that groups say and changes nothing.
struct Looker;

struct Looks;

impl ConnMender for Looks {}

impl Mender for Looker {
    fn name(&self) -> &'static str {
        "looker"
    }
    fn interests(&self) -> Vec<Interest> {
        let both = |api| [Interest::Request(api, Treatment::Whole), Interest::Response(api, Treatment::Whole)];
        GROUP_APIS.into_iter().flat_map(both).collect()
    }
    fn connect(&self) -> Box<dyn ConnMender> {
        Box::new(Looks)
    }
    fn reload(&self, _: &Config) {}
}

/// Conversations of some connections; nothing of them changes on the way.
fn learnt(feed: &mut Feed<'_>) {
    let world = World::new(vec![Arc::new(Looker)], Registry::new());
    let mut rigs: Vec<Rig> = (1..=2).map(|n| world.connect_to(Cuts::Whole, n, Some(1))).collect();
    for correlation in 0..STEPS as i32 {
        if feed.is_empty() {
            break;
        }
        let (which, older) = (feed.byte(), feed.byte());
        let rig = &mut rigs[usize::from(which >> 7)];
        let api = GROUP_APIS[usize::from(which & 0x7f) % GROUP_APIS.len()];
        let newest = (0..32).rev().find(|v| layout::request(api, *v).is_some()).unwrap_or_default();
        let version = (newest - i16::from(older % 12)).max(0);
        let (asks, says) = (feed.piece(), feed.piece());
        let of = |layout: Option<layout::Layout>, bytes: &[u8]| match layout {
            Some(layout) if older < 0xf0 => shape::body(layout, &mut Feed::new(bytes)),
            _ => bytes.to_vec(),
        };
        let request = kit::request(api, version, correlation, &of(layout::request(api, version), asks));
        rig.client(&request);
        assert!(rig.at_broker() == request, "{:?}", rig.end);
        let response = kit::response(api, version, correlation, &of(layout::response(api, version), says));
        rig.broker(&response);
        assert!(rig.at_client() == response, "{:?}", rig.end);
        rig.later(Duration::from_millis(u64::from(older >> 4) * 300));
        world.env.shared.groups.check();
    }
    _ = view::status(&world.env.shared, rigs[0].now);
    rigs.iter_mut().for_each(|rig| rig.core.close());
    let groups = &world.env.shared.groups;
    assert_eq!((groups.check(), groups.watched()), (0, 0), "groups without a client");
}
