//! With `KMEND_MATRIX=1`: every client in every trouble, ten times through kmend, and every figure; what came of it is
//! written to `docs/commits_runs.md`. `KMEND_MATRIX=N`: N times. `MATRIX_CELLS=java:Removed,...`: only those, nothing is written.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;

use crate::delivered::{Cell, How, Row, SAFE};
use crate::harness::setup::{pinned, root};
use crate::harness::{ALL_CLIENTS, caught};
use crate::scenario::{Outcome, Trouble, Verdict};
use crate::{delivered, direct, faststream, mended, rate, share, three};

const TROUBLES: [Trouble; 5] = [Trouble::Queued, Trouble::Renewed, Trouble::Removed, Trouble::Noticed, Trouble::Told];

/// What ten runs of one cell came to.
#[derive(Default)]
struct Tally {
    directly: String,
    good: usize,
    /// Runs in which the broker refused a commit.
    met: usize,
    runs: usize,
    /// What else was said.
    failures: Vec<String>,
}

#[test]
fn runs() {
    let Ok(wanted) = std::env::var("KMEND_MATRIX") else { return };
    let times = wanted.parse().ok().filter(|n| *n > 1).unwrap_or(10);
    let mut text = head(times);
    if std::env::var_os("MATRIX_CELLS").is_some() {
        // Some of them again, to look at.
        return troubles(&mut text, times);
    }
    // Each part is written when it is there: all of it takes most of an hour.
    let keep = |text: &str| std::fs::write(root().join("docs/commits_runs.md"), text).expect("docs/commits_runs.md");
    troubles(&mut text, times);
    keep(&text);
    ends(&mut text);
    keep(&text);
    members(&mut text, times);
    keep(&text);
    backlogs(&mut text);
    keep(&text);
    rates(&mut text);
    keep(&text);
    shares(&mut text);
    keep(&text);
}

fn head(times: usize) -> String {
    let version = |client: &str, file: &str| {
        let text = std::fs::read_to_string(root().join("tests/clients").join(client).join(file)).unwrap_or_default();
        let hit = text.lines().find(|l| l.contains("==") || l.contains("franz-go v") || l.contains("sarama v"));
        let hit = hit.or_else(|| text.lines().find(|l| l.contains("\"kafkajs\":")));
        hit.unwrap_or_default().trim().trim_start_matches("require ").replace('"', "")
    };
    format!(
        "# Commits that meet a rebalance or an end: every client, {times} runs\n\n\
         Written by `KMEND_MATRIX=1 cargo test --test commits runs` on Kafka {}, with Java {}, {}, {}, {}, {}, {}, {}.\n",
        pinned("KAFKA_VERSION"),
        pinned("JAVA_CLIENT_VERSION"),
        version("librdkafka", "requirements.txt"),
        version("franz-go", "go.mod"),
        version("sarama", "go.mod"),
        version("aiokafka", "requirements.txt"),
        version("kafka-python", "requirements.txt"),
        version("kafkajs", "package.json"),
    )
}

/// Runs `work` for each of `items`, some at a time: most of each is waiting.
fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, done) = (Mutex::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|threads| {
        for _ in 0..5 {
            threads.spawn(|| {
                loop {
                    let n = {
                        let mut next = next.lock().unwrap_or_else(|e| e.into_inner());
                        *next += 1;
                        *next - 1
                    };
                    let Some(item) = items.get(n) else { break };
                    let result = work(item);
                    done.lock().unwrap_or_else(|e| e.into_inner()).insert(n, result);
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(|e| e.into_inner()).into_values().collect()
}

fn is_good(outcome: &Outcome) -> bool {
    outcome.verdict == Verdict::GoesOn
}

fn tally(times: usize, directly: impl FnOnce() -> Outcome, mended: impl Fn() -> Outcome) -> Tally {
    let mut all = Tally { runs: times, ..Tally::default() };
    all.directly = caught(directly).map_or_else(|e| format!("FAILED {e}"), |o| o.text()).replace(['\n', '|'], " ");
    for _ in 0..times {
        match caught(&mended) {
            Ok(outcome) => {
                all.good += usize::from(is_good(&outcome));
                all.met += usize::from(!outcome.refused.is_empty());
            }
            Err(text) => all.failures.push(text.lines().next().unwrap_or_default().replace('|', " ")),
        }
    }
    all
}

fn troubles(text: &mut String, times: usize) {
    let clients: Vec<&str> = ALL_CLIENTS.into_iter().chain([faststream::CASE]).collect();
    let mut cells: Vec<(&str, Trouble)> =
        clients.iter().flat_map(|c| TROUBLES.into_iter().map(move |t| (*c, t))).collect();
    if let Ok(chosen) = std::env::var("MATRIX_CELLS") {
        cells.retain(|(client, trouble)| chosen.split(',').any(|c| c == format!("{client}:{trouble:?}")));
    }
    let rows = each(&cells, |(client, trouble)| {
        let row = if client.starts_with("faststream") {
            let run = |through| faststream::outcome(client, "each", *trouble, through).0;
            tally(times, || run(false), || run(true))
        } else {
            tally(times, || direct::outcome(client, *trouble), || mended::outcome(client, *trouble))
        };
        println!("{client}, {trouble:?}: {} of {} went on; {:?}", row.good, row.runs, row.failures);
        row
    });
    text.push_str(
        "\n## A naive commit loop whose handler runs meanwhile\n\n\
         One app, a synchronous commit after each record, and an error of it ends the app. *Queued*: the client rejoins \
         in the background and commits behind its own JoinGroup (22). *Renewed*: the group has gone on in its name \
         (22). *Removed*: it was removed (25). *Noticed*: the same, and a heartbeat has told the client first. *Told*: \
         between JoinGroup and SyncGroup (27). The last column: runs that went on without an error and ended with \
         everything handled and committed, and in how many the broker refused a commit.\n\n\
         | client | trouble | directly | through kmend | refused |\n|---|---|---|---|---|\n",
    );
    for ((client, trouble), row) in cells.iter().zip(&rows) {
        let _ = write!(text, "| {client} | {trouble:?} | {} | {} of {}", row.directly, row.good, row.runs);
        let failures = if row.failures.is_empty() { String::new() } else { format!(": {}", row.failures.join("; ")) };
        let _ = writeln!(text, "{failures} | {} |", row.met);
    }
    let bad: Vec<_> = cells.iter().zip(&rows).filter(|(_, r)| r.good < r.runs).map(|(c, _)| c).collect();
    println!("cells that did not always go on: {bad:?}");
}

fn members(text: &mut String, times: usize) {
    text.push_str(
        "\n## Three members, each behind a kmend of its own\n\n\
         One of them is removed while its handler runs.\n\n| client | directly | through kmend | the last run |\n|---|---|---|---|\n",
    );
    for client in ALL_CLIENTS {
        let line = |r: Result<String, String>| {
            r.unwrap_or_else(|e| e).lines().next().unwrap_or_default().chars().take(200).collect::<String>()
        };
        let run = |through| caught(|| three::run(client, through)).unwrap_or_else(Err);
        let directly = line(run(false)).replace('|', " ");
        let runs: Vec<_> = (0..times).map(|_| run(true)).collect();
        let good = runs.iter().filter(|r| r.is_ok()).count();
        let last = runs.into_iter().next_back().map(line).unwrap_or_default().replace('|', " ");
        let _ = writeln!(text, "| {client} | {directly} | {good} of {times} | {last} |");
    }
}

fn shares(text: &mut String) {
    text.push_str(
        "\n## What never reaches the wire\n\n\
         A naive app commits each record of a steady stream for half a minute while another member joins and leaves \
         without end; it is started again whenever it dies. A death without a refused commit at the broker is its \
         client's own doing: no proxy can mend it.\n\n| client | directly | through kmend |\n|---|---|---|\n",
    );
    let plain = ALL_CLIENTS.into_iter().map(|c| (c, c, ""));
    let cells: Vec<_> = plain.chain(share::VARIANTS).collect();
    let rows = each(&cells, |(_, client, props)| {
        let line = |through| caught(|| share::shaken(client, props, through).text()).unwrap_or_else(|e| e);
        [line(false), line(true)].map(|l| l.lines().next().unwrap_or_default().replace('|', " "))
    });
    for ((name, ..), [directly, mended]) in cells.iter().zip(rows) {
        let _ = writeln!(text, "| {name} | {directly} | {mended} |");
    }
}

fn ends(text: &mut String) {
    let how = |client| if SAFE.contains(&client) { How::Delivered } else { How::Unsafe };
    let mut rows: Vec<Row> = Vec::new();
    for kill in [true, false] {
        for clients in [&ALL_CLIENTS[..4], &ALL_CLIENTS[4..]] {
            let cells = |how: &dyn Fn(&'static str) -> How| -> Vec<Cell> {
                clients.iter().map(|client| Cell { client, how: how(client), kill }).collect()
            };
            rows.extend(delivered::run(&cells(&|_| How::Directly)));
            rows.extend(delivered::run(&cells(&how)));
        }
    }
    text.push_str(
        "\n## Stopped without warning\n\n\
         The client's own auto commit, 200 records a second in two partitions, the signal 12.5 s after the first \
         record, no handler for signals. Handled minus committed, 4 s later; negative: committed without having been \
         handled.\n\n| client | signal | directly | through kmend | with |\n|---|---|---|---|---|\n",
    );
    for row in rows.iter().filter(|r| r.cell.how == How::Directly) {
        let same = |r: &&Row| r.cell.client == row.cell.client && r.cell.kill == row.cell.kill;
        let Some(other) = rows.iter().filter(same).find(|r| r.cell.how != How::Directly) else { continue };
        let signal = if row.cell.kill { "SIGKILL" } else { "SIGINT" };
        let with = if other.cell.how == How::Unsafe { "`delivered.unsafe`" } else { "`delivered`" };
        let lost = |r: &Row| r.handled - r.committed;
        let _ = writeln!(text, "| {} | {signal} | {} | {} | {with} |", row.cell.client, lost(row), lost(other));
    }
}

/// Killed in the middle of a backlog: whether more was committed than handled.
fn backlogs(text: &mut String) {
    text.push_str(
        "\n## Killed in a backlog\n\n\
         4,000 records of 1 kB in each of two partitions, 4 ms for each, SIGKILL after the client's first commit and 150 records \
         more. Of each partition handled minus committed, 4 s later, without the record that was being handled.\n\n\
         | client | directly | through kmend | with |\n|---|---|---|---|\n",
    );
    let rows = each(&ALL_CLIENTS, |client| {
        let how = if SAFE.contains(client) { How::Delivered } else { How::Unsafe };
        let run = |how| caught(|| format!("{:?}", delivered::backlog(client, how))).unwrap_or_else(|e| e);
        [run(How::Directly), run(how)].map(|l| l.lines().next().unwrap_or_default().replace('|', " "))
    });
    for (client, [directly, mended]) in ALL_CLIENTS.iter().zip(rows) {
        let with = if SAFE.contains(client) { "`delivered`" } else { "`delivered.unsafe`" };
        let _ = writeln!(text, "| {client} | {directly} | {mended} | {with} |");
    }
}

fn rates(text: &mut String) {
    text.push_str(
        "\n## A commit per record\n\nSynchronous, one after the other, for 5 s: commits a second directly and with \
         write-behind; with the broker on this machine, and a millisecond away.\n\n\
         | client | near: directly | write-behind | times | far: directly | write-behind | times |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let bare = std::iter::once(("no client: a connection that only commits", caught(rate::bare)));
    for (client, rates) in bare.chain(ALL_CLIENTS.into_iter().map(|c| (c, caught(|| rate::all(c))))) {
        let cell = |(directly, behind): (f64, f64)| format!("{directly:.0} | {behind:.0} | {:.1}", behind / directly);
        let cells = match rates {
            Ok(rates) => rates.map(cell).join(" | "),
            Err(e) => format!("FAILED {} | | | | |", e.lines().next().unwrap_or_default().replace('|', " ")),
        };
        let _ = writeln!(text, "| {client} | {cells} |");
    }
}
