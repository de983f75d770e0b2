//! `kmend journal inspect`: the commits that kmend has acknowledged and that the broker does not have
//! yet (rule C7).

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::out::Out;
use super::text::{printable, utc};
use super::{Failed, UNAVAILABLE, checkpoints};
use crate::config::{self, ConfigError, Sources};
use crate::store::StoreError;
use crate::store::checkpoints::Checkpoint;
use crate::store::journal::{self, Inspection, Kind, Promise};

pub(super) fn inspect(dir: Option<PathBuf>, as_json: bool, sources: &Sources, out: &mut Out) -> Result<(), Failed> {
    let folders = match dir {
        Some(dir) => vec![dir],
        None => {
            let loaded = config::read(sources).map_err(|error| {
                out.error(&error.to_string());
                ConfigError::EXIT_CODE
            })?;
            checkpoints::configured(&loaded.config)
        }
    };
    let names: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
    let names = names.join(" or ");
    let mut found = Vec::new();
    let mut there = false;
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        there = true;
        let seen = journal::inspect(folder).map_err(|error| {
            out.error(&error.to_string());
            exit_code(&error)
        })?;
        found.extend(seen);
    }
    if !there {
        out.error(&format!("no folder {names}"));
        return Err(ConfigError::EXIT_CODE);
    }
    if found.is_empty() {
        out.note(&format!("no journal in {names}"));
    }
    let now = Checkpoint::now_ms();
    if as_json {
        let all: Vec<Value> = found.iter().map(|one| as_value(one, now)).collect();
        out.line(&format!("{:#}", json!({ "journals": all })));
    } else {
        for one in &found {
            out.text(&tell(one, now));
        }
    }
    Ok(())
}

fn exit_code(error: &StoreError) -> Failed {
    match error {
        StoreError::TooNew { .. } | StoreError::Foreign { .. } => ConfigError::EXIT_CODE,
        StoreError::Io { .. } | StoreError::Locked { .. } => UNAVAILABLE,
    }
}

fn tell(one: &Inspection, now: u64) -> String {
    let Inspection { promises, records, dead, bytes, live_bytes, .. } = one;
    let promised = match promises.len() {
        0 => "nothing is promised".to_owned(),
        1 => "1 promise".to_owned(),
        n => format!("{n} promises"),
    };
    let path = one.path.display();
    let mut text = format!(
        "{path}: {promised}; {records} records, {dead} of them dead; {bytes} bytes, {live_bytes} of them live\n"
    );
    if one.corrupt_parts > 0 {
        let (parts, bytes) = (one.corrupt_parts, one.corrupt_bytes);
        text.push_str(&format!("  damaged: {parts} parts, {bytes} bytes, are passed over\n"));
    }
    if one.torn_bytes > 0 {
        let bytes = one.torn_bytes;
        text.push_str(&format!(
            "  torn: {bytes} bytes at the end, cut when kmend opens it (or being written just now)\n"
        ));
    }
    for promise in promises {
        text.push_str(&line(promise, now));
    }
    text
}

fn line(p: &Promise, now: u64) -> String {
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    let member = match &p.instance {
        Some(instance) => format!("{} (instance {instance})", or(&p.member, "none")),
        None => or(&p.member, "none"),
    };
    let baseline = match p.baseline {
        None => "unknown".to_owned(),
        Some(-1) => "nothing".to_owned(),
        Some(offset) => offset.to_string(),
    };
    let age = Duration::from_secs(age_ms(p, now) / 1000);
    let first = format!(
        "{}  group {}  {}[{}]  offset {}  broker had {baseline}  {}, {}  {age:?} old",
        utc(p.time_ms),
        p.key.group,
        p.key.topic,
        p.key.partition,
        p.offset,
        kind(p),
        if p.ready { "ready" } else { "waits for the member" },
    );
    let protocol = if p.consumer_protocol { "epoch" } else { "generation" };
    let second = format!(
        "member {member}  {protocol} {}  client {}  cluster {}",
        p.generation,
        or(&p.client_id, "unknown"),
        or(&p.key.cluster, "unknown"),
    );
    format!("  {}\n      {}\n", printable(&first), printable(&second))
}

fn kind(p: &Promise) -> &'static str {
    match p.kind {
        Kind::Buffered => "buffered",
        Kind::Behind => "behind",
    }
}

fn age_ms(p: &Promise, now: u64) -> u64 {
    now.saturating_sub(p.time_ms)
}

fn as_value(one: &Inspection, now: u64) -> Value {
    let promises: Vec<Value> = one.promises.iter().map(|p| promise_value(p, now)).collect();
    json!({
        "path": one.path.display().to_string(),
        "bytes": one.bytes,
        "live_bytes": one.live_bytes,
        "records": one.records,
        "dead": one.dead,
        "corrupt": { "parts": one.corrupt_parts, "bytes": one.corrupt_bytes },
        "torn_bytes": one.torn_bytes,
        "promises": promises,
    })
}

fn promise_value(p: &Promise, now: u64) -> Value {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let topic_id = (p.topic_id != [0; 16]).then(|| uuid::Uuid::from_bytes(p.topic_id).to_string());
    json!({
        "cluster": known(&p.key.cluster),
        "group": &*p.key.group,
        "topic": &*p.key.topic,
        "topic_id": topic_id,
        "partition": p.key.partition,
        "kind": kind(p),
        "offset": p.offset,
        "leader_epoch": p.leader_epoch,
        "metadata": p.metadata.as_deref(),
        "baseline": p.baseline,
        "ready": p.ready,
        "member": &*p.member,
        "instance": p.instance.as_deref(),
        "generation": p.generation,
        "protocol": if p.consumer_protocol { "consumer" } else { "classic" },
        "client_id": &*p.client_id,
        "time_ms": p.time_ms,
        "age_ms": age_ms(p, now),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::Key;

    fn promise() -> Promise {
        Promise {
            key: Key { cluster: "".into(), group: "bill\x1b[2Jing".into(), topic: "orders".into(), partition: 3 },
            kind: Kind::Behind,
            topic_id: [1; 16],
            member: "app-1".into(),
            instance: Some("pod-0".into()),
            generation: 7,
            ready: true,
            consumer_protocol: false,
            client_id: "app".into(),
            offset: 1000,
            leader_epoch: 4,
            metadata: None,
            baseline: Some(-1),
            time_ms: 1_795_226_400_000,
        }
    }

    #[test]
    fn a_promise_is_told() {
        let text = line(&promise(), 1_795_226_400_000 + 61_500);
        assert_eq!(
            text,
            "  2026-11-21T02:00:00Z  group bill\u{fffd}[2Jing  orders[3]  offset 1000  broker had nothing  \
             behind, ready  61s old\n      member app-1 (instance pod-0)  generation 7  client app  cluster unknown\n"
        );
    }

    #[test]
    fn a_promise_is_json() {
        let value = promise_value(&promise(), 1_795_226_400_500);
        assert_eq!(value["topic_id"], "01010101-0101-0101-0101-010101010101");
        assert_eq!((&value["cluster"], &value["age_ms"], &value["baseline"]), (&Value::Null, &json!(500), &json!(-1)));
        assert_eq!((&value["kind"], &value["protocol"]), (&json!("behind"), &json!("classic")));
    }
}
