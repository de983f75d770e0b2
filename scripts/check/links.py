"""What the pages name exists: files and anchors, commands and flags, configuration keys, metrics."""

import re
import tempfile
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from checks import Broken, Check, command
from configuration import SCHEMA, Schema
from pages import lines_of

METRICS = "docs/metrics.md"
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^\s{0,3}\[[^\]]+\]:\s+<?(\S+?)>?\s*$")
CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
SHELL = {"sh", "bash", "shell", "console", "text", ""}
# Flags of other programs that stand alone in the text.
FOREIGN = {
    "--dry-run", "--execute", "--describe", "--reset-offsets", "--to-offset", "--alter", "--partitions",  # Kafka's tools
    "--locked", "--all-targets", "--lib", "--nocapture", "--release",  # cargo
    "--ulimit", "--platform", "--build-arg", "--cap-add",  # docker
    "--keep", "--seeds", "--list", "--write", "--print", "--path", "--json", "--unit", "--jobs", "--nice",  # scripts here
}


# --- files and anchors ---------------------------------------------------------------------------


def slug(heading):
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(text):
    out, counts = set(), {}
    for _, line, fenced in lines_of(text):
        heading = None if fenced else re.match(r" {0,3}#{1,6}\s+(.+?)\s*#*$", line)
        if heading:
            name = slug(heading[1])
            count = counts.get(name, 0)
            counts[name] = count + 1
            out.add(f"{name}-{count}" if count else name)
        out.update(re.findall(r"<a\s+(?:id|name)=\"([^\"]+)\"", line))
    return out


def targets(text):
    """(line number, target) of each link."""
    for number, line, fenced in lines_of(text):
        if fenced:
            continue
        # What stands in code is no link; its length is kept.
        bare = CODE.sub(lambda m: m[0] if "](" not in m[0] else " " * len(m[0]), line)
        for match in LINK.finditer(bare):
            yield number, match[1]
        reference = REFERENCE.match(bare)
        if reference:
            yield number, reference[1]


def links_check(ctx):
    found = []
    known = lru_cache(None)(lambda path: anchors(path.read_text(encoding="utf-8")))
    for page in ctx.pages():
        for number, target in targets(ctx.text(page)):
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            name, _, anchor = unquote(target).partition("#")
            where = f"{page}:{number}: {target}"
            path = (ctx.root / page.parent / name).resolve() if name else ctx.root / page
            if not path.is_relative_to(ctx.root.resolve()):
                found.append(f"{where}: leads out of the repository")
            elif not path.exists():
                found.append(f"{where}: there is no such file")
            elif anchor and path.suffix == ".md" and anchor not in known(path):
                found.append(f"{where}: there is no such heading")
    return found


# --- commands and flags --------------------------------------------------------------------------


class Commands:
    """What the binary's own help says."""

    def __init__(self, binary):
        self.binary = binary
        self.read = lru_cache(None)(self._read)

    def _read(self, path):
        """(subcommands, flags) of a command, or None where there is no such command."""
        code, out = command(self.binary, *path, "--help")
        if code != 0:
            return None
        block = re.search(r"^Commands:\n((?:  .*\n|\n)+)", out, re.M)
        subcommands = set(re.findall(r"^  (\w[\w-]*) ", block[1], re.M)) if block else set()
        flags = set(re.findall(r"(?:^|[\s,])(--?[a-zA-Z][\w-]*)", out))
        return subcommands, flags | {"--help", "-h"}

    def problem(self, words):
        """What is wrong with a command line, without the program's own name."""
        path, rest = (), list(words)
        while rest and not rest[0].startswith("-"):
            subcommands, _ = self.read(path)
            if not subcommands or path == ("help",):
                break
            if rest[0] not in subcommands:
                return f"there is no command {' '.join((*path, rest[0]))!r}"
            path = (*path, rest.pop(0))
            if path[0] == "help":
                path = ()
        read = self.read(path)
        if read is None:
            return f"there is no command {' '.join(path)!r}"
        for word in rest:
            flag = word.split("=", 1)[0]
            if re.fullmatch(r"--?[a-zA-Z][\w-]*", flag) and flag not in read[1]:
                return f"`kmend {' '.join(path)}` has no flag {flag}"
        return None

    def flags(self):
        out, open_ = set(), [()]
        while open_:
            path = open_.pop()
            read = self.read(path)
            if read:
                out |= read[1]
                open_ += [(*path, name) for name in read[0] if name != "help"]
        return out


def shell_lines(text):
    """(number, line) of fenced shell and output, with continued lines put together."""
    language, pending, start = None, "", 0
    for number, line, fenced in lines_of(text):
        mark = re.match(r"\s*(?:`{3,}|~{3,})\s*(\w*)", line)
        if mark and fenced:
            language, pending = (mark[1] if language is None else None), ""
            continue
        if not fenced or language not in SHELL:
            continue
        if line.rstrip().endswith("\\"):
            pending, start = pending + line.rstrip()[:-1] + " ", start or number
            continue
        yield start or number, pending + line
        pending, start = "", 0


def invocations(text):
    """(number, words) of each command line of kmend."""
    for number, line in shell_lines(text):
        line = re.sub(r"\s#\s.*$", "", line.strip().removeprefix("$ "))
        for part in re.split(r"\s(?:&&|\|\||\||;|--)\s", line):
            part = re.sub(r"^(?:[A-Z_]+=(?:'[^']*'|\S*)\s+)+", "", part.strip())
            match = re.match(r"(?:[\w./~-]*/)?kmend(?:\s+(.*))?$", part)
            if match:
                yield number, re.sub(r"\s[&>].*$", "", match[1] or "").split()
    for number, line, fenced in lines_of(text):
        if not fenced:
            for _, code in CODE.findall(line):
                match = re.match(r"(?:[A-Z_]+=\S*\s+)*(?:\S*/)?kmend (.+)", code.strip())
                # A log line may begin with the program's name, too: that is a sentence.
                if match and not re.search(r"[,;:] ", code):
                    yield number, match[1].split()


def words_of(words):
    """Placeholders (`SHELL`, `DIR`, `...`, `[--json]`) are no commands; what is optional counts as there."""
    return [w.strip("[]") for w in words if w.strip("[].…") and not re.fullmatch(r"\[?[A-Z][A-Z:]*\]?", w)]


def commands_check(ctx):
    found, commands = [], Commands(ctx.binary)
    flags = commands.flags()
    for page in ctx.pages():
        if page.name == "CHANGELOG.md":
            continue  # it speaks of versions past
        text = ctx.text(page)
        for number, words in invocations(text):
            problem = commands.problem(words_of(words))
            if problem:
                found.append(f"{page}:{number}: {problem}: kmend {' '.join(words)}")
        for number, line, fenced in lines_of(text):
            for _, code in [] if fenced else CODE.findall(line):
                flag = re.match(r"(--[a-z][\w-]*)", code)
                if flag and flag[1] not in flags | FOREIGN:
                    found.append(f"{page}:{number}: kmend has no flag {flag[1]}")
    return found


# --- configuration keys --------------------------------------------------------------------------


class Keys:
    def __init__(self, text):
        schema = Schema(text)
        self.leaves = {path: schema.follow(node) for path, node in schema.leaves()}
        self.paths = {path[:n] for path in self.leaves for n in range(1, len(path) + 1)}
        self.top = {path[0] for path in self.paths}
        # Keys that have others below them: what may begin a shortened name.
        self.inner = {path[n] for path in self.leaves for n in range(len(path) - 1)} - {"PATTERN"}
        self.maps = {path for path, node in self.leaves.items() if "additionalProperties" in node and "properties" not in node}

    def exists(self, parts):
        if tuple(parts) in self.paths:
            return True
        return any(tuple(parts[:n]) in self.maps for n in range(1, len(parts)))

    def exists_below(self, parts):
        """A name without its beginning, as in `journal.max_bytes`."""
        n = len(parts)
        whole = [path[i:] for path in self.paths for i in range(len(path))]
        return any(path[:n] == tuple(parts) for path in whole) or any(
            tuple(parts[:k]) == path[-k:] for path in self.maps for k in range(1, n)
        )

    def variable(self, name):
        parts = ()
        for part in name.split("__"):
            # Below a map of patterns the case is kept.
            parts = (*parts, part if parts in self.maps else part.lower())
        return self.exists(parts)


# `helm --set` has names of its own: those of the chart's values.
VALUES = Path(__file__).resolve().parents[2] / "deploy/helm/kmend/values.yaml"
HELM = set(re.findall(r"^(\w+):", VALUES.read_text(), re.M))
NOT_KEYS = re.compile(r"\.(?:md|rs|m?js|ya?ml|json|py|sh|toml|txt|log|crt|key|example|svc|kafka|local|[A-Z])\b")


def key_problems(keys, text):
    for number, line, fenced in lines_of(text):
        for _, code in [] if fenced else CODE.findall(line):
            match = re.match(r"([a-z_]+(?:\.[a-zA-Z_*-]+)+)\b(?!\(|/|::)", code)
            if match and not NOT_KEYS.search(code.split(":")[0].split("=")[0]):
                parts = match[1].split(".")
                if parts[0] in keys.top:
                    good = keys.exists(parts) or (parts[0] in keys.inner and keys.exists_below(parts))
                elif parts[0] in keys.inner:
                    good = keys.exists_below(parts)
                else:
                    continue
                if not good:
                    yield number, f"there is no key {match[1]}"
        for key in re.findall(r"--set '?([a-z_]+(?:\.[\w*-]+)+)=", line):
            top = key.split(".")[0]
            if not keys.exists(key.split(".")) and (top in keys.top or top not in HELM):
                yield number, f"there is no key {key}"
        for name in re.findall(r"\bKMEND_([A-Z0-9]+(?:_[A-Z0-9]+)*(?:__[A-Za-z0-9_]+?)+)\b(?!_)", line):
            if not keys.variable(name):
                yield number, f"there is no key for KMEND_{name}"


def yaml_blocks(text):
    """(number, text) of each fenced configuration: one that begins with a key of kmend's."""
    block, start, inside = [], 0, False
    for number, line, fenced in lines_of(text):
        if fenced and re.match(r"\s*(```|~~~)", line):
            if inside:
                yield start, "\n".join(block) + "\n"
            inside = not inside and line.strip().strip("`~").strip() in ("yaml", "yml") and not line.startswith(" ")
            block, start = [], number
        elif inside:
            block.append(line)


def keys_check(ctx):
    found, keys = [], Keys(ctx.text(SCHEMA))
    for page in ctx.pages():
        if page.name == "CHANGELOG.md":
            continue
        text = ctx.text(page)
        found += [f"{page}:{number}: {problem}" for number, problem in key_problems(keys, text)]
    return found


def examples_check(ctx):
    """Configurations in the text are ones that kmend takes (the files that they name are not here)."""
    found, keys = [], Keys(ctx.text(SCHEMA))
    with tempfile.TemporaryDirectory(prefix="kmend-docs-") as name:
        file = Path(name) / "kmend.yaml"
        for page in ctx.pages():
            for number, block in yaml_blocks(ctx.text(page)):
                tops = re.findall(r"^([a-z_]+):", block, re.M)
                if not tops or not set(tops) & keys.top or re.search(r"^(?:apiVersion|services|groups):", block, re.M):
                    continue
                file.write_text(block, encoding="utf-8")
                extra = [] if "bootstrap" in block else ["--upstream", "broker.example:9092"]
                _, out = command(ctx.binary, "check", "--config", file, *extra)
                for line in out.splitlines():
                    if line.startswith("error:") and "cannot be read" not in line:
                        found.append(f"{page}:{number}: {line.replace(str(file), 'the example')}")
    return found


# --- metrics -------------------------------------------------------------------------------------


def metrics_check(ctx):
    rows = re.findall(r"^\| `(kmend_\w+)` \| (\w+) \|", ctx.text(METRICS), re.M)
    known = dict(rows)
    found = [] if known else [f"{METRICS}: no table of metrics"]
    for page in ctx.pages():
        if page.name == "CHANGELOG.md":
            continue
        for number, line in enumerate(ctx.text(page).splitlines(), 1):
            for name, gap in re.findall(r"\b(kmend_[a-z0-9_]*[a-z0-9_])(\.\.\.|\*)?", line):
                stem = re.sub(r"_(?:bucket|sum|count)$", "", name)
                prefix = gap or name.endswith("_")
                if name in known or (known.get(stem) == "histogram") or (prefix and any(k.startswith(name) for k in known)):
                    continue
                found.append(f"{page}:{number}: {name} is not in {METRICS}")
    return found


CHECKS = [
    Check("links", "every relative link and anchor in *.md leads somewhere", links_check, [
        Broken("docs/faq.md", "](sasl.md)", "](sassl.md)", "no such file"),
        Broken("docs/configuration.md", "](#all-keys)", "](#every-key)", "no such heading"),
        Broken("docs/troubleshooting.md", "commit_buffer.md#what-a-proxy-cannot-see", "commit_buffer.md#what-it-cannot-see", "no such heading"),
        Broken("docs/commit_buffer.md", "### Turn it off for these groups", "### For these groups", "README.md"),
        Broken("docs/faq.md", "](sasl.md)", "](../../sasl.md)", "out of the repository"),
    ]),
    Check("commands", "every command line and flag of kmend in *.md is one that it has", commands_check, [
        Broken("docs/getting-started.md", "target/release/kmend dev --upstream", "target/release/kmend dev --broker", "no flag --broker"),
        Broken("docs/getting-started.md", "kmend checkpoints\n", "kmend repairs\n", "no command 'repairs'"),
        Broken("docs/commit_buffer.md", "-- kmend journal inspect", "-- kmend journal show", "no command 'journal show'"),
        Broken("docs/configuration.md", "`kmend check --config FILE`", "`kmend check --file FILE`", "no flag --file"),
        Broken("docs/configuration.md", "`--upstream`, `--listen`", "`--upstream`, `--port`", "no flag --port"),
    ], needs_binary=True),
    Check("keys", "every configuration key and variable named in *.md exists", keys_check, [
        Broken("docs/troubleshooting.md", "`limits.memory: auto`", "`limits.ram: auto`", "no key limits.ram"),
        Broken("docs/troubleshooting.md", "`journal.max_bytes`", "`journal.max_size`", "no key journal.max_size"),
        Broken("docs/getting-started.md", "--set menders.offset_reset.mode", "--set menders.offset.mode", "no key menders.offset.mode"),
        Broken("docs/configuration.md", "KMEND_MENDERS__OFFSET_RESET__TOPICS='", "KMEND_MENDERS__OFFSETRESET__TOPICS='", "no key for KMEND_MENDERS__OFFSETRESET__TOPICS"),
    ]),
    Check("examples", "configurations in *.md are ones that kmend takes", examples_check, [
        Broken("docs/menders.md", "billing-canary: { mode: repair }", "billing-canary: { mode: mend }", "error:"),
        Broken("docs/configuration.md", "metrics-*: latest  ", "metrics-*: newest  ", "error:"),
    ], needs_binary=True),
    Check("metric-names-in-pages", "every metric named in *.md is in docs/metrics.md", metrics_check, [
        Broken("docs/troubleshooting.md", "kmend_holds_expired_total", "kmend_hold_expired_total", "kmend_hold_expired_total is not in"),
        Broken("docs/menders.md", "kmend_partitions_unfetched", "kmend_partitions_lost", "kmend_partitions_lost is not in"),
    ]),
]
