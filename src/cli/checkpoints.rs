//! `kmend checkpoints`: the repairs that were made, and how to go back (rule A9).

use std::path::PathBuf;

use super::out::Out;
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

fn configured(config: &Config) -> Vec<PathBuf> {
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

/// Clients choose these names: nothing of theirs may steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// RFC 3339 in whole seconds. The days are counted from 1 March 0000, so that the leap day is a
/// year's last.
fn utc(time_ms: u64) -> String {
    let seconds = time_ms / 1000;
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let day = day - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", seconds % 60)
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

    #[test]
    fn the_calendar_knows_leap_years() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399_000), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(utc(4_107_542_400_000), "2100-03-01T00:00:00Z");
    }
}
