"""What the checks of the documents share. Standard library only."""

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable

# Folders that hold no pages of ours.
SKIPPED = {".git", "target", "node_modules", "vendor"}


@dataclass(frozen=True)
class Context:
    root: Path
    binary: Path | None = None

    def text(self, path):
        return (self.root / path).read_text(encoding="utf-8")

    def pages(self):
        """All Markdown files, as paths below the root."""
        found = []
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if name not in SKIPPED]
            found += [(Path(folder) / name).relative_to(self.root) for name in files if name.endswith(".md")]
        return sorted(found)


@dataclass(frozen=True)
class Broken:
    """An input that is broken on purpose, and what the check has to say to it."""

    file: str
    old: str
    new: str
    says: str


@dataclass(frozen=True)
class Check:
    name: str
    about: str
    run: Callable
    broken: list = field(default_factory=list)
    needs_binary: bool = False


def copied(root, target):
    """The part of the tree that the checks read."""
    for name in ("docs", "src", "config", "deploy", "bench", "demo", "dashboards", "scripts", "tests", "fuzz", ".ci", ".github"):
        if (root / name).is_dir():
            skipped = shutil.ignore_patterns("target", "node_modules", "corpus", "artifacts", "__pycache__")
            shutil.copytree(root / name, target / name, ignore=skipped)
    for path in root.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, target / path.name)


def can_fail(check, ctx):
    """Problems of the check itself: broken inputs that it does not notice."""
    found = []
    if not check.broken:
        return ["no broken input: nobody knows whether it can fail"]
    with tempfile.TemporaryDirectory(prefix="kmend-docs-") as name:
        root = Path(name)
        copied(ctx.root, root)
        for broken in check.broken:
            target = root / broken.file
            text = target.read_text(encoding="utf-8")
            if broken.old not in text:
                found.append(f"broken input does not apply: {broken.old!r} is not in {broken.file}")
                continue
            target.write_text(text.replace(broken.old, broken.new, 1), encoding="utf-8")
            problems = check.run(replace(ctx, root=root))
            target.write_text(text, encoding="utf-8")
            if not any(broken.says in problem for problem in problems):
                found.append(
                    f"did not notice {broken.old!r} -> {broken.new!r} in {broken.file}; "
                    f"expected {broken.says!r}, got {problems or 'nothing'}"
                )
    return found


def command(*args, timeout=60):
    """Exit code and all output of a program."""
    done = subprocess.run(
        [str(a) for a in args], text=True, timeout=timeout, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout


def lines_of(text):
    """(number, line, whether it stands in a fenced block) for each line of a page."""
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*(`{3,}|~{3,})", line)
        if mark and fence is None:
            fence = mark[1]
            yield number, line, True
        elif mark and line.strip().startswith(fence):
            fence = None
            yield number, line, True
        else:
            yield number, line, fence is not None
