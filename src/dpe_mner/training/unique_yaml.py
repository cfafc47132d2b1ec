"""YAML in which no mapping says a key twice: of two learning rates nobody can tell which was meant."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from dpe_mner.data.json_values import DuplicateKeyError

_MERGE = "tag:yaml.org,2002:merge"
_MOST_NODES = 100_000  # with every alias written out; the largest recipe of ours has some two hundred


class _UniqueLoader(yaml.SafeLoader):
    """Safe YAML; a key that a merge brings in may be said again, as YAML has it."""

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _size(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if (key.tag, key.value) in seen:
                raise DuplicateKeyError(f"line {key.start_mark.line + 1}: the key {key.value!r} occurs twice; keep one")
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep=deep)


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Nodes of a document with its aliases written out: a few lines of them can stand for more than fits the memory.

    Raises:
        yaml.YAMLError: If there are too many, or one contains itself.
    """
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = _MOST_NODES  # until it is counted, which it never is if it contains itself
    below = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    size = 1 + (0 if isinstance(node, yaml.ScalarNode) else sum(_size(part, known) for part in below))
    if size > _MOST_NODES:
        raise yaml.YAMLError(f"line {node.start_mark.line + 1}: holds too much, or itself; write aliases (*) out")
    known[id(node)] = size
    return size


# A folder may be called 2024-06-01, and no key of a recipe is a date.
_UniqueLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_yaml(text: str) -> Any:
    """A YAML document.

    Raises:
        DuplicateKeyError: If a mapping has a key twice, with its line.
        yaml.YAMLError: If it is no YAML, or its aliases stand for too much.
    """
    return yaml.load(text, Loader=_UniqueLoader)  # noqa: S506 (it is a SafeLoader)
