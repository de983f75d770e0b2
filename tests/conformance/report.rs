//! `docs/conformance_runs.md`.

use crate::harness::setup::{pinned, root};
use crate::{Shown, franz_go, java, verifiable};

pub fn write(shown: &[(String, &'static str, String, Shown)]) {
    let [newest, older, franz_go, tools] =
        ["KAFKA_VERSION", "KAFKA_OLD_VERSION", "FRANZ_GO_SUITE_VERSION", "KAFKA_TOOLS_VERSION"].map(pinned);
    let mut text = format!(
        "# Other people's suites through kmend\n\nWritten by `make conformance`. Three brokers of Kafka {newest} and of {older}; the same suite \
         directly on them and through one kmend with every mender in `repair`, one after the other.\n"
    );
    let tables = [
        (
            franz_go::NAME,
            format!(
                "franz-go's own integration tests ({franz_go}): produce, consume, transactions, classic, KIP-848 and share groups. \
                 What passes directly has to pass through kmend, test by test."
            ),
            "| Kafka | clients | directly | through kmend |\n|---|---|---|---|\n",
        ),
        (
            verifiable::NAME,
            format!(
                "Apache Kafka's VerifiableProducer and VerifiableConsumer ({tools}), the workload of Kafka's own system tests. Every value that was \
                 acknowledged has to be consumed, none may be in the log twice, none skipped or out of order within an assignment. \
                 Delivered again: what another member had not committed yet, as without kmend."
            ),
            "| Kafka | clients, groups, fault | directly | through kmend |\n|---|---|---|---|\n",
        ),
        (
            java::NAME,
            format!(
                "Java's Admin (some forty calls), a share group (KIP-932) and Kafka Streams with exactly_once_v2, by its own and by the broker's \
                 group protocol, at {tools}: programs of ours, whose output has to be the same line by line, errors included."
            ),
            "| Kafka | clients, program | directly | through kmend |\n|---|---|---|---|\n",
        ),
    ];
    for (suite, about, head) in tables {
        text.push_str(&format!("\n## {suite}\n\n{about}\n\n{head}"));
        for (line, _, name, result) in shown.iter().filter(|(_, of, _, _)| *of == suite) {
            let row = result.as_deref().unwrap_or("FAILED |");
            text.push_str(&format!("| {line} | {name} | {row} |\n"));
        }
    }
    std::fs::write(root().join("docs/conformance_runs.md"), text).expect("docs/conformance_runs.md");
}
