"""Runs the checks of what is deployed, and proves of each that it can fail."""

import argparse
import sys
from pathlib import Path

import checks
import images
import kube
import metrics
import releases
import sidecars
import systemd
from common import Context

CHECKS = [*kube.CHECKS, *sidecars.CHECKS, *systemd.CHECKS, *images.CHECKS, *releases.CHECKS, *metrics.CHECKS]


def main():
    parser = argparse.ArgumentParser(description="checks what is deployed and watched")
    checks.arguments(parser)
    parser.add_argument("--sources", type=Path, required=True, help="files that schemas are made of")
    parser.add_argument("--root", type=Path, default=Path.cwd())
    args = parser.parse_args()
    ctx = Context(args.root.resolve(), checks.binary(), sources=args.sources)
    return checks.run("check-deploy", CHECKS, parser, args, ctx)


if __name__ == "__main__":
    sys.exit(main())
