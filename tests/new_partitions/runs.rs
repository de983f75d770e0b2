//! `KMEND_MATRIX=1`: every client in both roles and both growths, five times; the report is kept.

use std::fmt::Write;

use crate::growth::{self, Role, Row, SPREAD};
use crate::harness::setup::{pinned, root};
use crate::{CELLS, kafka};

const RUNS: usize = 5;

#[test]
fn runs() {
    if std::env::var("KMEND_MATRIX").is_err() {
        return;
    }
    let mut rows: Vec<Row> = Vec::new();
    for run in 1..=RUNS {
        let new = growth::mended(kafka(), &CELLS);
        new.iter().for_each(|r| println!("run {run}: {}", r.text()));
        rows.extend(new);
    }
    std::fs::write(root().join("docs/new_partitions_runs.md"), report(&rows)).expect("the report");
    rows.iter().for_each(|r| r.check(5));
}

/// Minimum, median and maximum; who never found them counts as the slowest.
fn spread(mut seconds: Vec<Option<f64>>) -> String {
    seconds.sort_by(|a, b| a.unwrap_or(f64::MAX).total_cmp(&b.unwrap_or(f64::MAX)));
    let text = |at: usize| seconds[at].map_or("never".to_owned(), |s| format!("{s:.1}"));
    format!("{} / {} / {}", text(0), text(seconds.len() / 2), text(seconds.len() - 1))
}

fn report(rows: &[Row]) -> String {
    let mut text = format!(
        "# New partitions: how long it takes\n\n\
         Written by `KMEND_MATRIX=1 cargo test --test new_partitions runs` on Kafka {} (Java clients {} and {}), \
         {RUNS} runs.\n\
         Seconds from the growth of a topic to the first record in any, and in each, of its new partitions: minimum / \
         median /\nmaximum. All apps run side by side, each behind a kmend of its own, with the client's own settings; a\n\
         producer sends 20 records a second and needs up to {:.1} s until a hash has hit 12 of 12 \
         partitions. Directly on the broker\nnone of them finds a new partition within 60 s (`direct.rs`).\n\n\
         | client | role | partitions | first | all | limit of the first |\n|---|---|---|---|---|---|\n",
        pinned("KAFKA_VERSION"),
        pinned("JAVA_CLIENT_VERSION"),
        pinned("JAVA_OLD_CLIENT_VERSION"),
        SPREAD.as_secs_f64(),
    );
    for cell in CELLS {
        for (from, to) in [(1, 3), (3, 12)] {
            let own = || rows.iter().filter(|r| r.cell == cell && r.from == from);
            let role = if cell.role == Role::Producer { "producer" } else { "consumer" };
            let limit = crate::limit(cell.client, cell.role, 5).as_secs();
            let (first, all) = (own().map(|r| r.first).collect(), own().map(|r| r.all).collect());
            let (first, all) = (spread(first), spread(all));
            let _ = writeln!(text, "| {} | {role} | {from} to {to} | {first} | {all} | {limit} |", cell.client);
        }
    }
    text
}
