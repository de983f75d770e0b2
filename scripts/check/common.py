"""What the checks of what is deployed share."""

from dataclasses import dataclass, field
from pathlib import Path

import yaml

import checks


@dataclass(frozen=True)
class Context(checks.Context):
    # Files that schemas are made of.
    sources: Path = field(kw_only=True)

    def documents(self, path):
        return [d for d in yaml.load_all(self.text(path), Loader=StrictLoader) if d is not None]


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


def seconds(text):
    """`500ms`, `35s`, `2m` as seconds."""
    text = str(text)
    for unit, factor in (("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600)):
        if text.endswith(unit) and text[: -len(unit)].replace(".", "", 1).isdigit():
            return float(text[: -len(unit)]) * factor
    raise ValueError(f"not a duration: {text!r}")
