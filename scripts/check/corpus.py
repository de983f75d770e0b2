#!/usr/bin/env python3
"""Chooses the inputs that are kept in the repository: corpus.py <libFuzzer's merge control file> <folder>.

The control file says which features each input has. The next one taken is always the one that adds most
for its size, until nothing is added or the folder is full. What is there already and not chosen goes.
"""

import hashlib
import sys
from pathlib import Path

FILES = 140
BYTES = 380 << 10


def read(control):
    """Each input with its features."""
    lines = Path(control).read_text().splitlines()
    count = int(lines[0])
    names = lines[2:2 + count]
    features = {}
    for line in lines[2 + count:]:
        kind, _, rest = line.partition(" ")
        if kind in ("FT", "COV"):
            numbers = rest.split()
            features.setdefault(int(numbers[0]), set()).update((kind, n) for n in numbers[1:])
    return [(Path(name), features.get(i, set())) for i, name in enumerate(names)]


def choose(inputs):
    left = [(name.read_bytes(), has) for name, has in inputs if has]
    seen, room = set(), BYTES
    chosen = []
    while left and len(chosen) < FILES:
        def worth(one):
            new = one[1] - seen
            # Code counts more than how often it ran.
            return sum(20 if kind == "COV" else 1 for kind, _ in new) / (400 + len(one[0]))
        best = max(left, key=worth)
        if worth(best) == 0:
            break
        left = [(content, has - seen) for content, has in left if content != best[0] and has - seen]
        seen |= best[1]
        if len(best[0]) <= room:
            room -= len(best[0])
            chosen.append(best[0])
    return chosen


def main():
    control, folder = sys.argv[1], Path(sys.argv[2])
    chosen = choose(read(control))
    names = {hashlib.sha256(content).hexdigest()[:16]: content for content in chosen}
    for old in folder.iterdir():
        old.unlink()
    for name, content in names.items():
        (folder / name).write_bytes(content)
    print(f"{folder}: {len(names)} files, {sum(map(len, names.values())) >> 10} KiB")


if __name__ == "__main__":
    main()
