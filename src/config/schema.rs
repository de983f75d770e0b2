//! The configuration's JSON Schema (2020-12), from the types.

use serde_json::Value;

use super::model::Config;

/// What `kmend schema` prints; a copy is kept as `config/kmend.schema.json`.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Config).to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), "kmend's configuration".into());
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::super::flat::flatten;
    use super::super::{Sources, read};
    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config");

    #[test]
    fn the_kept_schema_is_the_code_s() {
        let path = format!("{FOLDER}/kmend.schema.json");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        let text = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
        assert_eq!(kept, text, "write it anew: cargo run -- schema > config/kmend.schema.json");
    }

    #[test]
    fn every_key_has_a_description() {
        let mut bare = Vec::new();
        fn walk(value: &Value, path: &str, bare: &mut Vec<String>) {
            if let Some(properties) = value.get("properties").and_then(Value::as_object) {
                for (name, property) in properties {
                    if property.get("description").is_none() {
                        bare.push(format!("{path}.{name}"));
                    }
                }
            }
        }
        let schema = schema();
        walk(&schema, "", &mut bare);
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            walk(definition, name, &mut bare);
        }
        assert_eq!(bare, Vec::<String>::new());
    }

    #[test]
    fn the_example_holds_every_key_with_its_default() {
        let path = format!("{FOLDER}/kmend.example.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# yaml-language-server: $schema=kmend.schema.json\n"));
        let sources = Sources { files: vec![path.into()], ..Sources::default() };
        let loaded = read(&sources).unwrap();
        for (key, _) in flatten(&Config::default()) {
            let written = loaded.provenance.of(&key).to_string();
            assert!(written.contains("kmend.example.yaml:"), "{key:?} is missing");
        }
        let mut config = loaded.config;
        assert_eq!(config.upstream.bootstrap.len(), 2);
        config.upstream.bootstrap.clear();
        assert_eq!(config, Config::default());
    }

    #[test]
    fn every_example_is_valid() {
        for entry in std::fs::read_dir(FOLDER).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "yaml") {
                let sources = Sources { files: vec![path.clone()], ..Sources::default() };
                let loaded = super::super::load(&sources);
                assert_eq!(loaded.unwrap().notes, Vec::<String>::new(), "{path:?}");
            }
        }
    }
}
