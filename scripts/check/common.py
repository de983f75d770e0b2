"""What all checks share."""

import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable

import yaml


@dataclass(frozen=True)
class Context:
    root: Path
    sources: Path
    binary: Path | None

    def at(self, root):
        return replace(self, root=root)

    def text(self, path):
        return (self.root / path).read_text()

    def documents(self, path):
        return [d for d in yaml.load_all(self.text(path), Loader=StrictLoader) if d is not None]


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


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping; YAML's own rule, which PyYAML ignores."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def command(*args, stdin=None, timeout=120):
    """Exit code and all output of a program."""
    done = subprocess.run(
        [str(a) for a in args], input=stdin, text=True, timeout=timeout,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout


def seconds(text):
    """`500ms`, `35s`, `2m` as seconds."""
    text = str(text)
    for unit, factor in (("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600)):
        if text.endswith(unit) and text[: -len(unit)].replace(".", "", 1).isdigit():
            return float(text[: -len(unit)]) * factor
    raise ValueError(f"not a duration: {text!r}")
