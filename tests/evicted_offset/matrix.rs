//! Everything by everything (`make matrix`), and the check that the fixed subset leaves nobody out.

use std::fmt::Write;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::time::Duration;

use crate::case::{self, CLIENTS, resets};
use crate::harness::setup::{pinned, root};
use crate::scenario::Scenario;
use crate::{SUBSET, kafka};

type Cell = (&'static str, &'static str, Scenario);

#[test]
fn subset_touches_each_client_scenario_and_reset_policy() {
    for client in CLIENTS {
        assert!(SUBSET.iter().any(|c| c.0 == client), "no case for {client}");
        for reset in resets(client) {
            // kafka-python and Java with KIP-848 have two of three each; the matrix has all.
            let enough = SUBSET.iter().filter(|c| c.0 == client).count() >= 3;
            assert!(enough || SUBSET.iter().any(|c| c.0 == client && c.1 == *reset), "{client} with {reset}");
        }
    }
    for scenario in Scenario::ALL {
        assert!(SUBSET.iter().filter(|c| c.2 == scenario).count() >= 2, "too few cases for {scenario:?}");
    }
}

/// With `KMEND_MATRIX=1`: all cells, direct and mended, and `docs/matrix.md` written anew. With
/// `KMEND_MATRIX=mended` only the half through kmend, and no report: a third of the time.
#[test]
fn matrix() {
    let Ok(wanted) = std::env::var("KMEND_MATRIX") else { return };
    let whole = wanted != "mended";
    let cells: Vec<Cell> = CLIENTS
        .into_iter()
        .flat_map(|c| resets(c).iter().flat_map(move |r| Scenario::ALL.map(|s| (c, *r, s))))
        .collect();
    let (next, done) = (Mutex::new(cells.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                loop {
                    let cell = next.lock().unwrap_or_else(|e| e.into_inner()).next().copied();
                    let Some((client, reset, scenario)) = cell else {
                        break;
                    };
                    let direct = || case::direct(kafka(), client, reset, scenario, Duration::from_secs(6));
                    let direct = if whole { cell_text(direct) } else { "not run".to_owned() };
                    let mended = cell_text(|| case::mended(kafka(), client, reset, scenario));
                    println!("{client} {reset} {scenario:?}: directly {direct}; through kmend {mended}");
                    let line = ((client, reset, scenario), direct, mended);
                    done.lock().unwrap_or_else(|e| e.into_inner()).push(line);
                }
            });
        }
    });
    let done = done.into_inner().expect("all cells");
    let failed: Vec<_> = done.iter().filter(|(_, _, m)| !m.starts_with("healed")).collect();
    if whole {
        std::fs::write(root().join("docs/matrix.md"), report(&cells, &done)).expect("docs/matrix.md");
    }
    assert!(failed.is_empty(), "{} of {} cells failed: {failed:#?}", failed.len(), cells.len());
}

fn cell_text(run: impl FnOnce() -> case::Outcome) -> String {
    match catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Err(e) => {
            let text = e.downcast_ref::<String>().map_or("panic", String::as_str);
            format!("FAILED: {}", text.lines().next().unwrap_or("").chars().take(160).collect::<String>())
        }
        Ok(o) => match o.verdict {
            case::Verdict::Healed => format!("healed in {:.1} s", o.seconds),
            case::Verdict::Skipped => format!("skipped {} of {}", o.missed, o.there),
            v => format!("{v:?}").to_lowercase(),
        },
    }
}

fn report(cells: &[Cell], done: &[(Cell, String, String)]) -> String {
    let mut text = format!(
        "# Evicted offsets: every client by every scenario\n\n\
         Written by `make matrix` on Kafka {} (Java client {}). Each case runs twice: directly on the broker, and\n\
         through kmend with its defaults.\n\n\
         | client | reset | scenario | directly | through kmend |\n|---|---|---|---|---|\n",
        pinned("KAFKA_VERSION"),
        pinned("JAVA_CLIENT_VERSION")
    );
    for cell in cells {
        if let Some((_, direct, mended)) = done.iter().find(|(c, _, _)| c == cell) {
            let _ = writeln!(text, "| {} | {} | {:?} | {direct} | {mended} |", cell.0, cell.1, cell.2);
        }
    }
    text
}
