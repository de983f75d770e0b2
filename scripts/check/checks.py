"""What a check is, and the runner that proves of each that it can fail. Standard library only.

A check is a function that takes a Context and returns problems as text. Beside it stand inputs that are
broken on purpose: (file, text, replacement, what the check has to say). They are applied to a copy, one
at a time.
"""

import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable

FOLDERS = ("docs", "src", "config", "deploy", "bench", "demo", "dashboards", "scripts", "tests", "fuzz", ".ci", ".github")
NOT_COPIED = shutil.ignore_patterns("target", "node_modules", "corpus", "artifacts", "__pycache__")


@dataclass(frozen=True)
class Context:
    root: Path
    binary: Path | None = None

    def at(self, root):
        return replace(self, root=root)

    def text(self, path):
        return (self.root / path).read_text(encoding="utf-8")


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


def command(*args, stdin=None, timeout=120):
    """Exit code and all output of a program."""
    source = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    done = subprocess.run(
        [str(a) for a in args], text=True, timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **source,
    )
    return done.returncode, done.stdout


def binary():
    """The kmend that KMEND_BIN names, or None."""
    named = os.environ.get("KMEND_BIN")
    return Path(named).resolve() if named else None


def copied(root, target):
    """The part of the tree that the checks read."""
    for name in FOLDERS:
        if (root / name).is_dir():
            shutil.copytree(root / name, target / name, ignore=NOT_COPIED)
    for path in root.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, target / path.name)


def problems_of(check, ctx):
    try:
        return check.run(ctx)
    except Exception as error:  # a check that breaks has not passed
        return [f"the check itself failed: {type(error).__name__}: {error}"]


def can_fail(check, ctx):
    """Problems of the check itself: broken inputs that it does not notice."""
    found = []
    if not check.broken:
        return ["no broken input: nobody knows whether it can fail"]
    with tempfile.TemporaryDirectory(prefix="kmend-check-") as name:
        root = Path(name)
        copied(ctx.root, root)
        for broken in check.broken:
            target = root / broken.file
            text = target.read_text(encoding="utf-8")
            if broken.old not in text:
                found.append(f"broken input does not apply: {broken.old!r} is not in {broken.file}")
                continue
            target.write_text(text.replace(broken.old, broken.new, 1), encoding="utf-8")
            problems = problems_of(check, ctx.at(root))
            target.write_text(text, encoding="utf-8")
            if not any(broken.says in problem for problem in problems):
                found.append(
                    f"did not notice {broken.old!r} -> {broken.new!r} in {broken.file}; "
                    f"expected {broken.says!r}, got {problems or 'nothing'}"
                )
    return found


def arguments(parser):
    parser.add_argument("names", nargs="*", help="only these checks")
    parser.add_argument("--list", action="store_true", help="the checks' names")


def run(program, checks, parser, args, ctx):
    """Runs the checks that were asked for, and says how each went; the exit code."""
    if args.list:
        for check in checks:
            print(f"{check.name:22} {check.about}")
        return 0
    unknown = set(args.names) - {check.name for check in checks}
    if unknown:
        parser.error(f"no check named {', '.join(sorted(unknown))}; --list names them")
    failed = 0
    for check in checks:
        if args.names and check.name not in args.names:
            continue
        if check.needs_binary and ctx.binary is None:
            print(f"{program}: {check.name}: left out, it needs KMEND_BIN")
            continue
        started = time.monotonic()
        problems = problems_of(check, ctx) or can_fail(check, ctx)
        took = time.monotonic() - started
        if problems:
            failed += 1
            print(f"{program}: {check.name}: FAILED ({took:.1f} s)")
            for problem in problems:
                print("  " + problem.replace("\n", "\n  "))
        else:
            print(f"{program}: {check.name}: ok, {len(check.broken)} broken inputs noticed ({took:.1f} s)")
    return 1 if failed else 0
