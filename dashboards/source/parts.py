"""What the dashboards are put together from: queries, panels, variables. Standard library only."""

import json

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA = 41  # Grafana 12; older ones migrate what they know, newer ones migrate it up
TARGETS = 'namespace=~"$namespace", pod=~"$pod", instance=~"$instance"'
GROUPS = TARGETS + ', group=~"$group"'
PLACES = GROUPS + ', topic=~"$topic"'
TOPICS = TARGETS + ', topic=~"$topic"'
RATE = "$__rate_interval"
# Outcomes of kmend_repairs_total that changed what an app would have seen.
DONE = "repaired|lifted|steered|buffered|replayed|delivered|covered|told|healed"
# APIs whose answers wait on purpose.
QUICK = 'api!~"Fetch|JoinGroup|SyncGroup"'
OURS = f"and on (instance, job) kmend_build_info{{{TARGETS}}}"

PAGES = [
    ("kmend", "Overview", "kmend.json"),
    ("kmend-repairs", "Repairs", "kmend-repairs.json"),
    ("kmend-groups", "Groups and lag", "kmend-groups.json"),
    ("kmend-internals", "Proxy internals", "kmend-internals.json"),
]


def eq(label, value):
    return f', {label}="{value}"'


def like(label, values):
    return f', {label}=~"{values}"'


def grown(metric, matchers, window=RATE):
    """How much a counter grew. A labelled series is born with its first value, which increase() does not see."""
    series = f"{metric}{{{matchers}}}"
    return f"(({series} unless {series} offset {window}) or increase({series}[{window}]))"


def quantile(q, metric, matchers, by="", window=RATE):
    """A quantile over all selected kmends: of the sum of their buckets, never a mean of quantiles."""
    labels = ", ".join(["le", *([by] if by else [])])
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{{matchers}}}[{window}])))"


def steps(*pairs):
    """Thresholds: (from, colour); the first one has no lower end."""
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in pairs]}


GOOD_IS_ZERO = steps((None, "green"), (1e-9, "orange"))
BAD_ABOVE_ZERO = steps((None, "green"), (1e-9, "red"))


def targets(queries, instant=False, table=False):
    out = []
    for n, query in enumerate(queries):
        expr, legend = query if isinstance(query, tuple) else (query, "")
        target = {"refId": chr(ord("A") + n), "datasource": DATASOURCE, "expr": expr, "legendFormat": legend}
        target.update({"instant": True, "range": False} if instant else {"instant": False, "range": True})
        if table:
            target["format"] = "table"
        out.append(target)
    return out


def panel(kind, title, description, unit, queries, width, height, thresholds=None, **more):
    field = {"unit": unit, "color": {"mode": more.pop("color", "palette-classic")}, "custom": more.pop("custom", {})}
    for key in ("min", "max", "decimals", "noValue"):
        if key in more:
            field[key] = more.pop(key)
    field["thresholds"] = thresholds or steps((None, "green"))
    return {
        "type": kind, "title": title, "description": description, "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height}, "targets": targets(queries, kind != "timeseries", kind == "table"),
        "fieldConfig": {"defaults": field, "overrides": more.pop("overrides", [])}, "options": more.pop("options", {}), **more,
    }


def stat(title, description, unit, query, width=4, thresholds=None, **more):
    queries = query if isinstance(query, list) else [query]
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value",
        "graphMode": "none", "textMode": "auto" if len(queries) == 1 and isinstance(queries[0], str) else "value_and_name",
        "justifyMode": "auto", "orientation": "auto",
    }
    return panel("stat", title, description, unit, queries, width, 4, thresholds, color="thresholds", options=options, **more)


def graph(title, description, unit, *queries, width=8, thresholds=None, stacked=False, **more):
    custom = {
        "drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if stacked else 8, "showPoints": "auto", "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if thresholds else "off"},
    }
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    more.setdefault("min", 0)
    return panel("timeseries", title, description, unit, list(queries), width, 8, thresholds, custom=custom, options=options, **more)


def table(title, description, unit, query, value, width=8, thresholds=None, **more):
    """A table of one instant query; `value` is the heading of its number."""
    hidden = {key: True for key in ("Time", "__name__", "job", "container", "endpoint")}
    transformations = [{"id": "organize", "options": {"excludeByName": hidden, "renameByName": {"Value": value}, "indexByName": {}}}]
    options = {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": value, "desc": more.pop("desc", True)}]}
    custom = {"align": "auto", "filterable": True}
    if thresholds:
        override = {"matcher": {"id": "byName", "options": value}, "properties": [{"id": "custom.cellOptions", "value": {"type": "color-text"}}]}
        more["overrides"] = [override]
    return panel("table", title, description, unit, [query], width, 8, thresholds, custom=custom, options=options,
                 transformations=transformations, color="thresholds" if thresholds else "palette-classic", **more)


def row(title, *panels):
    return {"type": "row", "title": title, "collapsed": False, "panels": []}, list(panels)


def variable(name, label, query):
    return {
        "name": name, "label": label, "type": "query", "datasource": DATASOURCE,
        "query": {"query": query, "refId": name}, "definition": query, "refresh": 2, "sort": 1, "regex": "",
        "includeAll": True, "multi": True, "allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]},
    }


def variables(*wanted):
    known = {
        "namespace": variable("namespace", "Namespace", "label_values(kmend_build_info, namespace)"),
        "pod": variable("pod", "Pod", 'label_values(kmend_build_info{namespace=~"$namespace"}, pod)'),
        "instance": variable("instance", "Instance", 'label_values(kmend_build_info{namespace=~"$namespace", pod=~"$pod"}, instance)'),
        "group": variable("group", "Group", f"label_values(kmend_partitions_assigned{{{TARGETS}}}, group)"),
        "topic": variable("topic", "Topic", f"label_values(kmend_consumer_lag{{{GROUPS}}}, topic)"),
    }
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}, "refresh": 1}
    return [source, *(known[name] for name in ("namespace", "pod", "instance", *wanted))]


def links(uid):
    return [
        {"type": "link", "title": title, "url": f"/d/{other}", "keepTime": True, "includeVars": True,
         "targetBlank": False, "asDropdown": False, "icon": "dashboard", "tags": [], "tooltip": ""}
        for other, title, _ in PAGES if other != uid
    ]


def laid_out(rows):
    """Places panels from left to right; a row ends where the next panel does not fit."""
    out, y, number = [], 0, 1
    for head, panels in rows:
        head.update({"id": number, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        out.append(head)
        number, y, x, high = number + 1, y + 1, 0, 0
        for one in panels:
            grid = one["gridPos"]
            if x + grid["w"] > 24:
                x, y, high = 0, y + high, 0
            grid.update({"x": x, "y": y})
            one["id"] = number
            number, x, high = number + 1, x + grid["w"], max(high, grid["h"])
            out.append(one)
        y += high
    return out


def dashboard(uid, description, rows, *wanted):
    title = next(title for known, title, _ in PAGES if known == uid)
    restarts = {
        "name": "Restarts", "enable": True, "datasource": DATASOURCE, "iconColor": "orange", "titleFormat": "kmend restarted: {{pod}} {{instance}}",
        "expr": f"changes(process_start_time_seconds{{{TARGETS}}}[$__interval]) > 0 {OURS}",
    }
    content = {
        "uid": uid, "title": f"kmend / {title}", "description": description, "tags": ["kafka", "kmend"], "schemaVersion": SCHEMA,
        "version": 1, "editable": True, "graphTooltip": 1, "refresh": "30s", "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser", "links": links(uid), "templating": {"list": variables(*wanted)},
        "annotations": {"list": [restarts]}, "panels": laid_out(rows),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
