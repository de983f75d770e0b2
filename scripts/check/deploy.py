"""Runs the checks of what is deployed, and proves of each that it can fail.

A check is a function that takes a Context and returns problems as text. Beside it stand inputs that
are broken on purpose: (file, text, replacement, what the check has to say). They are applied to a
copy, one at a time.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import common
import images
import kube
import metrics
import releases
import sidecars
import systemd

CHECKS = [*kube.CHECKS, *sidecars.CHECKS, *systemd.CHECKS, *images.CHECKS, *releases.CHECKS, *metrics.CHECKS]
COPIED = ["deploy", "dashboards", "docs", "Cargo.toml", "CHANGELOG.md", ".github", "scripts"]


def run(check, ctx):
    try:
        return check.run(ctx)
    except Exception as error:  # a check that breaks has not passed
        return [f"the check itself failed: {type(error).__name__}: {error}"]


def can_fail(check, ctx):
    """Problems of the check itself: broken inputs that it does not notice."""
    found = []
    for broken in check.broken:
        with tempfile.TemporaryDirectory(prefix="kmend-check-") as name:
            root = Path(name)
            for part in COPIED:
                source = ctx.root / part
                if source.is_dir():
                    shutil.copytree(source, root / part)
                elif source.exists():
                    shutil.copy(source, root / part)
            target = root / broken.file
            text = target.read_text()
            if broken.old not in text:
                found.append(f"broken input does not apply: {broken.old!r} is not in {broken.file}")
                continue
            target.write_text(text.replace(broken.old, broken.new, 1))
            problems = run(check, ctx.at(root))
            if not any(broken.says in problem for problem in problems):
                found.append(
                    f"did not notice {broken.old!r} -> {broken.new!r} in {broken.file}; "
                    f"expected {broken.says!r}, got {problems or 'nothing'}"
                )
    return found


def main():
    parser = argparse.ArgumentParser(description="checks what is deployed and watched")
    parser.add_argument("names", nargs="*", help="only these checks")
    parser.add_argument("--sources", type=Path, required=True, help="files that schemas are made of")
    parser.add_argument("--root", type=Path, default=Path.cwd())
    parser.add_argument("--list", action="store_true", help="the checks' names")
    args = parser.parse_args()

    if args.list:
        for check in CHECKS:
            print(f"{check.name:22} {check.about}")
        return 0
    known = {check.name for check in CHECKS}
    for name in args.names:
        if name not in known:
            parser.error(f"no check named {name!r}; there are: {', '.join(sorted(known))}")

    binary = os.environ.get("KMEND_BIN")
    ctx = common.Context(args.root.resolve(), args.sources, Path(binary).resolve() if binary else None)
    failed = 0
    for check in CHECKS:
        if args.names and check.name not in args.names:
            continue
        if check.needs_binary and ctx.binary is None:
            print(f"check-deploy: {check.name}: left out, it needs KMEND_BIN")
            continue
        started = time.monotonic()
        problems = run(check, ctx)
        if not problems:
            problems = can_fail(check, ctx)
        took = time.monotonic() - started
        if problems:
            failed += 1
            print(f"check-deploy: {check.name}: FAILED ({took:.1f} s)")
            for problem in problems:
                print("  " + problem.replace("\n", "\n  "))
        else:
            print(f"check-deploy: {check.name}: ok, {len(check.broken)} broken inputs noticed ({took:.1f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
