//! Inputs to begin with, made by hand: each message of each layout, conversations of each kind.
//! `FUZZ_SEEDS=<folder> cargo test --lib fuzzing::seeds` writes them below that folder, one
//! folder for each target. Those recorded from real clients: `tests/transparent`.

use std::fs;
use std::path::Path;

use crate::wire::api::ApiKey;
use crate::wire::codec::local;
use crate::wire::layout;

type Seeds = Vec<Vec<u8>>;
type Maker = (&'static str, fn() -> Seeds);

fn frame() -> Seeds {
    let prefixes: [&[u8]; 9] = [
        &[0, 0, 0, 20],
        &[0, 0, 0, 0],
        &[0xff; 4],
        b"GET ",
        &[0x16, 3, 1, 2],
        &[0x15, 3, 3, 0],
        &[0x7f, 0xff, 0xff, 0xff],
        &[0, 1, 0, 0],
        &[0, 0, 0, 3],
    ];
    let numbers = [0x7f, 0x80, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x80, 0x80, 0x80, 0x80, 0x80];
    prefixes.iter().flat_map(|p| (0..4).map(move |how| [&[how, how / 2], *p, &numbers].concat())).collect()
}

fn head() -> Seeds {
    let request = |api, version, id: &[u8], body: &[u8]| local::request(api, version, 7, id, body)[4..].to_vec();
    let mut all: Seeds = [0u16, 1, 300]
        .into_iter()
        .flat_map(|more| {
            [
                request(ApiKey::METADATA, 1, b"app", b"body"),
                request(ApiKey::METADATA, 12, b"app", b"body"),
                request(ApiKey::FETCH, 4, b"", b""),
                vec![0, 3, 0, 12, 0, 0, 0, 7, 0xff, 0xff, 2, 0, 1, 9, 5, 2, 1, 1],
                vec![0, 3, 0, 12, 0, 0, 0, 7, 0x7f, 0xff, b'm'],
                vec![0, 3, 0, 12, 0, 0, 0, 7, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff],
            ]
            .map(|frame| [&more.to_le_bytes()[..], &frame].concat())
        })
        .collect();
    all.push(vec![0; 3]);
    all
}

/// Every layout, filled in two ways.
fn walk() -> Seeds {
    let one = |index: usize, tail: &[u8]| [&[2, 0, 9], &(index as u16).to_le_bytes()[..], tail].concat();
    let rich: Vec<u8> = (0..60u8).map(|i| [2, 0, 1, 4, 1][usize::from(i % 5)]).collect();
    (0..layout::all().len()).flat_map(|i| [one(i, &[1]), one(i, &[&[1], &rich[..]].concat())]).collect()
}

fn splice() -> Seeds {
    let walks = walk().into_iter().zip(layout::all().into_iter().flat_map(|(_, _, request)| [request; 2]));
    walks.filter(|(_, request)| !request).map(|(seed, _)| [&[0], &seed[3..]].concat()).collect()
}

fn codec() -> Seeds {
    let all = (0..40u8).flat_map(|which| (1..16u8).step_by(2).map(move |version| vec![which, version, 1]));
    all.flat_map(|head| [head.clone(), [&head[..], &[1, 2, 2, 1, 4, 4, 1, 1, 2, 0xf0, 0, 1]].concat()]).collect()
}

/// A greeting, then the steps; what is shaped is so by zeros.
fn script(head: [u8; 4], steps: &[&[u8]]) -> Vec<u8> {
    [&head[..], &[12, 0, 0, 0, 0], &steps.concat()].concat()
}

fn session() -> Seeds {
    let mut all = Seeds::new();
    // Join, sync, fetch, commit (refused in three ways), heartbeat, look up, leave.
    let consumer = |commit: u8, next: &[u8]| {
        let joins: [&[u8]; 6] =
            [&[21, 2, 0, 0], &[21, 3, 0, 0], &[21, 0, 0, 0], &[21, 5, 0, 0], &[9, 6], &[21, 0, 0, 0]];
        let commits: Vec<u8> = vec![21, 1, 0, 4, 0, 0, 3, commit];
        [joins.concat(), commits, next.to_vec()].concat()
    };
    for mode in 0..5u8 {
        for (commit, next) in [
            (0, &[21, 4, 0, 0, 9, 7, 10, 13][..]),
            (3, &[21, 4, 0, 0, 21, 2, 0, 0, 21, 3, 0, 0, 10, 8, 10, 8, 14]),
            (2, &[18, 2, 21, 4, 0, 0, 18, 1, 13, 10, 19, 0, 8, 10, 19, 4, 0, 0, 0, 0]),
            (4, &[11, 1, 12, 2, 0, 0, 0, 21, 0, 0, 0, 11, 0, 9, 9, 10, 10, 17, 2, 8, 16]),
        ] {
            all.push(script([mode, mode & 2, 0, commit], &[&consumer(commit, next)]));
        }
        // Each API after its layout, with an answer of each kind.
        for api in 0..24u8 {
            for says in [&[][..], &[1, 1, 3, 1, 2, 1, 2, 1, 2]] {
                let asks = [4, api, 0, 2, 0, 1];
                let says = [&[6, says.len() as u8], says].concat();
                all.push(script([mode, 0, 2, 0], &[&asks, &says, &[9, 9, 10, 8]]));
            }
        }
    }
    // What is no Kafka.
    for bytes in
        [&b"GET / HTTP/1.1\r\n"[..], &[0x16, 3, 1, 2, 0, 1], &[0xff; 8], &[0, 0, 0, 0], &[0x7f, 0xff, 0xff, 0xff]]
    {
        for side in 0..2u8 {
            all.push([&[0, 0, 0, 0, side, bytes.len() as u8], bytes].concat());
        }
    }
    // Tokens without a header.
    let handshake = local::request(ApiKey::SASL_HANDSHAKE, 0, 1, b"app", &[0, 5, b'P', b'L', b'A', b'I', b'N']);
    let handshake = [&[0, handshake.len() as u8], &handshake[..], &[6, 0]].concat();
    all.push([&[0; 4][..], &handshake, &[0, 9, 0, 0, 0, 5, 0, b'a', 0, b'b', b'c', 6, 0]].concat());
    all
}

fn groups() -> Seeds {
    let told = (0..19u8).map(|what| {
        let call = [16 + (what + 3) % 19, 0, 0, 0, 0, 0, 1];
        [&[0, 35, 0, 0, 0, 0, 0, 0, 0, 1][..], &call, &[37, 0, 0, 1, 0, 0, 2], &call, &[9, 0]].concat()
    });
    let learnt = (0..9u8).flat_map(|api| {
        (0..10u8).map(move |older| [&[1, 0, 0, 0, 0, 1, 0, 0, 0][..], &[api, older, 3, 0, 1, 1, 2, 0, 1]].concat())
    });
    told.chain(learnt).collect()
}

fn journal() -> Seeds {
    let version_1 = include_bytes!("../store/journal/tests/version1.journal");
    let json: &[&[u8]] = &[
        br#"[{"settled":{"cluster":"c","group":"g","topic":"t","partition":1}}]"#,
        br#"[{"promised":{"cluster":"c","group":"g","topic":"t","partition":0,"kind":"buffered","member":"m","generation":3,"client_id":"a","offset":5,"leader_epoch":-1,"time_ms":5,"topic_id":"00000000000000000000000000000001","baseline":1,"metadata":"x","instance":"i","ready":true}}]"#,
        b"[]",
        b"[{}]",
        br#"[{"promised":{"offset":1e400}}]"#,
    ];
    let sound = json.iter().map(|text| {
        let payload = [&[1], *text].concat();
        [&[1, 0], &(payload.len() as u16).to_le_bytes()[..], &payload, &[1, 0, 2]].concat()
    });
    let structured = (0..8u8).map(|damage| {
        let damage: Vec<u8> = [2 + 3 * (damage * 11 % 32)].into_iter().chain([damage & 3]).collect();
        [&damage[..], &[40, 1, 7, 90, 0, 3, 1, 1, 0, 0, 0, 2, 0, 127, 1, 1, 1, 1, 0, 1, 0, 1, 2]].concat()
    });
    let whole = [[&[0, 0][..], version_1].concat(), [&[0, 2][..], &version_1[..version_1.len() / 2]].concat()];
    sound.chain(structured).chain(whole).collect()
}

fn config() -> Seeds {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let examples =
        files.filter(|path| path.extension().is_some_and(|e| e == "yaml")).map(|path| fs::read(path).unwrap());
    let odd: [&[u8]; 10] = [
        b"upstream: {bootstrap: 'a:1'}\n#set\nlog.level=debug\nKMEND_LIMITS__MAX_FRAME=1MiB\n",
        b"a: &a [1]\nb: *a\n",
        b"menders: {offset_reset: {topics: {'orders.*': {mode: off}, x: repair}}}\n#set\nmenders.offset_reset.topics.a.b.mode=observe\nKMEND_MENDERS__OFFSET_RESET__TOPICS=a:repair,b:off\n",
        b"limits: {memory: auto, max_frame: 10KiB, idle_timeout: 1h30m}\n",
        b"listen: {address: ['[::1]:9092', 'localhost:1'], broker_ports: 7000}\n",
        b"---\n...\n---\n",
        b"#set\n=\nlog\nlog.=x\n.=.\nKMEND_=1\nKMEND_LOG={level: x}\nKMEND_PORT=tcp://1\n",
        b"? [a]\n: b\n",
        b"upstream: {bootstrap: [a:1], tls: {enabled: true, server_name: '*'}}\n",
        b"shutdown: {drain_timeout: -1s, grace: 99999999999999999999h}\nlog: {level: 'kmend=debug,x'}\n",
    ];
    examples.chain(odd.iter().map(|text| text.to_vec())).collect()
}

fn login() -> Seeds {
    let mut seeds: Seeds = [
        &br#"{"access_token":"a.b","expires_in":3600}"#[..],
        br#"{"access_token":"a","expires_in":"12.5","token_type":"bearer"}"#,
        br#"{"access_token":"","expires_in":-1}"#,
        br#"{"access_token":"ab","expires_in":1e400}"#,
        b"[]",
    ]
    .iter()
    .map(|text| [&[0][..], text].concat())
    .collect();
    // Sequences, and a certificate's dates without the rest.
    seeds.push(
        b"\x01\x30\x29\x30\x27\x02\x01\x01\x30\x00\x30\x00\x30\x1e\x17\x0d250101000000Z\x17\x0d350101000000Z".to_vec(),
    );
    seeds.push(b"\x01\x30\x82\xff\xff\x30\x84\xff\xff\xff\xff".to_vec());
    for mechanism in 0..4 {
        for version in 0..3 {
            // SaslHandshake accepted, a token of the right shape, its end.
            for how in [1, 2, 3] {
                let token: &[u8] = if how == 1 { b"srv,s=c2FsdA==,i=4096" } else { b"" };
                let mut seed = vec![2, mechanism, version, 40, 0, how, token.len() as u8];
                seed.extend_from_slice(token);
                seed.extend_from_slice(&[9, 0, 3, 6, b'v', b'=', b'A', b'A', b'=', b'=', 3, 0]);
                seeds.push(seed);
            }
        }
    }
    seeds
}

#[test]
fn seeds_run_and_are_written_where_somebody_wants_them() {
    let all: [Maker; 10] = [
        ("frame", frame),
        ("head", head),
        ("walk", walk),
        ("splice", splice),
        ("codec", codec),
        ("session", session),
        ("groups", groups),
        ("journal", journal),
        ("login", login),
        ("config", config),
    ];
    let folder = std::env::var_os("FUZZ_SEEDS");
    let mut failed = Vec::new();
    for (name, seeds) in all {
        let (_, target) = super::TARGETS.into_iter().find(|(n, _)| *n == name).unwrap();
        for (i, seed) in seeds().into_iter().enumerate() {
            if let Some(folder) = &folder {
                let folder = Path::new(folder).join(name);
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(format!("made-{i:04}")), &seed).unwrap();
            }
            let run = std::panic::catch_unwind(|| target(&seed));
            if run.is_err() {
                failed.push(format!("{name} made-{i:04}"));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
