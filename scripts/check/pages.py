"""What the checks of the documents share. Standard library only."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import checks

# Folders that hold no pages of ours.
SKIPPED = {".git", "target", "node_modules", "vendor"}


@dataclass(frozen=True)
class Context(checks.Context):
    def pages(self):
        """All Markdown files, as paths below the root."""
        found = []
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if name not in SKIPPED]
            found += [(Path(folder) / name).relative_to(self.root) for name in files if name.endswith(".md")]
        return sorted(found)


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
