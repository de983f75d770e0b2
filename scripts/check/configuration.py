#!/usr/bin/env python3
"""The reference of all keys in docs/configuration.md, made from the JSON Schema.

  scripts/check/configuration.py           says whether the page is up to date
  scripts/check/configuration.py --write   writes it anew

Types, defaults and descriptions are the schema's (config/kmend.schema.json, which a Rust test compares
with `kmend schema`). Which keys need a restart is read from the constant that kmend itself goes by.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from checks import Broken, Check
from pages import Context

SCHEMA = "config/kmend.schema.json"
PAGE = "docs/configuration.md"
RUNNING = "src/config/running.rs"
BEGIN = "<!-- reference: begin (scripts/check/configuration.py --write) -->"
END = "<!-- reference: end -->"
DURATION = "(ms|s|m|h|d)"
SIZE = "[KMGkmg]"
ADDRESS = ":[0-9]{1,5}$"


class Schema:
    def __init__(self, text):
        self.root = json.loads(text)
        self.defs = self.root["$defs"]

    def follow(self, node):
        """The node that a reference means; what stands beside the reference wins."""
        while "$ref" in node:
            beside = {k: v for k, v in node.items() if k != "$ref"}
            node = {**self.defs[node["$ref"].rsplit("/", 1)[-1]], **beside}
        return node

    def leaves(self, node=None, path=()):
        """(path, node) of every key that takes a value; patterns stand as PATTERN."""
        node = self.follow(self.root if node is None else node)
        if "properties" in node:
            for key, child in node["properties"].items():
                yield from self.leaves(child, (*path, key))
            return
        yield path, node
        rule = node.get("additionalProperties")
        if isinstance(rule, dict):
            yield from self.below(rule, (*path, "PATTERN"))

    def below(self, rule, path):
        rule = self.follow(rule)
        if "properties" in rule:
            yield from self.leaves(rule, path)
        for choice in rule.get("anyOf", []):
            if "properties" in self.follow(choice):
                yield from self.leaves(choice, path)

    def values(self, node):
        """(value, description) of each value that the node lists by name."""
        node = self.follow(node)
        for choice in [node, *node.get("oneOf", []), *node.get("anyOf", [])]:
            if choice is not node:
                yield from self.values(choice)
            elif "const" in choice:
                yield choice["const"], choice.get("description", "")
        for value in node.get("enum", []):
            yield value, ""

    def kind(self, node):
        """What may be written, in words."""
        node = self.follow(node)
        if "enum" in node:
            return " or ".join(f"`{value}`" for value in node["enum"])
        if "const" in node:
            return f"`{node['const']}`"
        choices = node.get("anyOf") or node.get("oneOf")
        if choices:
            # A list comes with its single value: one word says both.
            if any(self.follow(c).get("type") == "array" for c in choices):
                return "`host:port`, or a list of them"
            return " or ".join(dict.fromkeys(self.kind(c) for c in choices))
        kinds = node["type"] if isinstance(node["type"], list) else [node["type"]]
        pattern = node.get("pattern", "")
        if "object" in kinds:
            return "map"
        if DURATION in pattern:
            return "duration"
        if SIZE in pattern:
            return "size"
        if ADDRESS in pattern:
            return "`host:port`"
        named = {"boolean": "`true` or `false`", "string": "text", "integer": "number", "null": "`null`"}
        return " or ".join(named[kind] for kind in kinds)


def restart_prefixes(source):
    """The constant RESTART of the running configuration, as tuples."""
    match = re.search(r"const RESTART: \[&\[&str\]; (\d+)\] =\s*\[(.*?)\];", source, re.S)
    if not match:
        raise ValueError(f"{RUNNING}: the constant RESTART is not where it was")
    prefixes = [tuple(re.findall(r'"(\w+)"', part)) for part in re.findall(r"&\[([^\]]*)\]", match[2])]
    if len(prefixes) != int(match[1]) or not all(prefixes):
        raise ValueError(f"{RUNNING}: RESTART cannot be read")
    return prefixes


def shown(value):
    if value is None:
        return "`null`"
    if isinstance(value, list):
        return "`" + ", ".join(map(str, value)) + "`" if value else "none"
    if isinstance(value, dict):
        return "`{}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def cell(text):
    return text.replace("|", "\\|")


def row(schema, path, node, prefixes):
    key = ".".join(path)
    variable = "" if "PATTERN" in path else "<br>`KMEND_" + "__".join(part.upper() for part in path) + "`"
    restart = any(path[: len(prefix)] == prefix for prefix in prefixes)
    required = key == "upstream.bootstrap"
    default = "required" if required else shown(node["default"]) if "default" in node else "-"
    text = node.get("description", "")
    values = [(value, about) for value, about in schema.values(node) if about]
    # What a value means stands with the mender's own key, not once more below each pattern.
    if values and "PATTERN" not in path:
        text += " " + " ".join(f"`{value}`: {about[0].lower()}{about[1:]}" for value, about in values)
    kind = schema.kind(node)
    if path[-1] == "dir" or path[-1].endswith("_file"):
        kind = kind.replace("text", "path")
    changes = "restart" if restart else "reload"
    return f"| `{key}`{variable} | {cell(kind)} | {cell(default)} | {changes} | {cell(text)} |"


def reference(ctx):
    schema = Schema(ctx.text(SCHEMA))
    prefixes = restart_prefixes(ctx.text(RUNNING))
    sections = {}
    for path, node in schema.leaves():
        depth = 2 if path[0] == "menders" else 1
        sections.setdefault(path[:depth], []).append((path, node))
    out = [BEGIN]
    for section, keys in sections.items():
        about = schema.root
        for part in section:
            about = schema.follow(about)["properties"][part]
        out += ["", f"### {'.'.join(section)}", "", about.get("description", ""), ""]
        out += ["| key, variable | value | default | changes by | meaning |", "|---|---|---|---|---|"]
        out += [row(schema, path, node, prefixes) for path, node in keys]
    return "\n".join([*out, "", END])


def place(text):
    """Where the generated part of the page begins and ends."""
    begin, end = text.find(BEGIN), text.find(END)
    if begin < 0 or end < begin:
        raise ValueError(f"{PAGE}: the markers of the generated part are missing")
    return begin, end + len(END)


def check(ctx):
    text = ctx.text(PAGE)
    try:
        begin, end = place(text)
        wanted = reference(ctx)
    except (ValueError, KeyError) as error:
        return [str(error)]
    found = []
    if text[begin:end] != wanted:
        have = set(text[begin:end].splitlines())
        differs = [line for line in wanted.splitlines() if line not in have]
        wants = set(wanted.splitlines())
        differs += [line for line in text[begin:end].splitlines() if line not in wants]
        found.append(f"{PAGE} is not up to date: scripts/check/configuration.py --write; differs: {differs[:2]}")
    schema = Schema(ctx.text(SCHEMA))
    for path, node in schema.leaves():
        if len(node.get("description", "")) < 12:
            found.append(f"{SCHEMA}: {'.'.join(path)} has no description")
    return found


CHECKS = [
    Check("configuration", "the reference in docs/configuration.md is made from the schema as it is", check, [
        Broken(SCHEMA, '"default": "5s"', '"default": "7s"', "not up to date"),
        Broken(SCHEMA, '"handshake_timeout": {', '"greeting_timeout": {', "not up to date"),
        Broken(PAGE, "| `listen.address`<br>", "| `listen.adress`<br>", "not up to date"),
        Broken(RUNNING, '&["log", "format"]', '&["log", "level"]', "not up to date"),
        Broken(RUNNING, "const RESTART", "const LATER", "not where it was"),
        Broken(PAGE, END, "", "markers"),
    ]),
]


def main():
    parser = argparse.ArgumentParser(description="the reference of all configuration keys")
    parser.add_argument("--write", action="store_true", help="write it anew")
    args = parser.parse_args()
    ctx = Context(Path(__file__).resolve().parents[2])
    if args.write:
        text = ctx.text(PAGE)
        begin, end = place(text)
        (ctx.root / PAGE).write_text(text[:begin] + reference(ctx) + text[end:], encoding="utf-8")
        return 0
    problems = check(ctx)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
