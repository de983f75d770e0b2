//! `session`: connections with all menders, as clients and brokers of every kind would have them.
//!
//! The input is a script (`step`): bytes from either side, whole frames, messages after their
//! layouts, answers that fit the request at the front, time. [`line`] checks what comes out.

mod line;
mod paper;
mod world;

use std::time::Duration;

use super::feed::Feed;
use super::shape;
use crate::wire::api::ApiKey;
use crate::wire::layout;
use world::Play;

/// Steps of one run; what is behind them is left out.
const STEPS: usize = 400;

const TIMES: [u64; 12] = [1, 5, 20, 100, 500, 1_000, 3_000, 5_000, 10_000, 31_000, 61_000, 600_000];

pub fn session(data: &[u8]) {
    let mut feed = Feed::new(data);
    let mut play = Play::new(&mut feed);
    for _ in 0..STEPS {
        if feed.is_empty() {
            break;
        }
        step(&mut play, &mut feed);
        play.settle();
    }
    play.end();
}

/// One step: its first byte says which; the numbers are those that the seeds are written with.
fn step(play: &mut Play, feed: &mut Feed<'_>) {
    match feed.byte() % 24 {
        // Bytes, as they are.
        0 => play.client(feed.piece()),
        1 => play.broker(feed.piece()),
        // Frames without their size; the broker's gets the correlation id that is expected.
        2 => {
            let frame = feed.long_piece();
            play.client(&line::framed(frame));
        }
        3 => {
            let frame = feed.long_piece();
            play.answer_with(frame.get(4..).unwrap_or_default());
        }
        // Messages after their layout.
        4 | 5 => shaped_request(play, feed),
        6 | 7 => {
            let piece = feed.piece();
            play.answer(&mut Feed::new(piece));
        }
        // Everything that is owed, as plainly as it goes.
        8 => (0..64).for_each(|_| play.answer(&mut Feed::new(&[]))),
        9 => play.later(Duration::from_millis(*feed.pick(&TIMES))),
        10 => play.until_due(),
        11 => play.turn_to(feed.byte()),
        12 => greet(play, feed),
        13 => play.client_gone(),
        14 => play.broker_gone(),
        15 => play.finished(),
        16 => play.drain(),
        17 => play.reload(feed.byte()),
        18 => play.journal_decides(feed.byte()),
        19 => {
            let piece = feed.piece();
            play.errands(&mut Feed::new(piece));
        }
        20 => play.limits(feed.byte()),
        // An exchange in which a consumer goes one step on.
        _ => consumer(play, feed),
    }
}

fn shaped_request(play: &mut Play, feed: &mut Feed<'_>) {
    let (which, older) = (feed.byte(), feed.byte());
    let piece = feed.piece();
    let mut feed = Feed::new(piece);
    let api = APIS[usize::from(which) % APIS.len()];
    let newest = (0..32).rev().find(|v| layout::request(api, *v).or(layout::response(api, *v)).is_some()).unwrap_or(3);
    // Also one that nobody knows, and one below 0.
    let version = newest - i16::from(older % 21) + i16::from(older == 21) + i16::from(older == 22) * 20;
    let body = match layout::request(api, version) {
        Some(layout) => shape::body(layout, &mut feed),
        None => feed.rest().to_vec(),
    };
    play.request(api, version.max(-1), &body);
}

const APIS: [ApiKey; 24] = [
    ApiKey::FETCH,
    ApiKey::OFFSET_COMMIT,
    ApiKey::JOIN_GROUP,
    ApiKey::SYNC_GROUP,
    ApiKey::HEARTBEAT,
    ApiKey::OFFSET_FETCH,
    ApiKey::LIST_OFFSETS,
    ApiKey::PRODUCE,
    ApiKey::METADATA,
    ApiKey::LEAVE_GROUP,
    ApiKey::CONSUMER_GROUP_HEARTBEAT,
    ApiKey::OFFSET_FOR_LEADER_EPOCH,
    ApiKey::FIND_COORDINATOR,
    ApiKey::API_VERSIONS,
    ApiKey::DESCRIBE_CLUSTER,
    ApiKey::SHARE_FETCH,
    ApiKey::SHARE_ACKNOWLEDGE,
    ApiKey::SASL_HANDSHAKE,
    ApiKey::SASL_AUTHENTICATE,
    ApiKey::LIST_GROUPS,
    ApiKey::TXN_OFFSET_COMMIT,
    ApiKey::INIT_PRODUCER_ID,
    ApiKey(52),
    ApiKey(1000),
];

/// A client says who it is, and the broker what it speaks: from then on kmend may speak for itself.
fn greet(play: &mut Play, feed: &mut Feed<'_>) {
    let software = [feed.byte(), feed.byte()];
    let layout = layout::request(ApiKey::API_VERSIONS, 3).expect("a layout");
    play.request(ApiKey::API_VERSIONS, 3, &shape::body(layout, &mut Feed::new(&software)));
    let old = feed.byte();
    let mut ranges = Vec::new();
    for key in 0..=92i16 {
        let newest = (0..32).rev().find(|v| layout::response(ApiKey(key), *v).is_some()).unwrap_or(5);
        let newest = if old == 0 { newest } else { newest - i16::from(old % 8) };
        ranges.extend([key, 0, newest.max(0)].map(i16::to_be_bytes).concat());
        ranges.push(0);
    }
    play.answer_with(&[&[0, 0, 94][..], &ranges, &[0, 0, 0, 0, 0]].concat());
    play.request(ApiKey::LIST_GROUPS, 0, &[]);
    play.answer_with(&[0; 6]);
    let metadata = feed.piece();
    play.request(ApiKey::METADATA, 9, &[0, 1, 0, 0, 0]);
    play.answer(&mut Feed::new(metadata));
}

/// What consumers do all day: the request shaped by one byte or two, the answer by a piece.
fn consumer(play: &mut Play, feed: &mut Feed<'_>) {
    let which = feed.byte();
    let api = APIS[usize::from(which & 15) % 12];
    let versions: &[i16] = match api {
        ApiKey::FETCH => &[12, 4, 11, 13, 18],
        ApiKey::OFFSET_COMMIT => &[8, 2, 9, 10],
        ApiKey::JOIN_GROUP => &[7, 0, 5, 9],
        ApiKey::SYNC_GROUP => &[5, 0, 3],
        ApiKey::HEARTBEAT => &[4, 0, 3],
        ApiKey::OFFSET_FETCH => &[7, 1, 8, 9, 10],
        ApiKey::PRODUCE => &[9, 3, 7, 13],
        ApiKey::METADATA => &[9, 1, 4, 12, 13],
        ApiKey::LEAVE_GROUP => &[5, 0, 3],
        ApiKey::CONSUMER_GROUP_HEARTBEAT => &[1, 0],
        ApiKey::LIST_OFFSETS => &[7, 1, 2, 11],
        _ => &[4, 0, 3],
    };
    let version = versions[usize::from(which >> 4) % versions.len()];
    let (asks, says) = (feed.piece(), feed.piece());
    let body = match layout::request(api, version) {
        Some(layout) => shape::body(layout, &mut Feed::new(asks)),
        None => asks.to_vec(),
    };
    play.request(api, version, &body);
    play.settle();
    play.answer(&mut Feed::new(says));
}
