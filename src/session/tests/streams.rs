//! Large frames flow through a small window.

use super::kit::*;
use super::script::Scripted;
use crate::session::window::WINDOW;
use crate::wire::api::ApiKey;

/// A Fetch response, version 11, with one partition of `size` bytes of records.
pub fn fetched(size: usize, correlation: i32) -> Vec<u8> {
    let mut body = vec![0; 10];
    body.extend_from_slice(&1i32.to_be_bytes());
    body.extend_from_slice(b"\0\x06orders");
    body.extend_from_slice(&1i32.to_be_bytes());
    body.extend_from_slice(&[0; 30]); // partition 0, no error
    body.extend_from_slice(&[0xff; 4]); // no aborted transactions
    body.extend_from_slice(&[0xff; 4]); // no preferred replica
    body.extend_from_slice(&(size as i32).to_be_bytes());
    body.extend((0..size).map(|i| (i / 7) as u8));
    response(ApiKey::FETCH, 11, correlation, &body)
}

pub fn fetch(correlation: i32) -> Vec<u8> {
    let body = [
        &[0xff; 4][..],
        &[0; 12],
        &[0],
        &[0; 8],
        &1i32.to_be_bytes(),
        b"\0\x06orders",
        &1i32.to_be_bytes(),
        &[0; 28],
        &[0; 4],
        &[0, 0],
    ]
    .concat();
    request(ApiKey::FETCH, 11, correlation, &body)
}

/// A Produce request, version 3, with one partition of `size` bytes of records.
pub fn produce(size: usize, correlation: i32) -> Vec<u8> {
    let body = [
        &[0xff, 0xff, 0, 1, 0, 0, 0, 9][..],
        b"\0\0\0\x01\0\x06orders\0\0\0\x01\0\0\0\0",
        &(size as i32).to_be_bytes(),
        &(0..size).map(|i| (i / 3) as u8).collect::<Vec<u8>>(),
    ]
    .concat();
    request(ApiKey::PRODUCE, 3, correlation, &body)
}

fn flows(size: usize, cuts: Cuts, watched: bool) {
    let script = Scripted::default();
    let menders = if watched { script.mender() } else { Vec::new() };
    let world = World::new(menders, Default::default());
    let mut rig = world.connect(cuts);
    let asks = fetch(1);
    rig.client(&asks);
    assert_eq!(rig.at_broker(), asks, "{:?}", rig.end);
    let answer = fetched(size, 1);
    rig.broker(&answer);
    assert!(rig.end.is_none(), "{:?}", rig.end);
    assert!(rig.at_client() == answer);
    assert!(rig.peak <= WINDOW, "{}", rig.peak);
    assert_eq!(world.held(), 0);
}

#[test]
fn fifty_megabytes_through_sixteen_kilobytes() {
    flows(50 << 20, Cuts::Whole, true);
    flows(50 << 20, Cuts::random(3), true);
}

#[test]
fn smaller_ones_in_every_cut() {
    in_all_cuts(|cuts| {
        for watched in [false, true] {
            flows(0, cuts.clone(), watched);
            flows(100_000, cuts.clone(), watched);
            flows(WINDOW - 40, cuts.clone(), watched);
        }
    });
}

#[test]
fn a_large_produce_request_flows_too() {
    let frame = produce(3 << 20, 1);
    for cuts in [Cuts::Whole, Cuts::random(1), Cuts::random(2)] {
        let mut rig = World::plain().connect(cuts);
        rig.client(&frame);
        assert!(rig.at_broker() == frame);
        assert!(rig.peak <= WINDOW);
    }
}

/// A broker that invents topics, or a client that asks for everything, fills no memory.
#[test]
fn what_one_connection_remembers_is_bounded() {
    let script = Scripted::default();
    let mut rig = World::new(script.mender(), Default::default()).connect(Cuts::Whole);
    rig.client(&fetch(1));
    let topics = 400_000u32;
    let mut body = vec![0; 10];
    body.extend_from_slice(&topics.to_be_bytes());
    for n in 0..topics {
        body.extend_from_slice(&4i16.to_be_bytes());
        body.extend_from_slice(&n.to_be_bytes().map(|b| b & 0x7f));
        body.extend_from_slice(&0i32.to_be_bytes());
    }
    let answer = response(ApiKey::FETCH, 11, 1, &body);
    rig.broker(&answer);
    assert!(rig.end.is_none(), "{:?}", rig.end);
    assert!(rig.at_client() == answer);
    assert!(rig.core.topics.known() <= 20_000);
}
