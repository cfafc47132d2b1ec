"""YAML in which no mapping says a key twice: of two learning rates nobody can tell which was meant."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from dpe_mner.data.json_values import DuplicateKeyError

_MERGE = "tag:yaml.org,2002:merge"


class _UniqueLoader(yaml.SafeLoader):
    """Safe YAML; a key that a merge brings in may be said again, as YAML has it."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if (key.tag, key.value) in seen:
                raise DuplicateKeyError(f"line {key.start_mark.line + 1}: the key {key.value!r} occurs twice; keep one")
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep=deep)


# A folder may be called 2024-06-01, and no key of a recipe is a date.
_UniqueLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_yaml(text: str) -> Any:
    """A YAML document.

    Raises:
        DuplicateKeyError: If a mapping has a key twice, with its line.
        yaml.YAMLError: If it is no YAML.
    """
    return yaml.load(text, Loader=_UniqueLoader)
