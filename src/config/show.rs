//! `kmend config`: the effective configuration with where each key came from, secrets redacted.

use std::fmt::Write;

use serde_json::Value;

use super::model::Config;
use super::provenance::{KeyPath, Origin, Provenance};

const REDACTED: &str = "(redacted)";

/// As YAML that could be a configuration file, with origins as comments.
pub fn show(config: &Config, provenance: &Provenance) -> String {
    let mut lines = Vec::new();
    if let Value::Object(map) = redacted(config) {
        for (name, value) in map {
            write_node(&mut lines, &mut vec![name], &value, provenance);
        }
    }
    let width = lines
        .iter()
        .filter(|(_, origin)| origin.is_some())
        .map(|(text, _)| text.chars().count())
        .filter(|width| *width <= 60)
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (line, origin) in lines {
        // Writing to a String cannot fail.
        let _ = match origin {
            Some(origin) => writeln!(text, "{line:width$}  # {origin}"),
            None => writeln!(text, "{line}"),
        };
    }
    text
}

/// As a tree, with everything that could be a secret hidden.
pub fn redacted(config: &Config) -> Value {
    let mut value = serde_json::to_value(config).unwrap_or_default();
    redact(&mut value);
    value
}

/// Each key's origin, for machines.
pub fn origins(config: &Config, provenance: &Provenance) -> Value {
    let origins = super::flat::flatten(config).into_iter().map(|(path, _)| {
        let origin = provenance.of(&path).to_string();
        (super::provenance::join_key(&path), Value::from(origin))
    });
    Value::Object(origins.collect())
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if is_secret(name) && !value.is_null() && !value.is_object() {
                    *value = REDACTED.into();
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

/// A key whose value is one; the path of a file that holds one is not.
fn is_secret(name: &str) -> bool {
    ["password", "secret", "token", "username"].iter().any(|word| name.ends_with(word))
}

fn write_node(lines: &mut Vec<(String, Option<Origin>)>, path: &mut KeyPath, value: &Value, provenance: &Provenance) {
    let indent = "  ".repeat(path.len().saturating_sub(1));
    let name = path.last().map(|name| scalar(name)).unwrap_or_default();
    match value {
        Value::Object(map) if !map.is_empty() => {
            lines.push((format!("{indent}{name}:"), None));
            for (name, value) in map {
                path.push(name.clone());
                write_node(lines, path, value, provenance);
                path.pop();
            }
        }
        leaf => lines.push((format!("{indent}{name}: {}", flow(leaf)), Some(provenance.of(path)))),
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// A word as it is; whatever YAML might read otherwise in quotes.
fn scalar(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_alphanumeric() || "._-/:=".contains(c))
        && text.chars().next().is_some_and(|c| c.is_alphanumeric() || c == '/')
        && !text.ends_with(':')
        && !["true", "false", "null"].contains(&text)
        && text.parse::<f64>().is_err();
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::{Sources, read};
    use super::*;

    #[test]
    fn what_is_shown_reads_back_as_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kmend.yaml");
        let sources = |env: &[(&str, &str)]| Sources {
            env: env.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect(),
            ..Sources::default()
        };
        let loaded = read(&sources(&[
            ("KMEND_UPSTREAM__BOOTSTRAP", "kafka:9092,[::1]:9093"),
            ("KMEND_LOG__LEVEL", "info,kmend::session=debug"),
            ("KMEND_MENDERS__OFFSET_RESET__TOPICS", "{'orders.*': latest, '7': {mode: off}}"),
        ]))
        .unwrap();
        let text = show(&loaded.config, &loaded.provenance);
        assert!(text.contains("# environment variable KMEND_LOG__LEVEL\n"), "{text}");
        std::fs::write(&file, &text).unwrap();
        let again = read(&Sources { files: vec![file], ..Sources::default() }).unwrap();
        assert_eq!(again.config, loaded.config);
    }

    #[test]
    fn secrets_are_hidden() {
        let mut config = Config::default();
        config.upstream.sasl.username = Some("alice".into());
        let shown = show(&config, &Provenance::default());
        assert!(!shown.contains("alice"), "{shown}");
        assert!(shown.contains("username: \"(redacted)\""), "{shown}");
    }
}
