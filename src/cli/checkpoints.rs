//! `kmend checkpoints`: the repairs that were made, and how to go back (rule A9).

use std::path::PathBuf;

use super::out::Out;
use super::text::{printable, utc};
use super::{Failed, UNAVAILABLE};
use crate::config::units::Auto;
use crate::config::{self, Config, ConfigError, Sources};
use crate::store::checkpoints::{self, Checkpoint};
use crate::store::dir;

pub(super) fn run(dir: Option<PathBuf>, sources: &Sources, out: &mut Out) -> Result<(), Failed> {
    // What the rest of the configuration means does not matter here.
    let loaded = config::read(sources).map_err(|error| {
        out.error(&error.to_string());
        ConfigError::EXIT_CODE
    })?;
    let config = loaded.config;
    let folders = dir.map_or_else(|| configured(&config), |dir| vec![dir]);
    let names: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
    let mut found = Vec::new();
    let mut there = false;
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        there = true;
        let read = checkpoints::read(folder).map_err(|error| {
            out.error(&error.to_string());
            UNAVAILABLE
        })?;
        found.extend(read);
    }
    if !there {
        out.error(&format!("no folder {}", names.join(" or ")));
        return Err(UNAVAILABLE);
    }
    if found.is_empty() {
        out.note(&format!("no repairs are noted in {}", names.join(" or ")));
    }
    found.sort_by_key(|checkpoint| checkpoint.time_ms);
    let bootstrap = config.upstream.bootstrap.first();
    let bootstrap = bootstrap.map_or_else(|| "<broker>".to_owned(), ToString::to_string);
    for checkpoint in &found {
        out.text(&tell(checkpoint, &bootstrap));
    }
    Ok(())
}

pub(super) fn configured(config: &Config) -> Vec<PathBuf> {
    match &config.menders.commit_buffer.journal.dir {
        Auto::Set(dir) => vec![dir.clone()],
        Auto::Auto => dir::bases(),
    }
}

fn tell(checkpoint: &Checkpoint, bootstrap: &str) -> String {
    let Checkpoint { old, new, .. } = checkpoint;
    let group = match &checkpoint.group {
        Some(group) => format!("group {group}"),
        None => format!("client {}", checkpoint.client_id),
    };
    let text = format!(
        "{}  {}[{}]  {group}: {old} -> {new} ({} records skipped)",
        utc(checkpoint.time_ms),
        checkpoint.topic,
        checkpoint.partition,
        new.saturating_sub(*old),
    );
    let back = checkpoint.way_back(bootstrap);
    format!("{}\n    {}\n", printable(&text), printable(&back))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_is_told_with_its_way_back() {
        let checkpoint = Checkpoint {
            time_ms: 1_795_226_400_000,
            group: Some("bill\x1b[2Jing".to_owned()),
            client_id: "app".to_owned(),
            topic: "orders".to_owned(),
            partition: 3,
            old: 62_129_856,
            new: 84_603_153,
        };
        let text = tell(&checkpoint, "kafka:9092");
        let first = "2026-11-21T02:00:00Z  orders[3]  group bill\u{fffd}[2Jing: \
                     62129856 -> 84603153 (22473297 records skipped)\n    kafka-consumer-groups.sh";
        assert!(text.starts_with(first), "{text}");
        assert!(!text.contains('\x1b'));
    }
}
