#!/usr/bin/env python3
"""Checks the documents, and proves of each check that it can fail on an input broken on purpose.

  scripts/check/docs.py             all checks
  scripts/check/docs.py NAME ...    only these (--list)

Standard library only. KMEND_BIN=path/to/kmend adds those that need the binary.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import configuration
import links
import loglines
from pages import Context, can_fail

CHECKS = [*links.CHECKS, *configuration.CHECKS, *loglines.CHECKS]


def main():
    parser = argparse.ArgumentParser(description="checks the documents")
    parser.add_argument("names", nargs="*", help="only these checks")
    parser.add_argument("--list", action="store_true", help="the checks' names")
    args = parser.parse_args()
    if args.list:
        for check in CHECKS:
            print(f"{check.name:22} {check.about}")
        return 0
    unknown = set(args.names) - {check.name for check in CHECKS}
    if unknown:
        parser.error(f"no check named {', '.join(sorted(unknown))}; --list names them")

    binary = os.environ.get("KMEND_BIN")
    ctx = Context(Path(__file__).resolve().parents[2], Path(binary).resolve() if binary else None)
    failed = 0
    for check in CHECKS:
        if args.names and check.name not in args.names:
            continue
        if check.needs_binary and ctx.binary is None:
            print(f"check-docs: {check.name}: left out, it needs KMEND_BIN")
            continue
        started = time.monotonic()
        problems = check.run(ctx) or can_fail(check, ctx)
        took = time.monotonic() - started
        if problems:
            failed += 1
            print(f"check-docs: {check.name}: FAILED ({took:.1f} s)")
            for problem in problems:
                print("  " + problem)
        else:
            print(f"check-docs: {check.name}: ok, {len(check.broken)} broken inputs noticed ({took:.1f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
