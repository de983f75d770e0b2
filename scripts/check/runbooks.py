#!/usr/bin/env python3
"""docs/runbooks.md, made from the alerts' own texts.

  scripts/check/runbooks.py           says whether the page is up to date
  scripts/check/runbooks.py --write   writes it anew

Standard library only: the alerts are read line by line, in the one form that they have, and anything else is an
error. scripts/check-deploy compares that with what a YAML parser reads.
"""

import argparse
import re
import sys
import textwrap
from pathlib import Path

from checks import Broken, Check, Context

ALERTS = "dashboards/prometheus/alerts.yaml"
PAGE = "docs/runbooks.md"
SEVERITIES = {"critical": "somebody has to look now", "warning": "look today", "info": "good to know"}
HEAD = """# Runbooks

<!-- Made from dashboards/prometheus/alerts.yaml by scripts/check/runbooks.py --write -->

One section for each alert of [alerts.yaml](../dashboards/prometheus/alerts.yaml), with the text that the alert carries in its annotation
`runbook`. How to install them: [dashboards.md](dashboards.md#alerts). By symptom and by log line: [troubleshooting.md](troubleshooting.md).
"""

# What a line may be, by the key that it sets: the indentation is part of the form.
FORM = [(re.compile(pattern), key) for pattern, key in (
    (r"      - alert: (\w+)$", "alert"),
    (r"        expr: (\S.*)$", "expr"),
    (r"        for: (\w+)$", "for"),
    (r"        labels:$", None),
    (r"          severity: (\w+)$", "severity"),
    (r"        annotations:$", None),
    (r'          summary: "([^"\\]+)"$', "summary"),
    (r"          runbook_url: (\S+)$", "runbook_url"),
    (r"          runbook: (\|)$", "runbook"),
)]
NEEDED = {"alert", "expr", "severity", "summary", "runbook_url", "runbook"}


def read(text):
    """The alerts in their order, each as key -> text."""
    out, block = [], None
    for number, line in enumerate(text.splitlines(), 1):
        if block is not None:
            key, depth = block
            if not line.strip() or line.startswith(" " * depth):
                out[-1][key] += line[depth:] + "\n"
                continue
            block = None
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line in ("groups:", "    rules:") or re.match(r"  - name: \S+$", line):
            continue
        for form, key in FORM:
            match = form.match(line)
            if not match:
                continue
            if key == "alert":
                out.append({})
            if key is None:
                break
            if not out or key in out[-1]:
                raise ValueError(f"{ALERTS}:{number}: {key} stands twice, or before the first alert")
            out[-1][key] = match[1]
            if match[1] == "|":
                out[-1][key] = ""
                block = (key, len(line) - len(line.lstrip()) + 2)
            break
        else:
            raise ValueError(f"{ALERTS}:{number}: not in the form that runbooks.py reads: {line.strip()}")
    for alert in out:
        missing = NEEDED - set(alert)
        if missing:
            raise ValueError(f"{ALERTS}: {alert['alert']} has no {', '.join(sorted(missing))}")
        alert.update({key: alert[key].strip() for key in ("expr", "runbook")})
    return out


def plain(summary):
    """A summary without its templates: `{{ $labels.group }}` as *group*."""
    summary = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"*\1*", summary)
    return re.sub(r"\{\{ \$value[^}]*\}\}", "*value*", summary)


def marked(text):
    """Metrics as code, where they are not yet."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"\b(?:kmend|process)_[a-z0-9_]+(?:\{[^}]*\})?", r"`\g<0>`", part) for part in parts[::2]]
    return "`".join(parts)


def wrapped(text, begin="", indent=""):
    return textwrap.fill(text, 120, initial_indent=begin, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def paragraphs(runbook):
    """What happens, what to do; what is numbered there as a list."""
    words = marked(" ".join(runbook.split()))
    for part in re.split(r" (?=What to do: )", words):
        part = re.sub(r"^(What (?:happens|happened|to do):)", r"**\1**", part)
        first, *steps = re.split(r" ?\((\d)\) ", part)
        yield wrapped(first)
        if steps:
            yield "\n".join(wrapped(step[0].upper() + step[1:], f"{number}. ", "   ") for number, step in zip(steps[::2], steps[1::2]))


def section(alert):
    after = f", after {alert['for']}" if "for" in alert else ""
    yield f"## {alert['alert']}"
    yield wrapped(f"**{alert['severity']}**{after}: {plain(alert['summary'])}.")
    yield from paragraphs(alert["runbook"])
    yield f"```promql\n{alert['expr']}\n```"


def page(alerts):
    out = [HEAD.strip()]
    for severity, meaning in SEVERITIES.items():
        links = ", ".join(f"[{a['alert']}](#{a['alert'].lower()})" for a in alerts if a["severity"] == severity)
        out.append(wrapped(f"**{severity}**, {meaning}: {links}."))
    for alert in alerts:
        out += section(alert)
    return "\n\n".join(out) + "\n"


def check(ctx):
    try:
        alerts = read(ctx.text(ALERTS))
    except ValueError as error:
        return [str(error)]
    found = []
    for alert in alerts:
        name = alert["alert"]
        if alert["runbook_url"] != f"{PAGE}#{name.lower()}":
            found.append(f"{name}: its runbook_url is {alert['runbook_url']}, its section {PAGE}#{name.lower()}")
        if alert["severity"] not in SEVERITIES:
            found.append(f"{name}: no severity is named {alert['severity']}")
        steps = [int(n) for n in re.findall(r"\((\d)\) ", alert["runbook"])]
        if steps != list(range(1, len(steps) + 1)):
            found.append(f"{name}: the steps of its runbook are numbered {steps}")
    have, want = ctx.text(PAGE), page(alerts)
    if have != want:
        differs = [line for line in want.splitlines() if line not in have.splitlines()]
        differs += [line for line in have.splitlines() if line not in want.splitlines()]
        found.append(f"{PAGE} is not up to date: scripts/check/runbooks.py --write; differs: {differs[:2]}")
    return found


CHECKS = [
    Check("runbooks", "docs/runbooks.md has a section for each alert, with the alert's own text", check, [
        Broken(ALERTS, "The records are gone with or without kmend", "The records are gone", "not up to date"),
        Broken(ALERTS, "kmend_offset_headroom_seconds) < 600", "kmend_offset_headroom_seconds) < 900", "not up to date"),
        Broken(ALERTS, "- alert: KmendDown", "- alert: KmendAway", "KmendAway: its runbook_url"),
        Broken(ALERTS, "runbooks.md#kmenddown", "runbooks.md#kmendaway", "KmendDown: its runbook_url"),
        Broken(ALERTS, "          runbook_url: docs/runbooks.md#kmenddown\n", "", "KmendDown has no runbook_url"),
        Broken(ALERTS, "severity: info", "severity: ticket", "no severity is named ticket"),
        Broken(ALERTS, "severity: info", "severity: [info]", "not in the form"),
        Broken(ALERTS, "        for: 2m\n", "        for: 2m\n        for: 3m\n", "stands twice"),
        Broken(ALERTS, "(2) Find out", "(3) Find out", "numbered [1, 3, 3, 4]"),
        Broken(PAGE, "## KmendDown", "## KmendAway", "not up to date"),
        Broken(PAGE, "3. If the records matter", "3. If records matter", "not up to date"),
    ]),
]


def main():
    parser = argparse.ArgumentParser(description="the runbooks of all alerts")
    parser.add_argument("--write", action="store_true", help="write the page anew")
    args = parser.parse_args()
    ctx = Context(Path(__file__).resolve().parents[2])
    if args.write:
        (ctx.root / PAGE).write_text(page(read(ctx.text(ALERTS))), encoding="utf-8")
        return 0
    problems = check(ctx)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
