//! `journal`: the file of promises, after whatever has happened to it.

use super::feed::Feed;
use crate::store::journal::{Key, Kind, Promise, Record, fuzzing as on_disk};

pub fn journal(data: &[u8]) {
    let mut feed = Feed::new(data);
    let (how, room) = (feed.byte(), feed.byte());
    let max_bytes = [16 << 20, 1 << 20, 300, 4000][usize::from(room & 3)];
    let file = match how % 3 {
        // Any bytes.
        0 => feed.rest().to_vec(),
        // Sound frames around any payload.
        1 => {
            let mut payloads = Vec::new();
            while !feed.is_empty() {
                payloads.push(feed.long_piece());
            }
            on_disk::file(&payloads)
        }
        // What the journal writes, damaged.
        _ => {
            let damage: Vec<(u16, u8)> = (0..how >> 5).map(|_| (feed.u16(), feed.byte())).collect();
            let mut writes = Vec::new();
            while !feed.is_empty() {
                writes.push((0..1 + feed.byte() % 4).map(|_| record(&mut feed)).collect());
            }
            let mut file = on_disk::written(&writes);
            if damage.is_empty() {
                let held = on_disk::reopened(&file, max_bytes, promise(&mut Feed::new(&[])));
                assert_eq!(held, alive(&writes), "of a sound file everything is read");
            }
            for (at, byte) in damage {
                match usize::from(at) % (file.len() + 1) {
                    at if byte == 0 => file.truncate(at),
                    at => file.get_mut(at).into_iter().for_each(|b| *b ^= byte),
                }
            }
            file
        }
    };
    on_disk::reopened(&file, max_bytes, promise(&mut feed));
}

fn alive(writes: &[Vec<Record>]) -> usize {
    let mut alive = std::collections::HashSet::new();
    for record in writes.iter().flatten() {
        match record {
            Record::Promised(p) => _ = alive.insert(&p.key),
            Record::Settled(key) => _ = alive.remove(key),
        }
    }
    alive.len()
}

fn record(feed: &mut Feed<'_>) -> Record {
    match feed.byte() % 3 {
        0 => Record::Settled(key(feed)),
        _ => Record::Promised(promise(feed)),
    }
}

fn key(feed: &mut Feed<'_>) -> Key {
    let text = |feed: &mut Feed<'_>| match feed.byte() {
        0xff => String::from_utf8_lossy(feed.piece()).into_owned(),
        n => ["billing", "\u{1e}kmj", "", "a\"\n\0", "\u{e9}\u{1f600}"][usize::from(n) % 5].to_owned(),
    };
    let partition = i32::from(feed.byte()) - 1;
    Key { cluster: text(feed).into(), group: text(feed).into(), topic: text(feed).into(), partition }
}

fn promise(feed: &mut Feed<'_>) -> Promise {
    let key = key(feed);
    let flags = feed.byte();
    let number = |feed: &mut Feed<'_>| *feed.pick(&[0i64, 1, -1, i64::MAX, i64::MIN, 1 << 53]);
    Promise {
        kind: if flags & 1 == 0 { Kind::Buffered } else { Kind::Behind },
        topic_id: [flags & 2; 16],
        member: key.group.clone(),
        instance: (flags & 4 != 0).then(|| key.topic.clone()),
        generation: number(feed) as i32,
        ready: flags & 8 != 0,
        consumer_protocol: flags & 16 != 0,
        client_id: key.topic.clone(),
        offset: number(feed),
        leader_epoch: number(feed) as i32,
        metadata: (flags & 32 != 0).then(|| key.cluster.clone()),
        baseline: (flags & 64 != 0).then(|| number(feed)),
        time_ms: number(feed) as u64,
        key,
    }
}
