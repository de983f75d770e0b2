"""What each mender did, what it only observed, what it let pass, and what was lost before."""

from parts import BAD_ABOVE_ZERO, DONE, GOOD_IS_ZERO, TARGETS, TOPICS, dashboard, eq, graph, grown, like, quantile, row, stat, steps, table

def of(mender):
    return TARGETS + eq("mender", mender)


def outcomes(mender, description):
    return graph(f"Outcomes of {mender}", description, "short",
                 (f'sum by (outcome) ({grown("kmend_repairs_total", of(mender))})', "{{outcome}}"), stacked=True)


def build():
    def by_outcome(matcher):
        return grown("kmend_repairs_total", TARGETS + matcher, "$__range")

    return dashboard("kmend-repairs", "What menders repaired, observed and let pass; what consumers lost before. Outcomes: docs/metrics.md.", [
        row("In the time range that is shown",
            stat("Repaired", "Decisions that changed what an app would have seen. See the rows below for what and where.", "short",
                 f'sum({by_outcome(like("outcome", DONE))}) or vector(0)'),
            stat("Observed only", "What would have been repaired, had the mode been `repair`. If this is what you expected for some days, set `repair`.", "short",
                 f"sum({by_outcome(eq('outcome', 'observed'))}) or vector(0)", thresholds=steps((None, "text"), (1e-9, "blue"))),
            stat("Let pass", "Errors that a mender looked into and let through, because in doubt the broker's own answer passes. The outcome says why: docs/metrics.md.", "short",
                 f"sum({by_outcome(like('outcome', 'passed_.+'))}) or vector(0)", thresholds=GOOD_IS_ZERO),
            stat("Given up", "Repairs that did not help, and kept commits that did not reach the broker. Above 0: the log names topic, group and client.", "short",
                 f"sum({by_outcome(like('outcome', 'gave_up|expired|failed|no_occasion|unknown_software|ambiguous'))}) or vector(0)", thresholds=GOOD_IS_ZERO),
            stat("Records skipped", "Records that retention had deleted before they were read. They are gone with or without kmend: raise retention, or find out why the consumer was behind (runbook KmendRecordsSkipped).", "short",
                 f'sum({grown("kmend_offset_records_skipped_total", TOPICS, "$__range")}) or vector(0)', thresholds=GOOD_IS_ZERO),
            stat("Menders that failed", "Panics: the mender was bypassed on that connection, bytes passed unchanged. A bug: keep the log and report it.", "short",
                 f'sum({grown("kmend_mender_panics_total", TARGETS, "$__range")}) or vector(0)', thresholds=BAD_ABOVE_ZERO)),
        row("Observed against repaired",
            graph("Repaired by mender", "In each interval. Compare with the panel beside it: a mender whose events are only there is in mode `observe`.", "short",
                  (f'sum by (mender) ({grown("kmend_repairs_total", TARGETS + like("outcome", DONE))})', "{{mender}}"), stacked=True),
            graph("Observed by mender", "What would have been repaired, in each interval. Steady for some days and as expected: set `mode: repair` for this mender.", "short",
                  (f'sum by (mender) ({grown("kmend_repairs_total", TARGETS + eq("outcome", "observed"))})', "{{mender}}"), stacked=True),
            table("Where it happens", "The twenty kmends with the most decisions in the time range, by mender and outcome. `kmend checkpoints` and the log there have the details.", "short",
                  f'topk(20, sum by (namespace, pod, instance, mender, outcome) ({grown("kmend_repairs_total", TARGETS, "$__range")}) > 0)', "decisions")),
        row("offset_reset: evicted offsets",
            outcomes("offset_reset", "repaired: a fetch position was moved; lifted: a committed offset. observed, passed_unknown and passed_gave_up reached the app: look after it first (runbook KmendEvictionNotMended)."),
            graph("Positions moved by topic", "Positions below the log start that were moved, the ten topics with most. Again and again the same topic: its consumers cannot keep up with retention.", "short",
                  (f'topk(10, sum by (topic, policy) ({grown("kmend_offset_resets_total", TOPICS)}))', "{{topic}} {{policy}}"), stacked=True),
            graph("Records skipped by topic", "Records between the evicted position and where reading went on, the ten topics with most. Decide whether they must be restored from their source.", "short",
                  (f'topk(10, sum by (topic) ({grown("kmend_offset_records_skipped_total", TOPICS)}))', "{{topic}}"), stacked=True)),
        row("partition_discovery: new partitions",
            outcomes("partition_discovery", "repaired: the client has seen the new partitions. no_occasion, unknown_software, gave_up: it finds them by itself after minutes (runbook KmendNewPartitionsUnseen)."),
            graph("Partitions added by topic", "Partitions that topics in use have got. Each kmend counts what it sees; shown is the one that has seen most.", "short",
                  (f"topk(10, max by (topic) (kmend_partitions_added_total{{{TOPICS}}}))", "{{topic}}")),
            graph("Nudges by way and outcome", "Clients that were made to look at their metadata: how, and what came of it. `none` were not nudged.", "short",
                  (f'sum by (how, outcome) ({grown("kmend_metadata_nudges_total", TARGETS)})', "{{how}} {{outcome}}"), stacked=True),
            graph("Until clients know", "From the moment at which kmend saw new partitions to a client's first Metadata answer that shows them (metadata), and to its first request for one (request). Above 30 s: look at the nudges' outcomes.", "s",
                  *((quantile(q, "kmend_metadata_propagation_seconds", TARGETS, "until", "$__range"), f"{name} until {{{{until}}}}") for q, name in ((0.5, "median"), (0.95, "95 %"))), width=12),
            graph("Metadata polls", "kmend's own Metadata requests per second, on its clients' connections. failed and lost are followed by longer and longer pauses: look at the brokers.", "reqps",
                  (f"sum by (outcome) (rate(kmend_metadata_polls_total{{{TARGETS}}}[$__rate_interval]))", "{{outcome}}"), width=12)),
        row("commit_buffer: commits in a rebalance",
            outcomes("commit_buffer", "buffered: kept and acknowledged; replayed and covered: it has reached the broker, or is not needed. superseded, expired, failed: records are handled again (runbook KmendCommitsGivenUp)."),
            graph("Commits by outcome", "Committed partitions per second. passed is the broker's own answer; behind and flushed belong to write-behind.", "short",
                  (f"sum by (outcome) (rate(kmend_commits_total{{{TARGETS}}}[$__rate_interval]))", "{{outcome}}"), stacked=True),
            graph("Softened heartbeats", "Heartbeats whose error was shown as a rebalance. Some with each rebalance; without end: members are thrown out again and again, see the causes in Groups and lag.", "short",
                  (f'topk(10, sum by (pod, instance) ({grown("kmend_heartbeats_softened_total", TARGETS)}))', "{{pod}} {{instance}}"), stacked=True)),
        row("assignment_watchdog: partitions that nobody fetches",
            outcomes("assignment_watchdog", "told: a member was made to rejoin; healed: its partitions are fetched. reported without told: outside `scope`. gave_up, ambiguous: a person has to look (runbook KmendPartitionsUnfetched)."),
            graph("Unfetched partitions", "Assigned, behind the log end, and fetched by nobody. It should fall to 0 soon after `told`; dashboard Groups and lag names the groups.", "short",
                  (f"sum(kmend_partitions_unfetched{{{TARGETS}}})", "unfetched"), thresholds=BAD_ABOVE_ZERO),
            graph("Stalled consumers", "Members that live, lag and do nothing. kmend reports them and does not mend them: restart the app (runbook KmendConsumerStalled).", "short",
                  (f"sum(kmend_consumer_stalled{{{TARGETS}}})", "stalled"), thresholds=BAD_ABOVE_ZERO)),
    ])
