"""Evaluates everything in dashboards/ by a real Prometheus that has scraped a real run (scraped.py)."""

import argparse
import re
import signal
import sys
import time
from pathlib import Path

import yaml

import checks
import metrics
import scraped
from checks import Broken, Check

EXPECTED = "scripts/check/prometheus.yaml"
GROUPS = f"{metrics.DASHBOARDS}/kmend-groups.json"

# Set once it runs; what was asked for, by path and parameters: a broken input changes one expression of many.
run = None
answers = {}


def ask(path, **parameters):
    """What Prometheus answers, or the error it gives, of the time of the run."""
    key = (path, *sorted(parameters.items()))
    if key not in answers:
        try:
            answers[key] = run.ask(path, **parameters), None
        except ValueError as error:
            answers[key] = None, str(error)
    return answers[key]


def instant(expression):
    return ask("query", query=expression, time=run.until)


def over_time(expression):
    return ask("query_range", query=expression, start=run.since, end=run.until, step=1)


def substituted(expression):
    """With variables as Grafana sets them: one pod is chosen, groups and topics are all."""
    pods = "|".join(run.kmends)
    instances = "|".join(f"127\\\\.0\\\\.0\\\\.1:{admin}" for _, admin, _ in run.kmends.values())
    return metrics.substituted(expression, {**metrics.VARIABLES, "$namespace": scraped.NAMESPACE, "$pod": pods, "$instance": instances})


def expected(ctx):
    return yaml.safe_load(ctx.text(EXPECTED))


def expressions_check(ctx):
    """Both ways in which Grafana asks, of everything that it asks."""
    found = []
    for where, expression in metrics.expressions(ctx):
        for _, error in (instant(substituted(expression)), over_time(substituted(expression))):
            if error:
                found.append(f"{where}: {error}")
    return found


def names_check(ctx):
    """Every metric that is named anywhere has been scraped."""
    absent = expected(ctx)["absent"]
    names, named, found = run.names(), set(), []
    for where, expression in metrics.expressions(ctx):
        for name in metrics.NAME.findall(re.sub(r'"[^"]*"', '""', expression)):
            named.add(name)
            if name not in names and name not in absent:
                found.append(f"{where}: no kmend exports {name}")
    found += [f"{EXPECTED}: {name} is there" for name in absent if name in names]
    found += [f"{EXPECTED}: nothing asks for {name}" for name in absent if name not in named]
    return found


def panels_check(ctx):
    """Every query of every panel has a result, and the numbers that this run is about are not 0."""
    known, found, seen = expected(ctx), [], set()
    for file, dashboard in metrics.dashboards(ctx):
        for panel in metrics.panels(dashboard):
            if panel["type"] == "row":
                continue
            where = f"{Path(file).name}: {panel['title']}"
            seen.add(where)
            results = [over_time(substituted(target["expr"]))[0] for target in panel.get("targets", [])]
            for result, target in zip(results, panel.get("targets", [])):
                if not (result and result["result"]) and where not in known["empty"]:
                    found.append(f"{where}: no result: {target['expr']}")
            if where in known["above_zero"]:
                values = [float(value) for result in results if result for series in result["result"] for _, value in series["values"]]
                if not any(value > 0 for value in values):
                    found.append(f"{where}: never above 0")
    return found + [f"{EXPECTED}: there is no panel {where}" for where in [*known["empty"], *known["above_zero"]] if where not in seen]


def rules_check(ctx):
    """Prometheus loads and evaluates all rules; what has to fire fires, and nothing else."""
    run.load(ctx.root)
    status, said = run.get(run.prometheus, "/-/reload", data=b"")
    if status != 200:
        return [f"Prometheus refuses the rules: {said.strip()}"]
    loaded = time.time()

    def evaluated():
        rules = [rule for group in run.ask("rules")["groups"] for rule in group["rules"]]
        return rules if all(newer(rule["lastEvaluation"], loaded) for rule in rules) else None

    rules = scraped.wait_for("all rules evaluated", 20, evaluated)
    found = [f"{rule['name']}: {rule['health']}: {rule.get('lastError', '')}" for rule in rules if rule["health"] != "ok"]
    wanted = [rule.get("alert") or rule["record"] for file in (metrics.ALERTS, metrics.RECORDING) for rule in metrics.rules(ctx, file)]
    if sorted(wanted) != sorted(rule["name"] for rule in rules):
        found.append(f"rules in Prometheus: {len(rules)}, in the files: {len(wanted)}")
    for rule in metrics.rules(ctx, metrics.RECORDING):
        times = run.ask("query", query=f'max(timestamp({rule["record"]}{{source="kmend"}}))')["result"]
        if not times or float(times[0]["value"][1]) < loaded - 1:
            found.append(f"{rule['record']}: records nothing")
    known = expected(ctx)
    firing = {alert["labels"]["alertname"] for alert in run.ask("alerts")["alerts"] if alert["state"] == "firing"}
    found += [f"{name} does not fire" for name in known["fires"] if name not in firing]
    found += [f"{name} fires without a reason" for name in sorted(firing - set(known["fires"]) - set(known["may_fire"]))]
    return found


def newer(stamp, moment):
    """Whether an RFC 3339 time in UTC is after a moment; to the second, which is enough here."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) < stamp[:19]


def exposition_check(ctx):
    """What kmends exported in the end, with its labelled series, is what docs/metrics.md says."""
    return [f"{pod}: {problem}" for pod, text in run.expositions.items() for problem in metrics.exposition_problems(ctx, text)]


CHECKS = [
    Check("expressions", "every expression of dashboards, alerts and recording rules can be evaluated", expressions_check, [
        Broken(metrics.OVERVIEW, "sum(kmend_client_connections{", "sum((kmend_client_connections{", "parse error"),
        Broken(metrics.OVERVIEW, "sum(kmend_client_connections{", "summ(kmend_client_connections{", "unknown function"),
        # It parses; only data shows that it is ambiguous.
        Broken(metrics.ALERTS, "kmend_memory_held_bytes / kmend_memory_limit_bytes", "kmend_memory_held_bytes / on (namespace) kmend_memory_limit_bytes", "many-to-many"),
        Broken(metrics.ALERTS, "up == 0 and on (instance, job) last_over_time", "up == 0 and on (instance, job) last_over_times", "unknown function"),
    ]),
    Check("metrics", "every metric named in them is exported by a real kmend", names_check, [
        Broken(metrics.OVERVIEW, "kmend_client_connections{", "kmend_client_conections{", "no kmend exports kmend_client_conections"),
        Broken(metrics.OVERVIEW, "kmend_upstream_latency_seconds_bucket", "kmend_upstream_latency_bucket", "no kmend exports kmend_upstream_latency_bucket"),
        Broken(metrics.ALERTS, "kmend_overloaded == 1", "kmend_overload == 1", "no kmend exports kmend_overload"),
        Broken(metrics.RECORDING, "label_replace(kmend_consumer_lag,", "label_replace(kmend_consumer_lags,", "no kmend exports kmend_consumer_lags"),
        Broken(EXPECTED, "kmend_mender_panics_total: there", "kmend_repairs_total: there", "kmend_repairs_total is there"),
        Broken(EXPECTED, "kmend_mender_panics_total: there", "kmend_panics_total: there", "nothing asks for kmend_panics_total"),
    ]),
    Check("panels", "every query of every panel has a result", panels_check, [
        Broken(metrics.REPAIRS, "rate(kmend_metadata_polls_total{", 'rate(kmend_metadata_polls_total{mender=\\"x\\", ', "Metadata polls: no result"),
        Broken(GROUPS, "sum(max by (", "sum(0 * max by (", "Lag in all: never above 0"),
        Broken(metrics.OVERVIEW, "kmend_client_connections{", "kmend_client_conections{", "no result"),
        Broken(EXPECTED, "kmend-repairs.json: Repaired", "kmend-repairs.json: Mended", "there is no panel kmend-repairs.json: Mended"),
        Broken(EXPECTED, '  "kmend-repairs.json: Observed by mender"', '  "kmend-repairs.json: Let pass"', "Observed by mender: no result"),
    ]),
    Check("exposition", "types, names and labels of a used kmend's metrics are those in docs/metrics.md", exposition_check, [
        Broken(metrics.DOCS, "| `kmend_repairs_total` | counter |", "| `kmend_repairs_total` | gauge |", "kmend_repairs_total is a counter"),
        Broken(metrics.DOCS, "| `kmend_repairs_total` |", "| kmend_repairs_total |", "kmend_repairs_total is exported"),
        Broken(metrics.DOCS, "| counter | `mender`, `outcome` |", "| counter | `mender` |", "kmend_repairs_total has the label outcome"),
    ]),
    Check("rules", "Prometheus evaluates all rules; what has to fire fires, and nothing else", rules_check, [
        Broken(metrics.ALERTS, "kmend_overloaded == 1", "kmend_overloaded = 1", "refuses the rules"),
        Broken(metrics.ALERTS, "kmend_memory_held_bytes / kmend_memory_limit_bytes", "kmend_memory_held_bytes / on (namespace) kmend_memory_limit_bytes", "KmendMemoryNearLimit: err"),
        Broken(metrics.ALERTS, "expr: kmend_overloaded == 1\n        for: 1m", "expr: kmend_overloaded == 0", "KmendOverloaded fires without a reason"),
        # Without the offset a counter that is born with its only value goes unseen.
        Broken(metrics.ALERTS, "kmend_offset_records_skipped_total offset 15m", "kmend_offset_records_skipped_total", "KmendRecordsSkipped does not fire"),
        Broken(metrics.RECORDING, "          source: kmend\n\n", "          source: kmend\n          topic: all\n          partition: all\n\n", "kafka_consumergroup_lag: err"),
        Broken(metrics.RECORDING, "kmend_consumer_lag,", "kmend_consumer_lag > 1e9,", "kafka_consumergroup_lag: records nothing"),
    ]),
]


def settled(ctx):
    """Waits until Prometheus has seen the end of the run; what is missing then the checks say."""
    wanted = {name for _, expression in metrics.expressions(ctx) for name in metrics.NAME.findall(re.sub(r'"[^"]*"', '""', expression))}
    wanted -= set(expected(ctx)["absent"])
    end = time.monotonic() + 15
    while time.monotonic() < end and wanted - run.names():
        time.sleep(0.5)
    time.sleep(2)
    run.until = time.time()
    run.expositions = {pod: run.get(admin, "/metrics")[1] for pod, (_, admin, _) in run.kmends.items()}


def main():
    global run
    parser = argparse.ArgumentParser(description="evaluates everything in dashboards/ by a real Prometheus that has scraped a real run")
    checks.arguments(parser)
    args = parser.parse_args()
    ctx = checks.Context(Path.cwd(), checks.binary())
    if args.list:
        return checks.run("check-prometheus", CHECKS, parser, args, ctx)
    # So that what was started ends, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    try:
        run = scraped.start(ctx.root, ctx.binary)
    except scraped.Failed as error:
        print(f"check-prometheus: the run failed: {error}")
        return 1
    with run:
        settled(ctx)
        samples = {series["metric"]["pod"]: series["value"][1] for series in instant("scrape_samples_scraped")[0]["result"]}
        expressions = sum(1 for _ in metrics.expressions(ctx))
        print(f"check-prometheus: a run of {time.monotonic() - started:.0f} s; {expressions} expressions; series: "
              + ", ".join(f"{pod} {count}" for pod, count in sorted(samples.items())))
        return checks.run("check-prometheus", CHECKS, parser, args, ctx)


if __name__ == "__main__":
    sys.exit(main())
