"""kmend as a process and as a proxy: memory, descriptors, limits, TLS and logins, the journal."""

from parts import BAD_ABOVE_ZERO, GOOD_IS_ZERO, OURS, QUICK, RATE, TARGETS, dashboard, eq, graph, grown, quantile, row, stat, steps, table

WHO = "{{pod}} {{instance}}"


def top(expression, n=10):
    return f"topk({n}, {expression})", WHO


def per_kmend(metric, how="sum"):
    return f"{how} by (pod, instance) ({metric}{{{TARGETS}}})"


def build():
    return dashboard("kmend-internals", "kmend as a process and as a proxy: resources, limits, back-pressure, TLS, logins, journal. Limits: docs/limits.md.", [
        row("Resources",
            graph("Resident memory", "The ten kmends with most, and the median of all. The manifests limit it to 64 MiB: near that raise the container's limit, limits.memory follows.", "bytes",
                  top(f"process_resident_memory_bytes{{{TARGETS}}} {OURS}"), (f"quantile(0.5, process_resident_memory_bytes{{{TARGETS}}} {OURS})", "median of all")),
            graph("Memory held against the budget", "What connections hold as a share of limits.memory, the ten with most. Near 100 %: kmend stops reading; raise the memory limit (runbook KmendMemoryNearLimit).", "percentunit",
                  top(f"kmend_memory_held_bytes{{{TARGETS}}} / kmend_memory_limit_bytes{{{TARGETS}}}"), thresholds=steps((None, "green"), (0.9, "red"))),
            graph("CPU", "Cores used, the ten with most, and the sum. A sidecar needs no CPU limit: one here adds latency.", "short",
                  top(f"rate(process_cpu_seconds_total{{{TARGETS}}}[{RATE}]) {OURS}"), (f"sum(rate(process_cpu_seconds_total{{{TARGETS}}}[{RATE}]) {OURS})", "all")),
            graph("Descriptors", "Open ones as a share of the limit, the ten nearest. A client connection takes two. Near 100 %: raise nofile, or find the client that opens so many.", "percentunit",
                  top(f"process_open_fds{{{TARGETS}}} / process_max_fds{{{TARGETS}}} {OURS}"), thresholds=steps((None, "green"), (0.9, "red"))),
            graph("Threads and tasks", "Threads of each kmend, and tasks: one for each client connection and a few besides; the ten with most. Tasks without connections, or growth without end, are a bug to report.", "short",
                  (f"topk(10, process_threads{{{TARGETS}}} {OURS})", f"threads {WHO}"), (f"topk(10, kmend_tasks{{{TARGETS}}})", f"tasks {WHO}")),
            table("Youngest kmends", "Seconds since the start, the twenty youngest. Young ones outside of a roll-out were restarted: the container's last state tells why.", "s",
                  f"bottomk(20, (time() - process_start_time_seconds{{{TARGETS}}}) {OURS})", "age", desc=False)),
        row("Limits and back-pressure",
            stat("Short of memory", "Kmends that refuse new clients and cut those that stand still, because memory is short. Above 0: runbook KmendOverloaded.", "short",
                 f"sum(kmend_overloaded{{{TARGETS}}})", thresholds=BAD_ABOVE_ZERO),
            stat("Connections shed", "Connections that were cut because memory was short, in the time range that is shown. Raise limits.memory and the container's limit together.", "short",
                 f'sum({grown("kmend_disconnects_total", TARGETS + eq("cause", "shed"), "$__range")}) or vector(0)', thresholds=BAD_ABOVE_ZERO),
            stat("Brokers with a listener", "Nodes that kmend has opened a port for, most and fewest among the selected kmends. They differ: one of them has seen no metadata yet.", "short",
                 [(f"max(kmend_nodes{{{TARGETS}}})", "most"), (f"min(kmend_nodes{{{TARGETS}}})", "fewest")]),
            stat("Unseen messages", "Messages that passed without a mender's look, because they were over limits.max_whole_frame, in the time range. Above 0: raise that limit, if the memory is there.", "short",
                 f'sum({grown("kmend_unseen_frames_total", TARGETS, "$__range")}) or vector(0)', thresholds=GOOD_IS_ZERO),
            stat("Holds that expired", "Messages that a mender held until its deadline, and that then passed, in the time range. Now and then harmless; often: a broker answers late.", "short",
                 f'sum({grown("kmend_holds_expired_total", TARGETS, "$__range")})', thresholds=GOOD_IS_ZERO),
            stat("Clients refused", "By the limit that they met, in the time range: connections, memory, descriptors (runbook KmendClientsRefused).", "short",
                 [(f'sum by (limit) ({grown("kmend_connections_refused_total", TARGETS, "$__range")})', "{{limit}}")], thresholds=BAD_ABOVE_ZERO),
            graph("Reads paused", "Connections that are not read right now, because the other side is slower or memory is short. Short spikes are normal back-pressure; a level is a reader that stands still.", "short",
                  (f"sum by (side) (kmend_reads_paused{{{TARGETS}}})", "{{side}}")),
            graph("Cut by kmend", "Connections that kmend itself ended, by cause, in each interval. nudged is a repair; the others are limits: docs/limits.md.", "short",
                  (f'sum by (cause) ({grown("kmend_disconnects_total", TARGETS + eq("side", "proxy"))})', "{{cause}}"), stacked=True),
            graph("Frame errors", "Connections closed over bytes that are no Kafka protocol, or over a limit, by reason. TLS on the plaintext listener and HTTP probes are the usual ones; the log names the peer.", "short",
                  (f'sum by (reason) ({grown("kmend_frame_errors_total", TARGETS)})', "{{reason}}"), stacked=True)),
        row("Connections",
            graph("New connections", "Accepted from clients, and attempts to reach brokers by outcome, per second. Many without a roll-out: a client that connects again and again.", "cps",
                  (f"sum(rate(kmend_client_connections_total{{{TARGETS}}}[{RATE}]))", "accepted"),
                  (f"sum by (outcome) (rate(kmend_upstream_connections_total{{{TARGETS}}}[{RATE}]))", "upstream {{outcome}}")),
            graph("Client connections by kmend", "Open ones, the ten kmends with most. One far ahead: its status page names the clients.", "short", top(per_kmend("kmend_client_connections"))),
            table("API versions in use", "Requests since each kmend started, by API and version: what clients and brokers agreed on. Old versions name old clients.", "short",
                  f"topk(100, sum by (api, version) (kmend_requests_total{{{TARGETS}}}))", "requests")),
        row("Latency",
            graph("Added, by API", "99th percentile over all selected kmends, the ten slowest APIs. A rise with unchanged traffic: too little CPU, or slow readers.", "s",
                  (f'topk(10, {quantile(0.99, "kmend_added_latency_seconds", TARGETS, "api")})', "{{api}}"), width=12),
            graph("Added, by kmend", "99th percentile of requests that do not wait on purpose, the ten slowest kmends. Only a few: their nodes; all: the release or the traffic.", "s",
                  (f'topk(10, histogram_quantile(0.99, sum by (le, pod, instance) (rate(kmend_added_latency_seconds_bucket{{{TARGETS}, {QUICK}}}[{RATE}]))))', WHO), width=12)),
        row("TLS and logins",
            stat("Certificates end in", "The nearest end: what clients are shown (listener), and what brokers are (upstream). Below 3 days: renew it on disk, no restart is needed. No value: no certificate of kmend's own.", "s",
                 [(f"min by (which) (kmend_tls_certificate_expiry_timestamp_seconds{{{TARGETS}}}) - time()", "{{which}}")], width=8, thresholds=steps((None, "red"), (259200, "orange"), (604800, "green"))),
            stat("TLS files read again", "Changes of the files in the time range: reloaded, or failed, where those read before stay in force (runbook KmendTlsFilesUnusable).", "short",
                 [(f'sum by (outcome) ({grown("kmend_tls_reloads_total", TARGETS, "$__range")})', "{{outcome}}")], width=8),
            stat("kmend's own logins", "In the time range: sessions that kmend renewed before their end, and logins that brokers refused (runbook KmendLoginRefused).", "short",
                 [(f'sum({grown("kmend_logins_renewed_total", TARGETS, "$__range")})', "renewed"),
                  (f'sum({grown("kmend_upstream_connections_total", TARGETS + eq("outcome", "login"), "$__range")}) or vector(0)', "refused")], width=8)),
        row("Configuration",
            stat("Kmends with a stale configuration", "A reload has failed, and the configuration from before is in force: a restart would not come up. Above 0: runbook KmendReloadFailed.", "short",
                 f"count(kmend_config_last_reload_successful{{{TARGETS}}} == 0) or vector(0)", width=12, thresholds=BAD_ABOVE_ZERO),
            graph("Reloads", "Times that the configuration was read again, by outcome. unchanged comes of SIGHUP only; failed changes nothing and is told in the log.", "short",
                  (f'sum by (outcome) ({grown("kmend_config_reloads_total", TARGETS)})', "{{outcome}}"), width=12, stacked=True)),
        row("State folder",
            graph("Journal", "Commits on disk, the ten largest. It may take twice journal.max_bytes, and for a moment as much again: the emptyDir's sizeLimit has to be four times that.", "bytes", top(per_kmend("kmend_journal_bytes"))),
            graph("Journal errors", "Writes that did not get into the journal, by reason. What is not in it kmend does not acknowledge: the broker's own answers pass (runbook KmendJournalErrors).", "short",
                  (f'sum by (reason) ({grown("kmend_journal_errors_total", TARGETS)})', "{{reason}}"), stacked=True),
            graph("Checkpoint errors", "Repairs whose checkpoint could not be written; the repair itself was made. Above 0: look at the volume behind /var/lib/kmend.", "short",
                  (f'sum({grown("kmend_checkpoint_errors_total", TARGETS)})', "errors"), thresholds=BAD_ABOVE_ZERO)),
    ])
