"""docs/metrics.md against what src registers: name, type and labels of every metric.

A running kmend shows a labelled metric only once it has counted something, so that /metrics alone cannot tell
what is missing in the document.
"""

import re

from checks import Broken, Check
from loglines import ASIDE, arguments

PAGE = "docs/metrics.md"
ROW = re.compile(r"^\| `kmend_(\w+)` \| (\w+) \|([^|]*)\|", re.M)
TYPES = {"counter": "counter", "gauge": "gauge", "float_gauge": "gauge", "histogram": "histogram"}
CALL = re.compile(r"\b(Family|Single)::(" + "|".join(TYPES) + r")\(")
# `let of_group = |name, help| Family::gauge(...)`: what calls it registers.
SHORT = re.compile(r"let (\w+) = \|[\w, ]*\|\s*$")
STRING = re.compile(r'"(\w+)"')


def sources(ctx):
    for path in sorted((ctx.root / "src").rglob("*.rs")):
        inside = path.relative_to(ctx.root / "src")
        if not ASIDE & {part.removesuffix(".rs") for part in inside.parts}:
            # Unit tests stand at the end of their file.
            text = path.read_text(encoding="utf-8").split("\n#[cfg(test)]\nmod tests {")[0]
            yield str(path.relative_to(ctx.root)), re.sub(r"^\s*//.*", "", text, flags=re.M)


def registered(ctx):
    """name -> (type, labels) of what src registers, and the calls that cannot be read."""
    out, unread = {}, []
    for file, text in sources(ctx):
        for call in CALL.finditer(text):
            given = arguments(text, call.end())
            labels = set()
            if call[1] == "Family":
                # Written there, or in the same file under a name.
                named = re.search(rf"\b{re.escape(given[3].lstrip('&'))} = &?(\[[^\]]*\])", text)
                labels = set(STRING.findall(named[1] if named else given[3]))
                if not labels:
                    unread.append(f"{file}: the labels {given[3]} cannot be read: write them where the metric is made")
            kind = (TYPES[call[2]], labels)
            name = STRING.fullmatch(given[1])
            if name:
                out[name[1]] = kind
                continue
            short = SHORT.search(text, 0, call.start())
            names = re.findall(rf'\b{short[1]}\(\s*"(\w+)"', text) if short else []
            if not names:
                unread.append(f"{file}: the name {given[1]} cannot be read: write it where the metric is made")
            out.update((name, kind) for name in names)
    return out, unread


def check(ctx):
    made, found = registered(ctx)
    told = {name: (kind, set(STRING.findall(labels.replace("`", '"')))) for name, kind, labels in ROW.findall(ctx.text(PAGE))}
    if not made or not told:
        return [f"nothing to compare: {len(made)} metrics in src, {len(told)} in {PAGE}"]
    for name in sorted(made.keys() | told.keys()):
        if name not in told:
            found.append(f"kmend_{name} is registered, and not in {PAGE}")
        elif name not in made:
            found.append(f"{PAGE}: kmend_{name} is registered nowhere")
        elif made[name] != told[name]:
            says = [f"a {kind} with {', '.join(sorted(labels)) or 'no labels'}" for kind, labels in (told[name], made[name])]
            found.append(f"{PAGE}: kmend_{name} is {says[0]}; in src it is {says[1]}")
    return found


CHECKS = [
    Check(
        "metrics-registered",
        "docs/metrics.md has the metrics that src registers, with their types and labels",
        check,
        [
            Broken(PAGE, "| `kmend_repairs_total` | counter |", "| `kmend_repair_total` | counter |", "kmend_repair_total is registered nowhere"),
            Broken(PAGE, "| `kmend_mender_panics_total` |", "| `mender_panics_total` |", "kmend_mender_panics_total is registered, and not"),
            Broken(PAGE, "| gauge | `group`, `topic`, `partition` | high", "| gauge | `group`, `topic` | high", "in src it is a gauge with group, partition, topic"),
            Broken(PAGE, "| `kmend_partitions_paused` | gauge |", "| `kmend_partitions_paused` | counter |", "kmend_partitions_paused is a counter"),
            Broken("src/session/metrics.rs", '"frame_errors_total"', "FRAME_ERRORS", "the name FRAME_ERRORS cannot be read"),
        ],
    )
]
