//! With all menders off: what goes in comes out, but for addresses, in any interleaving.

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::kit::*;
use super::message::{Taste, body};
use super::watch::Watch;
use crate::wire::api::ApiKey;
use crate::wire::layout;

struct Exchange {
    request: Vec<u8>,
    /// What the broker answers and what the client should get; none for acks=0.
    answer: Option<(Vec<u8>, Vec<u8>)>,
}

/// What leads to a raw exchange has tests of its own.
fn is_login(api: ApiKey) -> bool {
    matches!(api, ApiKey::SASL_HANDSHAKE | ApiKey::SASL_AUTHENTICATE)
}

fn exchange(correlation: i32, rng: &mut StdRng) -> Exchange {
    let known: Vec<(ApiKey, i16)> = layout::all()
        .into_iter()
        .filter(|(api, _, is_request)| !is_request && !is_login(*api))
        .map(|(api, version, _)| (api, version))
        .collect();
    let (api, version) = match rng.random_range(0..5) {
        0 => (ApiKey(rng.random_range(25..2000)), 0),
        _ => known[rng.random_range(0..known.len())],
    };
    let (api, version) =
        if is_login(api) || (api.newest_with_addresses().is_some() && layout::response(api, version).is_none()) {
            (ApiKey::HEARTBEAT, 4)
        } else {
            (api, version)
        };
    let noise: Vec<u8> = (0..rng.random_range(0..3000)).map(|_| rng.random()).collect();
    let large = rng.random_range(0..10) == 0;
    let taste = Taste {
        records: if large && api != ApiKey::SHARE_FETCH && api != ApiKey::FETCH { 30_000 } else { 90 },
        ..Taste::default()
    };
    let asks = match layout::request(api, version) {
        Some(layout) => body(layout, Taste { endpoints: false, ..taste }, rng).sent,
        None => noise.clone(),
    };
    let silent = api == ApiKey::PRODUCE && {
        // Nullable transactional id from version 3 on, then acks.
        let at = match version {
            ..3 => 0,
            3..9 => 2 + usize::from(u16::from_be_bytes([asks[0], asks[1]])),
            _ => asks[0] as usize,
        };
        asks[at..at + 2] == [0, 0]
    };
    let answer = (!silent).then(|| match layout::response(api, version) {
        Some(layout) => {
            let twin = body(layout, taste, rng);
            (response(api, version, correlation, &twin.sent), response(api, version, correlation, &twin.expected))
        }
        None => {
            let frame = response(api, version, correlation, &noise);
            (frame.clone(), frame)
        }
    });
    Exchange { request: request(api, version, correlation, &asks), answer }
}

fn run(seed: u64, world: &World) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut rig = world.connect(Cuts::random(seed));
    let all: Vec<Exchange> = (0..rng.random_range(1..40)).map(|n| exchange(n, &mut rng)).collect();
    let (mut asked, mut answered) = (0, 0);
    let (mut upstream, mut downstream) = (Vec::new(), Vec::new());
    while answered < all.len() {
        if asked < all.len() && (asked == answered || rng.random()) {
            let burst = rng.random_range(1..=all.len() - asked).min(8);
            let bytes: Vec<u8> = all[asked..asked + burst].iter().flat_map(|e| e.request.clone()).collect();
            asked += burst;
            // In two goes, so that answers can come between the halves of a request.
            let cut = rng.random_range(0..=bytes.len());
            rig.client(&bytes[..cut]);
            rig.client(&bytes[cut..]);
        } else {
            if let Some((frame, _)) = &all[answered].answer {
                let cut = rng.random_range(0..=frame.len());
                rig.broker(&frame[..cut]);
                rig.broker(&frame[cut..]);
            }
            answered += 1;
        }
        assert!(rig.end.is_none(), "seed {seed}: {:?}", rig.end);
        upstream.extend(rig.at_broker());
        downstream.extend(rig.at_client());
    }
    let requests: Vec<u8> = all.iter().flat_map(|e| e.request.clone()).collect();
    let answers: Vec<u8> = all.iter().filter_map(|e| e.answer.as_ref()).flat_map(|(_, want)| want.clone()).collect();
    assert!(upstream == requests, "seed {seed}: requests");
    assert!(downstream == answers, "seed {seed}: responses");
    assert!(rig.core.is_idle());
    assert_eq!(world.held(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_out_are_bytes_in_but_for_addresses(seed in any::<u64>()) {
        run(seed, &World::plain());
    }

    /// A mender that looks at all it can, and lets it pass, changes nothing.
    #[test]
    fn looking_changes_no_byte(seed in any::<u64>(), gather in any::<bool>()) {
        let watch = Watch::new(|p| p.gather = gather);
        run(seed, &World::new(watch.mender(), Default::default()));
    }

    /// Whatever a client or a broker sends, the connection ends in a named way or goes on.
    #[test]
    fn hostile_bytes_never_panic(seed in any::<u64>()) {
        let mut rng = StdRng::seed_from_u64(seed);
        let script = super::script::Scripted::default();
        let watch = Watch::new(|p| p.gather = seed % 2 == 0);
        let menders = [script.mender(), watch.mender()].concat();
        let mut rig = World::new(menders, Default::default()).connect(Cuts::random(seed));
        for n in 0..20 {
            let it = exchange(n, &mut rng);
            let spoil = |mut bytes: Vec<u8>, rng: &mut StdRng| {
                for _ in 0..rng.random_range(0..3) {
                    // The size prefix stays, or nothing else would be met.
                    let at = rng.random_range(8..bytes.len().max(9));
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = rng.random();
                    }
                }
                bytes
            };
            rig.client(&spoil(it.request, &mut rng));
            if let Some((frame, _)) = it.answer {
                rig.broker(&spoil(frame, &mut rng));
            }
        }
    }
}
