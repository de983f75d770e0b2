//! A configuration as a flat list of keys and printed values: for differences and for `kmend config`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::model::Config;
use super::provenance::{KeyPath, join_key};
use super::running::Change;

/// Every key with its value; a map's entries are keys, a list is one value, an empty map too.
pub(super) fn flatten<T: Serialize>(value: &T) -> Vec<(KeyPath, Value)> {
    let mut keys = Vec::new();
    // Our own types serialize to plain JSON; nothing can fail.
    if let Ok(tree) = serde_json::to_value(value) {
        walk(&mut keys, &mut Vec::new(), tree);
    }
    keys
}

fn walk(keys: &mut Vec<(KeyPath, Value)>, path: &mut KeyPath, value: Value) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                path.push(name);
                walk(keys, path, value);
                path.pop();
            }
        }
        leaf => keys.push((path.clone(), leaf)),
    }
}

/// A value as a person would write it.
pub(super) fn print(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(print).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// The keys in which two configurations differ.
pub(super) fn changes(old: &Config, new: &Config, needs_restart: impl Fn(&[String]) -> bool) -> Vec<Change> {
    let old: BTreeMap<_, _> = flatten(old).into_iter().collect();
    let new: BTreeMap<_, _> = flatten(new).into_iter().collect();
    let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    let show = |value: Option<&Value>| value.map_or_else(|| "(not set)".to_owned(), print);
    keys.into_iter()
        .filter(|path| old.get(*path) != new.get(*path))
        .map(|path| Change {
            key: join_key(path),
            from: show(old.get(path)),
            to: show(new.get(path)),
            needs_restart: needs_restart(path),
        })
        .collect()
}
