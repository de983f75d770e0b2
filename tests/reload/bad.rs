//! Files that cannot be used, or not without a restart. Each has a good change in it, too, that must not come true.

use std::time::Duration;

use serde_json::{Value, json};

use crate::file::{Way, Written, put, yaml};
use crate::harness::{Kmend, eventually, wait_for};
use crate::{PATIENCE, json_of, reloads};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    Yaml,
    UnknownKey,
    OutOfRange,
    /// It can be used, and says that it has to wait.
    NeedsRestart,
}

const ALL: [Bad; 4] = [Bad::Yaml, Bad::UnknownKey, Bad::OutOfRange, Bad::NeedsRestart];

/// What no good change sets it to.
const GRACE: (&str, &str) = ("/shutdown/grace", "77s");

impl Bad {
    pub fn of(n: usize) -> Bad {
        ALL[n % ALL.len()]
    }

    /// How many of ten are refused.
    pub fn refused() -> usize {
        (1..=10).filter(|n| Bad::of(*n) != Bad::NeedsRestart).count()
    }

    /// The text, and the words that name the fault: its line, its key.
    fn text(self, good: &Value) -> (String, Vec<String>) {
        let mut bad = good.clone();
        if self != Bad::NeedsRestart {
            put(&mut bad, GRACE.0, json!(GRACE.1));
        }
        let (pointer, value, words) = match self {
            Bad::Yaml => {
                let text = yaml(&bad);
                let line = text.lines().count() + 1;
                return (text + "menders: [repair\n", vec![format!(":{line}:")]);
            }
            Bad::UnknownKey => ("/log/levle", json!("info"), "log.levle: unknown key; did you mean log.level?"),
            Bad::OutOfRange => {
                ("/limits/max_whole_frame", json!("1KiB"), "limits.max_whole_frame: 1KiB: expected 64KiB")
            }
            Bad::NeedsRestart => ("/admin/expose", json!("all"), "admin.expose: metrics -> all"),
        };
        put(&mut bad, pointer, value);
        let text = yaml(&bad);
        let name = format!("{:?}:", pointer.rsplit('/').next().expect("a name"));
        let line = 1 + text.lines().position(|l| l.trim().starts_with(&name)).expect("the line");
        let mut words = vec![words.to_owned()];
        if self != Bad::NeedsRestart {
            words.push(format!("kmend.yaml:{line}:"));
        }
        (text, words)
    }

    /// Puts it in the file's place, and sees that nothing changes and that it is told why.
    pub fn meet(self, kmend: &Kmend, written: &mut Written, way: Way) {
        let outcome = if self == Bad::NeedsRestart { "reloaded" } else { "failed" };
        let (before, config) = (reloads(kmend, outcome), json_of(kmend, "/api/config")["config"].clone());
        let level = kmend.get("/api/log-level");
        let (text, words) = self.text(&written.value);
        written.write(&text, way, kmend);
        wait_for(&format!("{self:?} by {way:?}"), PATIENCE, || (reloads(kmend, outcome) == before + 1.0).then_some(()));
        let good = kmend.metrics().sum("kmend_config_last_reload_successful", &[]);
        assert_eq!(good, f64::from(u8::from(self == Bad::NeedsRestart)), "{self:?}");
        self.is_said(kmend, &words);
        // Not a little later either.
        let changes = || json_of(kmend, "/api/config")["config"] != config || kmend.get("/api/log-level") != level;
        assert!(!eventually(Duration::from_millis(300), changes), "{self:?} changed what is in force");
        // What the next change is written on is good again.
        assert_eq!(written.value.pointer(GRACE.0).filter(|v| **v == GRACE.1), None);
    }

    /// In the log and in what the page shows.
    fn is_said(self, kmend: &Kmend, words: &[String]) {
        let newest = json_of(kmend, "/api/status")["reload"].clone();
        let is_ok = self == Bad::NeedsRestart;
        assert_eq!((&newest["ok"], &newest["changed"]), (&json!(is_ok), &json!([])), "{self:?}: {newest}");
        let shown = if is_ok { newest["needs_restart"].to_string() } else { newest["error"].to_string() };
        let in_log = || {
            let log = kmend.log();
            let line = log.iter().rev().find(|l| l.contains(if is_ok { "after a restart" } else { "not reloaded" }));
            line.cloned().unwrap_or_default()
        };
        for word in words {
            assert!(shown.contains(word), "{self:?}: no {word} in {shown}");
            // There the key, the old and the new value are fields.
            let parts: Vec<&str> = if is_ok { word.split([':', ' ', '>']).collect() } else { vec![word] };
            let there = || parts.iter().all(|part| in_log().contains(part));
            assert!(eventually(Duration::from_secs(2), there), "{self:?}: no {word} in the log: {}", in_log());
        }
    }
}
