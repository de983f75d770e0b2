//! The status page in a real browser while a real kmend mends for real clients: every repair is on the page within a
//! second, once, and the page asks nobody else for anything.
//!
//! Not among `cargo test`'s own: it needs Chromium and Node (`make test-page`). `KMEND_MATRIX=1` tells each story five
//! times and writes `docs/page_runs.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

mod crowd;
mod hop;
mod page;
mod report;
mod stories;
mod told;

use std::sync::{Mutex, OnceLock};

use harness::{ClusterSpec, Kafka, Kmend};
use serde_json::json;

use page::Page;
use stories::Stage;

/// What is promised.
pub const WITHIN: f64 = 1.0;

fn kafka() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| Kafka::start(ClusterSpec::default()))
}

/// One test at a time: a second is measured.
static ALONE: Mutex<()> = Mutex::new(());

/// kmend with every mender in a mode.
fn kmend(mode: &str) -> Kmend {
    let kmend = Kmend::start(kafka(), |config| {
        for mender in ["offset_reset", "partition_discovery", "commit_buffer", "assignment_watchdog"] {
            config["menders"][mender]["mode"] = json!(mode);
        }
        config["menders"]["partition_discovery"]["interval"] = json!("1s");
        config["menders"]["assignment_watchdog"]["after"] = json!("4s");
        config["menders"]["commit_buffer"]["delivered"] = json!({ "enabled": true });
    });
    kmend.allow("evicted").allow("out of range").allow("nobody fetches them");
    kmend
}

#[test]
fn every_repair_is_on_the_page_within_a_second() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let kmend = kmend("repair");
    let page = Page::open(&kmend);
    let stage = Stage { kafka: kafka(), kmend: &kmend, mends: true };
    for round in 1..=report::rounds() {
        stage.tell(round);
    }
    let saw = page.close();
    let shown = told::check(&kmend, &saw);
    for (mender, sentence) in stories::REPAIRS {
        let there = shown.iter().any(|s| s.mender == *mender && s.text.contains(sentence) && !s.is_observed());
        assert!(there, "nothing was said of: {mender}, {sentence}\n{shown:#?}");
    }
    report::tell(&shown, &saw);
}

#[test]
fn in_observe_it_shows_what_would_have_been_done() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let kmend = kmend("observe");
    let page = Page::open(&kmend);
    Stage { kafka: kafka(), kmend: &kmend, mends: false }.tell(1);
    let saw = page.close();
    let shown = told::check(&kmend, &saw);
    for (mender, sentence) in stories::OBSERVED {
        let there = shown.iter().any(|s| s.mender == *mender && s.text.contains(sentence) && s.is_observed());
        assert!(there, "nothing was said of: {mender}, {sentence}\n{shown:#?}");
    }
    report::print(&shown);
}
