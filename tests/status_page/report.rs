//! How soon what was shown, as lines and, with `KMEND_MATRIX=1`, as `docs/page_runs.md`.

use std::collections::BTreeMap;

use crate::WITHIN;
use crate::harness::setup::{pinned, root};
use crate::page::Saw;
use crate::told::Shown;

fn is_kept() -> bool {
    std::env::var_os("KMEND_MATRIX").is_some()
}

/// How often each story is told.
pub fn rounds() -> usize {
    if is_kept() { 5 } else { 1 }
}

/// By mender and sentence: how many, median and longest time to the page in milliseconds.
fn rows(shown: &[Shown]) -> Vec<(String, String, usize, u64, u64)> {
    let mut all: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    for one in shown {
        // The one sentence that has names and numbers in it.
        let sentence = match one.message.split_once(" was evicted, ") {
            Some(_) => "... was evicted, reset to ..., ... records skipped".to_owned(),
            None => one.message.clone(),
        };
        all.entry((one.mender.clone(), sentence)).or_default().push(one.after);
    }
    let row = |((mender, sentence), mut after): ((String, String), Vec<f64>)| {
        after.sort_by(f64::total_cmp);
        let ms = |at: usize| (after[at].max(0.0) * 1000.0).round() as u64;
        (mender, sentence, after.len(), ms(after.len() / 2), ms(after.len() - 1))
    };
    all.into_iter().map(row).collect()
}

fn whole(shown: &[Shown]) -> String {
    let mut after: Vec<f64> = shown.iter().map(|s| s.after * 1000.0).collect();
    after.sort_by(f64::total_cmp);
    let (median, most) = (after[after.len() / 2], after[after.len() - 1]);
    format!("{} lines, from the log to the page: median {median:.0} ms, at most {most:.0} ms", shown.len())
}

pub fn print(shown: &[Shown]) {
    for (mender, sentence, count, median, most) in rows(shown) {
        println!("{count:3} {mender}: {sentence}: median {median} ms, most {most} ms");
    }
    println!("{}", whole(shown));
}

pub fn tell(shown: &[Shown], saw: &Saw) {
    print(shown);
    let longest = saw.long_tasks.iter().map(|t| t.ms).fold(0.0, f64::max);
    println!("{} requests; {} tasks over 50 ms, the longest {longest:.0} ms", saw.requests.len(), saw.long_tasks.len());
    if !is_kept() {
        return;
    }
    let mut text = format!(
        "# The status page while kmend mends\n\n\
         Written by `KMEND_MATRIX=1 cargo test --test status_page` (debug build) on Kafka {} with Java {}, librdkafka and franz-go \
         1.16.1. One kmend with every mender in repair, one Chromium that has its page open all the time; each repair \
         is provoked {} times. What is counted: from the timestamp of kmend's log line to the moment in which the line is in the \
         page's document. In each run here every line of a mender was on the page once, within {WITHIN:.0} s; \
         nothing was on the console, against the policy, or asked of anybody but kmend.\n\n\
         {}. By the browser's own count, on a machine that others use: {} tasks over 50 ms, the longest {longest:.0} ms.\n\n\
         | mender | what it says | times | median | longest |\n|---|---|---|---|---|\n",
        pinned("KAFKA_VERSION"),
        pinned("JAVA_CLIENT_VERSION"),
        rounds(),
        whole(shown),
        saw.long_tasks.len(),
    );
    for (mender, sentence, count, median, most) in rows(shown) {
        text.push_str(&format!("| {mender} | {sentence} | {count} | {median} ms | {most} ms |\n"));
    }
    std::fs::write(root().join("docs/page_runs.md"), text).expect("docs/page_runs.md");
}
