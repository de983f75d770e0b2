#!/usr/bin/env python3
"""Checks the documents, and proves of each check that it can fail on an input broken on purpose.

  scripts/check/docs.py             all checks
  scripts/check/docs.py NAME ...    only these (--list)

Standard library only. KMEND_BIN=path/to/kmend adds those that need the binary.
"""

import argparse
import sys
from pathlib import Path

import checks
import configuration
import links
import loglines
import registrations
import runbooks
from pages import Context

CHECKS = [*links.CHECKS, *configuration.CHECKS, *loglines.CHECKS, *registrations.CHECKS, *runbooks.CHECKS]


def main():
    parser = argparse.ArgumentParser(description="checks the documents")
    checks.arguments(parser)
    ctx = Context(Path(__file__).resolve().parents[2], checks.binary())
    return checks.run("check-docs", CHECKS, parser, parser.parse_args(), ctx)


if __name__ == "__main__":
    sys.exit(main())
