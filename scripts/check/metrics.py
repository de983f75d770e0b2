"""Dashboards, alerts and recording rules: they parse, they are tested, and every metric that they name exists."""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

import runbooks
from checks import Broken, Check, command

DOCS = "docs/metrics.md"
DASHBOARDS = "dashboards/grafana"
OVERVIEW = f"{DASHBOARDS}/kmend.json"
REPAIRS = f"{DASHBOARDS}/kmend-repairs.json"
ALERTS = "dashboards/prometheus/alerts.yaml"
TESTS = "dashboards/prometheus/alerts_test.yaml"
RECORDING = "dashboards/prometheus/recording.yaml"
RECORDING_TESTS = "dashboards/prometheus/recording_test.yaml"
GUIDE = "docs/dashboards.md"

ROW = re.compile(r"^\| `((?:kmend|process)_\w+)` \| (\w+) \|([^|]*)\| (.+) \|$")
NAME = re.compile(r"\b(?:kmend|process)_[a-z0-9_]+\b")
# Grafana replaces these before Prometheus sees the expression.
VARIABLES = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "1h", "$namespace": ".*", "$pod": ".*",
             "$instance": ".*", "$group": ".*", "$topic": ".*"}
TARGET_LABELS = {"cluster", "namespace", "pod", "instance", "job", "le"}
# Prometheus' own series of what fires: with all labels of the alert.
FIRING = {"alertname", "alertstate", "severity", "group", "topic"}


def documented(ctx):
    """name -> (type, labels), from the tables in docs/metrics.md."""
    out = {}
    for line in ctx.text(DOCS).splitlines():
        match = ROW.match(line)
        if match:
            out[match[1]] = (match[2], set(re.findall(r"`(\w+)`", match[3])))
    return out


def base(name, known):
    """The metric that a series name belongs to: histograms are stored under three names."""
    if name in known:
        return name
    for suffix in ("_bucket", "_sum", "_count"):
        stem = name.removesuffix(suffix)
        if stem != name and known.get(stem, ("", ()))[0] == "histogram":
            return stem
    return None


def dashboards(ctx):
    for path in sorted((ctx.root / DASHBOARDS).glob("*.json")):
        file = f"{DASHBOARDS}/{path.name}"
        yield file, json.loads(ctx.text(file))


def panels(dashboard):
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def rules(ctx, file):
    return [rule for group in yaml.safe_load(ctx.text(file))["groups"] for rule in group["rules"]]


def expressions(ctx):
    """(where, expression) of all that is asked of Prometheus."""
    for file, dashboard in dashboards(ctx):
        for panel in panels(dashboard):
            for target in panel.get("targets", []):
                yield f"{file}: panel {panel['title']!r}", target["expr"]
        for annotation in dashboard["annotations"]["list"]:
            yield f"{file}: annotation {annotation['name']!r}", annotation["expr"]
        for variable in dashboard["templating"]["list"]:
            match = re.fullmatch(r"label_values\((.+), \w+\)", variable.get("definition", ""))
            if match:
                yield f"{file}: variable {variable['name']!r}", match[1]
    for file in (ALERTS, RECORDING):
        for rule in rules(ctx, file):
            yield f"{file}: {rule.get('alert') or rule.get('record')}", rule["expr"]


def substituted(expression, variables=VARIABLES):
    for name in sorted(variables, key=len, reverse=True):
        expression = expression.replace(name, variables[name])
    return expression


def names_check(ctx):
    known = documented(ctx)
    found = [] if known else [f"{DOCS}: no table of metrics"]
    used = set()
    for where, expression in expressions(ctx):
        bare = re.sub(r'"[^"]*"', '""', expression)
        for name in NAME.findall(bare):
            metric = base(name, known)
            if metric is None:
                found.append(f"{where}: {name} is not in {DOCS}")
                continue
            used.add(metric)
            for matchers in re.findall(re.escape(name) + r"\{([^}]*)\}", bare):
                for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
                    if label not in known[metric][1] | TARGET_LABELS:
                        found.append(f"{where}: {name} has no label {label}")
        labels = set().union(*(known[m][1] for m in map(lambda n: base(n, known), NAME.findall(bare)) if m), TARGET_LABELS)
        if "ALERTS{" in bare:
            labels |= FIRING
        labels |= set(re.findall(r'label_replace\(\w+, "(\w+)"', expression))
        for grouping in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", bare):
            for label in re.findall(r"\w+", grouping):
                if label not in labels:
                    found.append(f"{where}: no metric in it has the label {label}")
    for name in sorted(set(known) - used):
        if name.startswith("kmend_"):
            found.append(f"{name} is documented, but neither a panel nor an alert uses it")
    return found


def promql_check(ctx):
    """Every expression parses; as recording rules, because that is what promtool reads."""
    checks, origin = [], []
    for where, expression in expressions(ctx):
        checks.append({"record": f"check:{len(checks)}", "expr": substituted(expression)})
        origin.append(where)
    found = []
    with tempfile.TemporaryDirectory(prefix="kmend-promql-") as name:
        file = Path(name) / "rules.yaml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "check", "rules": checks}]}))
        code, out = command("promtool", "check", "rules", "--lint=none", file)
        if code != 0:
            places = sorted({int(n) for n in re.findall(r'check:(\d+)"', out)})
            found.append(out.strip() + "".join(f"\ncheck:{n} is {origin[n]}: {checks[n]['expr']}" for n in places))
    return found


def dashboard_check(ctx):
    """Each is whole, they are what dashboards/source makes, and the alerts that their texts name exist."""
    code, out = command("python3", ctx.root / "dashboards/generate", "--check", "--root", ctx.root)
    found = [] if code == 0 else [out.strip()]
    alerts = {rule.get("alert") for rule in rules(ctx, ALERTS)}
    uids = set()
    for file, dashboard in dashboards(ctx):
        found += [f"{file}: {problem}" for problem in problems_of(dashboard)]
        named = set(re.findall(r"\b(Kmend[A-Z]\w+)", json.dumps(dashboard)))
        found += [f"{file}: there is no alert {name}" for name in sorted(named - alerts)]
        if dashboard.get("uid") in uids:
            found.append(f"{file}: its uid is another one's")
        uids.add(dashboard.get("uid"))
    return found


def problems_of(dashboard):
    found, seen, boxes = [], set(), []
    for panel in panels(dashboard):
        where = f"panel {panel.get('title')!r}"
        if panel["id"] in seen:
            found.append(f"{where}: id {panel['id']} stands twice")
        seen.add(panel["id"])
        grid = panel["gridPos"]
        box = (grid["x"], grid["y"], grid["x"] + grid["w"], grid["y"] + grid["h"])
        if box[2] > 24:
            found.append(f"{where}: wider than the dashboard")
        for other, title in boxes:
            if box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]:
                found.append(f"{where} lies over panel {title!r}")
        boxes.append((box, panel.get("title")))
        if panel["type"] == "row":
            continue
        if len(panel.get("description", "")) < 30:
            found.append(f"{where}: no description")
        if not panel.get("targets"):
            found.append(f"{where}: no query")
        refs = [target["refId"] for target in panel.get("targets", [])]
        if len(refs) != len(set(refs)):
            found.append(f"{where}: a refId stands twice")
        if panel["datasource"]["uid"] != "${datasource}":
            found.append(f"{where}: its data source is fixed")
    for key in ("uid", "title", "schemaVersion", "templating"):
        if key not in dashboard:
            found.append(f"no {key}")
    return found


def alerts_check(ctx):
    found, names = [], []
    for rule in rules(ctx, ALERTS):
        names.append(rule["alert"])
        notes = rule.get("annotations", {})
        if "What to do:" not in notes.get("runbook", "") or not re.search(r"What happen(s|ed):", notes.get("runbook", "")):
            found.append(f"{rule['alert']}: no runbook that says what happens and what to do")
        if not notes.get("summary"):
            found.append(f"{rule['alert']}: no summary")
        if rule.get("labels", {}).get("severity") not in runbooks.SEVERITIES:
            found.append(f"{rule['alert']}: no severity")
    tests = yaml.safe_load(ctx.text(TESTS))["tests"]
    fires = set()
    for test in tests:
        for case in test.get("promql_expr_test", []):
            if case["exp_samples"]:
                fires.update(re.findall(r'alertname="(\w+)"', case["expr"]))
    found += [f"{name}: no unit test in which it fires" for name in names if name not in fires]
    found += [f"{name}: tested, but there is no such alert" for name in sorted(fires - set(names))]
    return found + promtool(ctx, ALERTS, TESTS)


def reading_check(ctx):
    """runbooks.py, which has no YAML parser, reads of each alert what one reads."""
    want = [
        {"alert": rule["alert"], "expr": rule["expr"].strip(), **({"for": rule["for"]} if "for" in rule else {}), **rule["labels"],
         **rule["annotations"], "runbook": rule["annotations"]["runbook"].strip()}
        for rule in rules(ctx, ALERTS)
    ]
    have = runbooks.read(ctx.text(ALERTS))
    strange = [alert["alert"] for alert in want if alert not in have] + [alert["alert"] for alert in have if alert not in want]
    return [f"{name}: docs/runbooks.md is made of something else than the alert" for name in strange]


def promtool(ctx, file, tests):
    """What promtool has against a file of rules and its unit tests."""
    found = []
    for verb, subject in (("check", file), ("test", tests)):
        code, out = command("promtool", verb, "rules", ctx.root / subject)
        if code != 0:
            found.append(out.strip())
    return found


def recording_check(ctx):
    """What is recorded under others' names is marked as ours, gives way to them, and is tested and explained."""
    found = []
    tested = {name for test in yaml.safe_load(ctx.text(RECORDING_TESTS))["tests"] for case in test["promql_expr_test"]
              if case["exp_samples"] for name in re.findall(r"\bkafka_\w+", case["expr"])}
    for rule in rules(ctx, RECORDING):
        name = rule["record"]
        if rule.get("labels", {}).get("source") != "kmend":
            found.append(f"{name}: nothing says that it is kmend's")
        if not re.search(rf'\bunless on \([^)]+\)\s+last_over_time\({name}\{{source!="kmend"\}}\[', rule["expr"]):
            found.append(f"{name}: does not give way to an exporter")
        if name not in tested:
            found.append(f"{name}: no unit test in which it is recorded")
        if f"`{name}`" not in ctx.text(GUIDE):
            found.append(f"{name} is not in {GUIDE}")
    return found + promtool(ctx, RECORDING, RECORDING_TESTS)


# --- with the binary -----------------------------------------------------------------------------


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def scrape(binary):
    """What a kmend that serves nobody exports (its upstream does not exist)."""
    with tempfile.TemporaryDirectory(prefix="kmend-metrics-") as name:
        admin, state = free_port(), Path(name) / "state"
        state.mkdir()
        config = Path(name) / "kmend.yaml"
        config.write_text(yaml.safe_dump({
            "upstream": {"bootstrap": [f"127.0.0.1:{free_port()}"]},
            "listen": {"address": f"127.0.0.1:{free_port()}"},
            "admin": {"address": f"127.0.0.1:{admin}"},
        }))
        env = {**os.environ, "XDG_STATE_HOME": str(state), "HOME": name}
        log = Path(name) / "log"
        with log.open("w") as out:
            process = subprocess.Popen([binary, "run", "--config", config], stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env)
        try:
            for _ in range(100):
                if process.poll() is not None:
                    break
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5) as answer:
                        return answer.read().decode()
                except OSError:
                    time.sleep(0.1)
            raise RuntimeError(f"no /metrics from {binary}: {log.read_text().strip()}")
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


_SCRAPED = {}


def binary_check(ctx):
    """A saved exposition (KMEND_METRICS_FILE) shows labelled series too; an idle kmend only the others."""
    file = os.environ.get("KMEND_METRICS_FILE")
    if file:
        text = Path(file).read_text()
    else:
        text = _SCRAPED.setdefault(ctx.binary, None) or scrape(ctx.binary)
        _SCRAPED[ctx.binary] = text
    return exposition_problems(ctx, text)


def exposition_problems(ctx, text):
    """What a kmend exports, against docs/metrics.md."""
    known = documented(ctx)
    exported = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    found = [f"{name} is exported, but not in {DOCS}" for name in sorted(exported) if name not in known]
    for name, (kind, labels) in known.items():
        if name in exported and exported[name] != kind:
            found.append(f"{name} is a {exported[name]}, {DOCS} says {kind}")
        if name not in exported and not labels:
            found.append(f"{name} is in {DOCS}, but not exported")
    for name, labels in sorted(set(re.findall(r"^(\w+)\{(.*)\} ", text, re.M))):
        metric = base(name, known)
        for label in sorted(set(re.findall(r'(\w+)="(?:[^"\\]|\\.)*"', labels)) - {"le"} if metric else []):
            if label not in known[metric][1]:
                found.append(f"{metric} has the label {label}, {DOCS} does not say so")
    code, out = command("promtool", "check", "metrics", stdin=text)
    if code != 0:
        found.append(f"promtool check metrics: {out.strip()}")
    return found


CHECKS = [
    Check("metric-names", "every metric and label in dashboard and alerts is in docs/metrics.md, and the other way round", names_check, [
        Broken(OVERVIEW, "kmend_client_connections{", "kmend_client_conections{", "kmend_client_conections is not in"),
        Broken(REPAIRS, "by (topic, policy)", "by (topic, polices)", "label polices"),
        Broken(OVERVIEW, "kmend_upstream_latency_seconds_bucket", "kmend_requests_total_bucket", "kmend_requests_total_bucket is not in"),
        Broken(ALERTS, "kmend_checkpoint_errors_total[15m]", "kmend_checkpoint_failures_total[15m]", "kmend_checkpoint_failures_total is not in"),
        Broken(ALERTS, 'outcome!="connected"', 'result!="connected"', "no label result"),
        Broken(RECORDING, "label_replace(kmend_consumer_lag,", "label_replace(kmend_consumer_lags,", "kmend_consumer_lags is not in"),
        Broken(RECORDING, "unless on (consumergroup,", "unless on (consumer_group,", "label consumer_group"),
        Broken(DOCS, "| `kmend_nodes` |", "| kmend_nodes |", "kmend_nodes is not in"),
        Broken(DOCS, "| `kmend_nodes` |", "| `kmend_unused` | gauge | | nothing uses it |\n| `kmend_nodes` |", "kmend_unused is documented"),
    ]),
    Check("promql", "every expression of dashboard and alerts parses", promql_check, [
        Broken(OVERVIEW, "sum(kmend_client_connections{", "sum((kmend_client_connections{", "parse error"),
        Broken(OVERVIEW, "[$__rate_interval]", "[$__rate_intervall]", "check:"),
        Broken(ALERTS, "increase(kmend_checkpoint_errors_total[15m])", "increase(kmend_checkpoint_errors_total)", "increase"),
    ]),
    Check("dashboards", "the dashboards are whole: descriptions, data source, no panel over another, as their source makes them", dashboard_check, [
        Broken(OVERVIEW, '"description": "Sidecars that answer', '"descriptions": "Sidecars that answer', "no description"),
        Broken(OVERVIEW, '"w": 4,\n        "h": 4,\n        "x": 4', '"w": 5,\n        "h": 4,\n        "x": 4', "lies over"),
        Broken(OVERVIEW, '"id": 3', '"id": 2', "stands twice"),
        Broken(REPAIRS, '"uid": "kmend-repairs"', '"uid": "kmend"', "another one's"),
        Broken(REPAIRS, "KmendRecordsSkipped", "KmendRecordsLost", "no alert KmendRecordsLost"),
        Broken("dashboards/source/repairs.py", "Observed only", "Only observed", "not up to date"),
    ]),
    Check("alerts", "alert rules: promtool's checks, unit tests for each, runbooks", alerts_check, [
        Broken(ALERTS, "runbook: |", "runbok: |", "no runbook"),
        Broken(ALERTS, "kmend_offset_headroom_seconds) < 3600", "kmend_offset_headroom_seconds) > 3600", "FAILED"),
        Broken(ALERTS, "- alert: KmendRestarting", "- alert: KmendRestarted", "KmendRestarted: no unit test"),
        Broken(ALERTS, "{{ $labels.mender }}", "{{ $labels.mender }", "KmendMenderPanicked"),
        Broken(TESTS, "eval_time: 115m", "eval_time: 60m", "FAILED"),
    ]),
    Check("runbook-texts", "docs/runbooks.md is made of what a YAML parser reads in the alerts", reading_check, [
        Broken(ALERTS, "expr: max by (namespace, pod, instance) (kmend_w", "expr: >-\n          max by (namespace, pod, instance) (kmend_w", "not in the form"),
        Broken(ALERTS, 'summary: "kmend does not answer', 'summary: "kmend \\x64oes not answer', "not in the form"),
        Broken(ALERTS, "          runbook: |", "          runbook_url: docs/runbooks.md#other\n          runbook: |", "stands twice"),
        Broken(ALERTS, "severity: critical", "severity: critical\n          team: shop", "not in the form"),
        Broken(ALERTS, "kmend_writebehind_oldest_seconds) > 60", "kmend_writebehind_oldest_seconds) > 60 # a minute", "something else"),
    ]),
    Check("recording", "recording rules: promtool's checks, unit tests for each, nothing counted twice", recording_check, [
        Broken(RECORDING, 'kafka_consumergroup_lag{source!="kmend"}[5m]', "kafka_consumergroup_lag[5m]", "does not give way"),
        Broken(RECORDING, 'last_over_time(kafka_consumergroup_lag_sum{source!="kmend"}[5m])', 'kafka_consumergroup_lag_sum{source!="kmend"}', "does not give way"),
        Broken(RECORDING, "          source: kmend\n\n", "          source: exporter\n\n", "nothing says that it is kmend's"),
        Broken(RECORDING, "max by (cluster", "sum by (cluster", "FAILED"),
        Broken(RECORDING, "max by (cluster, namespace, ", "max by (", "FAILED"),
        Broken(RECORDING, '{source!="kmend"}[5m]', '{source!="kmend"}[1m]', "FAILED"),
        Broken(RECORDING, "unless on (consumergroup, topic)", "unless on (namespace, consumergroup, topic)", "FAILED"),
        Broken(RECORDING, '"$1", "group", "(.*)")\n          )', '"$1", "group", "(.*)")', "parse error"),
        Broken(RECORDING, "record: kafka_consumergroup_lag_sum", "record: kafka_consumergroup_lags", "kafka_consumergroup_lags: no unit test"),
        Broken(RECORDING_TESTS, "eval_time: 37m", "eval_time: 33m", "FAILED"),
        Broken(GUIDE, "| `kafka_consumergroup_lag_sum` |", "| kafka_consumergroup_lag_sum |", "kafka_consumergroup_lag_sum is not in"),
    ]),
    Check("metrics", "what a running kmend exports is what docs/metrics.md says", binary_check, [
        Broken(DOCS, "| `kmend_nodes` | gauge |", "| `kmend_nodes` | counter |", "kmend_nodes is a gauge"),
        Broken(DOCS, "| `kmend_client_connections` |", "| kmend_client_connections |", "kmend_client_connections is exported"),
        Broken(DOCS, "| `kmend_nodes` |", "| `kmend_nodez` | gauge | | no such metric |\n| `kmend_nodes` |", "kmend_nodez is in"),
    ], needs_binary=True),
]
