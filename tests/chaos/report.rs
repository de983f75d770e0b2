//! `docs/chaos_runs.md`, and the table in `docs/trust.md`.

use std::collections::BTreeMap;

use crate::check::Anomaly;
use crate::faults::Fault;
use crate::harness::setup::{pinned, root};
use crate::{Known, Outcome, Row, known};

fn told(outcome: &Outcome) -> String {
    let found = outcome.found.iter().filter(|(anomaly, _)| **anomaly != Anomaly::Died);
    let found: Vec<String> = found.map(|(anomaly, examples)| format!("{anomaly} {}", examples.len())).collect();
    if found.is_empty() { "-".to_owned() } else { found.join(", ") }
}

/// A run in one line, with what was found through kmend alone.
pub fn line(row: &Row, known: &Known) -> String {
    let Row { direct, through, .. } = row;
    let numbers = |o: &Outcome| {
        format!("{} records, {} handled, {} errors, {} died: {}", o.records, o.handled, o.errors, o.died(), told(o))
    };
    let worse = row.worse(known);
    let worse = if worse.is_empty() { String::new() } else { format!("  WORSE {}", worse.join("; ")) };
    format!(
        "  {} · {}: directly {} | through kmend {}{worse}",
        row.fault.name(),
        row.name,
        numbers(direct),
        numbers(through)
    )
}

pub fn write(rows: &[Row], seed: u64) {
    let (kafka, runs) = (pinned("KAFKA_VERSION"), rows.len());
    let mut text = format!(
        "# Faults, directly and through kmend\n\nWritten by `make chaos`: {runs} runs through kmend beside {runs} directly, under the same faults at the same \
         time; three brokers of Kafka {kafka}, seed {seed}. What is looked for, and how: [trust.md](trust.md#faults). \
         Errors: what the apps could see; died: apps that one of them ended (each is started again).\n\n| fault | workload | directly: records, handled, errors, died | found | through kmend: records, handled, errors, died | found |\n|---|---|---|---|---|---|\n"
    );
    let numbers = |o: &Outcome| format!("{}, {}, {}, {}", o.records, o.handled, o.errors, o.died());
    for row in rows {
        let Row { fault, name, direct, through, .. } = row;
        let [a, b, c, d] = [numbers(direct), told(direct), numbers(through), told(through)];
        text.push_str(&format!("| {} | {name} | {a} | {b} | {c} | {d} |\n", fault.name()));
    }
    std::fs::write(root().join("docs/chaos_runs.md"), text).expect("docs/chaos_runs.md");
    summary(rows);
}

/// Between two marks in a document that is otherwise written by hand.
fn summary(rows: &[Row]) {
    let (begin, end) = ("<!-- make chaos -->\n", "<!-- end -->");
    let file = root().join("docs/trust.md");
    let old = std::fs::read_to_string(&file).expect("docs/trust.md");
    let (before, rest) = old.split_once(begin).expect("where the table begins");
    let (_, after) = rest.split_once(end).expect("where the table ends");
    let mut table = "| fault | runs each way | found directly | found through kmend | only through kmend | apps that died, directly and through kmend | errors that apps saw |\n|---|---|---|---|---|---|---|\n".to_owned();
    let known = known(rows);
    for fault in Fault::ALL {
        let of: Vec<&Row> = rows.iter().filter(|row| row.fault == fault).collect();
        let sum = |pick: fn(&Row) -> &Outcome| {
            let mut all: BTreeMap<Anomaly, usize> = BTreeMap::new();
            let kinds = of.iter().flat_map(|row| pick(row).found.keys()).filter(|a| **a != Anomaly::Died);
            kinds.for_each(|anomaly| *all.entry(*anomaly).or_default() += 1);
            let all: Vec<String> = all.iter().map(|(anomaly, runs)| format!("{anomaly} {runs}")).collect();
            if all.is_empty() { "-".to_owned() } else { all.join(", ") }
        };
        let sums = |of_one: fn(&Outcome) -> usize| {
            let all = |pick: fn(&Row) -> &Outcome| of.iter().map(|row| of_one(pick(row))).sum::<usize>();
            format!("{}, {}", all(|row| &row.direct), all(|row| &row.through))
        };
        let worse = of.iter().filter(|row| !row.worse(&known).is_empty()).count();
        table.push_str(&format!(
            "| {} | {} | {} | {} | {worse} | {} | {} |\n",
            fault.name(),
            of.len(),
            sum(|row| &row.direct),
            sum(|row| &row.through),
            sums(Outcome::died),
            sums(|outcome| outcome.errors),
        ));
    }
    std::fs::write(&file, format!("{before}{begin}{table}{end}{after}")).expect("docs/trust.md");
}
