"""Is it up, what goes through it, what does it cost, and what needs a person."""

from parts import BAD_ABOVE_ZERO, DONE, GOOD_IS_ZERO, QUICK, RATE, TARGETS, dashboard, graph, grown, like, quantile, row, stat, steps, table

KNOWN = f"and on (instance, job) last_over_time(kmend_build_info{{{TARGETS}}}[1h])"
FAILED = TARGETS + ', outcome!="connected"'
# What reached an app although a mender saw it, or was given up.
UNMENDED = like("outcome", "observed|passed_.+|gave_up|no_occasion|unknown_software|expired|failed|ambiguous")


def build():
    return dashboard("kmend", "Is kmend up, what goes through it, what does it cost, and what needs a person. Metrics: docs/metrics.md.", [
        row("At a glance",
            stat("kmends up", "Sidecars that answer Prometheus. Fewer than yesterday: look at the panel beside this one, then at the pods.", "short",
                 f"sum(up{{{TARGETS}}} {KNOWN})"),
            stat("Not answering", "Sidecars that Prometheus knows, that were there in the last hour, and do not answer. Anything above 0: `kubectl describe pod`, the container's last state tells why (runbook KmendDown).", "short",
                 f"count(up{{{TARGETS}}} == 0 {KNOWN}) or vector(0)", thresholds=BAD_ABOVE_ZERO),
            stat("Firing alerts", "Alerts of kmend that fire now; the table below names them. Each says in its own text what happens and what to do.", "short",
                 'count(ALERTS{alertname=~"Kmend.+", alertstate="firing", severity!="info", namespace=~"$namespace"}) or vector(0)', thresholds=BAD_ABOVE_ZERO),
            stat("Repairs in this range", "What menders repaired in the time range that is shown. What it was: dashboard Repairs.", "short",
                 f'sum({grown("kmend_repairs_total", TARGETS + like("outcome", DONE), "$__range")}) or vector(0)'),
            stat("Not mended in this range", "Errors that a mender saw and that reached the app all the same, or were given up; under `observe` that is each one. Above 0: dashboard Repairs, the panel of outcomes, says why.", "short",
                 f'sum({grown("kmend_repairs_total", TARGETS + UNMENDED, "$__range")}) or vector(0)', thresholds=GOOD_IS_ZERO),
            stat("Least headroom", "How long the group that is nearest to losing records has left, at the pace at which the log start moves now. No value: no log start moves. Below an hour: raise retention, then look after the consumer.", "s",
                 f"min(kmend_offset_headroom_seconds{{{TARGETS}}})", thresholds=steps((None, "red"), (600, "orange"), (3600, "green")), noValue="none at risk")),
        row("What needs a person",
            table("Alerts that fire", "What fires now, and where. Each one's annotation `runbook` says what to do. Empty is good; it stays empty also where dashboards/prometheus/alerts.yaml is not loaded.", "short",
                  'sum by (alertname, severity, namespace, pod, instance, group, topic) (ALERTS{alertname=~"Kmend.+", alertstate="firing", namespace=~"$namespace"})', "firing", width=12),
            table("Kmends with the most trouble", "The ten that have the most unmended outcomes, failed connections to brokers, refused clients and frame errors in the time range that is shown. Begin with the first one's log.", "short",
                  f"""topk(10, sum by (namespace, pod, instance) (
  {grown("kmend_repairs_total", TARGETS + UNMENDED, "$__range")}
  or {grown("kmend_upstream_connections_total", FAILED, "$__range")}
  or {grown("kmend_connections_refused_total", TARGETS, "$__range")}
  or {grown("kmend_frame_errors_total", TARGETS, "$__range")}
) > 0)""", "events", width=12)),
        row("Traffic",
            graph("Connections", "Open connections on both sides; the lines belong together. Clients without upstream: brokers cannot be reached (runbook KmendUpstreamUnreachable).", "short",
                  (f"sum(kmend_client_connections{{{TARGETS}}})", "clients"), (f"sum(kmend_upstream_connections{{{TARGETS}}})", "upstream")),
            graph("Bytes", "Bytes read from clients (requests) and written to them (responses) per second.", "Bps",
                  (f"sum(rate(kmend_request_bytes_total{{{TARGETS}}}[{RATE}]))", "requests"), (f"sum(rate(kmend_response_bytes_total{{{TARGETS}}}[{RATE}]))", "responses")),
            graph("Requests by API", "Requests per second, the ten APIs with most. Many Metadata or JoinGroup requests mean clients that do not come to rest: dashboard Groups and lag.", "reqps",
                  (f"topk(10, sum by (api) (rate(kmend_requests_total{{{TARGETS}}}[{RATE}])))", "{{api}}"), stacked=True),
            table("Clients", "Open connections by the software and version that clients announce. Old clients announce nothing. Compare with the known faults in docs/matrix.md.", "short",
                  f"topk(50, sum by (software, version) (kmend_clients{{{TARGETS}}}) > 0)", "connections"),
            graph("Clients by software", "The same over time: a roll-out of a new client library is seen here.", "short",
                  (f"topk(10, sum by (software) (kmend_clients{{{TARGETS}}}))", "{{software}}"), stacked=True),
            table("Versions of kmend", "How many kmends run which build: more than one row during a roll-out only.", "short",
                  f"count by (version, commit) (kmend_build_info{{{TARGETS}}})", "kmends")),
        row("Latency",
            graph("Added by kmend", "Time that a request and the head of its answer spend inside kmend, over all selected kmends; APIs that wait on purpose are left out. Above the line: too little CPU, or readers slower than the broker (runbook KmendAddedLatencyHigh).", "s",
                  *((quantile(q, "kmend_added_latency_seconds", f"{TARGETS}, {QUICK}"), name) for q, name in ((0.5, "median"), (0.99, "99 %"))),
                  thresholds=steps((None, "green"), (0.05, "red"))),
            graph("Of the brokers, 99th percentile", "From a request's way upstream to the head of the answer, by API; those that wait on purpose are left out. High here and low beside it: the brokers or the network, not kmend.", "s",
                  (f'topk(10, {quantile(0.99, "kmend_upstream_latency_seconds", f"{TARGETS}, {QUICK}", "api")})', "{{api}}")),
            graph("Fetch, of the brokers", "Long polls: the distribution ends at the clients' fetch.max.wait.ms where topics are idle. Only a value far above that is a sign of trouble.", "s",
                  *((quantile(q, "kmend_upstream_latency_seconds", f'{TARGETS}, api="Fetch"'), name) for q, name in ((0.5, "median"), (0.99, "99 %"))))),
        row("Errors and repairs",
            graph("Repairs", "What menders decided in each interval, by mender. A steady rate is an app that fails again and again, and is mended again and again: find out why.", "short",
                  (f'sum by (mender) ({grown("kmend_repairs_total", TARGETS)})', "{{mender}}"), stacked=True),
            graph("Connections to brokers that failed", "By how they ended: dns, refused, timeout, tls, login. A few at a roll-out of the brokers are normal; `kmend check --connect` in the pod finds a lasting reason.", "short",
                  (f"sum by (outcome) ({grown('kmend_upstream_connections_total', FAILED)})", "{{outcome}}"), stacked=True),
            graph("Connections that ended", "Per second, the ten commonest by whose doing it was and why. side proxy: kmend cut it, docs/limits.md says what the cause means.", "cps",
                  (f"topk(10, sum by (side, cause) (rate(kmend_disconnects_total{{{TARGETS}}}[{RATE}])))", "{{side}} {{cause}}"), stacked=True)),
    ])
