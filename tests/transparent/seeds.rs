//! Recorded traffic as seeds for the fuzz targets, written where `FUZZ_SEEDS` names a folder. The
//! formats are those of `src/fuzzing`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use kmend::wire::api::ApiKey;
use kmend::wire::{head, layout};

use crate::tapped::{Connection, Exchange};

/// Records are all the same to kmend: longer messages are left out, one in a while is kept.
const LONGEST: usize = 1500;
/// Of one script.
const SCRIPT: usize = 6000;

pub fn write(connections: &[Connection]) {
    let Some(folder) = std::env::var_os("FUZZ_SEEDS") else {
        return;
    };
    let mut seeds: BTreeMap<&str, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let layouts = layout::all();
    for connection in connections {
        let exchanges = connection.exchanges();
        if exchanges.is_empty() {
            continue;
        }
        seeds.entry("session").or_default().extend(scripts(&exchanges));
        for e in exchanges {
            for (is_request, frame) in [(true, &e.request), (false, &e.response)] {
                messages(&mut seeds, &layouts, &e, is_request, frame);
            }
        }
    }
    for (target, seeds) in seeds {
        let folder = Path::new(&folder).join(target);
        fs::create_dir_all(&folder).unwrap();
        for (i, seed) in seeds.into_iter().enumerate() {
            fs::write(folder.join(format!("recorded-{i:04}")), seed).unwrap();
        }
    }
}

/// A connection as scripts: off, observing, mending.
fn scripts(exchanges: &[Exchange]) -> Vec<Vec<u8>> {
    let mut steps = Vec::new();
    for e in exchanges {
        let size = e.request.len() + e.response.len();
        if steps.len() + size > SCRIPT {
            if steps.is_empty() && size < 40_000 {
                steps = step(e);
            }
            continue;
        }
        steps.extend(step(e));
    }
    [0u8, 1, 3].iter().map(|mode| [&[*mode, 2, 0, 0], &steps[..]].concat()).collect()
}

fn step(e: &Exchange) -> Vec<u8> {
    let piece = |op: u8, bytes: &[u8]| [&[op], &(bytes.len() as u16).to_le_bytes()[..], bytes].concat();
    [piece(2, &e.request), piece(3, &e.response)].concat()
}

/// A message by itself, for the targets that read one.
fn messages(
    seeds: &mut BTreeMap<&str, BTreeSet<Vec<u8>>>,
    layouts: &[(ApiKey, i16, bool)],
    e: &Exchange,
    is_request: bool,
    frame: &[u8],
) {
    if frame.len() > LONGEST {
        return;
    }
    let sized = [&(frame.len() as u32).to_be_bytes()[..], frame].concat();
    let api = ApiKey(e.api);
    let body = if is_request {
        head::request(&sized, sized.len()).map(|h| h.body)
    } else {
        head::response_body(&sized, sized.len(), api, e.version)
    };
    let body = &sized[body.expect("a real header")..];
    seeds.entry("frame").or_default().insert([&[0, 0], &sized[..8.min(sized.len())]].concat());
    if is_request {
        seeds.entry("head").or_default().insert([&[0, 0], frame].concat());
    }
    let Some(index) = layouts.iter().position(|known| *known == (api, e.version, is_request)) else {
        return;
    };
    let index = (index as u16).to_le_bytes();
    seeds.entry("walk").or_default().insert([&[2, 0, 9], &index[..], &[0], body].concat());
    if !is_request {
        seeds.entry("splice").or_default().insert([&[0], &index[..], &[0], body].concat());
    }
    const READ: [i16; 10] = [11, 14, 12, 13, 68, 8, 9, 2, 3, 10];
    if let Some(which) = READ.iter().position(|key| *key == e.api) {
        let which = 4 * which as u8 + u8::from(!is_request);
        seeds.entry("codec").or_default().insert([&[which, e.version as u8 + 1, 0], body].concat());
    }
}
